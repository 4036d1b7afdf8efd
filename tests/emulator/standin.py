"""Stands in for the module `cupy` where there is no device: the launchers run on the emulator.

Only the names that `gpuseg/_cuda`, the tests and Dask's CuPy hooks use are here. Arrays lie in
memory of their own with red zones around and the alignment of CuPy's allocator; as with CuPy,
they refuse to mix with NumPy's, and an element or a sum is an array of no axes. Unlike CuPy's,
they are NumPy arrays too, so `numpy.asarray` converts them without an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy import (  # noqa: F401  (CuPy's own names for the same objects)
    bool_,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

from emulator.module import ByValue, Kernel, Module

EMULATED = True

_ALIGNMENT = 512
_POISON = 0xCD
_MAX_SHARED = 48 * 1024


class ndarray(np.ndarray):
    """Array on the emulated device."""

    __module__ = "cupy"
    __array_priority__ = 100

    def get(self) -> np.ndarray:
        """NumPy copy."""
        return np.array(self, subok=False)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, np.ndarray):
            return found
        return super().__getitem__((*key, ...) if isinstance(key, tuple) else (key, ...))

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(value) is np.ndarray and value.ndim:
            raise TypeError(f"Unsupported type {type(value)}")
        super().__setitem__(key, value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.get("out") or ()
        for value in (*inputs, *out):
            if type(value) is np.ndarray and value.ndim:
                raise TypeError(f"Unsupported type {type(value)}")
        if out:
            options["out"] = tuple(_plain(value) for value in out)
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        return out[0] if out and not isinstance(result, tuple) else _wrap(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if np.ndarray in types:
            raise TypeError(f"Unsupported type {np.ndarray}")
        return _wrap(function(*_plain(args), **_plain(kwargs)))

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return _wrap(array)


def _plain(value: Any) -> Any:
    """Same value with NumPy's arrays for the device's, also within containers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value))
    return value.view(np.ndarray) if isinstance(value, ndarray) else value


def _wrap(value: Any) -> Any:
    """Same result on the device, also where NumPy gives a scalar."""
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        return value.view(ndarray)
    if isinstance(value, tuple | list):
        return type(value)(map(_wrap, value))
    return value


def _allocate(shape: Any, dtype: Any, fill: int) -> ndarray:
    dtype = np.dtype(dtype)
    shape = tuple(shape) if isinstance(shape, Iterable) else (shape,)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.full(size + 3 * _ALIGNMENT, _POISON, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT + _ALIGNMENT
    memory[start : start + size] = fill
    inner: np.ndarray = memory[start : start + size].view(dtype).reshape(shape)
    return inner.view(ndarray)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """Array full of poison."""
    if order != "C":
        raise NotImplementedError(f"order must be 'C', got {order!r}")
    return _allocate(shape, dtype, _POISON)


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    """Array of zeros."""
    return _allocate(shape, dtype, 0)


def asarray(array: Any, dtype: Any = None) -> ndarray:
    """Copy on the device; the array itself if it is there already."""
    if isinstance(array, ndarray):
        return array if dtype is None else array.astype(dtype, copy=False).view(ndarray)
    host = np.asarray(array, dtype)
    out = empty(host.shape, host.dtype)
    out.view(np.ndarray)[...] = host
    return out


array = asarray
dtype = np.dtype


def ascontiguousarray(array: Any, dtype: Any = None) -> ndarray:
    """Array in row-major order; the array itself if it is so already."""
    array = asarray(array, dtype)
    return array if array.flags.c_contiguous else asarray(_plain(array))


def empty_like(array: ndarray, dtype: Any = None, shape: Any = None) -> ndarray:
    """Array full of poison, of the shape and dtype of another one."""
    return empty(array.shape if shape is None else shape, dtype or array.dtype)


def zeros_like(array: ndarray, dtype: Any = None, shape: Any = None) -> ndarray:
    """Array of zeros, of the shape and dtype of another one."""
    return zeros(array.shape if shape is None else shape, dtype or array.dtype)


def asnumpy(array: Any) -> np.ndarray:
    """NumPy copy."""
    return array.get() if isinstance(array, ndarray) else np.asarray(array)


# Dask looks these up when it first meets a chunk of this type.
concatenate = np.concatenate
take = np.take
tensordot = np.tensordot
einsum = np.einsum

cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: 0))


def _argument(value: Any) -> Any:
    if type(value) is not np.ndarray:
        return value
    if value.size != 1:
        raise TypeError(
            f"a numpy.ndarray of shape {value.shape} is no kernel argument: only those of size one "
            "can be passed by value"
        )
    return ByValue(value.tobytes())


class RawKernel:
    """Kernel of a `RawModule`, launched as CuPy's are."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.max_dynamic_shared_size_bytes = _MAX_SHARED

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0
    ) -> None:
        """Launch; a NumPy array of one element is a struct passed by value, as CuPy takes it."""
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise TypeError(f"grid and block must be tuples, got {grid!r} and {block!r}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ValueError(
                f"shared_mem must be at most max_dynamic_shared_size_bytes, got {shared_mem} > "
                f"{self.max_dynamic_shared_size_bytes}"
            )
        self._kernel(grid, block, list(map(_argument, args)), shared_mem)


class RawModule:
    """CUDA text compiled for the emulator, on first use as with CuPy."""

    def __init__(
        self, *, code: str, options: Sequence[str] = (), name_expressions: Any = None
    ) -> None:
        self._code = code
        self._expressions = tuple(name_expressions or ())
        self._defines = tuple(option for option in options if option.startswith("-D"))
        # Rounding is as under --fmad=false either way.
        known = {"--std=c++17", "--fmad=false", "--fmad=true", *self._defines}
        if unknown := set(options) - known:
            raise ValueError(f"options must be among {sorted(known)}, got {sorted(unknown)}")

    @cached_property
    def _module(self) -> Module:
        return Module(self._code, self._defines, self._expressions)

    def get_function(self, name: str) -> RawKernel:
        """Kernel by its name, or by the name expression of a template instance."""
        if name not in self._module.kernels:
            raise KeyError(f"{name!r} is none of the kernels {self._module.names}")
        return RawKernel(self._module.kernels[name])


def install() -> ModuleType:
    """Make `import cupy` find this module."""
    sys.modules["cupy"] = sys.modules[__name__]
    return sys.modules[__name__]
