// Stackful context switch: the dozen instructions that ucontext spends a system call on.
#pragma once
#include <cstddef>

#if !defined(__x86_64__) || defined(EMULATOR_UCONTEXT)
#include <ucontext.h>

struct Context { ucontext_t state; };

static void make_context(Context& context, char* stack, size_t size, void (*entry)())
{
    getcontext(&context.state);
    context.state.uc_stack.ss_sp = stack;
    context.state.uc_stack.ss_size = size;
    context.state.uc_link = nullptr;
    makecontext(&context.state, entry, 0);
}

static inline void switch_context(Context& from, Context& to) { swapcontext(&from.state, &to.state); }

#else

struct Context { void* stack_pointer; };

extern "C" void emulator_switch(void** save, void* load);
// The callee-saved registers of the System V ABI; rounding modes never change in a kernel.
asm(R"(
.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch,@function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, .-emulator_switch
)");

static void make_context(Context& context, char* stack, size_t size, void (*entry)())
{
    void** top = reinterpret_cast<void**>(stack + size - 64);
    *--top = nullptr;                               // keeps the ABI's 16-byte alignment at entry
    *--top = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    context.stack_pointer = top;
}

static inline void switch_context(Context& from, Context& to)
{
    emulator_switch(&from.stack_pointer, to.stack_pointer);
}
#endif
