"""Measure labelled regions of chunked arrays: one task a chunk, and a tree of merges by label.

1. The image takes the labels' chunks, with all its channels in one.
2. Features that look at neighbours make each chunk hand out its rim: one more task a chunk.
3. A chunk is measured by its own floor and gives the `Rows` of the labels in it.
4. Rows merge by label, eight parts at a time; the last merge is the one block of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu.regionprops import merge
from gpuseg._dask import _by_label as by_label
from gpuseg._shared.region_columns import make_columns
from gpuseg._shared.region_rows import Plan, Rows
from gpuseg._shared.region_table import Request, Table
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
    graph, keys, sources, token = _chunks(labels, image, plan)
    name = f"regionprops-{token}"
    last = by_label.merge_tree(graph, keys, merge, f"regionprops-merge-{token}")
    graph[name, 0] = (_boxed, last)
    return by_label.as_array(graph, name, sources, (1,), object)


def stored(
    labels: Array, image: Array | None, plan: Plan, store: Callable[[Rows, int], Any]
) -> Array:
    """Array of what `store(rows, number)` returns for the merged rows of each few chunks."""
    graph, keys, sources, token = _chunks(labels, image, plan)
    name = f"regionprops-stored-{tokenize(token, store)}"
    groups = [keys[i : i + by_label.SPLIT_EVERY] for i in range(0, len(keys), by_label.SPLIT_EVERY)]
    for number, group in enumerate(groups):
        graph[name, number] = (partial(_store, store=store, number=number), group)
    ones = (1,) * len(groups)
    layers = by_label.layers(graph, name, sources)
    return da.Array(layers, name, (ones,), meta=np.empty(0, object))


def _chunks(
    labels: Array, image: Array | None, plan: Plan
) -> tuple[by_label.Graph, list[Any], list[Array], str]:
    """Tasks that measure each chunk, their keys, the arrays they read, and a name for it all."""
    labels, image = by_label.align(labels, image if plan.channels else None, max(1, plan.halo))
    token = tokenize(labels.name, None if image is None else image.name, plan)
    graph: by_label.Graph = {}
    around = by_label.rims(graph, labels, plan.halo, f"regionprops-rim-{token}")
    keys = []
    for index, origin, label_key, image_key in by_label.blocks(labels, image):
        offsets, rim_keys = around(index)
        task = partial(_measure, plan=plan, origin=origin, offsets=offsets)
        keys.append((f"regionprops-chunk-{token}", *index))
        graph[keys[-1]] = (task, label_key, image_key, rim_keys)
    return graph, keys, [labels] if image is None else [labels, image], token


def _measure(
    labels: Array,
    image: Array | None,
    rims: list[dict[Index, Array]],
    *,
    plan: Plan,
    origin: Index,
    offsets: list[Index],
) -> Rows:
    labels, halo = by_label.surrounded(labels, plan.halo, offsets, rims)
    with limit_threads(1):
        floor = implementation(labels, "regionprops")
        return floor.measure(labels, image, plan, origin=origin, halo=halo)


def _finish(
    rows: NumpyArray, *, request: Request, make: Callable[[Table], NumpyArray]
) -> NumpyArray:
    return make(Table(rows[0], request))


def _store(parts: list[Rows], *, store: Callable[[Rows, int], Any], number: int) -> NumpyArray:
    return _boxed(store(merge(parts), number))


def _boxed(thing: Any) -> NumpyArray:
    box = np.empty(1, object)
    box[0] = thing
    return box
