"""Watershed of chunked arrays, read four times and never held.

0. Rims. A chunk copies what its neighbours must see.
1. Depths. A chunk, with the rims of those around it, finds the depths of its flats by itself. One
   task settles those that cross from chunk to chunk; of these alone it gets the runs.
2. Forest. With the depths around it, a chunk knows all edges that leave it, and joins what it can.
   Boxes of about 16 chunks join the rest, and boxes of those, up to the whole; labels come down.
3. Labels. A chunk is solved again, and written.

The plan of boxes is that of `_label_plan.py`; a box's merge is in `_cpu/_watershed_merge.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from gpuseg._backend import floor, limit_threads
from gpuseg._cpu import _watershed_chunk as chunk
from gpuseg._cpu import _watershed_flats as flats
from gpuseg._cpu import _watershed_merge as merge
from gpuseg._dask import _by_label as by_label
from gpuseg._dask._label_plan import Key, Plan
from gpuseg._dask._second_pass import again
from gpuseg.typing import Array, NumpyArray

Index = by_label.Index
Graph = by_label.Graph
Layers = dict[str, Mapping[Any, Any]]


class _Plan(Plan):
    def key(self, step: str, *at: Any) -> Key:
        return (f"watershed-{step}-{self.token}", *at)


def watershed(image: Array, markers: Array, mask: Array | None, connectivity: int) -> Array:
    """Lazy labels in the image's chunks."""
    given = [array for array in (image, markers, mask) if array is not None]
    home = next(array for array in (image, *given) if floor(array) == "_dask")
    chunks = home.chunks
    if any(floor(array) == "_dask" and floor(array._meta) == "_cuda" for array in given):
        raise TypeError(
            "watershed is not for Dask arrays of CuPy chunks; convert the image's (and markers' "
            "and mask's) by `map_blocks(cupy.asnumpy)`, or flood CuPy arrays"
        )
    if image.size == 0:
        return da.zeros(image.shape, dtype=markers.dtype, chunks=chunks)
    whole = tuple(tuple(size for size in sizes if size) for sizes in chunks)
    sources = [_cut(array, whole) for array in given]
    token = tokenize([source.name for source in sources], connectivity)
    return _Task(sources, connectivity, _Plan(whole, token)).labels(markers.dtype).rechunk(chunks)


def minima(image: Array, mask: Array | None, connectivity: int) -> Array:
    """Not for chunks, whose local minima may cross them."""
    raise TypeError(
        "markers must be given for a Dask image; label those of your own, such as "
        "`gpuseg.feature.peak_local_max(-image)`"
    )


def paint(image: Array, points: NumpyArray) -> Array:
    """Labels 1, 2, ... (int32) of points, in the image's chunks."""
    return da.map_blocks(
        _paint,
        points=points,
        chunks=image.chunks,
        dtype=np.int32,
        meta=np.empty((0,) * image.ndim, np.int32),
    )


def _paint(*, points: NumpyArray, block_info: Any) -> NumpyArray:
    spans = np.array(block_info[None]["array-location"])
    labels = np.zeros(spans[:, 1] - spans[:, 0], np.int32)
    inside = ((points >= spans[:, 0]) & (points < spans[:, 1])).all(axis=1)
    numbers = np.flatnonzero(inside)[::-1]
    labels[tuple((points[numbers] - spans[:, 0]).T)] = numbers + 1
    return labels


def _cut(array: Array, chunks: tuple[tuple[int, ...], ...]) -> Array:
    if floor(array) == "_dask":
        return array.rechunk(chunks)
    return da.from_array(array, chunks=chunks, asarray=False)


class _Task:
    """The graph of one watershed; `sources` are image, markers, and a mask if there is one."""

    def __init__(self, sources: list[Array], connectivity: int, plan: _Plan) -> None:
        self.sources, self.plan, self.connectivity = sources, plan, connectivity
        self.shape = tuple(edges[-1] for edges in plan.starts)
        self.chunks = list(np.ndindex(plan.numblocks))

    def labels(self, dtype: np.dtype[Any]) -> Array:
        """Readings, each of which waits for what the one before has found."""
        plan = self.plan
        # Rims stay in memory, blocks don't: one that waited for the rims around it would be held.
        rims: Graph = {}
        self.rims = [
            by_label.rims(rims, source, 1, plan.key(f"rim-{k}")[0])
            for k, source in enumerate(self.sources)
            if k != 1
        ]
        rims[plan.key("rimmed")] = (_nothing, list(rims))
        graph = self._layer("rims", rims, self.sources, [])
        sources = self._again(graph, "rims", plan.key("rimmed"))
        first: Graph = {}
        for index in self.chunks:
            task = partial(_survey, offsets=self._offsets(index), at=self._place(index))
            first[plan.key("survey", *index)] = (task, *self._inputs(sources, index))
        surveys = [plan.key("survey", *index) for index in self.chunks]
        first[plan.key("settle")] = (flats.settle, surveys)
        for number, index in enumerate(self.chunks):
            survey = plan.key("survey", *index)
            pick = partial(_pick, number=number)
            first[plan.key("depths", *index)] = (pick, survey, plan.key("settle"))
        first[plan.key("deep")] = (_nothing, [plan.key("depths", *index) for index in self.chunks])
        graph = self._layer("first", first, sources, ["rims"])
        sources = self._again(graph, "first", plan.key("deep"))
        second = self._forest(sources)
        graph = self._layer("second", second, sources, ["rims", "first"])
        sources = self._again(graph, "second", plan.key("known"))
        name = plan.key("labels")[0]
        third: Graph = {}
        for index in self.chunks:
            box, part = plan.box_of(0, index)
            write = partial(
                _write, offsets=self._offsets(index), at=self._place(index), part=part, dtype=dtype
            )
            known = plan.key("spread", 1, *box)
            third[name, *index] = (write, *self._inputs(sources, index), self._depths(index), known)
        graph = self._layer("labels", third, sources, ["rims", "first", "second"])
        sizes = tuple(tuple(np.diff(edges).tolist()) for edges in plan.starts)
        return da.Array(graph, name, sizes, meta=np.empty((0,) * len(self.shape), dtype))

    def _forest(self, sources: list[Array]) -> Graph:
        plan = self.plan
        graph: Graph = {}
        for index in self.chunks:
            task = partial(_outline, offsets=self._offsets(index), at=self._place(index))
            inputs = self._inputs(sources, index)
            graph[plan.key("outline", *index)] = (task, *inputs, self._depths(index))
        for level in range(1, plan.top + 1):
            for box in np.ndindex(*plan.grids[level]):
                parts = plan.parts(level, box)
                if level == 1:
                    keys = [plan.key("outline", *part) for part in parts]
                else:
                    keys = [plan.key("part", level - 1, *part) for part in parts]
                joined, here = plan.key("join", level, *box), (level, *box)
                corner = None if level == plan.top else self._corner(level, box)
                graph[joined] = (partial(_join, corner=corner, whole=self.shape), keys)
                graph[plan.key("part", *here)] = (_first, joined)
                graph[plan.key("links", *here)] = (_second, joined)
                above, number = None, 0
                if level < plan.top:
                    up, number = plan.box_of(level, box)
                    above = plan.key("spread", level + 1, *up)
                spread = partial(_spread, number=number)
                graph[plan.key("spread", *here)] = (spread, plan.key("links", *here), above)
        known = [plan.key("spread", 1, *box) for box in np.ndindex(*plan.grids[1])]
        graph[plan.key("known")] = (_nothing, known)
        return graph

    def _corner(self, level: int, box: Index) -> tuple[Index, Index]:
        """First and last pixel of a box, and the one after."""
        first = last = box
        for k in range(level, 0, -1):
            parts = self.plan.parts(k, first), self.plan.parts(k, last)
            first, last = parts[0][0], parts[1][-1]
        starts = self.plan.starts
        return (
            tuple(edges[i] for edges, i in zip(starts, first, strict=True)),
            tuple(edges[i + 1] for edges, i in zip(starts, last, strict=True)),
        )

    def _offsets(self, index: Index) -> list[Index]:
        return self.rims[0](index)[0]

    def _inputs(self, sources: list[Array], index: Index) -> list[Any]:
        """Keys of the image's, markers' and mask's block, and of the rims around."""
        blocks: list[Any] = [(source.name, *index) for source in sources]
        rims: list[Any] = [around(index)[1] for around in self.rims]
        return [*blocks, *[None] * (3 - len(blocks)), *rims, *[None] * (2 - len(rims))]

    def _depths(self, index: Index) -> list[Key]:
        at = [
            tuple(i + step for i, step in zip(index, o, strict=True)) for o in self._offsets(index)
        ]
        return [self.plan.key("depths", *other) for other in at]

    def _place(self, index: Index) -> chunk.Place:
        origin = tuple(edges[i] for edges, i in zip(self.plan.starts, index, strict=True))
        return chunk.Place(origin, self.shape, self.connectivity)

    def _layer(
        self, step: str, graph: Graph, sources: list[Array], earlier: list[str]
    ) -> HighLevelGraph:
        """The graph as a layer on those of its sources and of earlier steps."""
        layers: Layers = {}
        dependencies: dict[str, set[str]] = {}
        for source in sources:
            layers.update(source.dask.layers)
            dependencies.update(source.dask.dependencies)
        name = self.plan.key(step)[0]
        layers[name] = graph
        needed = {source.name for source in sources} | {self.plan.key(k)[0] for k in earlier}
        dependencies[name] = needed
        return HighLevelGraph(layers, dependencies)

    def _again(self, graph: HighLevelGraph, step: str, after: Key) -> list[Array]:
        """The sources for another reading, which waits for the key `after`."""
        done = self.plan.key(f"{step}-done")[0]
        name = self.plan.key(step)[0]
        layers = {**graph.layers, done: {done: (_nothing, after)}}
        waits = HighLevelGraph(layers, {**graph.dependencies, done: {name}})
        return [again(source, done, waits, f"{self.plan.token}-{step}") for source in self.sources]


def _nothing(_: Any) -> None:
    """What is waited for needs no memory."""


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _second(pair: tuple[Any, Any]) -> Any:
    return pair[1]


def _around(
    offsets: list[Index], images: list[dict[Index, Array]], masks: list[dict[Index, Array]] | None
) -> list[chunk.Rim]:
    """Rims of the chunks around, as they lie towards the chunk."""
    found: list[chunk.Rim] = []
    for k, offset in enumerate(offsets):
        back = tuple(-step for step in offset)
        found.append((offset, images[k][back], None if masks is None else masks[k][back]))
    return found


def _survey(
    image: NumpyArray,
    markers: NumpyArray,
    mask: NumpyArray | None,
    images: Any,
    masks: Any,
    *,
    offsets: list[Index],
    at: chunk.Place,
) -> flats.Flats:
    with limit_threads(1):
        return chunk.survey(image, markers, mask, _around(offsets, images, masks), at)


def _pick(
    survey: flats.Flats, settled: list[NumpyArray], *, number: int
) -> tuple[NumpyArray, NumpyArray]:
    return survey.places, settled[number]


def _outline(
    image: NumpyArray,
    markers: NumpyArray,
    mask: NumpyArray | None,
    images: Any,
    masks: Any,
    depths: Any,
    *,
    offsets: list[Index],
    at: chunk.Place,
) -> merge.Part:
    rims = _around(offsets, images, masks)
    return chunk.solved(image, markers, mask, rims, depths, at).part()


def _join(
    parts: Sequence[merge.Part], *, corner: tuple[Index, Index] | None, whole: Index
) -> tuple[merge.Part, merge.Links]:
    if corner is None:
        return merge.join(parts)
    return merge.join(parts, partial(_outer, corner=corner, whole=whole))


def _outer(places: NumpyArray, *, corner: tuple[Index, Index], whole: Index) -> NumpyArray:
    """Which pixels are on a box's faces."""
    outer = np.zeros(places.size, bool)
    for x, first, last in zip(np.unravel_index(places, whole), *corner, strict=True):
        outer |= (x == first) | (x == last - 1)
    return outer


def _spread(links: merge.Links, above: list[NumpyArray] | None, *, number: int) -> list[NumpyArray]:
    return merge.spread(links, np.empty(0, np.int64) if above is None else above[number])


def _write(
    image: NumpyArray,
    markers: NumpyArray,
    mask: NumpyArray | None,
    images: Any,
    masks: Any,
    depths: Any,
    known: list[NumpyArray],
    *,
    offsets: list[Index],
    at: chunk.Place,
    part: int,
    dtype: np.dtype[Any],
) -> NumpyArray:
    block = chunk.solved(image, markers, mask, _around(offsets, images, masks), depths, at)
    out = np.zeros(image.shape, np.int64 if dtype.itemsize > 4 or dtype == np.uint32 else np.int32)
    block.write(known[part], out)
    return out.astype(dtype, copy=False)
