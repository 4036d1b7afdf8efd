// Seeded watershed: the minimum spanning forest rooted in the markers, by Boruvka's algorithm.
//
// Pixels are in the strict order of (key, depth, index), edges in that of (higher pixel, lower
// pixel). So every component without a marker has one least edge that leaves it, these edges are in
// the forest whatever else is, and no order of threads can change a label.
//
// Passes   flats     depth FAR where a pixel has an equal neighbour but no lower one, and is no
//                    marker; else 0
//          deepen    depth = 1 + the least of equal neighbours, again and again until none changes
//          descend   each pixel hangs on its lowest neighbour (the first round of Boruvka: that edge
//                    is the least of a pixel's own); markers and minima hang on themselves
//          flatten   each pixel hangs on its root
//          then rounds, until no component finds an edge:
//          choose    the least edge of each pixel that leads out of its component
//          vote      the least of those in each component without a marker, by compare and swap
//          hook      each component hangs on the one that its edge leads to
//          relabel   each pixel hangs on its new root
//          write     labels of the roots
// Bytes    per pixel and connectivity 4, of float32 keys: 40 for flats to flatten, about 30 a
//          round, of which there are as many as the logarithm of the number of unmarked minima.
// Scratch  keys, depth (4 B), root, next and best (INDEX), way and seeds (1 B): 22 B with 32-bit
//          keys and indices.
// Launch   a thread has a pixel, blocks of 256.
// Index    INDEX is i32 below 2^31 pixels, else i64.
//
// First version; not yet measured on a device. Rounds look at every pixel, although after the first
// one only those beside another component matter: a list of these is the first thing to try.

#define THREADS 256
#define FAR 0x7fffffff
#define NONE 255
// Steps of `deepen` in one launch.
#define STRIDES 8

struct Grid {
    INDEX planes, rows, width, pixels;
    i32 connectivity;
};

// Neighbours are numbered 0 to 26 in raster order, 13 being the pixel itself; those of a 2-D image
// are 9 to 17. Returns -1 outside and where it is no neighbour.
__device__ __forceinline__ INDEX neighbour(INDEX p, i32 k, const Grid& grid)
{
    const i32 dz = k / 9 - 1, dy = k / 3 % 3 - 1, dx = k % 3 - 1;
    const i32 length = dz * dz + dy * dy + dx * dx;
    if (length == 0 || length > grid.connectivity) return -1;
    const INDEX row = p / grid.width, x = p - row * grid.width + dx;
    const INDEX z = row / grid.rows + dz, y = row % grid.rows + dy;
    if (x < 0 || x >= grid.width || y < 0 || y >= grid.rows || z < 0 || z >= grid.planes) return -1;
    return (z * grid.rows + y) * grid.width + x;
}

__device__ __forceinline__ i32 first_of(const Grid& grid) { return grid.planes > 1 ? 0 : 9; }
__device__ __forceinline__ i32 last_of(const Grid& grid) { return grid.planes > 1 ? 26 : 17; }
__device__ __forceinline__ INDEX pixel() { return (INDEX)blockIdx.x * THREADS + threadIdx.x; }

template <class KEY> __device__ __forceinline__ bool nothing(KEY key) { return key == (KEY)~(KEY)0; }

// Flats without any way down keep FAR, and are told apart by index alone.
__device__ __forceinline__ i32 settled(i32 depth) { return depth == FAR ? 0 : depth; }

template <class KEY> struct Order {
    const KEY* __restrict__ keys;
    const i32* __restrict__ depth;

    __device__ __forceinline__ bool lower(INDEX p, INDEX q) const
    {
        if (keys[p] != keys[q]) return keys[p] < keys[q];
        const i32 a = settled(depth[p]), b = settled(depth[q]);
        return a != b ? a < b : p < q;
    }

    // Is the edge from p to q before that from r to s?
    __device__ __forceinline__ bool before(INDEX p, INDEX q, INDEX r, INDEX s) const
    {
        const bool down = lower(q, p), falls = lower(s, r);
        const INDEX high = down ? p : q, top = falls ? r : s;
        return high != top ? lower(high, top) : lower(down ? q : p, falls ? s : r);
    }
};

template <class KEY>
__global__ void __launch_bounds__(THREADS)
flats(const KEY* __restrict__ keys, const u8* __restrict__ seeds, i32* __restrict__ depth,
      const __grid_constant__ Grid grid)
{
    const INDEX p = pixel();
    if (p >= grid.pixels) return;
    const KEY key = keys[p];
    bool lower = seeds[p] || nothing(key), equal = false;
    for (i32 k = first_of(grid); k <= last_of(grid); k++) {
        const INDEX r = neighbour(p, k, grid);
        if (r < 0) continue;
        lower = lower || keys[r] < key;
        equal = equal || keys[r] == key;
    }
    depth[p] = lower || !equal ? 0 : FAR;
}

template <class KEY>
__global__ void __launch_bounds__(THREADS)
deepen(const KEY* __restrict__ keys, volatile i32* depth, volatile i32* changed,
       const __grid_constant__ Grid grid)
{
    const INDEX p = pixel();
    if (p >= grid.pixels) return;
    i32 mine = depth[p];
    for (i32 stride = 0; stride < STRIDES && mine; stride++) {
        i32 least = mine;
        for (i32 k = first_of(grid); k <= last_of(grid); k++) {
            const INDEX r = neighbour(p, k, grid);
            if (r < 0 || keys[r] != keys[p]) continue;
            const i32 other = depth[r];
            if (other < least - 1) least = other + 1;
        }
        if (least == mine) continue;
        mine = least;
        depth[p] = mine;
        *changed = 1;
    }
}

template <class KEY>
__global__ void __launch_bounds__(THREADS)
descend(const KEY* __restrict__ keys, const i32* __restrict__ depth, const u8* __restrict__ seeds,
        INDEX* __restrict__ root, const __grid_constant__ Grid grid)
{
    const INDEX p = pixel();
    if (p >= grid.pixels) return;
    const Order<KEY> order = {keys, depth};
    INDEX lowest = p;
    for (i32 k = first_of(grid); k <= last_of(grid) && !seeds[p]; k++) {
        const INDEX r = neighbour(p, k, grid);
        if (r >= 0 && order.lower(r, lowest)) lowest = r;
    }
    root[p] = nothing(keys[p]) ? p : lowest;
}

extern "C" __global__ void __launch_bounds__(THREADS) flatten(volatile INDEX* root, INDEX pixels)
{
    const INDEX p = pixel();
    if (p >= pixels) return;
    INDEX end = root[p];
    for (INDEX up; (up = root[end]) != end; end = up) {}
    root[p] = end;
}

// The least edge of each pixel that leads out of its component, as the number of a neighbour; no
// component has any yet in `best`.
template <class KEY>
__global__ void __launch_bounds__(THREADS)
choose(const KEY* __restrict__ keys, const i32* __restrict__ depth, const u8* __restrict__ seeds,
       const INDEX* __restrict__ root, u8* __restrict__ way, INDEX* __restrict__ best,
       const __grid_constant__ Grid grid)
{
    const INDEX p = pixel();
    if (p >= grid.pixels) return;
    best[p] = 0;
    const Order<KEY> order = {keys, depth};
    const INDEX home = root[p];
    i32 found = NONE;
    INDEX there = 0;
    if (!seeds[home] && !nothing(keys[p])) {
        for (i32 k = first_of(grid); k <= last_of(grid); k++) {
            const INDEX r = neighbour(p, k, grid);
            if (r < 0 || root[r] == home || nothing(keys[r])) continue;
            if (found != NONE && !order.before(p, r, p, there)) continue;
            found = k;
            there = r;
        }
    }
    way[p] = (u8)found;
}

__device__ __forceinline__ i32 swap(i32* word, i32 old, i32 value) { return atomicCAS(word, old, value); }
__device__ __forceinline__ i64 swap(i64* word, i64 old, i64 value)
{
    return (i64)atomicCAS((u64*)word, (u64)old, (u64)value);
}

// The pixel whose edge is the least of its component's, plus 1, at the root in `best`.
template <class KEY>
__global__ void __launch_bounds__(THREADS)
vote(const KEY* __restrict__ keys, const i32* __restrict__ depth, const INDEX* __restrict__ root,
     const u8* __restrict__ way, INDEX* best, const __grid_constant__ Grid grid)
{
    const INDEX p = pixel();
    if (p >= grid.pixels || way[p] == NONE) return;
    const Order<KEY> order = {keys, depth};
    const INDEX r = neighbour(p, way[p], grid);
    INDEX* word = best + root[p];
    INDEX known = *(volatile INDEX*)word;
    for (;;) {
        if (known && !order.before(p, r, known - 1, neighbour(known - 1, way[known - 1], grid))) return;
        const INDEX old = swap(word, known, p + 1);
        if (old == known) return;
        known = old;
    }
}

// Root of the component that the edge of `home` leads to; itself if it has none.
__device__ __forceinline__ INDEX target(INDEX home, const INDEX* __restrict__ root,
                                        const u8* __restrict__ way, const INDEX* __restrict__ best,
                                        const Grid& grid)
{
    const INDEX p = best[home] - 1;
    return p < 0 ? home : root[neighbour(p, way[p], grid)];
}

// Of two components that chose the same edge, the first one stays.
extern "C" __global__ void __launch_bounds__(THREADS)
hook(const INDEX* __restrict__ root, const u8* __restrict__ way, const INDEX* __restrict__ best,
     INDEX* __restrict__ next, volatile i32* changed, const __grid_constant__ Grid grid)
{
    const INDEX p = pixel();
    if (p >= grid.pixels || root[p] != p) return;
    const INDEX there = target(p, root, way, best, grid);
    const bool stays = there == p || (p < there && target(there, root, way, best, grid) == p);
    next[p] = stays ? p : there;
    if (!stays) *changed = 1;
}

extern "C" __global__ void __launch_bounds__(THREADS)
relabel(INDEX* __restrict__ root, const INDEX* __restrict__ next, INDEX pixels)
{
    const INDEX p = pixel();
    if (p >= pixels) return;
    INDEX end = root[p];
    for (INDEX up; (up = next[end]) != end; end = up) {}
    root[p] = end;
}

template <class LABEL>
__global__ void __launch_bounds__(THREADS)
write(const INDEX* __restrict__ root, const u8* __restrict__ seeds, const LABEL* __restrict__ markers,
      LABEL* __restrict__ out, INDEX pixels)
{
    const INDEX p = pixel();
    if (p >= pixels) return;
    const INDEX end = root[p];
    out[p] = seeds[end] ? markers[end] : 0;
}
