// Region measurements that look at neighbours: outlines, topology, contacts.
//
// The same windows as gpuseg/_cpu/regionprops_windows.py: one of 2 x 2 (x 2) pixels is counted for
// a label by the label's first pixel in it.
//
// Passes   windows_2d: perimeter, Crofton perimeter, Euler number; windows_3d: entries of lines
//          along 13 directions, Euler number; contacts: pairs of touching labels, each from its
//          earlier pixel, into a hash table.
// Bytes    a label a pixel; its neighbours' are in L1 or L2.
// Launch   a thread a pixel, blocks of 256; pixels within an object leave after their neighbours
//          are read, so atomics grow with outlines.
//
// First version.

#include "region_rows.cuh"

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

// Perimeter, Crofton perimeter and Euler number.
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
