"""Label chunked arrays: the graph of the steps in `_label_merge.py`.

A chunk is a task twice (`outline`, `relabel`); the merges between are a tree over boxes of about 16
chunks with four small tasks a box, and two for every 16 chunks or more that share lines. All edges
are keys: an array handed to `dask.delayed` would have its graph copied into every task.

The second pass reads a copy of the image's graph, bound to the end of the merge. With one graph for
both, each block of the image would be held from its outline to the end of the merge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import TaskRef
from dask.base import tokenize
from dask.blockwise import BlockwiseDep, blockwise
from dask.highlevelgraph import HighLevelGraph

from gpuseg._dask._label_boxes import Box, Chunk, Index, Problem, outline
from gpuseg._dask._label_graph import merge_graph
from gpuseg._dask._label_numbers import Ranked, Scan, relabel, table
from gpuseg._dask._label_plan import Plan
from gpuseg._dask._second_pass import again
from gpuseg._shared.neighbours import Neighbours
from gpuseg.typing import Array, NumpyArray


def label(
    image: Array,
    connectivity: int,
    *,
    background: int = 0,
    axes: Sequence[int] | None = None,
    wrap_axes: Sequence[int] = (),
) -> tuple[Array, Array]:
    """Lazy labels (int32, or int64 from 2^31 pixels on) in the image's chunks, and their number."""
    if image.size == 0:
        return da.zeros_like(image, dtype=np.int32), da.zeros((), np.int64, chunks=())
    chunks = image.chunks
    whole = image.rechunk(tuple(tuple(size for size in sizes if size) for sizes in chunks))
    used = tuple(range(image.ndim) if axes is None else axes)
    neighbours = Neighbours(connectivity, used, tuple(wrap_axes))
    problem = pose(image, neighbours, background)
    dtype = np.dtype(np.int32 if image.size < 2**31 else np.int64)
    plan = Plan(whole.chunks, f"{tokenize(whole.name, problem)}")
    number = _number(whole, problem, plan)
    labels = _relabelled(whole, number, problem, plan, dtype)
    return labels.rechunk(chunks), number


def pose(image: Array, neighbours: Neighbours, background: int) -> Problem:
    """What connects in an image; a bool one without background is one of two values."""
    valued = image.dtype != bool or not 0 <= background <= 1
    return Problem(image.shape, neighbours, background, valued)


class PerChunk(BlockwiseDep):  # type: ignore[misc]
    """An argument that differs from chunk to chunk."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.numblocks = plan.numblocks
        self.produces_tasks = False

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, self.plan.token


class Origin(PerChunk):
    def __getitem__(self, index: Index) -> Index:
        return tuple(starts[i] for starts, i in zip(self.plan.starts, index, strict=True))


class _Where(PerChunk):
    def __getitem__(self, index: Index) -> tuple[Index, int]:
        return self.plan.place(index), self.plan.box_of(0, index)[1]


class _Ref(PerChunk):
    """The key of a task that the chunk needs."""

    produces_keys = True

    def __init__(self, plan: Plan, step: str) -> None:
        super().__init__(plan)
        self.step = step

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, self.plan.token, self.step

    def __getitem__(self, index: Index) -> TaskRef:
        if self.step == "rank":
            return TaskRef(self.plan.key("rank", self.plan.place(index)[0]))
        if self.step == "spread":
            return TaskRef(self.plan.key("spread", 1, *self.plan.box_of(0, index)[0]))
        return TaskRef(self.plan.key(self.step))


def _number(image: Array, problem: Problem, plan: Plan) -> Array:
    """Lazy number of components; its graph ends in the merge."""
    start, outlines, merged, name = (
        plan.key(step)[0] for step in ("start", "outline", "merged", "number")
    )
    axes = tuple(range(image.ndim))
    first = blockwise(
        _outline_chunk,
        outlines,
        axes,
        image.name,
        axes,
        Origin(plan),
        axes,
        _Ref(plan, "start"),
        axes,
        numblocks={image.name: image.numblocks},
        problem=problem,
    )
    layers: dict[str, Mapping[Any, Any]] = {
        **image.dask.layers,
        start: {(start,): (_nothing, None)},
        outlines: first,
        merged: merge_graph(plan, problem),
        name: {(name,): (_count, plan.key("scan"))},
    }
    dependencies = {
        **image.dask.dependencies,
        start: set(),
        outlines: {image.name, start},
        merged: {outlines},
        name: {merged},
    }
    graph = HighLevelGraph(layers, dependencies)
    return da.Array(graph, name, chunks=(), meta=np.empty((), np.int64))


def _outline_chunk(block: Array, origin: Index, _: None, problem: Problem) -> tuple[Box, Chunk]:
    """Step A. All chunks wait for one task that does nothing.

    Dask orders tasks in the time of those that depend on nothing times those that nothing depends
    on, if these are connected: 30 s for 10^4 chunks, 0.4 s with one task that all others depend on.
    """
    return outline(block, origin, problem)


def _count(whole: Scan) -> np.int64:
    return np.int64(whole.number)


def _nothing(_: Any) -> None:
    """What the second pass waits for needs no memory."""


def _relabelled(
    image: Array, number: Array, problem: Problem, plan: Plan, dtype: np.dtype[Any]
) -> Array:
    """Step E."""
    name, merged, done = (plan.key(step)[0] for step in ("relabel", "merged", "done"))
    graph = HighLevelGraph(
        {**number.dask.layers, done: {done: (_nothing, plan.key("scan"))}},
        {**number.dask.dependencies, done: {merged}},
    )
    second = again(image, done, graph, plan.token)
    axes = tuple(range(image.ndim))
    refs = [(_Ref(plan, step), axes) for step in ("rank", "scan", "spread")]
    layer = blockwise(
        _relabel_chunk,
        name,
        axes,
        second.name,
        axes,
        *(part for pair in refs for part in pair),
        _Where(plan),
        axes,
        numblocks={second.name: second.numblocks},
        problem=problem,
        dtype=dtype,
    )
    layers = {**second.dask.layers, name: layer}
    dependencies = {**second.dask.dependencies, name: {second.name, merged}}
    meta = np.empty_like(image._meta, shape=(0,) * image.ndim, dtype=dtype)
    return da.Array(HighLevelGraph(layers, dependencies), name, chunks=image.chunks, meta=meta)


def _relabel_chunk(
    block: Array,
    ranked: Ranked,
    whole: Scan,
    numbers: Sequence[NumpyArray],
    where: tuple[tuple[int, int, int], int],
    problem: Problem,
    dtype: np.dtype[Any],
) -> Array:
    (group, line, column), part = where
    found = table(
        ranked.ranks[line][column],
        ranked.planes[line][column],
        ranked.rims[line][column],
        whole.before[group][line],
        numbers[part],
        dtype,
    )
    return relabel(block, found, problem)
