"""Graphs over label images: aligned chunks, one task a chunk, merges in a tree, one last task."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.array.overlap import ensure_minimum_chunksize
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from gpuseg._backend import implementation, limit_threads
from gpuseg.typing import Array

SPLIT_EVERY = 8

Index = tuple[int, ...]
Graph = dict[Any, Any]


def align(labels: Array, image: Array | None, thinnest: int = 1) -> tuple[Array, Array | None]:
    """Both as Dask arrays with the same chunks, none thinner than `thinnest`."""
    if not isinstance(labels, da.Array):
        assert image is not None
        labels = da.from_array(labels, chunks=image.chunks[: labels.ndim], asarray=False)
    labels = labels.rechunk(
        tuple(
            ensure_minimum_chunksize(thinnest, sizes) if sum(sizes) >= thinnest else (sum(sizes),)
            for sizes in labels.chunks
        )
    )
    if image is None:
        return labels, None
    chunks = labels.chunks + tuple((size,) for size in image.shape[labels.ndim :])
    if isinstance(image, da.Array):
        return labels, image.rechunk(chunks)
    return labels, da.from_array(image, chunks=chunks, asarray=False)


def blocks(labels: Array, image: Array | None) -> Iterator[tuple[Index, Index, Any, Any]]:
    """Of each chunk: its index, that of its first pixel, and the keys of labels and image."""
    starts = [np.cumsum((0, *sizes)).tolist() for sizes in labels.chunks]
    for index in np.ndindex(labels.numblocks):
        origin = tuple(edges[i] for edges, i in zip(starts, index, strict=True))
        values = None
        if image is not None:
            values = (image.name, *index, *(0,) * (image.ndim - labels.ndim))
        yield index, origin, (labels.name, *index), values


def merge_tree(graph: Graph, keys: list[Any], merge: Callable[..., Any], name: str) -> Any:
    """Add tasks that merge lists of results in a tree; returns the last one's key."""
    level = 0
    while len(keys) > 1:
        groups = [keys[i : i + SPLIT_EVERY] for i in range(0, len(keys), SPLIT_EVERY)]
        keys = [(f"{name}-{level}", i) for i in range(len(groups))]
        graph.update({key: (merge, group) for key, group in zip(keys, groups, strict=True)})
        level += 1
    return keys[0]


def as_array(
    graph: Graph, name: str, sources: Sequence[Array], shape: Sequence[float], dtype: Any
) -> Array:
    """Array of one chunk whose task is in `graph` under (name, 0, ...)."""
    chunks = tuple((size,) for size in shape)
    meta = np.empty((0,) * len(shape), dtype)
    return da.Array(layers(graph, name, sources), name, chunks, meta=meta)


def layers(graph: Graph, name: str, sources: Sequence[Array]) -> HighLevelGraph:
    """The graph as a layer on those of its sources."""
    return HighLevelGraph.from_collections(name, graph, dependencies=sources)


def from_task(
    function: Callable[..., Any], sources: Sequence[Array], shape: Sequence[float], dtype: Any
) -> Array:
    """Array of one chunk: `function` of the only chunk of each source."""
    name = f"by-label-{tokenize(function, [source.name for source in sources])}"
    keys = [(source.name, *(0,) * source.ndim) for source in sources]
    return as_array({(name, *(0,) * len(shape)): (function, *keys)}, name, sources, shape, dtype)


def rims(
    graph: Graph, labels: Array, halo: int, name: str
) -> Callable[[Index], tuple[list[Index], list[Any]]]:
    """Add a task to each chunk that copies its rim.

    Returns what gives, for a chunk, the offsets to the chunks around it and the keys of their rims.
    """
    if halo:
        for index in np.ndindex(labels.numblocks):
            graph[name, *index] = (partial(_rim, halo=halo), (labels.name, *index))

    def around(index: Index) -> tuple[list[Index], list[Any]]:
        offsets, keys = [], []
        for offset in itertools.product((-1, 0, 1), repeat=labels.ndim if halo else 0):
            at = tuple(i + step for i, step in zip(index, offset, strict=False))
            inside = all(0 <= i < n for i, n in zip(at, labels.numblocks, strict=False))
            if any(offset) and inside:
                offsets.append(offset)
                keys.append((name, *at))
        return offsets, keys

    return around


def _rim(labels: Array, *, halo: int) -> dict[Index, Array]:
    """Copies of the outer `halo` pixels towards each neighbour."""
    sides = {-1: slice(None, halo), 0: slice(None), 1: slice(-halo, None)}
    return {
        offset: labels[tuple(sides[step] for step in offset)].copy()
        for offset in itertools.product((-1, 0, 1), repeat=labels.ndim)
        if any(offset)
    }


def surrounded(
    labels: Array, halo: int, offsets: list[Index], rims: list[dict[Index, Array]]
) -> tuple[Array, list[tuple[int, int]]]:
    """Labels with what the neighbours hold around them, and how much that is on each side."""
    sides = [{offset[axis] for offset in offsets} for axis in range(labels.ndim)]
    widths = [(halo * (-1 in side), halo * (1 in side)) for side in sides]
    if not offsets:
        return labels, widths
    shape = tuple(a + size + b for (a, b), size in zip(widths, labels.shape, strict=True))
    around = np.zeros_like(labels, shape=shape)

    def place(offset: Index) -> tuple[slice, ...]:
        return tuple(
            (slice(0, before), slice(before, before + size), slice(before + size, None))[step + 1]
            for step, (before, _), size in zip(offset, widths, labels.shape, strict=True)
        )

    around[place((0,) * labels.ndim)] = labels
    for offset, rim in zip(offsets, rims, strict=True):
        around[place(offset)] = rim[tuple(-step for step in offset)]
    return around, widths


def with_halo(
    labels: Array, halo: int, tool: tuple[str, str], dtype: Any, options: dict[str, Any]
) -> Array:
    """A tool (noun, function) of the chunks' floor on each, with `halo` pixels of its neighbours.

    It is told by `inner` how many pixels before and after it only looks at.
    """
    chunks = labels.chunks
    labels, _ = align(labels, None, max(1, halo))
    name = f"{tool[1]}-{tokenize(labels.name, halo, tool, options)}"
    graph: Graph = {}
    around = rims(graph, labels, halo, f"{name}-rim")
    for index in np.ndindex(labels.numblocks):
        offsets, keys = around(index)
        task = partial(_surrounded_tool, tool=tool, halo=halo, offsets=offsets, options=options)
        graph[name, *index] = (task, (labels.name, *index), keys)
    meta = labels._meta.astype(dtype)
    return da.Array(layers(graph, name, [labels]), name, labels.chunks, meta=meta).rechunk(chunks)


def _surrounded_tool(
    labels: Array,
    rims: list[dict[Index, Array]],
    *,
    tool: tuple[str, str],
    halo: int,
    offsets: list[Index],
    options: dict[str, Any],
) -> Array:
    labels, inner = surrounded(labels, halo, offsets, rims)
    with limit_threads(1):
        return getattr(implementation(labels, tool[0]), tool[1])(labels, **options, inner=inner)
