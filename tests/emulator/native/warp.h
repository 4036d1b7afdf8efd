// Warp functions: lanes of a mask meet, exchange 64-bit values, and each computes its result.
#pragma once
#include "interface.h"

namespace {

template <class T> EMULATOR_UNCHECKED inline uint64_t emulator_pack(T value)
{
    static_assert(sizeof(T) <= 8, "warp functions take values of up to 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T> EMULATOR_UNCHECKED inline T emulator_unpack(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T>
EMULATOR_UNCHECKED T emulator_shuffle(unsigned mask, T value, unsigned source, Where where)
{
    const uint64_t* values = emulator_meet(Meeting::shuffle, mask, emulator_pack(value), where);
    if (!(mask >> source & 1)) emulator_fail("wrong mask: a shuffle reads a lane outside it", where);
    return emulator_unpack<T>(values[source]);
}

inline unsigned emulator_segment(int width, Where where)
{
    if (width < 1 || width > 32 || (width & (width - 1))) emulator_fail("a shuffle's width must be a power of two up to 32", where);
    return emulator_lane() & ~(width - 1);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, Where where = Where::here())
{
    return emulator_shuffle(mask, value, emulator_segment(width, where) + (source & (width - 1)), where);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, Where where = Where::here())
{
    const unsigned lane = emulator_lane(), first = emulator_segment(width, where);
    return emulator_shuffle(mask, value, lane < first + delta ? lane : lane - delta, where);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, Where where = Where::here())
{
    const unsigned lane = emulator_lane(), first = emulator_segment(width, where);
    return emulator_shuffle(mask, value, lane + delta >= first + width ? lane : lane + delta, where);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, Where where = Where::here())
{
    const unsigned lane = emulator_lane(), first = emulator_segment(width, where), source = lane ^ bits;
    return emulator_shuffle(mask, value, source >= first + width ? lane : source, where);
}

EMULATOR_UNCHECKED inline unsigned __ballot_sync(unsigned mask, int predicate, Where where = Where::here())
{
    const uint64_t* values = emulator_meet(Meeting::vote, mask, predicate != 0, where);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; lane++) votes |= unsigned(mask >> lane & values[lane] & 1) << lane;
    return votes;
}

inline int __any_sync(unsigned mask, int predicate, Where where = Where::here())
{
    return __ballot_sync(mask, predicate, where) != 0;
}

inline int __all_sync(unsigned mask, int predicate, Where where = Where::here())
{
    return __ballot_sync(mask, predicate, where) == mask;
}

template <class T>
EMULATOR_UNCHECKED unsigned __match_any_sync(unsigned mask, T value, Where where = Where::here())
{
    const uint64_t bits = emulator_pack(value);
    const uint64_t* values = emulator_meet(Meeting::match, mask, bits, where);
    unsigned equal = 0;
    for (unsigned lane = 0; lane < 32; lane++) equal |= unsigned((mask >> lane & 1) && values[lane] == bits) << lane;
    return equal;
}

template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all, Where where = Where::here())
{
    *all = __match_any_sync(mask, value, where) == mask;
    return *all ? mask : 0;
}

template <class T, class Combine>
EMULATOR_UNCHECKED T emulator_reduce(unsigned mask, T value, Where where, Combine combine)
{
    static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned>, "__reduce_*_sync takes int or unsigned");
    const uint64_t* values = emulator_meet(Meeting::reduce, mask, emulator_pack(value), where);
    unsigned lane = __builtin_ctz(mask);
    T result = emulator_unpack<T>(values[lane]);
    while (++lane < 32)
        if (mask >> lane & 1) result = combine(result, emulator_unpack<T>(values[lane]));
    return result;
}

#define REDUCE(NAME, EXPRESSION) \
    template <class T> EMULATOR_UNCHECKED T __reduce_##NAME##_sync(unsigned mask, T value, Where where = Where::here()) \
    { \
        return emulator_reduce(mask, value, where, [](T a, T b) EMULATOR_UNCHECKED -> T { return EXPRESSION; }); \
    }
REDUCE(add, T(unsigned(a) + unsigned(b)))
REDUCE(min, a < b ? a : b)
REDUCE(max, a > b ? a : b)
REDUCE(and, a & b)
REDUCE(or, a | b)
REDUCE(xor, a ^ b)
#undef REDUCE

inline void __syncwarp(unsigned mask = 0xffffffffu, Where where = Where::here())
{
    emulator_meet(Meeting::sync, mask, 0, where);
}

}   // namespace
