// Nearest seed of every pixel of an array of up to three axes, exactly, axis by axis.
//
// A pass knows of each pixel the number of its nearest seed along the axes that are done, and adds
// one axis: the answer is the least of (squared distance so far) + (steps along this axis)^2.
//
// Passes   rows     position of the nearest seed in the pixel's row
//          heights  squared distance to the seed that is known so far
//          lines    outward along the next axis, until the steps alone are farther than the best
//          (take and places turn numbers of pixels into labels and coordinates)
// Bytes    per pixel of a 2-D mask with 32-bit numbers: rows 1 read, and 4 written, read, written;
//          heights 4 and 4; lines 8 read and 8 (distances) or 4 (numbers) written, and two of the
//          heights for each step, neighbours sharing cache lines.
// Launch   blocks of 256 threads; a warp has a row (rows), a thread a pixel (the others).
// Index    INDEX is i32 where the whole array has fewer than 2^31 - 2^16 pixels, else i64.
// Value    VALUE is i32 where INDEX is and no squared distance of the array reaches 2^31, else double:
//          exact too below 2^52, rounded only where spacings have no common unit (so --fmad=false).
// Ties     go to the seed with the smaller position along the axis, which after all passes is the
//          first in raster order: upwards equal is enough, downwards it is not.
//
// A thread takes as many steps as its seed is away, so a mask with hardly any seed takes long where
// the CPU's lower envelopes do not; envelopes per column were not tried. Heights as a pass of their
// own cost 8 B a pixel that rows and lines could save. First version; not yet measured on a device.

#ifndef INDEX
#define INDEX i32
#define VALUE i32
#endif

#define THREADS 256
#define FULL 0xffffffffu

// A block of the array, whole along the axis of the pass.
struct Pass {
    INDEX size[3];              // pixels before, along and after the axis
    INDEX width, top, left;     // of the planes that are done: their rows, their first pixel
    INDEX full, stride;         // of the whole array: a row; what one step along the axis skips
    INDEX wanted;               // bit 0: distances; bit 1: numbers
    VALUE unit, unit_y, unit_x; // of a step along the axis, and in the planes that are done
    VALUE limit, none;          // what is farther does not count; what stands for no seed
    double divisor, never;      // of distances; infinity
};

// Position in its row of the nearest seed of each pixel, -1 where there is none.
extern "C" __global__ void __launch_bounds__(THREADS)
rows(const u8* __restrict__ seeds, INDEX count, INDEX width, INDEX* source)
{
    const INDEX row = ((INDEX)blockIdx.x * THREADS + threadIdx.x) >> 5;
    if (row >= count) return;
    const u32 lane = threadIdx.x & 31;
    const u8* seed = seeds + row * width;
    INDEX* near = source + row * width;
    const INDEX words = (width + 31) >> 5;
    // From the end: the next seed. A lane reads below what it has written here.
    INDEX next = -1;
    for (INDEX word = words - 1; word >= 0; word--) {
        const INDEX first = word << 5, x = first + lane;
        const u32 bits = __ballot_sync(FULL, x < width && seed[x]);
        const u32 later = bits >> lane;
        if (x < width) near[x] = later ? x + __ffs(later) - 1 : next;
        if (bits) next = first + __ffs(bits) - 1;
    }
    INDEX last = -1;
    for (INDEX word = 0; word < words; word++) {
        const INDEX first = word << 5, x = first + lane;
        const INDEX after = x < width ? near[x] : -1;
        const u32 bits = __ballot_sync(FULL, after == x);
        const u32 earlier = bits & ((2u << lane) - 1);
        const INDEX before = earlier ? first + 31 - __clz(earlier) : last;
        if (x < width && before >= 0 && (after < 0 || x - before <= after - x)) near[x] = before;
        if (bits) last = first + 31 - __clz(bits);
    }
}

// Squared distance of each pixel to the seed that is known so far.
extern "C" __global__ void __launch_bounds__(THREADS)
heights(const INDEX* __restrict__ source, Pass pass, VALUE* __restrict__ height)
{
    const INDEX p = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (p >= pass.size[0] * pass.size[1] * pass.size[2]) return;
    const INDEX at = source[p], inner = p % pass.size[2];
    const INDEX y = inner / pass.width + pass.top, x = inner % pass.width + pass.left;
    const VALUE across = (VALUE)(at / pass.full - y) * pass.unit_y;
    const VALUE along = (VALUE)(at % pass.full - x) * pass.unit_x;
    const VALUE square = along * along + across * across;
    height[p] = at < 0 || square > pass.limit ? pass.none : square;
}

// Nearest seed along one more axis: its number, its distance.
extern "C" __global__ void __launch_bounds__(THREADS)
lines(const INDEX* __restrict__ source, const VALUE* __restrict__ height, Pass pass,
      INDEX* __restrict__ found, double* __restrict__ distance)
{
    const INDEX p = (INDEX)blockIdx.x * THREADS + threadIdx.x, step = pass.size[2];
    if (p >= pass.size[0] * pass.size[1] * step) return;
    const INDEX y = p / step % pass.size[1], below = pass.size[1] - 1 - y;
    VALUE best = height[p];
    INDEX steps = 0;
    for (INDEX k = 1; k <= y || k <= below; k++) {
        const VALUE far = (VALUE)k * pass.unit, square = far * far;
        if (square > best || square > pass.limit) break;
        if (k <= y) {
            const VALUE up = height[p - k * step];
            if (up < pass.none && up + square <= best) best = up + square, steps = -k;
        }
        if (k <= below) {
            const VALUE down = height[p + k * step];
            if (down < pass.none && down + square < best) best = down + square, steps = k;
        }
    }
    const bool near = best <= pass.limit;
    if (pass.wanted & 1) distance[p] = near ? sqrt((double)best) / pass.divisor : pass.never;
    if (pass.wanted & 2)
        found[p] = near ? (y + steps) * pass.stride + source[p + steps * step] : -1;
}

// Label of each pixel's seed, 0 where there is none.
template <class LABEL>
__global__ void __launch_bounds__(THREADS)
take(const LABEL* __restrict__ labels, const INDEX* __restrict__ source, INDEX n, LABEL* __restrict__ out)
{
    const INDEX p = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (p < n) out[p] = source[p] < 0 ? LABEL(0) : labels[source[p]];
}

// Coordinates of numbered pixels, one plane for each axis; -1 for -1.
extern "C" __global__ void __launch_bounds__(THREADS)
places(const INDEX* __restrict__ source, INDEX n, INDEX height, INDEX width, INDEX axes, i32* __restrict__ out)
{
    const INDEX p = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (p >= n) return;
    const INDEX at = source[p];
    out[(axes - 1) * n + p] = at < 0 ? -1 : (i32)(at % width);
    if (axes > 1) out[(axes - 2) * n + p] = at < 0 ? -1 : (i32)(at / width % height);
    if (axes > 2) out[p] = at < 0 ? -1 : (i32)(at / width / height);
}
