"""h-maxima of chunked arrays: each chunk is read once, and answers for nearly all of its maxima.

0. Rims. A chunk copies what its neighbours must see.
1. Outline. A chunk with one pixel of its neighbours decides the maxima whose basins don't reach its
   faces, and gives the rest as a forest, and its pixels that are as high as their maximum as runs.
2. Boxes of about 16 chunks join, and boxes of those, up to the whole, which decides the last ones.
3. The runs of those that are kept are painted.

The plan of boxes is that of `_label_plan.py`; how parts join is in `_cpu/_maxima_graph.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import itemgetter

import dask.array as da
import numpy as np
from dask.base import tokenize

from gpuseg._backend import floor
from gpuseg._cpu import maxima as engine
from gpuseg._cpu._maxima_graph import Graph
from gpuseg._dask import _by_label as by_label
from gpuseg._dask._label_plan import Key, Plan
from gpuseg.typing import Array, NumpyArray

Index = by_label.Index


class _Plan(Plan):
    def key(self, step: str, *at: object) -> Key:
        return (f"maxima-{step}-{self.token}", *at)


def h_maxima(image: Array, h: float, connectivity: int, sign: int) -> Array:
    """Lazy mask (uint8) in the image's chunks."""
    if floor(image._meta) == "_cuda":
        raise TypeError(
            "h_maxima is not for Dask arrays of CuPy chunks; convert them by "
            "`map_blocks(cupy.asnumpy)`"
        )
    chunks = image.chunks
    if image.size == 0:
        return da.zeros(image.shape, dtype=np.uint8, chunks=chunks)
    whole = image.rechunk(tuple(tuple(size for size in sizes if size) for sizes in chunks))
    plan = _Plan(whole.chunks, tokenize(whole.name, h, connectivity, sign))
    asked = engine.question(image, h)
    graph: by_label.Graph = {}
    around = by_label.rims(graph, whole, 1, plan.key("rims")[0])
    for index, origin, key, _ in by_label.blocks(whole, None):
        offsets, rims = around(index)
        task = partial(
            _outline,
            connectivity=connectivity,
            sign=sign,
            asked=asked,
            offsets=offsets,
            origin=origin,
        )
        graph[plan.key("outline", *index)] = (task, key, rims)
        graph[plan.key("graph", 0, *index)] = (itemgetter(0), plan.key("outline", *index))
        graph[plan.key("tops", *index)] = (itemgetter(1), plan.key("outline", *index))
    for level in range(1, plan.top + 1):
        for box in np.ndindex(*plan.grids[level]):
            parts = [plan.key("graph", level - 1, *part) for part in plan.parts(level, box)]
            graph[plan.key("graph", level, *box)] = (partial(engine.join, question=asked), parts)
    top = plan.key("graph", plan.top, *(0,) * image.ndim)
    graph[plan.key("answer")] = (partial(engine.answer, question=asked), top)
    name = plan.key("painted")[0]
    for index in np.ndindex(*whole.numblocks):
        size = tuple(sizes[i] for sizes, i in zip(whole.chunks, index, strict=True))
        graph[name, *index] = (
            partial(_paint, size=size),
            plan.key("tops", *index),
            plan.key("answer"),
        )
    meta = np.empty((0,) * image.ndim, np.uint8)
    layers = by_label.layers(graph, name, [whole])
    return da.Array(layers, name, whole.chunks, meta=meta).rechunk(chunks)


def _outline(
    block: NumpyArray,
    rims: list[dict[Index, Array]],
    *,
    connectivity: int,
    sign: int,
    asked: engine.Question,
    offsets: list[Index],
    origin: Index,
) -> tuple[Graph, engine.Tops]:
    around, inner = by_label.surrounded(block, 1, offsets, rims)
    return engine.outline(around, connectivity, sign, asked, inner=inner, origin=origin)


def _paint(tops: engine.Tops, kept: NumpyArray, *, size: Sequence[int]) -> NumpyArray:
    out = np.empty(tuple(size), np.uint8)
    engine.paint(tops, kept, out)
    return out
