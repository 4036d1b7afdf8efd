"""Measure labelled regions of chunked arrays: one task a chunk, and a tree of merges by label.

1. The image takes the labels' chunks, with all its channels in one.
2. Features that look at neighbours make each chunk hand out its rim: one more task a chunk.
3. A chunk is measured by its own floor and gives the `Rows` of the labels in it.
4. Rows merge by label, eight parts at a time; the last merge is the one block of the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.array.overlap import ensure_minimum_chunksize
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu.regionprops import merge
from gpuseg._region_columns import make_columns
from gpuseg._region_rows import Plan, Rows
from gpuseg._region_table import Request
from gpuseg.typing import Array, NumpyArray

_SPLIT_EVERY = 8

Index = tuple[int, ...]


def regionprops_table(
    labels: Array, image: Array | None, request: Request
) -> dict[str, NumpyArray]:
    """Columns in memory: how many rows there are is known only when all chunks are measured."""
    (rows,) = measured(labels, image, request.plan).compute()
    return make_columns(rows, request)


def measured(labels: Array, image: Array | None, plan: Plan) -> Array:
    """Array of one object, the `Rows` of all labels. Equal arguments give equal task names."""
    labels, image = _aligned(labels, image, plan)
    token = tokenize(labels.name, None if image is None else image.name, plan)
    name = f"regionprops-rows-{token}"
    graph: dict[Any, Any] = {}
    if plan.halo:
        for index in np.ndindex(labels.numblocks):
            graph[f"regionprops-rim-{token}", *index] = (
                _rim,
                (labels.name, *index),
                plan.halo,
            )
    starts = [np.cumsum((0, *sizes)).tolist() for sizes in labels.chunks]
    keys = []
    for index in np.ndindex(labels.numblocks):
        origin = tuple(edges[i] for edges, i in zip(starts, index, strict=True))
        around = list(_neighbours(index, labels.numblocks)) if plan.halo else []
        task = partial(_measure, plan=plan, origin=origin, offsets=[offset for offset, _ in around])
        rims = [(f"regionprops-rim-{token}", *neighbour) for _, neighbour in around]
        values = None if image is None else (image.name, *index, *(0,) * (image.ndim - labels.ndim))
        key = (f"regionprops-chunk-{token}", *index)
        graph[key] = (task, (labels.name, *index), values, rims)
        keys.append(key)
    graph[name, 0] = (_boxed, _merge_tree(graph, keys, f"regionprops-merge-{token}"))
    sources = [labels] if image is None else [labels, image]
    layers = HighLevelGraph.from_collections(name, graph, dependencies=sources)
    return da.Array(layers, name, chunks=((1,),), meta=np.empty(0, object))


def _aligned(labels: Array, image: Array | None, plan: Plan) -> tuple[Array, Array | None]:
    """Both as Dask arrays with the same chunks, none of which is thinner than the halo."""
    if not isinstance(labels, da.Array):
        assert image is not None
        labels = da.from_array(labels, chunks=image.chunks[: labels.ndim], asarray=False)
    if plan.halo:
        labels = labels.rechunk(
            tuple(
                ensure_minimum_chunksize(plan.halo, sizes) if sum(sizes) >= plan.halo else sizes
                for sizes in labels.chunks
            )
        )
    if image is None or not plan.channels:
        return labels, None
    chunks = labels.chunks + tuple((size,) for size in image.shape[labels.ndim :])
    if isinstance(image, da.Array):
        return labels, image.rechunk(chunks)
    return labels, da.from_array(image, chunks=chunks, asarray=False)


def _neighbours(index: Index, numblocks: Index) -> Iterator[tuple[Index, Index]]:
    """Offsets to the chunks around one, and their indices."""
    for offset in itertools.product((-1, 0, 1), repeat=len(index)):
        neighbour = tuple(i + step for i, step in zip(index, offset, strict=True))
        inside = all(0 <= i < count for i, count in zip(neighbour, numblocks, strict=True))
        if any(offset) and inside:
            yield offset, neighbour


def _rim(labels: Array, halo: int) -> dict[Index, Array]:
    """Copies of the outer `halo` pixels towards each neighbour."""
    sides = {-1: slice(None, halo), 0: slice(None), 1: slice(-halo, None)}
    return {
        offset: labels[tuple(sides[step] for step in offset)].copy()
        for offset in itertools.product((-1, 0, 1), repeat=labels.ndim)
        if any(offset)
    }


def _surrounded(
    labels: Array, halo: int, offsets: list[Index], rims: list[dict[Index, Array]]
) -> tuple[Array, list[tuple[int, int]]]:
    """Labels with what the neighbours hold around them, and how much that is on each side."""
    sides = [{offset[axis] for offset in offsets} for axis in range(labels.ndim)]
    widths = [(halo * (-1 in side), halo * (1 in side)) for side in sides]
    shape = tuple(a + size + b for (a, b), size in zip(widths, labels.shape, strict=True))
    around = np.zeros_like(labels, shape=shape)

    def place(offset: Index) -> tuple[slice, ...]:
        return tuple(
            slice(0, before)
            if step < 0
            else slice(before, before + size)
            if step == 0
            else slice(before + size, None)
            for step, (before, _), size in zip(offset, widths, labels.shape, strict=True)
        )

    around[place((0,) * labels.ndim)] = labels
    for offset, rim in zip(offsets, rims, strict=True):
        around[place(offset)] = rim[tuple(-step for step in offset)]
    return around, widths


def _measure(
    labels: Array,
    image: Array | None,
    rims: list[dict[Index, Array]],
    *,
    plan: Plan,
    origin: Index,
    offsets: list[Index],
) -> Rows:
    halo = [(0, 0)] * labels.ndim
    if rims:
        labels, halo = _surrounded(labels, plan.halo, offsets, rims)
    with limit_threads(1):
        floor = implementation(labels, "regionprops")
        return floor.measure(labels, image, plan, origin=origin, halo=halo)


def _merge_tree(graph: dict[Any, Any], keys: list[Any], name: str) -> Any:
    """Add tasks that merge `keys` in groups; returns the last one's key."""
    level = 0
    while len(keys) > 1:
        groups = [keys[i : i + _SPLIT_EVERY] for i in range(0, len(keys), _SPLIT_EVERY)]
        keys = [(name, level, i) for i in range(len(groups))]
        graph.update({key: (merge, group) for key, group in zip(keys, groups, strict=True)})
        level += 1
    return keys[0]


def _boxed(rows: Rows) -> NumpyArray:
    box = np.empty(1, object)
    box[0] = rows
    return box
