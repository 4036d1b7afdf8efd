// Exact histogram of the 2^24 colours of a uint8 image, then its occupied bins in order.
//
// Built for CHANNELS (3, 4) and INDEX (u32, u64), wide enough for a pixel's number.
//
// Pass 1   fill: every pixel adds to one of 2^24 counters (64 MB). Lanes of a warp with the same
//          colour, as in background, are one atomic. 3 or 4 B read per pixel, and an atomic of 4 B
//          per distinct colour of a warp, mostly in L2.
// Pass 2   tally_rows: occupied bins of each row of 256 (same red and green). Reads 64 MB.
// Pass 3   read_out: each row writes its colours and counts behind those of the rows before it,
//          whose number the host has summed. Reads 64 MB again; writes 8 B per colour.
// Launch   blocks of 256 threads; passes 2 and 3 a block for each of the 65,536 rows.
//
// A counter holds 2^32 - 1: the launcher gives at most 2^31 pixels to a table. Bins are in order of
// colour, so nothing depends on the order of threads. First version; a table in shared memory for
// the commonest reds and greens was not tried.

#ifndef CHANNELS
#define CHANNELS 3
#define INDEX u32
#endif

#define THREADS 256
#define FULL 0xffffffffu

extern "C" __global__ void __launch_bounds__(THREADS)
fill(const u8* __restrict__ image, const u8* __restrict__ mask, INDEX n, u32 masked, u32* __restrict__ bins)
{
    const INDEX step = (INDEX)gridDim.x * THREADS;
    // Whole warps go round together: the vote below wants all lanes.
    for (INDEX base = (INDEX)blockIdx.x * THREADS; base < n; base += step) {
        const INDEX at = base + threadIdx.x;
        const bool inside = at < n && (!masked || mask[at]);
        u32 colour = FULL;
        if (inside) {
            const u8* p = image + (size_t)at * CHANNELS;
            colour = (u32)p[0] << 16 | (u32)p[1] << 8 | p[2];
        }
        const u32 same = __match_any_sync(FULL, colour);
        if (inside && (u32)(__ffs(same) - 1) == (threadIdx.x & 31)) atomicAdd(bins + colour, (u32)__popc(same));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
tally_rows(const u32* __restrict__ bins, u32* __restrict__ occupied)
{
    const u32 total = __syncthreads_count(bins[blockIdx.x * THREADS + threadIdx.x] != 0);
    if (threadIdx.x == 0) occupied[blockIdx.x] = total;
}

extern "C" __global__ void __launch_bounds__(THREADS)
read_out(const u32* __restrict__ bins, const u32* __restrict__ before, u32* __restrict__ colours, u32* __restrict__ counts)
{
    __shared__ u32 warps[THREADS / 32];
    const u32 colour = blockIdx.x * THREADS + threadIdx.x, count = bins[colour];
    const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const u32 vote = __ballot_sync(FULL, count != 0);
    if (lane == 0) warps[warp] = __popc(vote);
    __syncthreads();
    u32 place = before[blockIdx.x] + __popc(vote & ((1u << lane) - 1));
    for (u32 k = 0; k < warp; k++) place += warps[k];
    if (count) {
        colours[place] = colour;
        counts[place] = count;
    }
}
