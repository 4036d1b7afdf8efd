"""Each kind of bug, planted in a small kernel, is caught and named under every schedule."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from emulator import CompileError, KernelFault, Module, Schedule, scheduled

pytestmark = pytest.mark.emulator

SCHEDULES = [Schedule(), Schedule(0, resident=2), *map(Schedule.drawn, range(5))]


class Planted(NamedTuple):
    """A kernel `k(int* a, int n)`, whose line marked BUG breaks `rule`."""

    rule: str
    body: str
    block: int = 64
    grid: int = 1
    shared: int = 0


T = "const int t = threadIdx.x;"
S = "__shared__ int s[64];"
ZERO = "s[t] = 0;\n__syncthreads();\n"
PLANTED = {
    "write past the end": Planted("out of bounds: write of 4 bytes", f"{T}\na[t + 1] = t; // BUG"),
    "read before the start": Planted(
        "out of bounds: read of 4 bytes .*4 bytes before argument 0",
        f"{T}\nconst int v = t ? 0 : a[t - 1]; // BUG\nif (v == 7) a[t] = v;",
    ),
    "null pointer": Planted("out of bounds", f"{T}\nint* p = n ? nullptr : a;\np[t] = 1; // BUG"),
    "vector over the end": Planted(
        "out of bounds: write of 16 bytes",
        f"{T}\n((int4*)a)[t] = make_int4(1, 2, 3, 4); // BUG",
        block=17,
    ),
    "past the end of dynamic shared": Planted(
        "out of bounds: write .*shared memory",
        f"extern __shared__ int d[];\n{T}\nd[t] = t; // BUG",
        shared=63 * 4,
    ),
    "index of a local array": Planted(
        "array index out of bounds", f"{T}\nint v[4] = {{0, 1, 2, 3}};\na[t] = v[t]; // BUG"
    ),
    "index of a shared array": Planted(
        "array index out of bounds", f"{S}\n{T}\ns[t + 1] = t; // BUG\n__syncthreads();"
    ),
    "misaligned vector": Planted(
        "misaligned access", f"{T}\nif (t == 1) *(int2*)(a + 1) = make_int2(1, 2); // BUG"
    ),
    "misaligned atomic": Planted(
        "misaligned access", f"{T}\nif (t == 1) atomicAdd((int*)((char*)a + 2), 1); // BUG"
    ),
    "missing barrier": Planted(
        "data race: .* shared memory", f"{S}\n{T}\n{ZERO}s[t] = t;\na[t] = s[n - 1 - t]; // BUG"
    ),
    "neighbours in one word": Planted(
        "data race: .*read.*shared memory",
        f"__shared__ unsigned char s[64];\n{T}\n{ZERO}s[t] = t;\na[t] = s[t ^ 1]; // BUG",
    ),
    "warp without __syncwarp": Planted(
        "data race: .* shared memory",
        f"{S}\n{T}\n{ZERO}s[t] = t;\n__ballot_sync(~0u, 1);\na[t] = s[t ^ 1]; // BUG",
        block=32,
    ),
    "__syncwarp of other lanes": Planted(
        "data race",
        f"{S}\n{T}\n{ZERO}s[t] = t;\n__syncwarp(t & 1 ? 0xaaaaaaaa : 0x55555555);\n"
        "a[t] = s[t ^ 1]; // BUG",
        block=32,
    ),
    "unordered blocks": Planted(
        "data race: .*argument 0",
        f"{T}\nif (!t) a[blockIdx.x] = a[blockIdx.x ^ 1]; // BUG",
        grid=2,
    ),
    "store against atomic": Planted(
        "data race: .*atomic", f"{T}\nif (t) atomicAdd(a, t);\nelse a[0] = 1; // BUG"
    ),
    "volatile store against atomic": Planted(
        "data race: .*atomic",
        f"{T}\nif (t) atomicMin(a, t);\nelse *(volatile int*)a = 1; // BUG",
    ),
    "atomic and plain read": Planted(
        "data race: .*atomic",
        f"{S}\n{T}\natomicAdd(a, 1);\nif (t == 9 && a[0] == 7) a[1] = 1; // BUG",
    ),
    "uninitialised shared": Planted(
        "uninitialised shared memory: read",
        f"{S}\n{T}\nif (t != 5) s[t] = t;\n__syncthreads();\na[t] = s[63 - t]; // BUG",
    ),
    "uninitialised dynamic shared": Planted(
        "uninitialised shared memory: atomic",
        f"extern __shared__ int d[];\n{T}\natomicAdd(d + t, 1); // BUG",
        shared=256,
    ),
    "left by the block before": Planted(
        "uninitialised shared memory",
        f"{S}\n{T}\nif (blockIdx.x == 0) s[t] = t;\nif (blockIdx.x) a[t] = s[t]; // BUG",
        grid=2,
    ),
    "barrier in one branch": Planted(
        "divergent barrier",
        f"{T}\nif (t < 32) __syncthreads(); // BUG\nelse __syncthreads();",
    ),
    "exit before a barrier": Planted(
        "divergent barrier: .* has exited", f"{T}\nif (t == 40) return;\n__syncthreads(); // BUG"
    ),
    "lane not in its mask": Planted(
        "wrong mask: 0x00000001 lacks the calling lane",
        f"{T}\nif (t < 2) __syncwarp(1); // BUG",
        block=32,
    ),
    "mask names an exited lane": Planted(
        "wrong mask: 0xffffffff names lane 3, which has exited",
        f"{T}\nif (t == 3) return;\n__syncwarp(); // BUG",
        block=32,
    ),
    "mask names a missing lane": Planted(
        "wrong mask: 0xffffffff names lane 20, which the block lacks",
        f"{T}\na[t] = __ballot_sync(~0u, t); // BUG",
        block=20,
    ),
    "shuffle from outside the mask": Planted(
        "wrong mask: a shuffle reads a lane outside it",
        f"{T}\nif (t < 16) a[t] = __shfl_sync(0xffff, t, 16); // BUG",
        block=32,
    ),
    "one mask, two calls": Planted(
        "divergent warp",
        f"{T}\nif (t & 1) a[t] = __shfl_xor_sync(~0u, t, 1);\n"
        "else a[t] = __any_sync(~0u, t); // BUG",
        block=32,
    ),
    "lanes wait for lanes at a barrier": Planted(
        "deadlock",
        f"{T}\nif (t < 16) __syncwarp(); // BUG\n__syncthreads();",
        block=32,
    ),
    "endless loop": Planted(
        "hang: no end after", f"{T}\nunsigned v = n;\nwhile (v != 1) v += 2; // BUG\na[t] = v;"
    ),
    "endless wait": Planted(
        "hang: no end after", f"{T}\nwhile (((volatile int*)a)[0] != -1) {{}} // BUG"
    ),
    "endless wait in step": Planted(
        "hang: no end after", f"{T}\nwhile (__any_sync(~0u, n)) {{}} // BUG", block=32
    ),
    "shift by the width": Planted("shift by the width", f"{T}\na[t] = 1 << t; // BUG"),
    "overflow": Planted("signed overflow", f"{T}\na[t] = t * (n << 25); // BUG"),
    "division by zero": Planted("division by zero", f"{T}\na[t] = n / t; // BUG"),
    "__activemask": Planted("__activemask is refused", f"{T}\na[t] = __activemask(); // BUG"),
    "write to __constant__": Planted(
        "out of bounds: write", f"{T}\n((int*)table)[t & 1] = t; // BUG\na[t] = table[0];"
    ),
    "stack overflow": Planted("stack overflow", f"{T}\na[t] = deep(n * 100); // BUG"),
}

PREAMBLE = """\
__constant__ const int table[2] = {1, 2};
__device__ __noinline__ int deep(int n)
{
    volatile int frame[64];
    frame[n % 64] = n;
    return n ? deep(n - 1) + frame[n % 64] : 0;
}
"""


def _line_of_bug(code: str) -> int:
    return next(i for i, line in enumerate(code.splitlines(), 1) if "// BUG" in line)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bug_is_caught(name: str):
    planted = PLANTED[name]
    code = f'{PREAMBLE}extern "C" __global__ void k(int* a, int n)\n{{\n{planted.body}\n}}\n'
    kernel = Module(code).kernels["k"]
    for schedule in SCHEDULES:
        schedule = Schedule(schedule.seed, schedule.resident, schedule.preempt, step_limit=20_000)
        array = np.zeros(64, np.int32)
        with scheduled(schedule), pytest.raises(KernelFault, match=planted.rule) as fault:
            kernel((planted.grid,), (planted.block,), (array, np.int32(64)), planted.shared)
        report = str(fault.value)
        assert report.startswith("k: ")
        assert "block (" in report
        assert "thread (" in report
        if name != "stack overflow":  # reported within `deep`
            assert f"kernel.cu:{_line_of_bug(code)}" in report


def test_report_follows_inlined_calls_and_line_marks():
    code = """#line 1 "shared.cuh"
__device__ __forceinline__ void put(int* p, int v) { *p = v; }
#line 1 "noun.cu"
extern "C" __global__ void k(float* other, int* a)
{
    put(a + threadIdx.x, 1);
}
"""
    with pytest.raises(KernelFault) as fault:
        Module(code).kernels["k"]((1,), (8,), (np.zeros(0, np.float32), np.zeros(4, np.int32)))
    assert "shared.cuh:1, called at noun.cu:3" in str(fault.value)
    assert "past the end of argument 1" in str(fault.value)


def test_same_seed_same_run():
    code = """extern "C" __global__ void k(int* next, int* order)
    { order[atomicAdd(next, 1)] = blockIdx.x * blockDim.x + threadIdx.x; }"""
    kernel = Module(code).kernels["k"]

    def order(schedule: Schedule) -> list[int]:
        out = np.zeros(256, np.int32)
        with scheduled(schedule):
            kernel((4,), (64,), (np.zeros(1, np.int32), out))
        assert sorted(out) == list(range(256))
        return out.tolist()

    assert order(Schedule()) == list(range(256))
    drawn = [order(Schedule.drawn(seed)) for seed in range(20)]
    assert drawn == [order(Schedule.drawn(seed)) for seed in range(20)]
    assert len(set(map(tuple, drawn))) == 20


def test_a_lost_update_happens_as_on_a_device():
    """Random schedules find by the result alone what volatile hides from the race check."""
    code = """extern "C" __global__ void k(int* a)
    { volatile int* p = a; *p = *p + 1; }"""
    kernel = Module(code).kernels["k"]
    totals = []
    for schedule in (Schedule(), Schedule(3, preempt=2)):
        total = np.zeros(1, np.int32)
        with scheduled(schedule):
            kernel((1,), (64,), (total,))
        totals.append(int(total[0]))
    assert totals[0] == 64
    assert totals[1] < 64


def test_faults_do_not_outlive_their_launch():
    code = """extern "C" __global__ void k(int* a, int n)
    { __shared__ int s[32]; s[threadIdx.x] = a[threadIdx.x + n]; __syncthreads();
      a[threadIdx.x] = s[31 - threadIdx.x]; }"""
    kernel = Module(code).kernels["k"]
    for _ in range(3):
        array = np.arange(32, dtype=np.int32)
        with pytest.raises(KernelFault):
            kernel((1,), (32,), (array, np.int32(1)))
        array[:] = np.arange(32)
        kernel((1,), (32,), (array, np.int32(0)))
        assert array.tolist() == list(range(31, -1, -1))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((np.zeros(4, np.int32),), "k takes 2 arguments, got 1"),
        ((np.zeros(4, np.int32), np.int64(4)), "argument 1 is int64, the kernel takes i4"),
        ((np.zeros(4, np.int32), 4), "argument 1 is int64, the kernel takes i4"),
        ((np.int32(4), np.int32(4)), "argument 0 is int32, the kernel takes p4"),
        ((np.zeros(4, np.int32), np.zeros(4, np.int32)), "argument 1 is an array"),
        ((np.broadcast_to(np.int32(0), 4), np.int32(4)), "argument 0 is a read-only array"),
    ],
)
def test_arguments_must_fit(args: tuple[object, ...], message: str):
    kernel = Module('extern "C" __global__ void k(int* a, int n) { a[0] = n; }').kernels["k"]
    with pytest.raises(TypeError, match=message):
        kernel((1,), (1,), args)


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((1,), (32, 33), "1024 threads, got \\(32, 33\\)"),
        ((0,), (32,), "grid must be"),
        ((1, 70_000), (32,), "grid must be"),
        ((1,), (1, 1, 65), "block must be"),
    ],
)
def test_launch_shape_must_fit(grid: tuple[int, ...], block: tuple[int, ...], message: str):
    kernel = Module('extern "C" __global__ void k(int* a, int n) { a[0] = n; }').kernels["k"]
    with pytest.raises(ValueError, match=message):
        kernel(grid, block, (np.zeros(1, np.int32), np.int32(1)))


def test_compiler_messages_name_the_kernel_file():
    with pytest.raises(CompileError, match=r"noun\.cu:2:"):
        Module('#line 1 "noun.cu"\nextern "C" __global__ void k(int* a)\n{ a = undeclared; }')
