"""Measure labelled regions of chunked arrays: one task a chunk, and a tree of merges by label.

1. The image takes the labels' chunks, with all its channels in one.
2. Features that look at neighbours make each chunk hand out its rim: one more task a chunk.
3. A chunk is measured by its own floor and gives the `Rows` of the labels in it.
4. Rows merge by label, eight parts at a time; the last merge is the one block of the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from dask.base import tokenize

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu.regionprops import merge
from gpuseg._dask import _by_label as by_label
from gpuseg._region_columns import make_columns
from gpuseg._region_rows import Plan, Rows
from gpuseg._region_table import Request, Table
from gpuseg.typing import Array, NumpyArray

Index = by_label.Index


def regionprops_table(
    labels: Array, image: Array | None, request: Request
) -> dict[str, NumpyArray]:
    """Columns in memory: how many rows there are is known only when all chunks are measured."""
    return make_columns(measure(labels, image, request.plan), request)


def reduce(
    labels: Array,
    image: Array | None,
    request: Request,
    make: Callable[[Table], NumpyArray],
    dtype: Any,
    last: tuple[int, ...],
) -> Array:
    """Lazy array of what `make` finishes from the sums of the labels in `request.ids`."""
    assert request.ids is not None
    rows = measured(labels, image, request.plan)
    finish = partial(_finish, request=request, make=make)
    return by_label.from_task(finish, [rows], (request.ids.size, *last), dtype)


def measure(labels: Array, image: Array | None, plan: Plan) -> Rows:
    """Rows of all labels, computed now."""
    (rows,) = measured(labels, image, plan).compute()
    return rows


def measured(labels: Array, image: Array | None, plan: Plan) -> Array:
    """Array of one object, the `Rows` of all labels. Equal arguments give equal task names."""
    labels, image = by_label.align(labels, image if plan.channels else None, max(1, plan.halo))
    token = tokenize(labels.name, None if image is None else image.name, plan)
    graph: by_label.Graph = {}
    keys = []
    for index, origin, label_key, image_key in by_label.blocks(labels, image):
        around = list(_neighbours(index, labels.numblocks)) if plan.halo else []
        if around:
            graph[f"regionprops-rim-{token}", *index] = (_rim, label_key, plan.halo)
        rims = [(f"regionprops-rim-{token}", *neighbour) for _, neighbour in around]
        task = partial(_measure, plan=plan, origin=origin, offsets=[offset for offset, _ in around])
        keys.append((f"regionprops-chunk-{token}", *index))
        graph[keys[-1]] = (task, label_key, image_key, rims)
    name = f"regionprops-{token}"
    last = by_label.merge_tree(graph, keys, merge, f"regionprops-merge-{token}")
    graph[name, 0] = (_boxed, last)
    sources = [labels] if image is None else [labels, image]
    return by_label.as_array(graph, name, sources, (1,), object)


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


def _finish(
    rows: NumpyArray, *, request: Request, make: Callable[[Table], NumpyArray]
) -> NumpyArray:
    return make(Table(rows[0], request))


def _boxed(rows: Rows) -> NumpyArray:
    box = np.empty(1, object)
    box[0] = rows
    return box
