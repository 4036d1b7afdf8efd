// Atomics: one fiber runs at a time, so a read-modify-write without a switch inside is atomic.
#pragma once
#include "shadow.h"

template <class T> static T from_bits(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T> static uint64_t to_bits(T value)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T> static T arithmetic(Atomic operation, T old, T value)
{
    switch (operation) {
    case Atomic::add: return old + value;
    case Atomic::sub: return old - value;
    case Atomic::min: return value < old ? value : old;
    case Atomic::max: return value > old ? value : old;
    default: return value;
    }
}

static uint64_t bitwise(Atomic operation, uint64_t old, uint64_t value)
{
    switch (operation) {
    case Atomic::bit_and: return old & value;
    case Atomic::bit_or: return old | value;
    case Atomic::bit_xor: return old ^ value;
    case Atomic::increment: return old >= value ? 0 : old + 1;
    default: return old == 0 || old > value ? value : old - 1;          // decrement
    }
}

template <class T> static uint64_t modify(Atomic operation, void* address, uint64_t value, uint64_t compare)
{
    T* word = static_cast<T*>(address);
    const T old = *word;
    if (operation == Atomic::cas) {
        if (to_bits(old) == compare) *word = from_bits<T>(value);
    } else if (operation >= Atomic::bit_and) {
        *word = from_bits<T>(bitwise(operation, to_bits(old), value));
    } else {
        *word = arithmetic(operation, old, from_bits<T>(value));
    }
    return to_bits(old);
}

extern "C" uint64_t emulator_atomic(Atomic operation, Scalar type, void* address, uint64_t value, uint64_t compare)
{
    static const unsigned sizes[] = {4, 4, 8, 8, 4, 8, 2};
    const unsigned size = sizes[int(type)];
    const void* caller = __builtin_return_address(0);
    if (reinterpret_cast<uintptr_t>(address) % size)
        fail("misaligned access: atomic at " + spell(image_offset(caller)) + " by " + name(*current));
    check(address, size, Access::atomic, caller);
    switch (type) {
    case Scalar::i32: return modify<int32_t>(operation, address, value, compare);
    case Scalar::u32: return modify<uint32_t>(operation, address, value, compare);
    case Scalar::i64: return modify<int64_t>(operation, address, value, compare);
    case Scalar::u64: return modify<uint64_t>(operation, address, value, compare);
    case Scalar::f32: return modify<float>(operation, address, value, compare);
    case Scalar::f64: return modify<double>(operation, address, value, compare);
    default: return modify<uint16_t>(operation, address, value, compare);
    }
}
