// Positive pixels: class of each pixel, exact counts and intensity sums, in one pass.
//
// Built for each PIXEL (u8, u16, float, double) and number of CHANNELS (3, 4), with INDEX (u32 or
// u64) wide enough for a pixel's number. --fmad=false: where a threshold ties, rounding decides.
//
// Pass     one: image in, tally and (optional) labels out; an optional mask in.
// Bytes    3 or 4 samples read, 1 B label written, 1 B mask read per pixel; uint8 RGB with labels
//          4 B, which is what bounds it: about 45 integer operations a pixel are below one per byte
//          and lane on every device since sm_75.
// Launch   blocks of 256 threads; a thread takes GROUPS groups of 16 / sizeof(PIXEL) pixels, each
//          group CHANNELS aligned loads of 16 bytes and one store of its labels. Pixels before the
//          first aligned one and after the last whole group are taken one by one.
// Sums     in registers as count above sum in 32 bits (floating: 64-bit multiples of 2^-52), then
//          warp shuffles, shared memory, and one 64-bit atomic per word and block. Integers: no
//          order of threads or blocks can change a bit.
// Decision as gpuseg/_cpu/_hsi_codes.py: two half-planes for hue, p*s >= q*m for saturation,
//          R+G+B between bounds. Integers are inclusive where rounding may decide; those pixels
//          (one in 10^4 of tissue) repeat HistomicsTK's float64 formula.
//
// First version. Loads of a warp stride by 16 * CHANNELS bytes, so each line is asked for CHANNELS
// times in a row and served from L1; going through shared memory instead is the first thing to try
// where a profile shows these requests.

#ifndef PIXEL
#define PIXEL u8
#define CHANNELS 3
#define INDEX u32
#define FLOATING 0
#endif

#define THREADS 256
#define GROUPS 8
#define WORDS 14
#define WORD_BITS 26
#define FULL 0xffffffffu

constexpr int G = 16 / sizeof(PIXEL);

// As Rule.tables: planes, edge, outside, ratio, lower, upper, weak, strong, ratio_ties, four tie
// sums, grey; float planes, saturation, lower, upper, weak, strong, full scale.
struct Form {
    i64 k[18];
    double f[12];
};
struct Rule {
    Form form[2];
    i64 forms;      // 2: the second is the counterstain
    i64 checked;    // whether values can be out of range
    i64 masked;
    i64 labelled;
};

// HistomicsTK's formula in its order of operations; the hue fits, channels are in 0..1.
__device__ __forceinline__ u32 float_code(double red, double green, double blue, const Form& form)
{
    const double intensity = ((red + green) + blue) / 3.0;
    const double low = green < blue ? green : blue;
    double saturation = 0.0;
    if (intensity != 0.0)
        saturation = 1.0 - (red < low ? red : low) / (intensity > 1e-10 ? intensity : 1e-10);
    if (!(saturation >= form.f[6] && form.f[7] <= intensity && intensity < form.f[8])) return 0;
    return intensity >= form.f[9] ? 1 : intensity < form.f[10] ? 3 : 2;
}

#if FLOATING
struct Sums {
    u64 sum[4];
    u32 count[4];
};
__device__ __forceinline__ bool out_of_range(PIXEL r, PIXEL g, PIXEL b, const Form& form)
{
    const double scale = form.f[11];
    return !(r >= 0 && g >= 0 && b >= 0 && r <= scale && g <= scale && b <= scale);
}
// Code by one form; `tie` where integers cannot say, which does not occur here.
__device__ __forceinline__ u32 code_of(PIXEL r, PIXEL g, PIXEL b, const Form& form, bool& tie)
{
    const double red = r, green = g, blue = b, u = green - red, v = blue - red;
    const bool first = form.f[0] * u + form.f[1] * v >= 0;
    const bool second = form.f[2] * u + form.f[3] * v >= 0;
    const bool third = form.f[4] * u + form.f[5] * v >= 0;
    bool hue = form.k[5] ? first || second : first && second && third;
    if (u == 0 && v == 0) hue = form.k[17];
    const double scale = form.f[11];
    return hue ? float_code(red / scale, green / scale, blue / scale, form) : 0;
}
__device__ __forceinline__ void add(Sums& sums, u32 code, PIXEL r, PIXEL g, PIXEL b, const Form& form)
{
    const double scale = form.f[11];
    const double intensity = (((double)r / scale + (double)g / scale) + (double)b / scale) / 3.0;
    // Adding 1 rounds to a multiple of 2^-52 and leaves it in the low bits of the number.
    const u64 fixed = (u64)(__double_as_longlong(intensity + 1.0) - 0x3FF0000000000000ll);
#pragma unroll
    for (int c = 0; c < 4; c++)
        if (code == c + 1) {
            sums.sum[c] += fixed;
            sums.count[c]++;
        }
}
#else
// Sums below 2^SHIFT: at most 129 pixels of a thread, each up to 765, or 65 up to 196605.
#define SHIFT (sizeof(PIXEL) == 1 ? 20 : 24)
struct Sums {
    u32 both[4];
};
template <int BYTES> struct Product { typedef i64 type; };
template <> struct Product<1> { typedef i32 type; };
typedef Product<sizeof(PIXEL)>::type Wide;

__device__ __forceinline__ bool out_of_range(PIXEL r, PIXEL g, PIXEL b, const Form& form)
{
    const i32 scale = (i32)form.f[11];
    return r > scale || g > scale || b > scale;
}
__device__ __forceinline__ u32 code_of(PIXEL r, PIXEL g, PIXEL b, const Form& form, bool& tie)
{
    const Wide u = (Wide)g - r, v = (Wide)b - r;
    const i32 s = (i32)r + g + b, low = min((i32)r, min((i32)g, (i32)b));
    const Wide first = (Wide)form.k[0] * u + (Wide)form.k[1] * v;
    const Wide second = (Wide)form.k[2] * u + (Wide)form.k[3] * v;
    const Wide slack = (Wide)form.k[6] * s - (Wide)form.k[7] * low;
    const bool hue = (min(first, second) >= (Wide)form.k[4]) != (bool)form.k[5];
    if (!(hue && slack >= 0 && s >= (i32)form.k[8] && s < (i32)form.k[9])) return 0;
    tie |= (slack == 0 && form.k[12]) || s == (i32)form.k[13] || s == (i32)form.k[14] ||
           s == (i32)form.k[15] || s == (i32)form.k[16];
    return 2 - (s >= (i32)form.k[10]) + (s < (i32)form.k[11]);
}
__device__ __forceinline__ void add(Sums& sums, u32 code, PIXEL r, PIXEL g, PIXEL b, const Form&)
{
    const u32 both = ((u32)r + g + b) | 1u << SHIFT;
#pragma unroll
    for (int c = 0; c < 4; c++) sums.both[c] += code == c + 1 ? both : 0;
}
#endif

// Code by all forms; 4 is counterstain.
__device__ __forceinline__ u32 codes_of(PIXEL r, PIXEL g, PIXEL b, const Rule& rule, bool& tie)
{
    const u32 code = code_of(r, g, b, rule.form[0], tie);
    if (code || rule.forms == 1) return code;
    return code_of(r, g, b, rule.form[1], tie) ? 4 : 0;
}

// The same, with ties settled. Not inlined sixteen times: its divisions are 100 KB of code then.
__device__ __noinline__ u32 settled(PIXEL r, PIXEL g, PIXEL b, const Rule& rule)
{
    for (int k = 0; k < rule.forms; k++) {
        bool tie = false;
        u32 code = code_of(r, g, b, rule.form[k], tie);
        const double scale = rule.form[k].f[11];
        if (tie) code = float_code(r / scale, g / scale, b / scale, rule.form[k]);
        if (code) return k ? 4 : code;
    }
    return 0;
}

template <int BYTES> struct Vector { typedef uint4 type; };
template <> struct Vector<8> { typedef uint2 type; };
template <> struct Vector<4> { typedef u32 type; };
template <> struct Vector<2> { typedef u16 type; };
union Bytes {
    Vector<G>::type whole;
    u8 at[G];
};

__device__ __forceinline__ bool aligned(const void* p, int bytes) { return ((u64)p & (bytes - 1)) == 0; }

// Pixels before the first that starts at a multiple of 16 bytes; all of them if none does.
__device__ __forceinline__ INDEX head_of(const PIXEL* image, INDEX n)
{
    for (int h = 0; h < G; h++)
        if (aligned(image + h * CHANNELS, 16)) return min((INDEX)h, n);
    return n;
}

// One word of every thread, summed over the block into `into`.
__device__ __forceinline__ void gather(u64 value, u64* into)
{
#pragma unroll
    for (int step = 16; step; step >>= 1) value += __shfl_down_sync(FULL, value, step);
    if ((threadIdx.x & 31) == 0 && value) atomicAdd(into, value);
}

// `totals`: the words of a Tally (the fifth, pixels, only under a mask), then n minus the number of
// the first pixel out of range, 0 if there is none.
// Blocks per SM: with three, the registers of floats spill.
extern "C" __global__ void __launch_bounds__(THREADS, FLOATING ? 2 : 3)
hsi_tally(const PIXEL* __restrict__ image, const u8* __restrict__ mask, u8* __restrict__ labels,
          INDEX n, const __grid_constant__ Rule rule, u64* __restrict__ totals)
{
    __shared__ u64 block_words[WORDS];
    if (threadIdx.x < WORDS) block_words[threadIdx.x] = 0;
    __syncthreads();

    Sums sums = {};
    u32 inside = 0;
    u64 worst = 0;
    const INDEX head = head_of(image, n), groups = (n - head) / G;
    const INDEX first = (INDEX)blockIdx.x * (THREADS * GROUPS) + threadIdx.x;

    for (int step = 0; step < GROUPS; step++) {
        const INDEX group = first + (INDEX)step * THREADS;
        if (group >= groups) break;
        const INDEX at = head + group * G;
        union {
            uint4 loads[CHANNELS];
            PIXEL at[G * CHANNELS];
        } values;
        const uint4* source = (const uint4*)(image + (size_t)at * CHANNELS);
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) values.loads[k] = __ldcs(source + k);
        Bytes in, out;
        if (rule.masked) {
            if (aligned(mask + at, G)) in.whole = *(const Vector<G>::type*)(mask + at);
            else
#pragma unroll
                for (int k = 0; k < G; k++) in.at[k] = mask[at + k];
        }
        u32 ties = 0;
#pragma unroll
        for (int k = 0; k < G; k++) {
            out.at[k] = 0;
            if (rule.masked && in.at[k] == 0) continue;
            const PIXEL *p = values.at + k * CHANNELS, r = p[0], g = p[1], b = p[2];
            if (rule.checked && out_of_range(r, g, b, rule.form[0])) worst = max(worst, (u64)(n - (at + k)));
            bool tie = false;
            u32 code = codes_of(r, g, b, rule, tie);
            if (tie) {
                ties |= 1u << k;
                code = 0;
            }
            add(sums, code, r, g, b, rule.form[0]);
            out.at[k] = code & 3;
            inside++;
        }
        if (rule.labelled) {
            if (aligned(labels + at, G)) *(Vector<G>::type*)(labels + at) = out.whole;
            else
#pragma unroll
                for (int k = 0; k < G; k++) labels[at + k] = out.at[k];
        }
        // Loaded again, because registers have no index.
        for (; ties; ties &= ties - 1) {
            const INDEX pixel = at + (__ffs(ties) - 1);
            const PIXEL *p = image + (size_t)pixel * CHANNELS, r = p[0], g = p[1], b = p[2];
            const u32 code = settled(r, g, b, rule);
            add(sums, code, r, g, b, rule.form[0]);
            if (rule.labelled) labels[pixel] = code & 3;
        }
    }

    // Single pixels: never more than this thread could have had in groups, plus one.
    const INDEX rest = n - groups * G;
    for (INDEX k = (INDEX)blockIdx.x * THREADS + threadIdx.x; k < rest; k += (INDEX)gridDim.x * THREADS) {
        const INDEX at = k < head ? k : k + groups * G;
        u32 code = 0;
        if (!rule.masked || mask[at]) {
            const PIXEL *p = image + (size_t)at * CHANNELS, r = p[0], g = p[1], b = p[2];
            if (rule.checked && out_of_range(r, g, b, rule.form[0])) worst = max(worst, (u64)(n - at));
            code = settled(r, g, b, rule);
            add(sums, code, r, g, b, rule.form[0]);
            inside++;
        }
        if (rule.labelled) labels[at] = code & 3;
    }

#pragma unroll
    for (int c = 0; c < 4; c++) {
#if FLOATING
        gather(sums.count[c], block_words + c);
        gather(sums.sum[c] >> WORD_BITS, block_words + 6 + 2 * c);
        gather(sums.sum[c] & ((1ull << WORD_BITS) - 1), block_words + 7 + 2 * c);
#else
        gather(sums.both[c] >> SHIFT, block_words + c);
        gather(sums.both[c] & ((1u << SHIFT) - 1), block_words + 7 + 2 * c);
#endif
    }
    if (rule.masked) gather(inside, block_words + 4);
    if (worst) atomicMax(totals + WORDS, worst);
    __syncthreads();
    if (threadIdx.x < WORDS && block_words[threadIdx.x])
        atomicAdd(totals + threadIdx.x, block_words[threadIdx.x]);
}
