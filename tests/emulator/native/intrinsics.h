// Integer, bit, conversion and rounding intrinsics. The host compiles with -ffp-contract=off, so
// float arithmetic rounds as CUDA's does under --fmad=false.
#pragma once
#include <limits>
#include "interface.h"

namespace {

// min and max as CUDA overloads them: a mixed pair is compared unsigned.
#define MINMAX(R, A, B) \
    inline R min(A a, B b) { const R x = a, y = b; return x < y ? x : y; } \
    inline R max(A a, B b) { const R x = a, y = b; return x > y ? x : y; }
MINMAX(int, int, int)
MINMAX(unsigned, unsigned, unsigned)
MINMAX(unsigned, int, unsigned)
MINMAX(unsigned, unsigned, int)
MINMAX(long, long, long)
MINMAX(unsigned long, unsigned long, unsigned long)
MINMAX(long long, long long, long long)
MINMAX(unsigned long long, unsigned long long, unsigned long long)
MINMAX(unsigned long long, long long, unsigned long long)
MINMAX(unsigned long long, unsigned long long, long long)
#undef MINMAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v ? __builtin_clz(v) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll(v) : 64; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }

inline unsigned long long __brevll(unsigned long long v)
{
    unsigned long long r = 0;
    for (int i = 0; i < 64; i++) r |= (v >> i & 1) << (63 - i);
    return r;
}
inline unsigned __brev(unsigned v) { return __brevll(v) >> 32; }

inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector)
{
    const unsigned long long bytes = (unsigned long long)b << 32 | a;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) r |= unsigned(bytes >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return r;
}

inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return ((unsigned long long)high << 32 | low) << (shift & 31) >> 32;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return ((unsigned long long)high << 32 | low) >> (shift & 31);
}

inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __sad(int a, int b, unsigned c) { return (a > b ? unsigned(a) - b : unsigned(b) - a) + c; }
inline unsigned __usad(unsigned a, unsigned b, unsigned c) { return (a > b ? a - b : b - a) + c; }

template <class F> inline unsigned emulator_bytes(unsigned a, unsigned b, F f)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i += 8) r |= (unsigned(f(a >> i & 0xff, b >> i & 0xff)) & 0xff) << i;
    return r;
}
#define BYTEWISE(NAME, EXPRESSION) \
    inline unsigned NAME(unsigned a, unsigned b) { return emulator_bytes(a, b, [](unsigned x, unsigned y) { return EXPRESSION; }); }
BYTEWISE(__vadd4, x + y)
BYTEWISE(__vsub4, x - y)
BYTEWISE(__vminu4, x < y ? x : y)
BYTEWISE(__vmaxu4, x > y ? x : y)
BYTEWISE(__vabsdiffu4, x < y ? y - x : x - y)
BYTEWISE(__vcmpeq4, x == y ? 0xffu : 0u)
BYTEWISE(__vcmpne4, x != y ? 0xffu : 0u)
BYTEWISE(__vcmpgtu4, x > y ? 0xffu : 0u)
BYTEWISE(__vcmpgeu4, x >= y ? 0xffu : 0u)
#undef BYTEWISE

inline int __dp4a(int a, int b, int c)
{
    unsigned sum = c;
    for (int i = 0; i < 32; i += 8) sum += int((signed char)(a >> i)) * int((signed char)(b >> i));
    return int(sum);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c)
{
    for (int i = 0; i < 32; i += 8) c += (a >> i & 0xff) * (b >> i & 0xff);
    return c;
}

#define ROUNDED(NAME, T, OPERATOR) inline T NAME(T a, T b) { return a OPERATOR b; }
ROUNDED(__fadd_rn, float, +)
ROUNDED(__fsub_rn, float, -)
ROUNDED(__fmul_rn, float, *)
ROUNDED(__fdiv_rn, float, /)
ROUNDED(__dadd_rn, double, +)
ROUNDED(__dsub_rn, double, -)
ROUNDED(__dmul_rn, double, *)
ROUNDED(__ddiv_rn, double, /)
#undef ROUNDED
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fsqrt_rn(float v) { return sqrtf(v); }
inline double __dsqrt_rn(double v) { return sqrt(v); }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __saturatef(float v) { return v > 0 ? (v < 1 ? v : 1) : 0; }

// CUDA saturates where the result has no room and gives 0 for NaN; C++ leaves both undefined.
template <class T, class F> inline T emulator_convert(F value)
{
    using limits = std::numeric_limits<T>;
    const F beyond = F(limits::max() / 2 + 1) * 2;              // exact, unlike F(max)
    if (value != value) return 0;
    if (value >= beyond) return limits::max();
    if (value <= F(limits::min())) return limits::min();
    return T(value);
}
#define CONVERT(NAME, T, F, ROUND) inline T NAME(F v) { return emulator_convert<T>(ROUND(v)); }
CONVERT(__float2int_rn, int, float, rintf)
CONVERT(__float2int_rz, int, float, truncf)
CONVERT(__float2int_rd, int, float, floorf)
CONVERT(__float2int_ru, int, float, ceilf)
CONVERT(__float2uint_rn, unsigned, float, rintf)
CONVERT(__float2uint_rz, unsigned, float, truncf)
CONVERT(__double2int_rn, int, double, rint)
CONVERT(__double2int_rz, int, double, trunc)
CONVERT(__double2uint_rn, unsigned, double, rint)
CONVERT(__double2ll_rn, long long, double, rint)
CONVERT(__double2ll_rz, long long, double, trunc)
CONVERT(__double2ll_rd, long long, double, floor)
CONVERT(__double2ull_rn, unsigned long long, double, rint)
#undef CONVERT
inline float __int2float_rn(int v) { return float(v); }
inline float __uint2float_rn(unsigned v) { return float(v); }
inline double __ll2double_rn(long long v) { return double(v); }
inline double __ull2double_rn(unsigned long long v) { return double(v); }
inline float __double2float_rn(double v) { return float(v); }

#define BITS(NAME, T, F) \
    inline T NAME(F v) \
    { \
        T r; \
        memcpy(&r, &v, sizeof r); \
        return r; \
    }
BITS(__float_as_int, int, float)
BITS(__float_as_uint, unsigned, float)
BITS(__int_as_float, float, int)
BITS(__uint_as_float, float, unsigned)
BITS(__double_as_longlong, long long, double)
BITS(__longlong_as_double, double, long long)
#undef BITS

}   // namespace
