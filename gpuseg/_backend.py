"""Which floor owns an array: the only dispatch in the library.

Two axes decide, never their product: the container (eager or Dask) and the chunk (NumPy or
CuPy). A Dask array goes to `gpuseg._dask`, whose block functions ask again here for the floor of
the block they hold, so Dask-of-CuPy needs no code of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import numpy as np
from array_api_compat import is_cupy_array, is_dask_array

from gpuseg.typing import Array

_CONVERSIONS = {
    "_cuda": "convert it with `array.get()` (NumPy) to run on the CPU",
    "_dask": "convert it with `array.compute()` to run it eagerly",
}

_threads: ContextVar[int | None] = ContextVar("threads", default=None)


def floor(array: Array) -> str:
    """Name of the floor that owns `array`: "_cpu", "_cuda" or "_dask".

    Raises
    ------
    TypeError
        If `array` is none of a NumPy, CuPy or Dask array, or masked (its mask would not count), or
        of a kind with operators of its own, as of matrices or of numbers with units.
    """
    # CuPy first: the test suite's stand-in for cupy.ndarray is a subclass of numpy.ndarray.
    if is_cupy_array(array):
        return "_cuda"
    if is_dask_array(array):
        _check_plain(
            array._meta, "dask.array.ma.filled(array, value)", "array.map_blocks(numpy.asarray)"
        )
        return "_dask"
    if isinstance(array, np.ndarray):
        _check_plain(array, "array.filled(value)", "numpy.asarray(array)")
        return "_cpu"
    raise TypeError(
        f"expected a NumPy, CuPy or Dask array, got {type(array).__module__}.{type(array).__name__}"
    )


def _check_plain(array: Array, filled: str, converted: str) -> None:
    """Refuse arrays with operators of their own; memory maps and the like have NumPy's."""
    kind, plain = type(array), np.ndarray
    if kind is plain or not isinstance(array, plain) or is_cupy_array(array):
        return
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"expected a plain array, got a masked one; fill it with `{filled}`")
    own = "__array_ufunc__", "__array_function__"
    if isinstance(array, np.matrix) or any(getattr(kind, n) is not getattr(plain, n) for n in own):
        raise TypeError(
            f"expected a plain array, got a {kind.__module__}.{kind.__name__}; convert it with "
            f"`{converted}`"
        )


def implementation(array: Array, noun: str) -> ModuleType:
    """Module that implements `noun` (a file name) on the floor that owns `array`.

    Raises
    ------
    TypeError
        If that floor has no such module; the message names the conversion that helps.
    """
    owner = floor(array)
    name = f"gpuseg.{owner}.{noun}"
    if importlib.util.find_spec(name) is None:
        kind = {"_cuda": "CuPy", "_dask": "Dask"}.get(owner, "NumPy")
        raise TypeError(
            f"{noun} is not implemented for {kind} arrays; {_CONVERSIONS.get(owner, '')}"
        )
    return importlib.import_module(name)


def threads() -> int:
    """Threads that an eager CPU call may use.

    All that the process may run on (or `GPUSEG_NUM_THREADS`); 1 inside a Dask task, where the
    scheduler already uses the others.
    """
    allowed = _threads.get()
    if allowed is not None:
        return allowed
    named = os.environ.get("GPUSEG_NUM_THREADS")
    if named is not None:
        if not named.isdecimal() or int(named) < 1:
            raise ValueError(f"GPUSEG_NUM_THREADS must be a positive integer, got {named!r}")
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Let eager CPU calls within the block use at most `count` threads."""
    token = _threads.set(count)
    try:
        yield
    finally:
        _threads.reset(token)
