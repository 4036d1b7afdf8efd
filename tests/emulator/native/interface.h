// What the CUDA side (device.h and friends, compiled with the kernels) asks of the runtime.
#pragma once
#include <cstddef>
#include <cstdint>

// Shim code must stay invisible to the memory checks: they are for the kernel's own accesses.
#define EMULATOR_UNCHECKED __attribute__((no_sanitize("thread", "undefined")))

// Of a thread or block, or a shape. Not uint3: that name is the kernels'.
struct Index3 { unsigned x, y, z; };

// Where in the .cu text a barrier or warp function is called; a default argument fills it in.
struct Where {
    const char* file;
    int line;
    static constexpr Where here(const char* f = __builtin_FILE(), int l = __builtin_LINE()) { return {f, l}; }
};

enum class Barrier { plain, any, all, count };
enum class Meeting { shuffle, vote, match, reduce, sync };
enum class Atomic { add, sub, min, max, exchange, cas, bit_and, bit_or, bit_xor, increment, decrement };
enum class Scalar { i32, u32, i64, u64, f32, f64, u16 };

extern "C" {
// A fiber keeps its identity for life, hence "const": the compiler may call once and remember.
__attribute__((const)) Index3 emulator_thread_index();
__attribute__((const)) Index3 emulator_block_index();
__attribute__((const)) Index3 emulator_block_size();
__attribute__((const)) Index3 emulator_grid_size();
__attribute__((const)) unsigned emulator_lane();
void* emulator_dynamic_shared();

int emulator_barrier(Barrier kind, int predicate, Where where);
// Lanes of `mask` meet; each gets the table of all 32 values (those outside `mask` are stale).
const uint64_t* emulator_meet(Meeting kind, unsigned mask, uint64_t value, Where where);
uint64_t emulator_atomic(Atomic operation, Scalar type, void* address, uint64_t value, uint64_t compare);
void emulator_fence();
void emulator_touch(const void* address, size_t bytes, int write, int is_volatile);
[[noreturn]] void emulator_fail(const char* rule, Where where);

// Launch. `seed` 0 runs blocks and threads in order; else order, preemption (about every
// `preempt` accesses) and the interleaving of `resident` blocks are drawn from it.
struct EmulatorArray { char* data; size_t bytes; };
struct EmulatorLaunch {
    unsigned grid[3], block[3];
    size_t dynamic_shared;
    uint64_t seed;
    unsigned resident, preempt;
    uint64_t step_limit;
    unsigned array_count;
    const EmulatorArray* arrays;
};
int emulator_run(void (*kernel)(void**), void** arguments, const EmulatorLaunch* launch);
const char* emulator_report();
void emulator_statistics(uint64_t* accesses_switches_steps);
}
