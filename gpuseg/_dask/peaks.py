"""Peaks of chunked arrays: candidates of each chunk come together in one task that keeps some.

A chunk sees the rims of those around it. Candidates are all that travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu.peaks import Found, Regions, accepted, coordinates, paint, threshold
from gpuseg._cpu.peaks import by_label as by_label_peaks
from gpuseg._dask import _by_label as by_label
from gpuseg._dask._second_pass import again, apart
from gpuseg.typing import Array, NumpyArray

Index = by_label.Index


def peaks(
    image: Array,
    labels: Array | None,
    distance: int,
    least: float | None,
    relative: float | None,
    border: Sequence[int],
    most: int | None,
) -> Array:
    """Lazy coordinates (unknown, ndim) of peaks, the highest first."""
    if image.size == 0:
        return da.zeros((0, image.ndim), dtype=np.int64)
    if labels is not None:
        return _by_label(image, labels, distance, least, relative, border, most)
    image, _ = by_label.align(image, None, distance)
    name = f"peaks-{tokenize(image.name, distance, least, relative, border, most)}"
    ends = da.stack([image.min(), image.max()]).rechunk(-1)
    source = image
    if least is None or relative is not None:
        # What peaks must be above is known only when all of the image has been read.
        done = f"{name}-bounds"
        layers = {**ends.dask.layers, done: {done: (_nothing, (ends.name, 0))}}
        graph = HighLevelGraph(layers, {**ends.dask.dependencies, done: {ends.name}})
        source = again(image, done, graph, name)
    found, keys = _candidates(source, ends.name, distance, least, relative, f"{name}-found")
    last = partial(coordinates, shape=image.shape, distance=distance, border=border, most=most)
    found[name, 0, 0] = (last, keys, (ends.name, 0))
    layers = by_label.layers(found, name, [source, ends])
    chunks = ((np.nan,), (image.ndim,))
    return da.Array(layers, name, chunks, meta=np.empty((0, image.ndim), np.int64))


def _by_label(
    image: Array,
    labels: Array,
    distance: int,
    least: float | None,
    relative: float | None,
    border: Sequence[int],
    most: int | None,
) -> Array:
    # What is alone depends on pixels up to two steps away.
    halo = max(2, distance)
    image, labels = by_label.align(image, labels, halo)
    name = f"peaks-{tokenize(image.name, labels.name, distance, least, relative, border, most)}"
    # From a copy of the graph: blocks would else be held from one use to the other.
    other = apart(image, name)
    ends = da.stack([other.min(), other.max()]).rechunk(-1)
    graph: by_label.Graph = {}
    task = partial(_regions, halo=halo, distance=distance, border=border)
    keys = _labelled(graph, image, labels, halo, task, f"{name}-found")
    last = partial(
        by_label_peaks,
        shape=image.shape,
        distance=distance,
        least=least,
        relative=relative,
        most=most,
    )
    graph[name, 0, 0] = (last, keys, (ends.name, 0))
    layers = by_label.layers(graph, name, [image, labels, ends])
    chunks = ((np.nan,), (image.ndim,))
    return da.Array(layers, name, chunks, meta=np.empty((0, image.ndim), np.int64))


def _labelled(
    graph: by_label.Graph, image: Array, labels: Array, halo: int, task: Any, name: str
) -> list[Any]:
    """Add `task` for each chunk of image and labels with their neighbours' rims."""
    around = by_label.rims(graph, image, halo, f"{name}-rim")
    beside = by_label.rims(graph, labels, halo, f"{name}-labels")
    keys = []
    for index, origin, image_key, label_key in by_label.blocks(image, labels):
        offsets, rims = around(index)
        here = partial(task, offsets=offsets, origin=origin, whole=image.shape)
        keys.append((name, *index))
        graph[keys[-1]] = (here, image_key, rims, label_key, beside(index)[1])
    return keys


def _regions(
    image: Array,
    rims: list[dict[Index, Array]],
    labels: Array,
    label_rims: list[dict[Index, Array]],
    *,
    halo: int,
    distance: int,
    border: Sequence[int],
    offsets: list[Index],
    origin: Index,
    whole: Index,
) -> Regions:
    image, inner = by_label.surrounded(image, halo, offsets, rims)
    labels, _ = by_label.surrounded(labels, halo, offsets, label_rims)
    where = {"inner": inner, "origin": origin, "whole": whole}
    with limit_threads(1):
        found: Regions = implementation(image, "peaks").regions(
            image, labels, distance, border, **where
        )
    return found


def markers(image: Array, labels: Array, distance: int) -> Array:
    """Lazy pixels 1, 2, ... (int32) at the peaks of each label, in raster order."""
    chunks = image.chunks
    if image.size == 0:
        return da.zeros(image.shape, dtype=np.int32, chunks=chunks)
    image, labels = by_label.align(image, labels, distance)
    name = f"markers-{tokenize(image.name, labels.name, distance)}"
    graph: by_label.Graph = {}
    task = partial(_chunk_by_label, distance=distance)
    keys = _labelled(graph, image, labels, distance, task, f"{name}-found")
    last = f"{name}-places"
    graph[last, 0] = (partial(accepted, shape=image.shape, distance=distance), keys)
    places = by_label.as_array(graph, last, [image, labels], (np.nan,), np.int64)
    painted: by_label.Graph = {}
    for index, origin, _, _ in by_label.blocks(image, None):
        size = tuple(sizes[i] for sizes, i in zip(image.chunks, index, strict=True))
        here = partial(paint, origin=origin, size=size, whole=image.shape)
        painted[name, *index] = (here, (last, 0))
    layers = by_label.layers(painted, name, [places])
    meta = np.empty((0,) * image.ndim, np.int32)
    return da.Array(layers, name, image.chunks, meta=meta).rechunk(chunks)


def _chunk_by_label(
    image: Array,
    rims: list[dict[Index, Array]],
    labels: Array,
    label_rims: list[dict[Index, Array]],
    *,
    distance: int,
    offsets: list[Index],
    origin: Index,
    whole: Index,
) -> Found:
    image, inner = by_label.surrounded(image, distance, offsets, rims)
    labels, _ = by_label.surrounded(labels, distance, offsets, label_rims)
    with limit_threads(1):
        found: Found = implementation(image, "peaks").candidates(
            image, labels, distance, -np.inf, inner=inner, origin=origin, whole=whole
        )
    return found


def _nothing(_: Any) -> None:
    """What is waited for needs no memory."""


def _candidates(
    image: Array, ends: str, distance: int, least: float | None, relative: float | None, name: str
) -> tuple[by_label.Graph, list[Any]]:
    graph: by_label.Graph = {}
    around = by_label.rims(graph, image, distance, f"{name}-rim")
    keys = []
    known = least is not None and relative is None
    for index, origin, key, _ in by_label.blocks(image, None):
        offsets, rim_keys = around(index)
        task = partial(
            _chunk,
            distance=distance,
            least=least,
            relative=relative,
            offsets=offsets,
            origin=origin,
            whole=image.shape,
        )
        keys.append((name, *index))
        graph[keys[-1]] = (task, key, rim_keys, None if known else (ends, 0))
    return graph, keys


def _chunk(
    image: Array,
    rims: list[dict[Index, Array]],
    ends: NumpyArray | None,
    *,
    distance: int,
    least: float | None,
    relative: float | None,
    offsets: list[Index],
    origin: Index,
    whole: Index,
) -> Found:
    image, inner = by_label.surrounded(image, distance, offsets, rims)
    assert least is not None or ends is not None
    above = least if ends is None else threshold(ends, least, relative)
    with limit_threads(1):
        found: Found = implementation(image, "peaks").candidates(
            image, None, distance, above, inner=inner, origin=origin, whole=whole
        )
    return found
