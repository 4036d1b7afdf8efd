// Region measurements: what each label's pixels add to its row of 64-bit integers.
//
// Built for each LABEL (i32, i64) and VALUE (u8, i8, u16, i16: narrow; u64: wide, the bits of
// float64 or 64-bit integers). Rows, columns and sums are those of gpuseg/_region_rows.py, so that
// they merge with rows from any other chunk or device; all updates are integer atomics, which no
// order of threads can change.
//
// Passes   survey: least and greatest label, runs. enter: labels too far apart for a table get
//          their slots from a hash table; else a slot is the label less `low`. shapes: count,
//          bounding box, moments of coordinates. Then for each channel narrow (or wide_sum and
//          wide_extrema) and positions; and where asked for windows_2d, windows_3d, contacts.
// Bytes    one label a pixel a pass, and the value in passes that look at it: 4 + 4 for area and
//          centroid, 5 more for the mean of uint8. Rows of the labels in flight stay in L2.
// Launch   blocks of 256 threads. In walks a warp takes 32 columns and goes down 32 rows, each
//          lane adding up its column's run of one label in registers. Lanes whose run ends in the
//          same row and label add up by shuffles, and one of them does the atomics: a tile within
//          one object costs one atomic a column. Windows and contacts take a thread a pixel.
// Index    64 bits: every pass is bound by memory.
// Minima   are compared with a plain read first, which leaves almost no atomics to do; a stale
//          value only costs an atomic too many.
//
// First version. The first things to try where a profile shows them: 16-byte loads in walks, and
// wide sums added up by warp before their atomics.

#ifndef LABEL
#define LABEL i32
#define VALUE u8
#endif

#define THREADS 256
#define ROWS 32
#define FULL 0xffffffffu
#define LOW 0xffffffffll
#define NONE ((i64)(1ull << 63))    // a label that no image has
#define HALF_MANTISSA 27

struct Shape {
    i64 size[3];        // planes, rows, columns that are measured
    i64 origin[3];      // place of their first pixel in the whole array
    i64 whole[3];       // size of the whole array
    i64 before[3];      // halo before the pixels measured
    i64 around[3];      // size with the halo
    i64 axes;           // 1, 2 or 3 of them have moments and bounds, the last ones
    i64 everything;     // label 0 and negative ones are labels too
    i64 low;            // label of slot 0
    i64 capacity;       // of the hash table, a power of two; 0 where slots are labels less low
    i64 columns;        // of a row
};

// Columns of each field, -1 where it is not wanted, and its limbs or first limb.
struct Columns {
    i64 count, lower, upper, first, first_limbs, second, second_limbs;
    i64 sum, square, square_limbs, weighted, weighted_limbs;
    i64 minimum, at_minimum, maximum, at_maximum, flags;
    i64 perimeter, crofton, euler, surface;
    i64 first_bit, axis, kind, channel, channels;
};

__device__ __forceinline__ void add_to(i64* p, i64 value) { atomicAdd((u64*)p, (u64)value); }
__device__ __forceinline__ i64 seen(const i64* p) { return *(const volatile i64*)p; }
__device__ __forceinline__ void lower_to(i64* p, i64 v) { if (v < seen(p)) atomicMin(p, v); }
__device__ __forceinline__ void raise_to(i64* p, i64 v) { if (v > seen(p)) atomicMax(p, v); }

// Add to a sum of one limb, or cut into two.
__device__ __forceinline__ void put(i64* p, i64 limbs, i64 value)
{
    if (limbs == 1) {
        add_to(p, value);
    } else {
        add_to(p, value & LOW);
        add_to(p + 1, value >> 32);
    }
}

__device__ __forceinline__ u64 home(i64 label, i64 capacity)
{
    u64 h = (u64)label * 0x9E3779B97F4A7C15ull;
    return (h ^ h >> 32) & (u64)(capacity - 1);
}

__device__ __forceinline__ i64 slot_of(i64 label, const Shape& s, const i64* keys, const i32* slots)
{
    if (s.capacity == 0) return label - s.low;
    u64 h = home(label, s.capacity);
    while (keys[h] != label) h = (h + 1) & (u64)(s.capacity - 1);
    return slots[h];
}

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
extern "C" __global__ void enter(const LABEL* labels, i64 count, i64 width, i64 everything,
                                 i64 capacity, u64* keys, i32* slots, u32* used, i64* names)
{
    const i64 i = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const i64 label = labels[i];
    if (!(label > 0 || everything) || (i % width && labels[i - 1] == labels[i])) return;
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

__device__ __forceinline__ i64 value_index(const Shape& s, const Columns& c, i64 z, i64 y, i64 x)
{
    return ((z * s.size[1] + y) * s.size[2] + x) * c.channels + c.channel;
}

// Sums and extrema of one channel of narrow integers.
extern "C" __global__ void narrow(const LABEL* labels, const VALUE* image, const i64* keys,
                                  const i32* slots, Shape s, Columns c, i64* table)
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
extern "C" __global__ void positions(const LABEL* labels, const VALUE* image, const i64* keys,
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

// Labels with their halo; what lies beyond is background.
struct Around {
    const LABEL* labels;
    const Shape& s;

    __device__ __forceinline__ i64 operator()(i64 z, i64 y, i64 x) const
    {
        z += s.before[0], y += s.before[1], x += s.before[2];
        if (z < 0 || y < 0 || x < 0 || z >= s.around[0] || y >= s.around[1] || x >= s.around[2])
            return 0;
        return labels[(z * s.around[1] + y) * s.around[2] + x];
    }
    // Whether the pixel has the label, and one of its four neighbours has not.
    __device__ __forceinline__ bool border(i64 label, i64 y, i64 x) const
    {
        const Around& at = *this;
        return at(0, y, x) == label && (at(0, y - 1, x) != label || at(0, y + 1, x) != label ||
                                        at(0, y, x - 1) != label || at(0, y, x + 1) != label);
    }
};

// Perimeter, Crofton perimeter and Euler number; see gpuseg/_cpu/_regionprops_windows.py.
extern "C" __global__ void windows_2d(const LABEL* labels, const i64* keys, const i32* slots,
                                      Shape s, Columns c, i64* table)
{
    const i64 i = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (i >= s.size[1] * s.size[2]) return;
    const Around at{labels, s};
    const i64 y = i / s.size[2], x = i % s.size[2], label = at(0, y, x);
    if (label <= 0) return;
    u32 same = 0;       // bit 3 (dy + 1) + dx + 1
    for (int k = 0; k < 9; k++) same |= (u32)(at(0, y + k / 3 - 1, x + k % 3 - 1) == label) << k;
    if (same == 511) return;
    i64* row = table + slot_of(label, s, keys, slots) * s.columns;
    if (c.perimeter >= 0 && (same & 0xaau) != 0xaau) {
        int code = 1;
        for (int k = 0; k < 9; k++)
            if (k != 4 && at.border(label, y + k / 3 - 1, x + k % 3 - 1)) code += k & 1 ? 2 : 10;
        const u64 bit = 1ull << code;
        if (bit & 0x0a0280a0ull) add_to(row + c.perimeter, 1);
        if (bit & 0x200200000ull) add_to(row + c.perimeter + 1, 1);
        if (bit & 0x802000ull) add_to(row + c.perimeter + 2, 1);
    }
    i64 euler = 0;
    for (int place = 0; place < 4; place++) {
        // The window's four pixels in raster order; mine must be the first that has the label.
        const u32 w = same >> (3 * (place >> 1) + (place & 1));
        const u32 config = (w & 3) | (w >> 1 & 12), mine = 3 - place;
        if (config & ((1u << mine) - 1)) continue;
        euler += 4 + __popc(config) - 2 * ((config & 3) != 0) - 2 * ((config & 12) != 0) -
                 2 * ((config & 5) != 0) - 2 * ((config & 10) != 0);
        const u32 named = (config & 6) | (config & 1) << 3 | config >> 3;
        const u64 kind = 0xff4311431f0f210full >> (4 * named) & 15;
        if (c.crofton >= 0 && kind != 15) add_to(row + c.crofton + kind, 1);
    }
    if (c.euler >= 0 && euler) add_to(row + c.euler, euler);
}

// Euler number of voxels, and entries of lines along 13 directions.
extern "C" __global__ void windows_3d(const LABEL* labels, const i64* keys, const i32* slots,
                                      Shape s, Columns c, i64* table)
{
    const i64 i = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (i >= s.size[0] * s.size[1] * s.size[2]) return;
    const Around at{labels, s};
    const i64 z = i / s.size[2] / s.size[1], y = i / s.size[2] % s.size[1], x = i % s.size[2];
    const i64 label = at(z, y, x);
    if (label <= 0) return;
    u32 same = 0;       // bit 9 (dz + 1) + 3 (dy + 1) + dx + 1
    for (int k = 0; k < 27; k++)
        same |= (u32)(at(z + k / 9 - 1, y + k / 3 % 3 - 1, x + k % 3 - 1) == label) << k;
    if (same == (1u << 27) - 1) return;
    i64* row = table + slot_of(label, s, keys, slots) * s.columns;
    if (c.surface >= 0)
        for (int k = 0; k < 13; k++)
            if (!(same >> k & 1)) add_to(row + c.surface + k, 1);
    if (c.euler < 0) return;
    i64 euler = 0;
    for (int place = 0; place < 8; place++) {
        const u32 w = same >> (9 * (place >> 2) + 3 * (place >> 1 & 1) + (place & 1));
        const u32 config = (w & 3) | (w >> 1 & 12) | (w >> 5 & 48) | (w >> 6 & 192);
        if (config & ((1u << (7 - place)) - 1)) continue;
        const u32 along = config | config >> 1, down = config | config >> 2,
                  through = config | config >> 4;
        // Halves along each axis that hold a voxel, and quarters along each pair of axes.
        const int halves = ((config & 0x0f) != 0) + ((config & 0xf0) != 0) +
                           ((config & 0x33) != 0) + ((config & 0xcc) != 0) +
                           ((config & 0x55) != 0) + ((config & 0xaa) != 0);
        const int quarters =
            __popc(along & 0x55) + __popc(down & 0x33) + __popc(through & 0x0f);
        euler += 8 - 4 * halves + 2 * quarters - __popc(config);
    }
    if (euler) add_to(row + c.euler, euler);
}

// Pairs of slots (smaller first, packed in 64 bits) of labels that touch. `overflow` becomes 1
// where the hash table `pairs` of `capacity` entries, which starts as 0, is too full.
extern "C" __global__ void contacts(const LABEL* labels, const i64* keys, const i32* slots,
                                    Shape s, u64* pairs, i64 capacity, u32* overflow)
{
    const i64 i = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (i >= s.size[0] * s.size[1] * s.size[2]) return;
    const Around at{labels, s};
    const i64 z = i / s.size[2] / s.size[1], y = i / s.size[2] % s.size[1], x = i % s.size[2];
    const i64 label = at(z, y, x);
    if (label <= 0) return;
    const u64 mine = slot_of(label, s, keys, slots);
    i64 last = label;
    for (int k = 14; k < 27; k++) {
        const i64 other = at(z + k / 9 - 1, y + k / 3 % 3 - 1, x + k % 3 - 1);
        if (other <= 0 || other == label || other == last) continue;
        last = other;
        const u64 theirs = slot_of(other, s, keys, slots);
        const u64 pair = mine < theirs ? mine << 32 | theirs : theirs << 32 | mine;
        u64 h = home((i64)pair, capacity);
        for (int tries = 0;; tries++, h = (h + 1) & (u64)(capacity - 1)) {
            const u64 old = atomicCAS(pairs + h, 0ull, pair);
            if (old == 0 || old == pair) break;
            if (tries == 64) {
                atomicOr(overflow, 1u);
                return;
            }
        }
    }
}
