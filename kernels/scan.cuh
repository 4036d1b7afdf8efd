// Exclusive prefix sum over all threads of a grid in one pass, by decoupled look-back [1].
//
// A tile is what one block counts at a time. Each publishes its sum, then the sum of all up to it,
// in one volatile word of `states` (zero at first); a tile waits only for tiles that blocks took
// before it, so no order of blocks can lock it.
//
// [1] D. Merrill and M. Garland, "Single-pass parallel prefix scan with decoupled look-back",
//     NVIDIA NVR-2016-002, 2016.

#define FULL 0xffffffffu
#define SCAN_THREADS 256
#define AGGREGATE 1ull
#define PREFIX 2ull

// Tiles go to blocks in the order in which these ask, so those before it have been taken. A barrier
// must lie between two calls; `scan` has some.
__device__ __forceinline__ u32 take_tile(u64* next)
{
    __shared__ u32 tile;
    if (threadIdx.x == 0) tile = (u32)atomicAdd(next, 1ull);
    __syncthreads();
    return tile;
}

__device__ __forceinline__ u64 warp_sum(u64 value)
{
#pragma unroll
    for (i32 step = 16; step; step >>= 1) value += __shfl_xor_sync(FULL, value, step);
    return value;
}

// Sum over all tiles before `tile`; the whole first warp calls it and all its lanes get it.
__device__ __forceinline__ u64 look_back(volatile u64* states, u32 tile, u64 total)
{
    const i32 lane = threadIdx.x & 31;
    if (lane == 0) states[tile] = (tile ? AGGREGATE : PREFIX) << 62 | total;
    u64 before = 0;
    for (i64 last = (i64)tile - 1; last >= 0; last -= 32) {
        u64 state;
        do state = last >= lane ? states[last - lane] : PREFIX << 62;
        while (__any_sync(FULL, state >> 62 == 0));
        const u32 whole = __ballot_sync(FULL, state >> 62 == PREFIX);
        const i32 stop = whole ? __ffs(whole) - 1 : 31;
        before += warp_sum(lane <= stop ? state & ~(3ull << 62) : 0);
        if (whole) break;
    }
    if (lane == 0 && tile) states[tile] = PREFIX << 62 | (before + total);
    return before;
}

struct Place {
    u64 before, total;          // of this thread; of this tile with all before it
};

// Exclusive prefix sum over all threads of all tiles.
__device__ __forceinline__ Place scan(u32 count, u64* states, u32 tile)
{
    __shared__ u32 warps[SCAN_THREADS / 32];
    __shared__ u64 base;
    const i32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    u32 upto = count;
#pragma unroll
    for (i32 step = 1; step < 32; step <<= 1) {
        const u32 left = __shfl_up_sync(FULL, upto, step);
        if (lane >= step) upto += left;
    }
    if (lane == 31) warps[warp] = upto;
    __syncthreads();
    u32 earlier = 0, total = 0;
#pragma unroll
    for (i32 w = 0; w < SCAN_THREADS / 32; w++) {
        if (w < warp) earlier += warps[w];
        total += warps[w];
    }
    if (warp == 0) {
        const u64 before = look_back(states, tile, total);
        if (lane == 0) base = before;
    }
    __syncthreads();
    return {base + earlier + upto - count, base + total};
}

