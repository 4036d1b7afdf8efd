// Connected components of arrays of any rank, numbered as scipy.ndimage.label numbers them.
//
// The array is rows of pixels along its last axis, 32 pixels to a word. A run is a stretch of one
// row that belongs to one object; runs, in raster order, are the nodes of a union-find whose
// smaller node wins. So the smallest node of a component holds its first pixel, and labels are the
// ranks of roots: nothing is sorted, and no order of threads can change a label.
//
// Passes   pack        bits and the number of runs before each word (`scan.cuh`)
//          link        each run hangs on the first one it touches in the row before, if any: no
//                      atomics; never across a 64th row, which bounds the chains
//          flatten     each run hangs on its chain's end
//          unite_rows  atomicMin joins what else touches, among all earlier neighbouring rows
//          unite_ends  the same across the two ends of each row, where the last axis wraps
//          number      ranks of the roots (the same scan), each run hangs on its root
//          write       runs to pixels
//          (first_pixels and face say what the neighbours of a chunk must know, without write)
// Bytes    per pixel of a uint8 mask to int32: 1 read, 4 written, 0.25 written and 0.75 read for bits
//          and bases, and about 24 for each run: 6.5 with nuclei (0.02 runs a pixel), 12 with random
//          pixels (0.25). The floor is 5.
// Scratch  0.25 B per pixel and a node for each run.
// Launch   blocks of 256 threads; a thread has a word (pack, link, unite_*), a node (flatten,
//          number: persistent blocks) or four pixels (write).
// Index    INDEX is i32 below 2^31 pixels, else i64: nodes, rows, words and pixels.
// Contact  of two rows, runs grown by a pixel to the right where diagonals count: touching runs
//          then overlap, and overlaps begin where one of the two starts. Bits of that in one word:
//          grown_a & grown_b & (starts_a | starts_b). Integer images compare the pixels there.
//
// First version; not yet measured on a device. Loads of `pack` are one pixel per lane, which any
// width and type allows; vector loads of bytes are the first thing to try there.

#include "scan.cuh"

#define THREADS SCAN_THREADS
#define STRIP 64
#define MAX_AXES 8

// Words of `work`, zero at first: runs, labels, next tile of pack and of number, then the state of
// each tile of pack, then of number.
#define RUNS 0
#define LABELS 1
#define PACKED 2
#define NUMBERED 3
#define STATES 4

template <class INDEX> struct Grid {
    INDEX shape[MAX_AXES];      // of the array of rows, which is all axes but the last
    INDEX rows, width, words;
    u64 background;
    i32 axes, per_row;          // axes of the array of rows; words of a row
    i32 connectivity;
    u32 connected, wrapped;     // bit k: along axis k of the array of rows
    i32 linked, everything;     // pixels connect along the row; there is no background
    i32 stored;                 // run starts do not follow from the bits alone
};

struct Word {
    u32 bits, left, starts;     // pixels; where the pixel to the left is one; first pixels of runs
};

template <class INDEX>
__device__ __forceinline__ Word word_at(const u32* __restrict__ bits, const u32* __restrict__ starts,
                                        INDEX word, i32 column, const Grid<INDEX>& grid)
{
    Word w;
    w.bits = bits[word];
    w.left = w.bits << 1 | (column ? bits[word - 1] >> 31 : 0);
    w.starts = grid.stored ? starts[word] : w.bits & ~w.left;
    return w;
}

// Node of the run that has, or ends before, the pixel at `bit`.
template <class INDEX> __device__ __forceinline__ INDEX node_at(INDEX base, u32 starts, u32 bit)
{
    return base + __popc(starts & (bit | (bit - 1))) - 1;
}

// Bits of the words of 32 pixels, their run starts, and the number of runs before each word.
template <class PIXEL, bool VALUED, class INDEX>
__global__ void __launch_bounds__(THREADS)
pack(const PIXEL* __restrict__ image, u32* __restrict__ bits, u32* __restrict__ starts,
     INDEX* __restrict__ base, u64* work, const __grid_constant__ Grid<INDEX> grid)
{
    const u32 tile = take_tile(work + PACKED);
    const i32 lane = threadIdx.x & 31;
    const PIXEL background = (PIXEL)grid.background;
    // A warp packs 32 words, one by one; lane k keeps the k-th.
    const INDEX begin = (INDEX)tile * THREADS + (threadIdx.x & ~31);
    INDEX row = begin / grid.per_row;
    i32 column = (i32)(begin - row * grid.per_row);
    const PIXEL* pixels = image + (size_t)row * grid.width;
    u32 carry = 0, mine = 0, first = 0;
    if (begin < grid.words && column) carry = grid.everything || pixels[column * 32 - 1] != background;
#pragma unroll 8
    for (i32 k = 0; k < 32; k++) {
        const INDEX x = (INDEX)column * 32 + lane;
        const bool inside = begin + k < grid.words && x < grid.width;
        const PIXEL value = inside ? pixels[x] : background;
        const u32 word = __ballot_sync(FULL, inside && (grid.everything || value != background));
        u32 start = word;
        if (VALUED) {
            PIXEL left = __shfl_up_sync(FULL, value, 1);
            if (lane == 0 && inside && column) left = pixels[x - 1];
            start &= __ballot_sync(FULL, !grid.linked || x == 0 || left != value);
        } else if (grid.linked) {
            start &= ~(word << 1 | (column ? carry : 0));
        }
        carry = word >> 31;
        if (lane == k) {
            mine = word;
            first = start;
        }
        if (++column == grid.per_row) {
            column = 0;
            pixels += grid.width;
        }
    }
    const Place place = scan(__popc(first), work + STATES, tile);
    const INDEX word = begin + lane;
    if (word < grid.words) {
        bits[word] = mine;
        base[word] = (INDEX)place.before;
        if (grid.stored) starts[word] = first;
    }
    if (word == grid.words - 1) work[RUNS] = place.total;
}

template <class INDEX> __device__ __forceinline__ INDEX load(const INDEX* p) { return *(const volatile INDEX*)p; }
template <class INDEX> __device__ __forceinline__ void store(INDEX* p, INDEX v) { *(volatile INDEX*)p = v; }

template <class INDEX> __device__ __forceinline__ INDEX find(const INDEX* parent, INDEX node)
{
    for (INDEX up; (up = load(parent + node)) != node; node = up) {}
    return node;
}

template <class INDEX> __device__ __forceinline__ void unite(INDEX* parent, INDEX a, INDEX b)
{
    for (;;) {
        a = find(parent, a);
        b = find(parent, b);
        if (a == b) return;
        const INDEX high = max(a, b), low = min(a, b), old = atomicMin(parent + high, low);
        if (old == high) return;
        // `high` was no root any more: what it hung on must come along.
        a = old;
        b = low;
    }
}

// Where runs of row `a` overlap runs of row `b`, once for each pair.
__device__ __forceinline__ u32 contacts(const Word& a, const Word& b, bool diagonal)
{
    const u32 both = diagonal ? (a.bits | a.left) & (b.bits | b.left) : a.bits & b.bits;
    return both & (a.starts | b.starts);
}

// Those bits of `where` at which pixels of a and b are equal.
template <class PIXEL>
__device__ __forceinline__ u32 equal(const PIXEL* __restrict__ a, const PIXEL* __restrict__ b, u32 where)
{
    u32 same = 0;
    for (; where; where &= where - 1) {
        const i32 x = __ffs(where) - 1;
        if (a[x] == b[x]) same |= where & (0u - where);
    }
    return same;
}

// Does `link` look at the row before this one?
template <class INDEX> __device__ __forceinline__ bool links(INDEX row, const Grid<INDEX>& grid)
{
    const i32 last = grid.axes - 1;
    return (grid.connected >> last & 1) && row % grid.shape[last] % STRIP != 0;
}

template <class PIXEL, bool VALUED, class INDEX>
__global__ void __launch_bounds__(THREADS)
link(const PIXEL* __restrict__ image, const u32* __restrict__ bits, const u32* __restrict__ starts,
     const INDEX* __restrict__ base, INDEX* __restrict__ parent, const __grid_constant__ Grid<INDEX> grid)
{
    const INDEX word = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (word >= grid.words) return;
    const INDEX row = word / grid.per_row;
    const i32 column = (i32)(word - row * grid.per_row);
    const Word a = word_at(bits, starts, word, column, grid);
    if (!a.starts) return;
    Word b = {};
    u32 where = 0;
    if (links(row, grid)) {
        b = word_at(bits, starts, word - grid.per_row, column, grid);
        where = contacts(a, b, !VALUED && grid.linked && grid.connectivity > 1);
        if (VALUED) {
            const PIXEL* pixels = image + (size_t)row * grid.width + (size_t)column * 32;
            where = equal(pixels, pixels - grid.width, where);
        }
    }
    const INDEX above = where ? base[word - grid.per_row] : 0;
    INDEX node = base[word];
    for (u32 rest = a.starts; rest; rest &= rest - 1, node++) {
        const u32 next = rest & (rest - 1);
        const u32 touch = where & ((next & (0u - next)) - (rest & (0u - rest)));
        parent[node] = touch ? node_at(above, b.starts, touch & (0u - touch)) : node;
    }
}

template <class INDEX>
__global__ void __launch_bounds__(THREADS) flatten(INDEX* parent, const u64* __restrict__ work)
{
    const INDEX runs = (INDEX)work[RUNS], step = (INDEX)gridDim.x * THREADS;
    for (INDEX node = (INDEX)blockIdx.x * THREADS + threadIdx.x; node < runs; node += step) {
        const INDEX up = load(parent + node), root = find(parent, up);
        if (root != up) store(parent + node, root);
    }
}

// Neighbouring rows: steps of -1, 0 or 1 along each axis of the array of rows, written as the
// digits of a number in base 3. Those below the middle lead to earlier rows. AXES 0 is any number.

template <int AXES, class INDEX> __device__ __forceinline__ i32 axes_of(const Grid<INDEX>& grid)
{
    return AXES ? AXES : grid.axes;
}

// Along how many axes a step leads; 0 if some of them do not connect, or they are too many.
template <int AXES, class INDEX> __device__ __forceinline__ i32 length_of(u32 step, const Grid<INDEX>& grid)
{
    i32 length = 0;
#pragma unroll
    for (i32 axis = axes_of<AXES>(grid) - 1; axis >= 0; axis--, step /= 3) {
        if (step % 3 == 1) continue;
        if (!(grid.connected >> axis & 1)) return 0;
        length++;
    }
    return length <= grid.connectivity ? length : 0;
}

// The row to which a step leads, without its part along axis `but`; -1 outside.
template <int AXES, class INDEX>
__device__ __forceinline__ INDEX neighbour(INDEX row, u32 step, i32 but, const Grid<INDEX>& grid)
{
    INDEX other = 0, stride = 1;
#pragma unroll
    for (i32 axis = axes_of<AXES>(grid) - 1; axis >= 0; axis--, step /= 3) {
        const INDEX size = grid.shape[axis], before = axis ? row / size : 0;
        INDEX at = row - before * size + (axis == but ? 0 : (i32)(step % 3) - 1);
        if (at < 0 || at >= size) {
            if (!(grid.wrapped >> axis & 1)) return -1;
            at = at < 0 ? size - 1 : 0;
        }
        other += at * stride;
        stride *= size;
        row = before;
    }
    return other;
}

template <int AXES, class INDEX> __device__ __forceinline__ u32 middle_of(const Grid<INDEX>& grid)
{
    u32 steps = 1;
#pragma unroll
    for (i32 axis = 0; axis < axes_of<AXES>(grid); axis++) steps *= 3;
    return steps / 2;
}

// Without the first contact of each run, which `link` has used.
__device__ __forceinline__ u32 without_first(u32 where, u32 starts)
{
    u32 rest = where;
    for (; starts; starts &= starts - 1) {
        const u32 next = starts & (starts - 1);
        const u32 touch = where & ((next & (0u - next)) - (starts & (0u - starts)));
        rest ^= touch & (0u - touch);
    }
    return rest;
}

template <class INDEX>
__device__ __forceinline__ void unite_all(INDEX* parent, u32 where, INDEX base_a, u32 starts_a, INDEX base_b, u32 starts_b)
{
    for (; where; where &= where - 1) {
        const u32 bit = where & (0u - where);
        unite(parent, node_at(base_a, starts_a, bit), node_at(base_b, starts_b, bit));
    }
}

// Four blocks per SM: for eight, the registers of integer images spill.
template <class PIXEL, bool VALUED, int AXES, class INDEX>
__global__ void __launch_bounds__(THREADS, 4)
unite_rows(const PIXEL* __restrict__ image, const u32* __restrict__ bits, const u32* __restrict__ starts,
           const INDEX* __restrict__ base, INDEX* parent, const __grid_constant__ Grid<INDEX> grid)
{
    const INDEX word = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (word >= grid.words) return;
    const INDEX row = word / grid.per_row;
    const i32 column = (i32)(word - row * grid.per_row);
    const Word a = word_at(bits, starts, word, column, grid);
    if (!(a.bits | a.left)) return;
    const PIXEL* pixels = image + (size_t)column * 32;
    const u32 middle = middle_of<AXES>(grid);
    for (u32 step = 0; step < middle; step++) {
        const i32 length = length_of<AXES>(step, grid);
        const INDEX other = length ? neighbour<AXES>(row, step, -1, grid) : -1;
        if (other < 0) continue;
        const INDEX there = other * grid.per_row + column;
        const Word b = word_at(bits, starts, there, column, grid);
        const bool diagonal = grid.linked && length < grid.connectivity;
        u32 where = contacts(a, b, !VALUED && diagonal);
        if (VALUED) {
            where = equal(pixels + (size_t)row * grid.width, pixels + (size_t)other * grid.width, where);
        } else if (length > 1) {
            // A pixel of a row between the two connects them already; most are, in 3-D with 26.
            u32 rest = step;
            for (i32 axis = axes_of<AXES>(grid) - 1; where && axis >= 0; axis--, rest /= 3) {
                if (rest % 3 == 1) continue;
                const INDEX via = neighbour<AXES>(row, step, axis, grid) * grid.per_row + column;
                const Word w = word_at(bits, starts, via, column, grid);
                where &= ~(diagonal ? w.bits | w.left : w.bits);
            }
        }
        if (step == middle - 1 && links(row, grid)) where = without_first(where, a.starts);
        unite_all(parent, where, base[word], a.starts, base[there], b.starts);
        if (!VALUED || !diagonal) continue;
        // A run that starts, and the pixel up left of it; then the same seen from the other row.
        const PIXEL *here = pixels + (size_t)row * grid.width, *over = pixels + (size_t)other * grid.width;
        const u32 left = equal(here, over - 1, a.starts & b.left), right = equal(over, here - 1, b.starts & a.left);
        unite_all(parent, left, base[word], a.starts, base[there], b.starts << 1);
        unite_all(parent, right, base[word], a.starts << 1, base[there], b.starts);
    }
}

// The run at the start of `row`, and the one at the end of `other`.
template <class PIXEL, bool VALUED, class INDEX>
__device__ __forceinline__ void unite_across(const PIXEL* __restrict__ image, const u32* __restrict__ bits,
                                             const u32* __restrict__ starts, const INDEX* __restrict__ base,
                                             INDEX* parent, INDEX row, INDEX other, const Grid<INDEX>& grid)
{
    const INDEX end = grid.width - 1, first = row * grid.per_row, last = (other + 1) * grid.per_row - 1;
    const u32 bit = 1u << (end & 31);
    if (!(bits[first] & 1) || !(bits[last] & bit)) return;
    if (VALUED && image[(size_t)row * grid.width] != image[(size_t)other * grid.width + end]) return;
    const Word w = word_at(bits, starts, last, grid.per_row - 1, grid);
    unite(parent, base[first], node_at(base[last], w.starts, bit));
}

template <class PIXEL, bool VALUED, class INDEX>
__global__ void __launch_bounds__(THREADS, 4)
unite_ends(const PIXEL* __restrict__ image, const u32* __restrict__ bits, const u32* __restrict__ starts,
           const INDEX* __restrict__ base, INDEX* parent, const __grid_constant__ Grid<INDEX> grid)
{
    const INDEX row = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (row >= grid.rows) return;
    unite_across<PIXEL, VALUED>(image, bits, starts, base, parent, row, row, grid);
    const u32 middle = middle_of<0>(grid);
    for (u32 step = 0; step < middle; step++) {
        const i32 length = length_of<0>(step, grid);
        if (!length || length == grid.connectivity) continue;
        const INDEX other = neighbour<0>(row, step, -1, grid);
        if (other < 0) continue;
        unite_across<PIXEL, VALUED>(image, bits, starts, base, parent, row, other, grid);
        unite_across<PIXEL, VALUED>(image, bits, starts, base, parent, other, row, grid);
    }
}

// A root becomes its label, negated; every other node hangs on its root. `states` is where they are
// in `work`.
template <class INDEX>
__global__ void __launch_bounds__(THREADS) number(INDEX* parent, u64* work, i64 states)
{
    const INDEX runs = (INDEX)work[RUNS];
    for (;;) {
        const u32 tile = take_tile(work + NUMBERED);
        const INDEX first = (INDEX)tile * THREADS, node = first + threadIdx.x;
        if (first >= runs) break;
        INDEX root = -1;
        if (node < runs) {
            // Roots on the way may be labels already.
            root = node;
            for (INDEX up; (up = load(parent + root)) >= 0 && up != root;) root = up;
        }
        const Place place = scan(root == node, work + states, tile);
        if (node < runs) store(parent + node, root == node ? (INDEX)(-(i64)place.before - 1) : root);
        if (node == runs - 1) work[LABELS] = place.total;
    }
}

template <class INDEX> __device__ __forceinline__ INDEX label_of(const INDEX* __restrict__ parent, INDEX node)
{
    const INDEX up = parent[node];
    return -(up < 0 ? up : parent[up]);
}

// `renumber`: write numbers[label - 1] for each label.
template <class INDEX, class OUT>
__global__ void __launch_bounds__(THREADS)
write(const u32* __restrict__ bits, const u32* __restrict__ starts, const INDEX* __restrict__ base,
      const INDEX* __restrict__ parent, const OUT* __restrict__ numbers, i32 renumber, OUT* __restrict__ out,
      const __grid_constant__ Grid<INDEX> grid)
{
    const INDEX pixels = grid.rows * grid.width, at = ((INDEX)blockIdx.x * THREADS + threadIdx.x) * 4;
    if (at >= pixels) return;
    union {
        OUT label[4];
        uint4 whole[sizeof(OUT) / 4];
    } quad;
    INDEX x = at % grid.width, word = at / grid.width * grid.per_row + x / 32, known = -1;
    OUT label = 0;
    Word w = {};
    bool fresh = true;
#pragma unroll
    for (i32 k = 0; k < 4; k++) {
        quad.label[k] = 0;
        if (at + k >= pixels) continue;
        const i32 column = (i32)(x / 32);
        if (fresh) w = word_at(bits, starts, word, column, grid);
        const u32 bit = 1u << (x & 31);
        if (w.bits & bit) {
            const INDEX node = node_at(base[word], w.starts, bit);
            if (node != known) {
                known = node;
                const INDEX found = label_of(parent, node);
                label = renumber ? numbers[found - 1] : (OUT)found;
            }
            quad.label[k] = label;
        }
        fresh = ++x == grid.width || (x & 31) == 0;
        word += fresh;
        if (x == grid.width) x = 0;
    }
    if (at + 4 <= pixels && ((u64)out & 15) == 0) {
#pragma unroll
        for (i32 k = 0; k < (i32)sizeof(OUT) / 4; k++) ((uint4*)(out + at))[k] = quad.whole[k];
    } else {
#pragma unroll
        for (i32 k = 0; k < 4; k++)
            if (at + k < pixels) out[at + k] = quad.label[k];
    }
}

// Raster index of the first pixel of each label, in their order.
template <class INDEX>
__global__ void __launch_bounds__(THREADS)
first_pixels(const u32* __restrict__ bits, const u32* __restrict__ starts, const INDEX* __restrict__ base,
             const INDEX* __restrict__ parent, i64* __restrict__ firsts, const __grid_constant__ Grid<INDEX> grid)
{
    const INDEX word = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (word >= grid.words) return;
    const INDEX row = word / grid.per_row;
    const i32 column = (i32)(word - row * grid.per_row);
    const Word w = word_at(bits, starts, word, column, grid);
    INDEX node = base[word];
    for (u32 rest = w.starts; rest; rest &= rest - 1, node++) {
        const INDEX up = parent[node];
        if (up < 0) firsts[-up - 1] = (i64)row * grid.width + column * 32 + __ffs(rest) - 1;
    }
}

// Labels of the pixels at `index` along one axis: the last one, or one of `length` rows that lie
// `inner` rows apart.
template <class INDEX>
__global__ void __launch_bounds__(THREADS)
face(const u32* __restrict__ bits, const u32* __restrict__ starts, const INDEX* __restrict__ base,
     const INDEX* __restrict__ parent, INDEX* __restrict__ out, INDEX pixels, i32 last,
     INDEX inner, INDEX length, INDEX index, const __grid_constant__ Grid<INDEX> grid)
{
    const INDEX at = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (at >= pixels) return;
    INDEX row = at, x = index;
    if (!last) {
        const INDEX line = at / grid.width;
        x = at - line * grid.width;
        row = (line / inner * length + index) * inner + line % inner;
    }
    const i32 column = (i32)(x / 32);
    const INDEX word = row * grid.per_row + column;
    const Word w = word_at(bits, starts, word, column, grid);
    const u32 bit = 1u << (x & 31);
    out[at] = w.bits & bit ? label_of(parent, node_at(base[word], w.starts, bit)) : 0;
}
