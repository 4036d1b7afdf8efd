// The CUDA language as g++ sees it; included before an unmodified kernel text.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include "interface.h"

#define __global__ __attribute__((noinline, unused))
#define __device__ __attribute__((unused))
#define __host__
#define __constant__ __attribute__((unused))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define __builtin_assume(condition) ((void)0)

// All fibers run in one thread of the system, so its thread-local variables are what they share:
// the runtime finds their segment, poisons it when a block starts and swaps it when several are
// resident. (A section would do, but g++ drops the attribute within templates.)
// `extern __shared__` is rewritten to emulator_dynamic_shared() beforehand.
#define __shared__ static thread_local

#define threadIdx (emulator_thread_index())
#define blockIdx (emulator_block_index())
#define blockDim (emulator_block_size())
#define gridDim (emulator_grid_size())
#define warpSize 32

namespace {

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline void __syncthreads(Where where = Where::here()) { emulator_barrier(Barrier::plain, 0, where); }
inline int __syncthreads_or(int p, Where where = Where::here()) { return emulator_barrier(Barrier::any, p, where); }
inline int __syncthreads_and(int p, Where where = Where::here()) { return emulator_barrier(Barrier::all, p, where); }
inline int __syncthreads_count(int p, Where where = Where::here()) { return emulator_barrier(Barrier::count, p, where); }

// Order is not modelled beyond sequential consistency, so fences are only points to switch at.
inline void __threadfence() { emulator_fence(); }
inline void __threadfence_block() { emulator_fence(); }
inline void __threadfence_system() { emulator_fence(); }
inline void __nanosleep(unsigned) { emulator_fence(); }

// Whoever is active depends on the hardware's schedule: no kernel of ours may ask.
inline unsigned __activemask(Where where = Where::here()) { emulator_fail("__activemask is refused", where); }
inline void __trap(Where where = Where::here()) { emulator_fail("__trap", where); }

EMULATOR_UNCHECKED inline void* emulator_copy(void* to, const void* from, size_t bytes)
{
    emulator_touch(from, bytes, 0, 0);
    emulator_touch(to, bytes, 1, 0);
    return memcpy(to, from, bytes);
}

EMULATOR_UNCHECKED inline void* emulator_fill(void* to, int value, size_t bytes)
{
    emulator_touch(to, bytes, 1, 0);
    return memset(to, value, bytes);
}

}   // namespace

#include "vectors.h"
#include "warp.h"
#include "atomics.h"
#include "intrinsics.h"

// Library calls are not instrumented.
#define memcpy emulator_copy
#define memset emulator_fill
