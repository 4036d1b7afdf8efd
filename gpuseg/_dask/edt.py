"""Nearest seeds of a chunked array: one pass an axis over chunks that are whole along it.

1. Rows: the last axis is made one chunk, and each pixel gets the position of the nearest seed in
   its row.
2. For each other axis, from the last to the first: that axis is made one chunk, and each pixel gets
   the number of the nearest seed along all axes that are done.
3. Numbers become distances and places, in the chunks that were given.

What is no farther than a chunk is found in one step instead, with a halo as wide as that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gpuseg._backend import implementation, limit_threads
from gpuseg._dask import _by_label as by_label
from gpuseg._shared.edt import Metric
from gpuseg._shared.window import native
from gpuseg.typing import Array

# Chunks between passes are as large as the given ones, and no smaller than this: along their axis
# they are as long as the array, and where they get thin many tasks move few bytes.
_CHUNK_BYTES = 1 << 24


def transform(
    mask: Array, metric: Metric, distances: bool, indices: bool
) -> tuple[Array | None, Array | None]:
    """Distances to the nearest pixel that is 0 and its place, as far as they are asked for."""
    if not indices and metric.reach <= min(map(max, mask.chunks)):
        options = {"metric": metric}
        tool = ("edt", "near")
        return by_label.with_halo(mask, metric.reach, tool, np.dtype(float), options), None
    source = _whole_along(mask, mask.ndim - 1, metric)
    source = _blocks(_rows, source, metric.dtype, metric=metric)
    for axis in range(mask.ndim - 2, 0, -1):
        source = _whole_along(source, axis, metric)
        source = _blocks(_along, source, metric.dtype, axis=axis, metric=metric)
    source = _whole_along(source, 0, metric)
    far = place = None
    if distances:
        far = _blocks(_distances, source, np.dtype(float), metric=metric).rechunk(mask.chunks)
    if indices:
        source = _blocks(_along, source, metric.dtype, axis=0, metric=metric)
        place = source.rechunk(mask.chunks).map_blocks(
            _places,
            metric=metric,
            dtype=np.int32,
            new_axis=0,
            chunks=((mask.ndim,), *mask.chunks),
            meta=mask._meta.astype(np.int32)[None],
        )
    return far, place


def _whole_along(array: Array, axis: int, metric: Metric) -> Array:
    """Array whose chunks are whole along an axis."""
    if array.size == 0:  # for which Dask divides by 0
        return array.rechunk(array.shape)
    largest = np.prod([max(sizes) for sizes in array.chunks], dtype=np.int64)
    limit = max(_CHUNK_BYTES, int(largest) * metric.dtype.itemsize)
    # What a pass writes is as wide as numbers are, whatever it reads.
    pixels = limit // metric.dtype.itemsize * array.dtype.itemsize
    sizes = {other: -1 if other == axis else "auto" for other in range(array.ndim)}
    return array.rechunk(sizes, block_size_limit=pixels)


def _blocks(function: Callable[..., Array], array: Array, dtype: Any, **options: Any) -> Array:
    """`function` of each block and its first pixel."""
    starts = [np.cumsum((0, *sizes))[:-1].tolist() for sizes in array.chunks]
    return array.map_blocks(
        partial(_of_block, function, starts=starts, **options),
        dtype=dtype,
        meta=array._meta.astype(dtype),
    )


def _of_block(
    function: Callable[..., Array],
    block: Array,
    *,
    starts: list[list[int]],
    block_id: tuple[int, ...],
    **options: Any,
) -> Array:
    corner = [edges[i] for edges, i in zip(starts, block_id, strict=True)]
    with limit_threads(1):
        return function(block, corner=corner, **options)


def _rows(mask: Array, *, corner: list[int], metric: Metric) -> Array:
    return implementation(mask, "edt").rows(mask == 0, metric)


def _along(source: Array, *, corner: list[int], axis: int, metric: Metric) -> Array:
    # The passes write where they read, and a chunk may be part of another one.
    return implementation(source, "edt").along(source.copy(), axis, metric, corner)


def _distances(source: Array, *, corner: list[int], metric: Metric) -> Array:
    out = np.empty_like(source, dtype=np.float64)
    implementation(source, "edt").along(source.copy(), 0, metric, corner, out)
    return out


def _places(source: Array, *, metric: Metric) -> Array:
    return implementation(source, "edt").places(source, metric)


def expand(labels: Array, metric: Metric) -> Array:
    """Labels of the nearest labelled pixel within the metric's limit, by a halo as wide as it."""
    return by_label.with_halo(
        labels, metric.reach, ("edt", "expand"), native(labels.dtype), {"metric": metric}
    )
