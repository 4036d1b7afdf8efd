"""Measure labelled regions in one pass over NumPy arrays, in strips for the threads given.

1. Cut a band of rows into runs of equal label and find each run's slot (`_regionprops_runs`).
2. Let the kernels of the features asked for add the runs to their labels' rows.
3. Sort each strip's rows by label and merge the strips; chunks merge by the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu._jit import jit
from gpuseg._cpu._regionprops_strip import Block, Strip
from gpuseg._cpu._strips import shared
from gpuseg._shared.region_columns import make_columns
from gpuseg._shared.region_rows import (
    AT_MAXIMUM,
    AT_MINIMUM,
    FLAGS,
    HALO,
    MAXIMUM,
    MINIMUM,
    Plan,
    Rows,
    common_layout,
    kinds,
    widen,
)
from gpuseg._shared.region_table import Request, Table
from gpuseg.typing import NumpyArray

# Fewer pixels a thread than this cost more to hand out than to measure.
_STRIP_PIXELS = 1 << 17


def regionprops_table(
    labels: NumpyArray, image: NumpyArray | None, request: Request
) -> dict[str, NumpyArray]:
    """Columns of the properties asked for."""
    return make_columns(measure(labels, image, request.plan), request)


def reduce(
    labels: NumpyArray,
    image: NumpyArray | None,
    request: Request,
    make: Callable[[Table], NumpyArray],
    dtype: Any,
    last: tuple[int, ...],
) -> NumpyArray:
    """What `make` finishes from the sums of the labels in `request.ids`: (ids, *last)."""
    return make(Table(measure(labels, image, request.plan), request))


def measure(
    labels: NumpyArray,
    image: NumpyArray | None,
    plan: Plan,
    *,
    origin: Sequence[int] | None = None,
    halo: Sequence[tuple[int, int]] | None = None,
) -> Rows:
    """Rows of the labels in an array, or in a chunk of the array that `plan` describes.

    Parameters
    ----------
    labels : ndarray of integers
        With `halo` pixels (before, after) along each axis that are looked at but not measured.
    image : ndarray, optional
        Values of the pixels measured; several channels are along the last axis.
    plan : Plan
        Decided for the whole array.
    origin : sequence of int, optional
        Index, in the whole array, of the first pixel measured; 0 by default.
    """
    halo = halo or [(0, 0)] * labels.ndim
    inner = tuple(slice(a, size - b) for (a, b), size in zip(halo, labels.shape, strict=True))
    core = _plain(labels[inner])
    width = core.shape[-1]
    height = core.size // width if width else 0
    block = Block(
        plan,
        core.reshape(height, width),
        None
        if image is None or not plan.channels
        else _plain(image).reshape(height, width, plan.channels),
        core.shape,
        tuple(origin or (0,) * core.ndim),
        _plain(labels).reshape((1,) * (3 - labels.ndim) + labels.shape)
        if plan.features & HALO.keys()
        else None,
        np.array([0] * (3 - labels.ndim) + [before for before, _ in halo], np.int64),
    )
    parts = max(1, min(threads(), core.size // _STRIP_PIXELS, height))
    edges = [height * i // parts for i in range(parts + 1)]
    strips = shared(lambda i: Strip(block, edges[i], edges[i + 1]).rows(), range(parts))
    return strips[0] if parts == 1 else merge(strips)


def merge(parts: Sequence[Rows]) -> Rows:
    """One row for each label of several strips or chunks."""
    lowest = min(rows.lowest for rows in parts)
    # An empty part has seen no values, and would ask for the limbs of the smallest floats.
    queue = [rows for rows in parts if rows.labels.size] or list(parts[:1])
    fields = common_layout([rows.fields for rows in queue])
    columns = kinds(fields)
    tables = [(rows.labels, widen(rows, fields)) for rows in queue]
    while len(tables) > 1:
        merged = [
            _merge_two(a, b, columns) for a, b in zip(tables[::2], tables[1::2], strict=False)
        ]
        tables = merged + tables[len(tables) // 2 * 2 :]
    labels, table = tables[0]
    return Rows(labels, table, fields, _merge_pairs(parts), lowest)


def _merge_pairs(parts: Sequence[Rows]) -> NumpyArray:
    held = [rows.pairs for rows in parts if rows.pairs.size]
    if len(held) < 2:
        return held[0] if held else parts[0].pairs
    return np.unique(np.concatenate(held), axis=0)


def _merge_two(
    a: tuple[NumpyArray, NumpyArray], b: tuple[NumpyArray, NumpyArray], columns: NumpyArray
) -> tuple[NumpyArray, NumpyArray]:
    labels = np.empty(a[0].size + b[0].size, np.int64)
    table = np.empty((labels.size, columns.size), np.int64)
    count = _merge_sorted(*a, *b, columns, labels, table)
    return labels[:count], table[:count]


@jit
def _merge_sorted(
    labels: NumpyArray,
    rows: NumpyArray,
    other_labels: NumpyArray,
    other_rows: NumpyArray,
    kinds: NumpyArray,
    out_labels: NumpyArray,
    out_rows: NumpyArray,
) -> int:
    """Merge two tables sorted by label; returns the number of labels in both."""
    i = j = k = 0
    while i < labels.size or j < other_labels.size:
        if j == other_labels.size or (i < labels.size and labels[i] < other_labels[j]):
            out_labels[k] = labels[i]
            _copy_row(rows[i], out_rows[k])
            i += 1
        elif i == labels.size or other_labels[j] < labels[i]:
            out_labels[k] = other_labels[j]
            _copy_row(other_rows[j], out_rows[k])
            j += 1
        else:
            out_labels[k] = labels[i]
            _merge_rows(rows[i], other_rows[j], kinds, out_rows[k])
            i += 1
            j += 1
        k += 1
    return k


@jit(forceinline=True)
def _copy_row(row: NumpyArray, out: NumpyArray) -> None:
    for c in range(row.size):
        out[c] = row[c]


@jit
def _merge_rows(a: NumpyArray, b: NumpyArray, kinds: NumpyArray, out: NumpyArray) -> None:
    for c in range(kinds.size):
        kind = kinds[c]
        if kind == MINIMUM:
            out[c] = min(a[c], b[c])
        elif kind == MAXIMUM:
            out[c] = max(a[c], b[c])
        elif kind == FLAGS:
            out[c] = a[c] | b[c]
        elif kind in (AT_MINIMUM, AT_MAXIMUM):
            # The column before holds the value found there.
            if a[c - 1] == b[c - 1]:
                out[c] = min(a[c], b[c])
            elif (a[c - 1] < b[c - 1]) == (kind == AT_MINIMUM):
                out[c] = a[c]
            else:
                out[c] = b[c]
        else:
            out[c] = a[c] + b[c]


def _plain(array: NumpyArray) -> NumpyArray:
    """The array in C order and native bytes, booleans as uint8; a copy only where it must be."""
    array = array.view(np.uint8) if array.dtype == bool else array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
