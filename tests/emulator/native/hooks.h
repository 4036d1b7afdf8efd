// What compiler instrumentation calls: each load and store (-fsanitize=thread, whose library is
// not linked), undefined behaviour (-fsanitize=alignment,bounds,...), each basic block.
#pragma once
#include "shadow.h"

#define CALLER __builtin_return_address(0)

#define HOOKS(N) \
    void __tsan_read##N(void* p) { check(p, N, Access::read, CALLER); } \
    void __tsan_write##N(void* p) { check(p, N, Access::write, CALLER); } \
    void __tsan_volatile_read##N(void* p) { check(p, N, Access::volatile_read, CALLER); } \
    void __tsan_volatile_write##N(void* p) { check(p, N, Access::volatile_write, CALLER); } \
    void __tsan_unaligned_read##N(void* p) { check(p, N, Access::read, CALLER); } \
    void __tsan_unaligned_write##N(void* p) { check(p, N, Access::write, CALLER); } \
    void __tsan_unaligned_volatile_read##N(void* p) { check(p, N, Access::volatile_read, CALLER); } \
    void __tsan_unaligned_volatile_write##N(void* p) { check(p, N, Access::volatile_write, CALLER); }

// The head that the data of every undefined-behaviour hook starts with.
struct Source { const char* file; uint32_t line, column; };

static void undefined(const char* rule, const void* data)
{
    const Source* source = static_cast<const Source*>(data);
    if (!current) return;
    fail(std::string(rule) + format(" at %s:%u by ", source->file, source->line) + name(*current));
}

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* p, size_t n) { check(p, n, Access::read, CALLER); }
void __tsan_write_range(void* p, size_t n) { check(p, n, Access::write, CALLER); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

void __ubsan_handle_type_mismatch_v1(void* data, void*) { undefined("misaligned access", data); }
void __ubsan_handle_out_of_bounds(void* data, void*) { undefined("array index out of bounds", data); }
void __ubsan_handle_shift_out_of_bounds(void* data, void*, void*) { undefined("shift by the width or more", data); }
void __ubsan_handle_divrem_overflow(void* data, void*, void*) { undefined("division by zero or overflow", data); }
void __ubsan_handle_add_overflow(void* data, void*, void*) { undefined("signed overflow", data); }
void __ubsan_handle_sub_overflow(void* data, void*, void*) { undefined("signed overflow", data); }
void __ubsan_handle_mul_overflow(void* data, void*, void*) { undefined("signed overflow", data); }
void __ubsan_handle_negate_overflow(void* data, void*) { undefined("signed overflow", data); }
void __ubsan_handle_missing_return(void* data) { undefined("no return value", data); }
void __ubsan_handle_builtin_unreachable(void* data) { undefined("unreachable code reached", data); }

void __sanitizer_cov_trace_pc()
{
    if (!current) return;
    steps++;
    if (static_cast<const char*>(__builtin_frame_address(0)) < current->stack + STACK_RESERVE)
        fail("stack overflow at " + spell(image_offset(CALLER)) + " by " + name(*current));
    if (++current->steps > launch->step_limit)
        fail("hang: no end after " + std::to_string(launch->step_limit) + " steps at " + spell(image_offset(CALLER)) + " by " +
             name(*current) + (current->where.line ? ", which last waited at " + name(current->where) : ""));
}

void emulator_touch(const void* p, size_t bytes, int write, int is_volatile)
{
    const Access plain = write ? Access::write : Access::read;
    const Access marked = write ? Access::volatile_write : Access::volatile_read;
    check(p, bytes, is_volatile ? marked : plain, CALLER);
}

void emulator_fence()
{
    if (launch->seed) give_up_turn();
}

void emulator_fail(const char* rule, Where where)
{
    fail(std::string(rule) + " at " + name(where) + " by " + name(*current));
}
}
