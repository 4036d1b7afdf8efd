"""The stand-in for cupy behaves as CuPy does where the launchers and Dask meet it."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import dask.array as da
import emulator
import emulator.build
import numpy as np
import pytest
from array_api_compat import is_cupy_array
from emulator import standin as cp

from gpuseg import _backend

installed = pytest.mark.skipif(
    sys.modules.get("cupy") is not cp, reason="`cupy` is the real one here"
)


def test_arrays_lie_in_memory_of_their_own():
    for shape in [(), (0,), (5,), (3, 4)]:
        array = cp.empty(shape, np.int16)
        assert type(array) is cp.ndarray
        assert array.shape == shape
        assert array.size == 0 or array.ctypes.data % 512 == 0
        assert array.get().tobytes() == b"\xcd" * array.nbytes
    assert cp.zeros(3, cp.uint8).get().tolist() == [0, 0, 0]


def test_copies_between_host_and_device():
    host = np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::-1]
    device = cp.asarray(host)
    host_again = device.get()
    assert type(host_again) is np.ndarray
    np.testing.assert_array_equal(host_again, host)
    device[...] = 9
    assert 9 not in host
    assert 9 not in host_again
    assert cp.asarray(device) is device
    assert cp.asarray(device, np.int64).dtype == np.int64
    assert cp.ascontiguousarray(device.T).flags.c_contiguous


def test_results_stay_on_the_device():
    device = cp.asarray(np.arange(6).reshape(2, 3))
    for result in (
        device + 1,
        device[0],
        device[0, 1],
        device.sum(),
        device > 2,
        np.unique(device),
    ):
        assert type(result) is cp.ndarray
    assert int(device[1, 2]) == 5
    device[0, 0] += 7
    assert device[0, 0].get() == 7


def test_host_arrays_do_not_mix_in():
    device, host = cp.zeros(3), np.zeros(3)
    with pytest.raises(TypeError, match="Unsupported type"):
        device + host
    with pytest.raises(TypeError, match="Unsupported type"):
        device[:] = host
    with pytest.raises(TypeError, match="Unsupported type"):
        np.concatenate([device, host])


def test_dask_keeps_chunks_on_the_device():
    device = cp.asarray(np.arange(12).reshape(3, 4))
    chunked = da.from_array(device, chunks=2, asarray=False)
    assert type(chunked._meta) is cp.ndarray
    doubled = chunked.map_blocks(lambda block: block * 2, meta=chunked._meta)
    shared = doubled.map_overlap(lambda block: block + 1, depth=1, boundary="none")
    for lazy in (doubled, shared, chunked.sum(axis=0), da.concatenate([chunked, doubled])):
        assert type(lazy.compute(scheduler="synchronous")) is cp.ndarray
    np.testing.assert_array_equal(shared.compute().get(), np.arange(12).reshape(3, 4) * 2 + 1)


@installed
def test_dispatch_takes_it_for_cupy():
    array = cp.zeros(3)
    assert is_cupy_array(array)
    assert _backend.floor(array) == "_cuda"
    assert _backend.floor(array.get()) == "_cpu"


CODE = """
struct Scale { float factor; int offset; };
#ifndef STEP
#define STEP 1
#endif
template <class T> __global__ void scale(T* a, const Scale s, int n)
{
    const int i = (blockIdx.x * blockDim.x + threadIdx.x) * STEP;
    if (i < n) a[i] = T(a[i] * s.factor) + s.offset;
}
extern "C" __global__ void last(const int* a, int* out, int n)
{
    extern __shared__ int row[];
    row[threadIdx.x] = a[min((int)threadIdx.x, n - 1)];
    __syncthreads();
    if (threadIdx.x == 0) *out = row[blockDim.x - 1];
}
"""
INSTANCES = ("scale<int>", "scale<double>")


@pytest.mark.emulator
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("dtype", ["int", "double"])
def test_raw_module(dtype: str, step: int):
    options = ("--std=c++17", "--fmad=false", f"-DSTEP={step}")
    module = cp.RawModule(code=CODE, options=options, name_expressions=INSTANCES)
    scale = np.array((2, 5), np.dtype([("factor", "f4"), ("offset", "i4")]))
    array = cp.asarray(np.arange(10, dtype={"int": "i4", "double": "f8"}[dtype]))
    expected = array.get()
    expected[::step] = expected[::step] * 2 + 5
    module.get_function(f"scale<{dtype}>")((1,), (32,), (array, scale, np.int32(10)))
    np.testing.assert_array_equal(array.get(), expected)


@pytest.mark.emulator
def test_launch_errors_of_the_driver():
    kernel = cp.RawModule(code=CODE).get_function("last")
    array, out = cp.asarray(np.arange(40, dtype=np.int32)), cp.empty((), np.int32)
    kernel((1,), (64,), (array, out, np.int32(40)), shared_mem=64 * 4)
    assert out.get() == 39
    with pytest.raises(ValueError, match="max_dynamic_shared_size_bytes, got 50000 > 49152"):
        kernel((1,), (64,), (array, out, np.int32(40)), shared_mem=50_000)
    kernel.max_dynamic_shared_size_bytes = 50_000
    kernel((1,), (64,), (array, out, np.int32(40)), shared_mem=50_000)
    with pytest.raises(TypeError, match=r"shape \(40,\) is no kernel argument"):
        kernel((1,), (64,), (array.get(), out, np.int32(40)))
    with pytest.raises(TypeError, match=r"tuples, got \[1\]"):
        kernel([1], (64,), (array, out, np.int32(40)))
    with pytest.raises(KeyError, match="'first' is none of the kernels"):
        cp.RawModule(code=CODE).get_function("first")
    with pytest.raises(ValueError, match="--use_fast_math"):
        cp.RawModule(code=CODE, options=("--use_fast_math",))


@pytest.mark.emulator
def test_red_zones_lie_between_arrays():
    kernel = cp.RawModule(code=CODE, name_expressions=INSTANCES).get_function("scale<int>")
    scale = np.array((2, 5), np.dtype([("factor", "f4"), ("offset", "i4")]))
    with pytest.raises(emulator.KernelFault, match="4 bytes past the end of argument 0"):
        kernel((1,), (32,), (cp.zeros(31, np.int32), scale, np.int32(32)))


@pytest.mark.emulator
def test_switching_by_ucontext_where_there_is_no_assembly(monkeypatch: pytest.MonkeyPatch):
    flags = (*emulator.build._RUNTIME, "-DEMULATOR_UCONTEXT")
    monkeypatch.setattr(emulator.build, "_RUNTIME", flags)
    kernel = cp.RawModule(code=CODE).get_function("last")
    array, out = cp.asarray(np.arange(64, dtype=np.int32)), cp.empty((), np.int32)
    with emulator.scheduled(emulator.Schedule(1, preempt=2)):
        kernel((1,), (64,), (array, out, np.int32(64)), shared_mem=64 * 4)
    assert out.get() == 63


@pytest.mark.parametrize("compiler", ["no-such-compiler", sys.executable])
def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, compiler: str):
    monkeypatch.setenv("CXX", compiler)
    emulator.compiler.cache_clear()
    with pytest.raises(emulator.CompilerMissing, match=r"the emulator needs (GNU )?g\+\+, and"):
        emulator.compiler()
    emulator.compiler.cache_clear()


@pytest.mark.emulator
def test_compiled_kernels_are_kept_while_they_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("GPUSEG_EMULATOR_CACHE", str(tmp_path))
    old, _ = emulator.build.build(CODE)
    made = old.stat().st_ino
    assert emulator.build.build(CODE)[0].stat().st_ino == made
    os.utime(old, (0, 0))
    new, _ = emulator.build.build(CODE, ("-DSTEP=3",))
    assert new.exists()
    assert not old.exists()
    assert emulator.build.build(CODE)[0].exists()


def test_a_module_is_loaded_while_another_thread_launches():
    """A launch's checks must not take the other thread for one of the kernel's."""
    code = """
    extern "C" __global__ void k(int* a, int n) { for (int i = 0; i < n; i++) a[threadIdx.x] += i; }
    """
    kernel = emulator.Module(code).kernels["k"]
    array = np.zeros(32, np.int32)
    launch = partial(kernel, (1,), (32,), (array, np.int32(300)))
    with emulator.scheduled(emulator.Schedule(1, 1, 4)):
        # The other thread's stack then lies below those of the kernel's threads.
        launch()
        with ThreadPoolExecutor(1) as pool:
            loaded = [pool.submit(emulator.Module, code) for _ in range(50)]
            for _ in range(20):
                launch()
        assert all(module.result() for module in loaded)
    assert (array == 21 * 300 * 299 // 2).all()
