"""Graphs over label images: aligned chunks, one task a chunk, merges in a tree, one last task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.array.overlap import ensure_minimum_chunksize
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from gpuseg.typing import Array

_SPLIT_EVERY = 8

Index = tuple[int, ...]
Graph = dict[Any, Any]


def align(labels: Array, image: Array | None, thinnest: int = 1) -> tuple[Array, Array | None]:
    """Both as Dask arrays with the same chunks, none thinner than `thinnest`."""
    if not isinstance(labels, da.Array):
        assert image is not None
        labels = da.from_array(labels, chunks=image.chunks[: labels.ndim], asarray=False)
    labels = labels.rechunk(
        tuple(
            ensure_minimum_chunksize(thinnest, sizes) if sum(sizes) >= thinnest else sizes
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
        groups = [keys[i : i + _SPLIT_EVERY] for i in range(0, len(keys), _SPLIT_EVERY)]
        keys = [(f"{name}-{level}", i) for i in range(len(groups))]
        graph.update({key: (merge, group) for key, group in zip(keys, groups, strict=True)})
        level += 1
    return keys[0]


def as_array(graph: Graph, name: str, sources: Sequence[Array], shape: Index, dtype: Any) -> Array:
    """Array of one chunk whose task is in `graph` under (name, 0, ...)."""
    layers = HighLevelGraph.from_collections(name, graph, dependencies=sources)
    chunks = tuple((size,) for size in shape)
    return da.Array(layers, name, chunks, meta=np.empty((0,) * len(shape), dtype))


def from_task(
    function: Callable[..., Any], sources: Sequence[Array], shape: Index, dtype: Any
) -> Array:
    """Array of one chunk: `function` of the only chunk of each source."""
    name = f"by-label-{tokenize(function, [source.name for source in sources])}"
    keys = [(source.name, *(0,) * source.ndim) for source in sources]
    return as_array({(name, *(0,) * len(shape)): (function, *keys)}, name, sources, shape, dtype)
