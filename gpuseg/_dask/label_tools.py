"""Tools on chunked label images: labels are judged over all chunks, then looked up in each.

What is judged (sizes, contacts with the border) travels as one sorted array of labels; what looks
at neighbours (boundaries) gets the rims of the chunks around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu.label_tools import array_maps, border_labels, present_in, small_in
from gpuseg._dask import _by_label as by_label
from gpuseg._dask.regionprops import measured
from gpuseg._shared.region_rows import Plan
from gpuseg._shared.window import native
from gpuseg.typing import Array, NumpyArray


def present(labels: Array) -> Array:
    """Labels above 0, in increasing order: lazy, of unknown size."""
    return _of_rows(labels, _present)


def small(labels: Array, max_size: int) -> Array:
    """Labels of at most `max_size` pixels: lazy, of unknown size."""
    return _of_rows(labels, partial(_small, max_size=max_size))


def _of_rows(labels: Array, judge: Callable[..., NumpyArray]) -> Array:
    rows = measured(labels, None, Plan(labels.shape, frozenset()))
    return by_label.from_task(judge, [rows], (np.nan,), np.int64)


def _present(rows: NumpyArray) -> NumpyArray:
    return present_in(rows[0])


def _small(rows: NumpyArray, *, max_size: int) -> NumpyArray:
    return small_in(rows[0], max_size)


def touching(labels: Array, width: int, mask: Array | None) -> Array:
    """Labels within `width` pixels of the border, or outside `mask`: lazy, of unknown size."""
    implementation(labels._meta, "label_tools")  # refuses chunks that it cannot take
    labels, mask = by_label.align(labels, mask)
    name = f"touching-{tokenize(labels.name, width, None if mask is None else mask.name)}"
    graph: by_label.Graph = {}
    for index, origin, label_key, mask_key in by_label.blocks(labels, mask):
        task = partial(_touching, width=width, origin=origin, shape=labels.shape)
        graph[f"{name}-chunk", *index] = (task, label_key, mask_key)
    graph[name, 0] = by_label.merge_tree(graph, list(graph), _unite, f"{name}-merge")
    sources = [labels] if mask is None else [labels, mask]
    return by_label.as_array(graph, name, sources, (np.nan,), np.int64)


def _touching(labels: Array, mask: Array | None, **where: Any) -> NumpyArray:
    if mask is not None:
        return np.unique(labels[~mask]).astype(np.int64)
    return border_labels(labels, **where)


def _unite(parts: Sequence[NumpyArray]) -> NumpyArray:
    return np.unique(np.concatenate(parts))


def member(labels: Array, ids: Array) -> Array:
    """Whether each pixel's label is among `ids`, which may be lazy and of unknown size."""
    return map_values(labels, ids, da.ones_like(ids, dtype=bool))


def map_values(labels: Array, keys: Array, values: Array) -> Array:
    """The value whose key is the label; 0 where there is none."""
    implementation(labels._meta, "label_tools")
    axes = tuple(range(labels.ndim))
    once = labels.ndim
    return da.blockwise(
        _map_values,
        axes,
        labels,
        axes,
        da.asarray(keys).rechunk(-1) if not np.isnan(keys.size) else keys,
        (once,),
        da.asarray(values).rechunk(-1) if not np.isnan(values.size) else values,
        (once,),
        concatenate=True,
        dtype=native(values.dtype),
        meta=np.empty((0,) * labels.ndim, native(values.dtype)),
    )


def _map_values(labels: Array, keys: NumpyArray, values: NumpyArray) -> Array:
    with limit_threads(1):
        return implementation(labels, "label_tools").map_values(labels, keys, values)


def boundaries(labels: Array, connectivity: int, mode: str, background: int) -> Array:
    """Boundary pixels: lazy."""
    options = {"connectivity": connectivity, "mode": mode, "background": background}
    return by_label.with_halo(labels, 1, ("label_tools", "boundaries"), np.dtype(bool), options)


def relabel(labels: Array, offset: int) -> tuple[Array, Any, Any]:
    """Labels numbered from `offset` on: lazy, and delayed maps forth and back."""
    old = present(labels)
    # Without an offset no label becomes larger than it was.
    dtype = native(labels.dtype) if offset == 1 else np.dtype(np.int64)
    numbers = partial(_numbers, offset=offset, dtype=dtype)
    new = by_label.from_task(numbers, [old], (np.nan,), dtype)
    (old_key,), (new_key,) = old.to_delayed(), new.to_delayed()
    maps = dask.delayed(_array_maps, nout=2, pure=True)(old_key, new_key)
    return map_values(labels, old, new), maps[0], maps[1]


def _numbers(old: NumpyArray, *, offset: int, dtype: Any) -> NumpyArray:
    return np.arange(offset, offset + old.size, dtype=dtype)


def _array_maps(old: NumpyArray, new: NumpyArray) -> tuple[Any, Any]:
    return array_maps(old, new, background=True)
