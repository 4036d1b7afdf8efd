// CUDA's vector types, with its alignments, and loads and stores with cache hints.
#pragma once
#include "interface.h"

#define VECTORS(T, NAME, ALIGN2, ALIGN4) \
    struct NAME##1 { T x; }; \
    struct alignas(ALIGN2) NAME##2 { T x, y; }; \
    struct NAME##3 { T x, y, z; }; \
    struct alignas(ALIGN4) NAME##4 { T x, y, z, w; }; \
    namespace { \
    inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; } \
    inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; } \
    inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; } \
    }

VECTORS(unsigned, uint, 8, 16)
VECTORS(signed char, char, 2, 4)
VECTORS(unsigned char, uchar, 2, 4)
VECTORS(short, short, 4, 8)
VECTORS(unsigned short, ushort, 4, 8)
VECTORS(int, int, 8, 16)
VECTORS(long long, longlong, 16, 16)
VECTORS(unsigned long long, ulonglong, 16, 16)
VECTORS(float, float, 8, 16)
VECTORS(double, double, 16, 16)

namespace {

// Hints change no value: plain accesses, which the instrumentation sees where they are inlined.
#define LOAD(NAME) template <class T> __attribute__((always_inline)) inline T NAME(const T* p) { return *p; }
#define STORE(NAME) template <class T> __attribute__((always_inline)) inline void NAME(T* p, T value) { *p = value; }
LOAD(__ldg)
LOAD(__ldca)
LOAD(__ldcg)
LOAD(__ldcs)
LOAD(__ldlu)
STORE(__stcg)
STORE(__stcs)
STORE(__stwb)
#undef LOAD
#undef STORE

template <class T> EMULATOR_UNCHECKED inline T __ldcv(const T* p)
{
    emulator_touch(p, sizeof(T), 0, 1);
    return *p;
}

template <class T> EMULATOR_UNCHECKED inline void __stwt(T* p, T value)
{
    emulator_touch(p, sizeof(T), 1, 1);
    *p = value;
}

}   // namespace
