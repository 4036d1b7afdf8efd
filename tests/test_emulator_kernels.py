"""Correct kernels of the usual kinds pass every check and give NumPy's answer."""

from __future__ import annotations

import numpy as np
import pytest
from emulator import ByValue, Module, Schedule, scheduled
from scipy import ndimage

pytestmark = pytest.mark.emulator

SCHEDULES = [Schedule(), Schedule(0, resident=3), *map(Schedule.drawn, range(8))]


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request: pytest.FixtureRequest):
    with scheduled(request.param):
        yield request.param


REDUCTION = """
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK)
total(const T* __restrict__ a, unsigned long long* sum, int n)
{
    __shared__ unsigned long long part[BLOCK / 32];
    unsigned long long v = 0;
    for (int i = blockIdx.x * BLOCK + threadIdx.x; i < n; i += gridDim.x * BLOCK) v += a[i];
    #pragma unroll
    for (int step = 16; step; step >>= 1) v += __shfl_down_sync(0xffffffffu, v, step);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < BLOCK / 32; w++) v += part[w];
        atomicAdd(sum, v);
    }
}
"""


@pytest.mark.parametrize("block", [32, 128])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
def test_reduction(schedule: Schedule, block: int, dtype: type, rng: np.random.Generator):
    names = {np.uint8: "unsigned char", np.uint32: "unsigned int"}
    name = f"total<{names[dtype]}, {block}>"
    a = rng.integers(0, np.iinfo(dtype).max, 1000, dtype, endpoint=True)
    total = np.zeros(1, np.uint64)
    Module(REDUCTION, (), (name,)).kernels[name]((3,), (block,), (a, total, np.int32(a.size)))
    assert total[0] == a.sum(dtype=np.uint64)


SCAN = """
extern "C" __global__ void scan(const int* a, int* out, int n)
{
    extern __shared__ __align__(16) int row[];
    const int t = threadIdx.x;
    row[t] = t < n ? a[t] : 0;
    __syncthreads();
    for (int step = 1; step < blockDim.x; step *= 2) {
        const int v = t >= step ? row[t - step] : 0;
        __syncthreads();
        row[t] += v;
        __syncthreads();
    }
    if (t < n) out[t] = row[t];
}
"""


@pytest.mark.parametrize("n", [1, 95, 96])
def test_scan_in_dynamic_shared_memory(schedule: Schedule, n: int, rng: np.random.Generator):
    a = rng.integers(-9, 9, n, np.int32)
    out = np.zeros(n, np.int32)
    Module(SCAN).kernels["scan"]((1,), (96,), (a, out, np.int32(n)), 96 * 4)
    np.testing.assert_array_equal(out, np.cumsum(a))


HISTOGRAM = """
struct Range { int first; unsigned char width; };
extern "C" __global__ void histogram(const uchar4* a, unsigned* bins, Range range, int n)
{
    __shared__ unsigned part[256];
    for (int b = threadIdx.x; b < 256; b += blockDim.x) part[b] = 0;
    __syncthreads();
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const uchar4 v = __ldg(a + i);
        const unsigned char values[4] = {v.x, v.y, v.z, v.w};
        for (int k = 0; k < 4; k++)
            if (values[k] >= range.first) atomicAdd(&part[values[k] / range.width], 1u);
    }
    __syncthreads();
    for (int b = threadIdx.x; b < 256; b += blockDim.x)
        if (part[b]) atomicAdd(bins + b, part[b]);
}
"""


def test_histogram_with_vectors_and_a_struct(schedule: Schedule, rng: np.random.Generator):
    a = rng.integers(0, 256, 1024, np.uint8)
    bins = np.zeros(256, np.uint32)
    asked = np.array((10, 3), np.dtype([("first", "i4"), ("width", "u1")], align=True))
    arguments = (a, bins, ByValue(asked.tobytes()), np.int32(256))
    Module(HISTOGRAM).kernels["histogram"]((3,), (96,), arguments)
    np.testing.assert_array_equal(bins, np.bincount(a[a >= 10] // 3, minlength=256))


UNION_FIND = """
__device__ int find(const int* parent, int x)
{
    for (int p; (p = *(const volatile int*)(parent + x)) != x; x = p) {}
    return x;
}
__device__ void unite(int* parent, int a, int b)
{
    for (;;) {
        a = find(parent, a);
        b = find(parent, b);
        if (a == b) return;
        const int high = max(a, b), low = min(a, b);
        const int old = atomicMin(parent + high, low);
        if (old == high) return;
        a = old;
        b = low;
    }
}
extern "C" __global__ void join(const bool* mask, int* parent, int height, int width)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height || !mask[y * width + x]) return;
    if (x && mask[y * width + x - 1]) unite(parent, y * width + x, y * width + x - 1);
    if (y && mask[(y - 1) * width + x]) unite(parent, y * width + x, (y - 1) * width + x);
}
extern "C" __global__ void flatten(const int* parent, int* root, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) root[i] = find(parent, i);
}
"""


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (33, 20)])
def test_union_find(schedule: Schedule, shape: tuple[int, int], rng: np.random.Generator):
    module = Module(UNION_FIND)
    mask = rng.random(shape) < 0.6
    parent, root = np.arange(mask.size, dtype=np.int32), np.empty(mask.size, np.int32)
    height, width = map(np.int32, shape)
    grid = (-(-width // 16), -(-height // 4))
    module.kernels["join"](grid, (16, 4), (mask, parent, height, width))
    module.kernels["flatten"]((-(-mask.size // 64),), (64,), (parent, root, np.int32(mask.size)))
    ranks = np.unique(root[mask.ravel()], return_inverse=True)[1] + 1
    expected, _ = ndimage.label(mask)
    np.testing.assert_array_equal(ranks, expected[mask])


SPIN = """
extern "C" __global__ void pass_on(int* ticket, volatile int* state, int* out)
{
    __shared__ int block;
    if (threadIdx.x == 0) block = atomicAdd(ticket, 1);
    __syncthreads();
    if (threadIdx.x == 0) {
        int before = 0;
        while (block && (before = state[block - 1]) == 0) {}
        state[block] = before + block + 1;
        out[block] = before;
    }
}
"""


def test_blocks_may_wait_for_earlier_tickets(schedule: Schedule):
    ticket, state, out = np.zeros(1, np.int32), np.zeros(20, np.int32), np.zeros(20, np.int32)
    Module(SPIN).kernels["pass_on"]((20,), (32,), (ticket, state, out))
    np.testing.assert_array_equal(out, [k * (k + 1) // 2 for k in range(20)])


WARP = """
extern "C" __global__ void warp(const unsigned* a, unsigned* out)
{
    const unsigned lane = threadIdx.x, all = 0xffffffffu, v = a[lane];
    __shared__ unsigned box[32];
    out[lane] = __shfl_sync(all, v, lane + 5, 8);
    out[32 + lane] = __shfl_up_sync(all, v, 3u);
    out[64 + lane] = __shfl_down_sync(all, v, 3u, 16);
    out[96 + lane] = __shfl_xor_sync(all, v, 9);
    out[128 + lane] = __ballot_sync(all, v & 1);
    out[160 + lane] = __match_any_sync(all, v);
    out[192 + lane] = __reduce_add_sync(all, v) + __reduce_min_sync(all, v) * 3
        + __reduce_max_sync(all, v) * 5;
    out[224 + lane] = __reduce_and_sync(all, v | 4) ^ __reduce_or_sync(all, v)
        ^ (__reduce_xor_sync(all, v) << 8);
    out[256 + lane] = __any_sync(all, v == 3) + 2 * __all_sync(all, v < 8);
    const unsigned odd = 0xaaaaaaaau;
    if (lane % 2) out[288 + lane] = __shfl_sync(odd, v, 1) + __popc(__ballot_sync(odd, 1));
    else out[288 + lane] = (unsigned)__shfl_sync(0x55555555u, (double)v, 2);
    box[lane] = v;
    __syncwarp();
    out[320 + lane] = box[31 - lane];
}
"""


def test_warp_functions(schedule: Schedule, rng: np.random.Generator):
    v = rng.integers(0, 8, 32, np.uint32)
    out = np.zeros(352, np.uint32)
    Module(WARP).kernels["warp"]((1,), (32,), (v, out))
    lane = np.arange(32)
    odd = np.uint32(v[1] + 16)
    expected = [
        v[lane // 8 * 8 + (lane + 5) % 8],
        v[np.where(lane < 3, lane, lane - 3)],
        v[np.where(lane % 16 + 3 >= 16, lane, np.minimum(lane + 3, 31))],
        v[lane ^ 9],
        np.full(32, (v % 2 << lane).sum()),
        ((v == v[:, None]) << lane).sum(axis=1),
        np.full(32, v.sum() + v.min() * 3 + v.max() * 5),
        np.full(
            32,
            np.bitwise_and.reduce(v | 4)
            ^ np.bitwise_or.reduce(v)
            ^ (np.bitwise_xor.reduce(v) << 8),
        ),
        np.full(32, int((v == 3).any()) + 2),
        np.where(lane % 2, odd, v[2]),
        v[::-1],
    ]
    np.testing.assert_array_equal(out.reshape(-1, 32), np.array(expected, np.uint32))


ATOMICS = """
template <class T> __global__ void all(T* a)
{
    const T t = T(blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(a, t);
    atomicMin(a + 1, T(t + 5));
    atomicMax(a + 2, t);
    atomicAnd(a + 3, T(~(T(1) << (int(t) & 31))));
    atomicOr(a + 4, t);
    atomicXor(a + 5, t);
    atomicExch(a + 6, t);
    T old = *(volatile T*)(a + 7);
    for (T seen; (seen = atomicCAS(a + 7, old, T(old + 2))) != old; old = seen) {}
}
extern "C" __global__ void some(unsigned* u, float* f, double* d)
{
    atomicInc(u, 9u);
    atomicDec(u + 1, 9u);
    atomicSub(u + 2, 3u);
    atomicAdd(f, 0.5f);
    atomicAdd(d, 0.25);
}
"""


@pytest.mark.parametrize(("name", "dtype"), [("int", "i4"), ("unsigned", "u4"), ("u64", "u8")])
def test_integer_atomics(schedule: Schedule, name: str, dtype: str):
    code = "typedef unsigned long long u64;" + ATOMICS
    t = np.arange(96)
    a = np.array([0, 99, 0, 0x7FFFFFFF, 0, 0, 777, 0], dtype)
    Module(code, (), (f"all<{name}>",)).kernels[f"all<{name}>"]((3,), (32,), (a,))
    assert a[:6].tolist() == [t.sum(), 5, 95, 0, 127, np.bitwise_xor.reduce(t)]
    assert a[6] in t
    assert a[7] == 2 * 96


def test_other_atomics(schedule: Schedule):
    u, f, d = np.array([0, 0, 1000], "u4"), np.zeros(1, "f4"), np.zeros(1, "f8")
    Module(ATOMICS).kernels["some"]((3,), (32,), (u, f, d))
    assert u.tolist() == [96 % 10, (10 - 96 % 10) % 10, 1000 - 3 * 96]
    assert (f[0], d[0]) == (48, 24)
