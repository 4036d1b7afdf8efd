"""Region measurements that look at neighbours: launches `kernels/regionprops_windows.cu`."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from gpuseg._cuda._source import Build
from gpuseg._shared.region_rows import WINDOW_COLUMNS, Plan
from gpuseg.typing import Array, NumpyArray

_THREADS = 256
_FIRST_PAIRS = 1 << 16


def _build(label: str) -> Build:
    """Kernels for labels of "int32" or "int64"."""
    return Build("regionprops_windows", (f"-DLABEL={'i32' if label == 'int32' else 'i64'}",))


BUILDS = (_build("int32"), _build("int64"))


def add(labels: Array, arguments: Any, plan: Plan, columns: NumpyArray, table: Array) -> None:
    """Add outlines and topology to the rows; `arguments` are slots and shape of the labels."""
    if plan.features.isdisjoint(WINDOW_COLUMNS):
        return
    kernel = _build(labels.dtype.name).kernel("windows_2d" if labels.ndim == 2 else "windows_3d")
    kernel(_grid(arguments), (_THREADS,), (labels, *arguments, columns, table))


def contacts(labels: Array, arguments: Any) -> NumpyArray:
    """Pairs (n, 2) of slots of labels that touch, on the host."""
    kernel = _build(labels.dtype.name).kernel("contacts")
    capacity = _FIRST_PAIRS
    while True:
        pairs, overflow = cupy.zeros(capacity, np.uint64), cupy.zeros(1, np.uint32)
        table = (pairs, np.int64(capacity), overflow)
        kernel(_grid(arguments), (_THREADS,), (labels, *arguments, *table))
        if not overflow.get()[0]:  # synchronize
            found = pairs.get()  # synchronize
            found = found[found != 0]
            return np.stack([found >> np.uint64(32), found & np.uint64(0xFFFFFFFF)], axis=-1)
        capacity *= 4


def _grid(arguments: Any) -> tuple[int]:
    """Blocks for a thread a pixel."""
    return (-(-int(np.prod(arguments[-1]["size"])) // _THREADS),)
