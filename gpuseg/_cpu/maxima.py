"""Maxima that rise high enough above the saddles to higher ones: parts, joined, then painted.

The passes over the pixels are in `_maxima_basins.py`, what parts know of each other in
`_maxima_graph.py`. A part needs its pixels and those next to them, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu import _maxima_basins as basins
from gpuseg._cpu._maxima_graph import Graph, Index, Question, answer, decided, join
from gpuseg._cpu._strips import shared
from gpuseg.typing import NumpyArray

__all__ = ["Question", "Tops", "answer", "h_maxima", "join", "outline", "paint", "question"]

# Scratch is 28 bytes a pixel, so a thread takes no more pixels at a time; fewer are soon done.
_MOST, _LEAST = 1 << 22, 1 << 16
# Pairs of pixels from different basins are looked at again and again to join basins while they are
# more than this share of all pixels, and listed when they are fewer.
_LISTED = 1 / 8


class Tops(NamedTuple):
    """Runs of pixels as high as the maximum they climb to: start, length, and the maximum."""

    starts: NumpyArray
    lengths: NumpyArray
    maxima: NumpyArray


def question(image: NumpyArray, h: float) -> Question:
    """Of an image, or of what tells its shape and dtype."""
    single = image.dtype.kind == "f" and image.dtype.itemsize <= 4
    return Question(tuple(image.shape), float(np.float32(h)) if single else h, single)


def h_maxima(image: NumpyArray, h: float, connectivity: int, sign: int) -> NumpyArray:
    """Mask (uint8) of the h-maxima of sign * image."""
    if image.size == 0:
        return np.zeros(image.shape, np.uint8)
    asked = question(image, h)
    rows = len(image)
    parts = max(-(-image.size // _MOST), min(threads(), image.size // _LEAST), 1)
    edges = [rows * k // min(parts, rows) for k in range(min(parts, rows) + 1)]
    sides = [(0, 0)] * (image.ndim - 1)

    def work(strip: tuple[int, int]) -> tuple[Graph, Tops]:
        first, last = max(strip[0] - 1, 0), min(strip[1] + 1, rows)
        inner = [(strip[0] - first, last - strip[1]), *sides]
        origin = strip[0], *(0 for _ in sides)
        return outline(image[first:last], connectivity, sign, asked, inner=inner, origin=origin)

    found = shared(work, list(pairwise(edges)))
    kept = answer(join([graph for graph, _ in found], asked), asked)
    out = np.empty(image.shape, np.uint8)
    for (_, tops), (first, last) in zip(found, pairwise(edges), strict=True):
        paint(tops, kept, out[first:last])
    return out


def outline(
    image: NumpyArray,
    connectivity: int,
    sign: int,
    asked: Question,
    *,
    inner: Sequence[tuple[int, int]],
    origin: Index,
) -> tuple[Graph, Tops]:
    """What a part of an image tells of its maxima.

    `inner` says for each axis how many pixels (0 or 1) before and after belong to other parts; the
    rest lies at `origin` of the whole.
    """
    part = _part(_floats(image, sign), inner, origin, asked.shape)
    near = _steps(connectivity, image.ndim)
    basin = np.arange(part.box.size, dtype=np.int32 if part.box.size < 2**31 else np.int64)
    basins.climb(part.box, part.first, part.last, near, basin)
    basins.flatten(basin)
    ends = np.flatnonzero(basin == np.arange(basin.size, dtype=basin.dtype))
    # Basins are numbered in the order of their maxima.
    ends = ends[np.argsort(part.flat[ends], kind="stable")]
    basin[ends] = np.invert(np.arange(ends.size, dtype=basin.dtype))
    basins.name(basin)
    keys, heights = part.key(ends), part.flat[ends]

    rim = np.flatnonzero(part.rim())
    climbed = basin[rim]
    ghost = part.beyond().reshape(-1)[ends]
    unsure = ghost.copy()
    unsure[climbed] = True
    runs = _tops(part, basin, heights)
    verdict = np.arange(ends.size), np.zeros(ends.size, np.int8), np.arange(ends.size)
    later = near[len(near) // 2 + 1 :]
    pairs, saddles = _meetings(part, basin, later, heights, unsure, asked, verdict)

    none = np.empty(0, np.int64)
    core = part.box[part.core]
    graph = Graph(
        low=tuple(origin),
        high=tuple(o + size for o, size in zip(origin, core.shape[-image.ndim :], strict=True)),
        peaks=keys,
        heights=heights,
        ghosts=none,
        levels=np.empty(0),
        ends=pairs,
        saddles=saddles,
        faces=part.key(rim),
        roots=keys[climbed],
        kept=none,
        follow=np.empty((0, 2), np.int64),
        least=float(core.min()),
        most=float(core.max()),
    )
    graph, fate = decided(graph, asked, unsure, *verdict)
    runs = runs[fate[runs[:, 2]] != basins.DROPPED]
    tops = Tops(runs[:, 0], runs[:, 1], keys[runs[:, 2]])
    named = [graph.ends.reshape(-1), graph.roots, graph.follow[:, 1], tops.maxima]
    told = ghost & np.isin(keys, np.concatenate(named))
    rest = (fate == basins.UNDECIDED) & ~ghost
    graph = graph._replace(
        peaks=keys[rest], heights=heights[rest], ghosts=keys[told], levels=heights[told]
    )
    return graph, tops


class _Part(NamedTuple):
    """Values with three axes; what lies before `first` and from `last` on belongs to others.

    `corner` is where the box begins in the whole image, of shape `whole`.
    """

    box: NumpyArray
    first: NumpyArray
    last: NumpyArray
    corner: NumpyArray
    whole: Index

    @property
    def flat(self) -> NumpyArray:
        return self.box.reshape(-1)

    @property
    def core(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(self.first, self.last, strict=True))

    def key(self, at: NumpyArray) -> NumpyArray:
        """Raster indices in the whole of pixels of the box."""
        index = np.unravel_index(at, self.box.shape)
        moved = tuple(x + c for x, c in zip(index, self.corner, strict=True))
        return np.ravel_multi_index(moved, self.whole)

    def beyond(self) -> NumpyArray:
        """Which pixels are others'."""
        mask = np.ones(self.box.shape, bool)
        mask[self.core] = False
        return mask

    def rim(self) -> NumpyArray:
        """Which own pixels are next to others'."""
        mask, core = np.zeros(self.box.shape, bool), self.core
        for axis, (first, last) in enumerate(zip(self.first, self.last, strict=True)):
            inside = first > 0, last < self.box.shape[axis]
            for at in np.array([first, last - 1])[np.array(inside)]:
                mask[(*core[:axis], slice(at, at + 1), *core[axis + 1 :])] = True
        return mask


def _part(
    values: NumpyArray, inner: Sequence[tuple[int, int]], origin: Index, shape: Index
) -> _Part:
    more = 3 - values.ndim
    sides = np.array([(0, 0)] * more + list(inner))
    box = np.ascontiguousarray(values).reshape((1,) * more + values.shape)
    corner = np.array((0,) * more + tuple(origin)) - sides[:, 0]
    whole = (1,) * more + tuple(shape)
    return _Part(box, sides[:, 0], np.array(box.shape) - sides[:, 1], corner, whole)


def _tops(part: _Part, basin: NumpyArray, heights: NumpyArray) -> NumpyArray:
    where = part.flat, basin, heights, np.array(part.box.shape), part.first, part.last
    runs = np.empty((basins.count_tops(*where, np.empty((0, 3), np.int64)), 3), np.int64)
    basins.count_tops(*where, runs)
    return runs


def _meetings(
    part: _Part,
    basin: NumpyArray,
    later: NumpyArray,
    heights: NumpyArray,
    unsure: NumpyArray,
    asked: Question,
    verdict: tuple[NumpyArray, NumpyArray, NumpyArray],
) -> tuple[NumpyArray, NumpyArray]:
    """Pairs of basins that meet, and the saddles, after those are joined of which much is seen."""
    where = part.flat, basin, np.array(part.box.shape), part.first, part.last, later
    pairs, levels = np.empty((0, 2), np.int64), np.empty(0)
    while True:
        saddles, partners = np.full(heights.size, -np.inf), np.full(heights.size, -1)
        met = basins.meet(*where, saddles, partners, pairs, levels)
        if met <= part.box.size * _LISTED:
            break
        if not basins.absorb(heights, unsure, saddles, partners, asked.h, asked.single, *verdict):
            break
        basins.regroup(basin, verdict[0])
    pairs, levels = np.empty((met, 2), np.int64), np.empty(met)
    basins.meet(*where, saddles, partners, pairs, levels)
    return pairs, levels


def paint(tops: Tops, kept: NumpyArray, out: NumpyArray) -> None:
    """Set the pixels of a part to whether they are as high as a maximum that is kept."""
    out[...] = 0
    chosen = np.isin(tops.maxima, kept)
    flat = out.reshape(-1)
    basins.fill(tops.starts[chosen], tops.lengths[chosen], flat)


def _steps(connectivity: int, ndim: int) -> NumpyArray:
    """To the neighbours and the pixel itself, in raster order."""
    spans = [(0,)] * (3 - ndim) + [(-1, 0, 1)] * ndim
    return np.array([s for s in product(*spans) if np.count_nonzero(s) <= connectivity])


def _floats(image: NumpyArray, sign: int) -> NumpyArray:
    """The values, or those negated, in float64.

    Raises
    ------
    ValueError
        If there are none for some of them.
    """
    if image.dtype.kind in "iu" and image.dtype.itemsize == 8 and image.size:
        far = max(abs(int(image.min())), abs(int(image.max())))
        if far > 2**53:
            raise ValueError(f"image must hold integers of at most 2^53 (float64's), got {far}")
    values = image.astype(np.float64)
    if image.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError("image must not hold NaN, got some")
    return np.negative(values, values) if sign < 0 else values
