// Atomic functions; inlined, so that the caller the runtime sees is the kernel's own line.
#pragma once
#include "warp.h"

namespace {

template <class T> constexpr Scalar emulator_scalar()
{
    if (std::is_same_v<T, int>) return Scalar::i32;
    if (std::is_same_v<T, unsigned>) return Scalar::u32;
    if (std::is_same_v<T, long long>) return Scalar::i64;
    if (std::is_same_v<T, unsigned long long>) return Scalar::u64;
    if (std::is_same_v<T, float>) return Scalar::f32;
    if (std::is_same_v<T, double>) return Scalar::f64;
    return Scalar::u16;
}

template <class T>
__attribute__((always_inline)) inline T emulator_modify(Atomic operation, T* p, T value, T compare = T())
{
    return emulator_unpack<T>(
        emulator_atomic(operation, emulator_scalar<T>(), p, emulator_pack(value), emulator_pack(compare)));
}

// One function for each type that CUDA has, so that other types fail to compile here too.
#define ATOMIC1(NAME, OPERATION, T) \
    __attribute__((always_inline)) inline T NAME(T* p, T value) { return emulator_modify(Atomic::OPERATION, p, value); }
#define ATOMIC(NAME, OPERATION) \
    ATOMIC1(NAME, OPERATION, int) \
    ATOMIC1(NAME, OPERATION, unsigned) \
    ATOMIC1(NAME##_block, OPERATION, int) \
    ATOMIC1(NAME##_block, OPERATION, unsigned)
#define ATOMIC64(NAME, OPERATION) \
    ATOMIC(NAME, OPERATION) \
    ATOMIC1(NAME, OPERATION, unsigned long long) \
    ATOMIC1(NAME##_block, OPERATION, unsigned long long)

ATOMIC64(atomicAdd, add)
ATOMIC1(atomicAdd, add, float)
ATOMIC1(atomicAdd, add, double)
ATOMIC(atomicSub, sub)
ATOMIC64(atomicMin, min)
ATOMIC1(atomicMin, min, long long)
ATOMIC64(atomicMax, max)
ATOMIC1(atomicMax, max, long long)
ATOMIC64(atomicExch, exchange)
ATOMIC1(atomicExch, exchange, float)
ATOMIC64(atomicAnd, bit_and)
ATOMIC64(atomicOr, bit_or)
ATOMIC64(atomicXor, bit_xor)
ATOMIC1(atomicInc, increment, unsigned)
ATOMIC1(atomicDec, decrement, unsigned)
#undef ATOMIC1
#undef ATOMIC
#undef ATOMIC64

#define CAS(T) \
    __attribute__((always_inline)) inline T atomicCAS(T* p, T compare, T value) \
    { \
        return emulator_modify(Atomic::cas, p, value, compare); \
    }
CAS(int)
CAS(unsigned)
CAS(unsigned long long)
CAS(unsigned short)
#undef CAS

}   // namespace
