// What the kernels of region measurements share: where pixels, labels and their rows lie.
//
// Rows, columns and sums are those of gpuseg/_shared/region_rows.py, so that they merge with rows from any
// other chunk or device; all updates are integer atomics, which no order of threads can change.
// Built for each LABEL (i32, i64).

#ifndef LABEL
#define LABEL i32
#endif

#define THREADS 256
#define LOW 0xffffffffll
#define NONE ((i64)(1ull << 63))    // a label that no image has

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
