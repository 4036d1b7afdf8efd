// Region measurements: what each label's pixels add to its row of 64-bit integers.
//
// Narrow kernels take values of 8 and 16 bits, wide ones the bits of float64 or 64-bit integers.
//
// Passes   survey: least and greatest label, runs. enter: labels too far apart for a table get
//          their slots from a hash table; else a slot is the label less `low`. shapes: count,
//          bounding box, moments of coordinates; powers: moments of third powers. Then for each channel narrow (or wide_sum and
//          wide_extrema) and positions. What looks at neighbours is in regionprops_windows.cu.
// Bytes    one label a pixel a pass, and the value in passes that look at it: 4 + 4 for area and
//          centroid, 5 more for the mean of uint8. Rows of the labels in flight stay in L2.
// Launch   blocks of 256 threads. In walks a warp takes 32 columns and goes down 32 rows, each
//          lane adding up its column's run of one label in registers. Lanes whose run ends in the
//          same row and label add up by shuffles, and one of them does the atomics: a tile within
//          one object costs one atomic a column.
// Index    64 bits: every pass is bound by memory.
// Minima   are compared with a plain read first, which leaves almost no atomics to do; a stale
//          value only costs an atomic too many.
//
// First version. The first things to try where a profile shows them: 16-byte loads in walks, and
// wide sums added up by warp before their atomics.

#include "region_rows.cuh"

#define ROWS 32
#define FULL 0xffffffffu
#define HALF_MANTISSA 27

// Sum over the lanes of `peers` (mine among them), in the lowest of them; other lanes of `mask`
// have groups of their own. After E. Westphal, "Voting and shuffling to optimize atomics" (2015).
template <int N>
__device__ __forceinline__ void gather(u32 mask, u32 peers, i64 (&value)[N])
{
    const u32 lane = threadIdx.x & 31;
    u32 rank = __popc(peers & ((1u << lane) - 1));
    u32 later = peers & (0xfffffffeu << lane);
    while (__any_sync(mask, later)) {
        const int next = __ffs((int)later);
        for (int k = 0; k < N; k++) {
            const i64 other = __shfl_sync(mask, value[k], next ? next - 1 : (int)lane);
            if (next) value[k] += other;
        }
        later &= ~__ballot_sync(mask, rank & 1);
        rank >>= 1;
    }
}

// A warp's tile: 32 columns, up to ROWS rows of one plane.
struct Tile {
    i64 x, top, bottom, z;
    bool some;

    __device__ __forceinline__ explicit Tile(const Shape& s)
    {
        const i64 warp = ((i64)blockIdx.x * THREADS + threadIdx.x) >> 5;
        const i64 across = (s.size[2] + 31) / 32, down = (s.size[1] + ROWS - 1) / ROWS;
        x = warp % across * 32 + (threadIdx.x & 31);
        top = warp / across % down * ROWS;
        bottom = min(top + ROWS, s.size[1]);
        z = warp / across / down;
        some = z < s.size[0];
    }
};

__device__ __forceinline__ i64 around_index(const Shape& s, i64 z, i64 y, i64 x)
{
    return ((z + s.before[0]) * s.around[1] + y + s.before[1]) * s.around[2] + x + s.before[2];
}

// Label of a pixel that is measured; NONE for background and beyond the last column.
__device__ __forceinline__ i64 label_at(const LABEL* labels, const Shape& s, i64 z, i64 y, i64 x)
{
    if (x >= s.size[2]) return NONE;
    const i64 label = labels[around_index(s, z, y, x)];
    return label > 0 || s.everything ? label : NONE;
}

// Least and greatest label, and the number of runs (an upper bound of that of labels).
extern "C" __global__ void survey(const LABEL* labels, i64 count, i64 width, i64 everything,
                                  i64* found)
{
    i64 low = ~NONE, high = NONE, runs = 0;
    const i64 step = (i64)gridDim.x * THREADS;
    for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        const i64 label = labels[i];
        low = min(low, label);
        high = max(high, label);
        if (label > 0 || everything) runs += i % width == 0 || labels[i - 1] != labels[i];
    }
    for (int o = 16; o; o >>= 1) {
        low = min(low, __shfl_down_sync(FULL, low, o));
        high = max(high, __shfl_down_sync(FULL, high, o));
        runs += __shfl_down_sync(FULL, runs, o);
    }
    if ((threadIdx.x & 31) == 0) {
        atomicMin(found, low);
        atomicMax(found + 1, high);
        add_to(found + 2, runs);
    }
}

// Slots by hashing: the first thread to meet a label draws its slot. `keys` start as NONE.
extern "C" __global__ void enter(const LABEL* labels, i64 count, i64 everything, i64 capacity,
                                 u64* keys, i32* slots, u32* used, i64* names)
{
    const i64 i = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const i64 label = labels[i];
    if (!(label > 0 || everything)) return;
    if (i && labels[i - 1] == label) return;    // it is entered from there
    for (u64 h = home(label, capacity);; h = (h + 1) & (u64)(capacity - 1)) {
        const u64 old = atomicCAS(keys + h, (u64)NONE, (u64)label);
        if (old == (u64)NONE) {
            slots[h] = (i32)atomicAdd(used, 1u);
            names[slots[h]] = label;
        }
        if (old == (u64)NONE || old == (u64)label) return;
    }
}

// Count, bounding box and moments of coordinates.
extern "C" __global__ void shapes(const LABEL* labels, const i64* keys, const i32* slots, Shape s,
                                  Columns c, i64* table)
{
    const Tile tile(s);
    if (!tile.some) return;
    const i64 z = tile.z + s.origin[0], x = tile.x + s.origin[2];
    const int skipped = 3 - (int)s.axes;
    i64 current = NONE, start = 0;
    for (i64 y = tile.top; y <= tile.bottom; y++) {
        const i64 label = y < tile.bottom ? label_at(labels, s, tile.z, y, tile.x) : NONE;
        const bool ends = current != NONE && label != current;
        const u32 ending = __ballot_sync(FULL, ends);
        if (ends) {
            const u32 peers = __match_any_sync(ending, current);
            i64* row = table + slot_of(current, s, keys, slots) * s.columns;
            const i64 a = start + s.origin[1], n = y - start, sum = n * (2 * a + n - 1) / 2;
            const i64 k = n - 1, squares = a * a * n + a * k * n + k * (k + 1) * (2 * k + 1) / 6;
            if (c.lower >= 0) {
                const i64 least[3] = {z, a, x}, greatest[3] = {z, a + k, x};
                #pragma unroll
                for (int axis = 0; axis < 3; axis++) {
                    if (axis < skipped) continue;
                    lower_to(row + c.lower + axis - skipped, least[axis]);
                    raise_to(row + c.upper + axis - skipped, greatest[axis]);
                }
            }
            // n, y, x, yy, yx, xx; those with z follow.
            i64 v[6] = {n, sum, x * n, squares, x * sum, x * x * n};
            gather(ending, peers, v);
            if ((threadIdx.x & 31) == (u32)__ffs((int)peers) - 1) {
                add_to(row + c.count, v[0]);
                const i64 firsts[3] = {z * v[0], v[1], v[2]};
                #pragma unroll
                for (int i = 0; i < 3; i++)
                    if (c.first >= 0 && i >= skipped)
                        put(row + c.first + (i - skipped) * c.first_limbs, c.first_limbs,
                            firsts[i]);
                const i64 seconds[6] = {z * z * v[0], z * v[1], z * v[2], v[3], v[4], v[5]};
                const int fewer = skipped == 0 ? 0 : skipped == 1 ? 3 : 5;
                #pragma unroll
                for (int i = 0; i < 6; i++)
                    if (c.second >= 0 && i >= fewer)
                        put(row + c.second + (i - fewer) * c.second_limbs, c.second_limbs,
                            seconds[i]);
            }
        }
        if (label != current) {
            current = label;
            start = y;
        }
    }
}

// A product modulo a prime below 2^31, or modulo 2^64 where that is 0.
__device__ __forceinline__ u64 times(u64 a, u64 b, u64 prime)
{
    return prime ? a * b % prime : a * b;
}

// Sums of products of powers 0 to 3 of the coordinates modulo a prime, or 2^64 where that is 0;
// `column` is the first of 16 (64 in 3-D).
extern "C" __global__ void powers(const LABEL* labels, const i64* keys, const i32* slots, Shape s,
                                  u64 prime, i64 column, i64* table)
{
    const Tile tile(s);
    if (!tile.some) return;
    const u64 z = tile.z + s.origin[0], x = tile.x + s.origin[2];
    i64 current = NONE;
    u64 sum[4] = {0, 0, 0, 0};      // of powers of y over the run
    for (i64 y = tile.top; y <= tile.bottom; y++) {
        const i64 label = y < tile.bottom ? label_at(labels, s, tile.z, y, tile.x) : NONE;
        if (label != current) {
            i64* cell = table + column;
            if (current != NONE) cell += slot_of(current, s, keys, slots) * s.columns;
            u64 along_z = 1;
            for (int i = 0; current != NONE && i < (s.axes == 3 ? 4 : 1); i++) {
                #pragma unroll
                for (int j = 0; j < 4; j++) {
                    u64 term = times(along_z, prime ? sum[j] % prime : sum[j], prime);
                    for (int k = 0; k < 4; k++) {
                        add_to(cell++, (i64)term);
                        term = times(term, prime ? x % prime : x, prime);
                    }
                }
                along_z = times(along_z, prime ? z % prime : z, prime);
            }
            sum[0] = sum[1] = sum[2] = sum[3] = 0;
            current = label;
        }
        if (label == NONE) continue;
        u64 term = 1;
        #pragma unroll
        for (int j = 0; j < 4; j++) {
            sum[j] += term;
            term = times(term, prime ? (y + s.origin[1]) % prime : y + s.origin[1], prime);
        }
    }
}

__device__ __forceinline__ i64 value_index(const Shape& s, const Columns& c, i64 z, i64 y, i64 x)
{
    return ((z * s.size[1] + y) * s.size[2] + x) * c.channels + c.channel;
}

// Sums and extrema of one channel of narrow integers.
template <class VALUE>
__global__ void narrow(const LABEL* labels, const VALUE* image, const i64* keys, const i32* slots,
                       Shape s, Columns c, i64* table)
{
    const Tile tile(s);
    if (!tile.some) return;
    const int skipped = 3 - (int)s.axes;
    i64 current = NONE, sum = 0, square = 0, moment = 0, low = 0, high = 0;
    for (i64 y = tile.top; y <= tile.bottom; y++) {
        const i64 label = y < tile.bottom ? label_at(labels, s, tile.z, y, tile.x) : NONE;
        const bool ends = current != NONE && label != current;
        const u32 ending = __ballot_sync(FULL, ends);
        if (ends) {
            const u32 peers = __match_any_sync(ending, current);
            i64* row = table + slot_of(current, s, keys, slots) * s.columns;
            if (c.minimum >= 0) {
                lower_to(row + c.minimum, low);
                raise_to(row + c.maximum, high);
            }
            i64 v[4] = {sum, square, moment, (tile.x + s.origin[2]) * sum};
            gather(ending, peers, v);
            if ((threadIdx.x & 31) == (u32)__ffs((int)peers) - 1) {
                if (c.sum >= 0) add_to(row + c.sum, v[0]);
                if (c.square >= 0) put(row + c.square, c.square_limbs, v[1]);
                const i64 firsts[3] = {(tile.z + s.origin[0]) * v[0], v[2], v[3]};
                #pragma unroll
                for (int i = 0; i < 3; i++)
                    if (c.weighted >= 0 && i >= skipped)
                        put(row + c.weighted + (i - skipped) * c.weighted_limbs,
                            c.weighted_limbs, firsts[i]);
            }
        }
        const i64 value = label == NONE ? 0 : (i64)image[value_index(s, c, tile.z, y, tile.x)];
        if (label != current) {
            current = label;
            sum = square = moment = 0;
            low = high = value;
        }
        sum += value;
        square += value * value;
        moment += value * (y + s.origin[1]);
        low = min(low, value);
        high = max(high, value);
    }
}

// The int64 that sorts as the value does; both zeros are one.
__device__ __forceinline__ i64 ordered(u64 word, i64 kind)
{
    if (kind == 1) return (i64)word;
    if (kind == 2) return (i64)(word ^ 1ull << 63);
    if (word << 1 == 0) return 0;
    return (i64)(word >> 63 ? word ^ 0x7fffffffffffffffull : word);
}

__device__ __forceinline__ bool finite(u64 word) { return (word >> 52 & 2047) != 2047; }
__device__ __forceinline__ bool is_nan(u64 word) { return !finite(word) && word << 12; }

// Least and greatest exponent of the last bits of float64 values other than 0.
extern "C" __global__ void exponents(const u64* words, i64 count, i64* found)
{
    i64 low = 2047, high = 0;
    const i64 step = (i64)gridDim.x * THREADS;
    for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        const u64 word = words[i];
        if (word << 1 == 0 || !finite(word)) continue;
        const i64 exponent = max((i64)(word >> 52 & 2047), (i64)1);
        low = min(low, exponent);
        high = max(high, exponent);
    }
    for (int o = 16; o; o >>= 1) {
        low = min(low, __shfl_down_sync(FULL, low, o));
        high = max(high, __shfl_down_sync(FULL, high, o));
    }
    if ((threadIdx.x & 31) == 0) {
        atomicMin(found, low);
        atomicMax(found + 1, high);
    }
}

// Three limbs of a sum that wait for their atomics while the values keep their exponent.
struct Pending {
    i64 limb = 0, part[3] = {0, 0, 0};

    __device__ __forceinline__ void flush(i64* row)
    {
        for (int k = 0; k < 3; k++) {
            if (part[k]) add_to(row + limb + k, part[k]);
            part[k] = 0;
        }
    }
    // Add sign * magnitude * 2^bit, where bit 0 is that of column `column`.
    __device__ __forceinline__ void add(i64* row, i64 column, u64 magnitude, i64 bit, i64 sign)
    {
        if (magnitude == 0) return;
        const i64 at = column + (bit >> 5);
        if (at != limb) flush(row);
        limb = at;
        const u32 shift = (u32)bit & 31;
        const u64 low = (magnitude & LOW) << shift, high = (magnitude >> 32) << shift;
        part[0] += sign * (i64)(low & LOW);
        part[1] += sign * (i64)((low >> 32) + (high & LOW));
        part[2] += sign * (i64)(high >> 32);
    }
};

// One sum of a channel of words, in limbs: of values (TERM 0), of squares (1), or of values times
// the coordinate along c.axis (2). c.sum is its column, c.first_bit the exponent of its first bit.
template <int TERM>
__global__ void wide_sum(const LABEL* labels, const u64* image, const i64* keys, const i32* slots,
                         Shape s, Columns c, i64* table)
{
    const Tile tile(s);
    if (!tile.some) return;
    i64 current = NONE;
    i64* row = nullptr;
    Pending pending[TERM == 0 ? 1 : TERM == 1 ? 3 : 2];
    for (i64 y = tile.top; y <= tile.bottom; y++) {
        const i64 label = y < tile.bottom ? label_at(labels, s, tile.z, y, tile.x) : NONE;
        if (label != current) {
            if (current != NONE)
                for (auto& one : pending) one.flush(row);
            current = label;
            if (label != NONE) row = table + slot_of(label, s, keys, slots) * s.columns;
        }
        if (label == NONE) continue;
        u64 m = image[value_index(s, c, tile.z, y, tile.x)];
        i64 sign = 1, bit = -c.first_bit;
        u32 half = 32;
        if (c.kind == 0) {
            const i64 biased = m >> 52 & 2047;
            if (m >> 63) sign = -1;
            bit = max(biased, (i64)1) - 1075;
            half = HALF_MANTISSA;
            m = biased == 2047 ? 0 : (m & (1ull << 52) - 1) | (biased ? 1ull << 52 : 0);
        } else if (c.kind == 1 && m >> 63) {
            sign = -1;
            m = ~m + 1;
        }
        const u64 low = m & ((1ull << half) - 1), high = m >> half;
        if (TERM == 0) {
            pending[0].add(row, c.sum, m, bit - (c.kind == 0 ? c.first_bit : 0), sign);
        } else if (TERM == 1) {
            bit = (c.kind == 0 ? 2 * bit : 0) - c.first_bit;
            pending[0].add(row, c.sum, low * low, bit, 1);
            // Twice the product may need a 65th bit, so it is added twice.
            pending[1].add(row, c.sum, low * high, bit + half, 1);
            pending[1].add(row, c.sum, low * high, bit + half, 1);
            pending[2].add(row, c.sum, high * high, bit + 2 * half, 1);
        } else {
            const i64 places[3] = {tile.z + s.origin[0], y + s.origin[1], tile.x + s.origin[2]};
            const u64 p = c.axis == 0 ? places[0] : c.axis == 1 ? places[1] : places[2];
            bit -= c.kind == 0 ? c.first_bit : 0;
            pending[0].add(row, c.sum, low * p, bit, sign);
            pending[1].add(row, c.sum, high * p, bit + half, sign);
        }
    }
}

// Extrema and flags (1 NaN, 2 infinity, 4 minus infinity) of one channel of words.
extern "C" __global__ void wide_extrema(const LABEL* labels, const u64* image, const i64* keys,
                                        const i32* slots, Shape s, Columns c, i64* table)
{
    const Tile tile(s);
    if (!tile.some || tile.x >= s.size[2]) return;
    for (i64 y = tile.top; y < tile.bottom; y++) {
        const i64 label = label_at(labels, s, tile.z, y, tile.x);
        if (label == NONE) continue;
        i64* row = table + slot_of(label, s, keys, slots) * s.columns;
        const u64 word = image[value_index(s, c, tile.z, y, tile.x)];
        if (c.flags >= 0 && !finite(word)) {
            const u64 flag = is_nan(word) ? 1 : word >> 63 ? 4 : 2;
            if (~(u64)seen(row + c.flags) & flag) atomicOr((u64*)row + c.flags, flag);
        }
        if (c.minimum < 0 || (c.kind == 0 && is_nan(word))) continue;
        lower_to(row + c.minimum, ordered(word, c.kind));
        raise_to(row + c.maximum, ordered(word, c.kind));
    }
}

// First place, in the whole array, where each label has its extrema; their pass came before.
template <class VALUE>
__global__ void positions(const LABEL* labels, const VALUE* image, const i64* keys,
                          const i32* slots, Shape s, Columns c, i64* table)
{
    const Tile tile(s);
    if (!tile.some || tile.x >= s.size[2]) return;
    for (i64 y = tile.top; y < tile.bottom; y++) {
        const i64 label = label_at(labels, s, tile.z, y, tile.x);
        if (label == NONE) continue;
        i64* row = table + slot_of(label, s, keys, slots) * s.columns;
        const VALUE value = image[value_index(s, c, tile.z, y, tile.x)];
        i64 key = (i64)value;
        if (sizeof(VALUE) == 8) {
            if (c.kind == 0 && is_nan((u64)value)) continue;
            key = ordered((u64)value, c.kind);
        }
        const i64 at = ((tile.z + s.origin[0]) * s.whole[1] + y + s.origin[1]) * s.whole[2] +
                       tile.x + s.origin[2];
        if (key == row[c.minimum]) lower_to(row + c.at_minimum, at);
        if (key == row[c.maximum]) lower_to(row + c.at_maximum, at);
    }
}
