"""What is known of the maxima of a part of an image: little, for its size, and parts join.

Maxima, saddles and pixels go by their raster index in the whole image. Within a part most maxima
are decided: their basin does not reach its faces, so where it meets a higher one first is known.
The rest is a forest of basins that reach the faces and of ghosts, pixels beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpuseg._cpu import _maxima_basins as basins
from gpuseg.typing import NumpyArray

Index = tuple[int, ...]


class Question(NamedTuple):
    """The image's shape, and how far a maximum must rise; of float32, as these are subtracted."""

    shape: Index
    h: float
    single: bool


class Graph(NamedTuple):
    """Maxima of the part from `low` to `high` that are not decided, and how they meet.

    `peaks` and `ghosts` (with the values there) are joined by the pairs `ends`, at `saddles`;
    `roots` are where climbs from the pixels `faces` end. Of the decided, `kept`; and pairs
    `follow`, of which the first has the fate of the second. `least` and `most` of the image's
    values.
    """

    low: Index
    high: Index
    peaks: NumpyArray
    heights: NumpyArray
    ghosts: NumpyArray
    levels: NumpyArray
    ends: NumpyArray
    saddles: NumpyArray
    faces: NumpyArray
    roots: NumpyArray
    kept: NumpyArray
    follow: NumpyArray
    least: float
    most: float


def decided(
    graph: Graph,
    question: Question,
    unsure: NumpyArray,
    into: NumpyArray,
    fate: NumpyArray,
    follow: NumpyArray,
) -> tuple[Graph, NumpyArray]:
    """The graph less what its pairs decide, and each maximum's fate.

    `peaks` are all basins here, ghosts among them, in the order of (height, index), and `ends`
    their numbers. `unsure`, `into`, `fate` and `follow` go by those too.
    """
    order = np.argsort(-graph.saddles, kind="stable")
    ends, saddles = graph.ends[order], graph.saddles[order]
    stays = np.zeros(saddles.size, bool)
    basins.settle(
        graph.heights,
        unsure.copy(),
        ends,
        saddles,
        question.h,
        question.single,
        into,
        fate,
        follow,
        stays,
    )
    following = np.flatnonzero(fate == basins.FOLLOWS)
    keys = graph.peaks
    pairs = np.stack([keys[following], keys[follow[following]]], 1)
    smaller = graph._replace(
        ends=keys[into[ends[stays]]],
        saddles=saddles[stays],
        kept=np.concatenate([graph.kept, keys[fate == basins.KEPT]]),
        follow=np.concatenate([graph.follow, pairs]),
    )
    return smaller, fate


def join(parts: Sequence[Graph], question: Question) -> Graph:
    """One part of several that fill a box."""
    low = tuple(np.min([part.low for part in parts], axis=0).tolist())
    high = tuple(np.max([part.high for part in parts], axis=0).tolist())
    faces, roots = _sorted(
        np.concatenate([part.faces for part in parts]),
        np.concatenate([part.roots for part in parts]),
    )
    ghosts, at = np.unique(np.concatenate([part.ghosts for part in parts]), return_index=True)
    levels = np.concatenate([part.levels for part in parts])[at]
    inside = _within(ghosts, low, high, question.shape)
    found, values = ghosts[inside], levels[inside]
    ends_at = _climbed(found, faces, roots)
    roots = _replaced(roots, found, ends_at)
    ends = _replaced(np.concatenate([part.ends for part in parts]), found, ends_at)
    saddles = np.concatenate([part.saddles for part in parts])
    apart = ends[:, 0] != ends[:, 1]
    outer = _outer(faces, low, high, question.shape)
    faces, roots = faces[outer], roots[outer]

    keys = np.concatenate([*(part.peaks for part in parts), ghosts[~inside]])
    heights = np.concatenate([*(part.heights for part in parts), levels[~inside]])
    order = np.lexsort((keys, heights))
    keys, heights = keys[order], heights[order]
    by_key = np.argsort(keys)

    def number(named: NumpyArray) -> NumpyArray:
        return by_key[np.searchsorted(keys, named, sorter=by_key)]

    ghost = np.isin(keys, ghosts[~inside])
    unsure = ghost.copy()
    unsure[number(roots)] = True
    level = (heights[number(ends_at)] == values) & (ends_at != found)
    graph = Graph(
        low=low,
        high=high,
        peaks=keys,
        heights=heights,
        ghosts=ghosts[~inside],
        levels=levels[~inside],
        ends=number(ends[apart]),
        saddles=saddles[apart],
        faces=faces,
        roots=roots,
        kept=np.concatenate([part.kept for part in parts]),
        follow=np.concatenate(
            [*(part.follow for part in parts), np.stack([found, ends_at], 1)[level]]
        ),
        least=min(part.least for part in parts),
        most=max(part.most for part in parts),
    )
    into = np.arange(keys.size)
    fate = np.zeros(keys.size, np.int8)
    graph, fate = decided(graph, question, unsure, into, fate, into.copy())
    rest = (fate == basins.UNDECIDED) & ~ghost
    return graph._replace(peaks=keys[rest], heights=heights[rest])


def answer(graph: Graph, question: Question) -> NumpyArray:
    """Maxima to keep, ascending, and pixels as high that lead to one; of the whole image."""
    kept = graph.kept
    if basins.rises(graph.most, graph.least, question.h, question.single):
        kept = np.concatenate([kept, graph.peaks])
    first, second = graph.follow.T
    if first.size:
        first, second = _sorted(first, second)
        second = _climbed(second, first, second)
        kept = np.concatenate([kept, first[np.isin(second, kept)]])
    return np.sort(kept)


def _sorted(keys: NumpyArray, values: NumpyArray) -> tuple[NumpyArray, NumpyArray]:
    order = np.argsort(keys)
    return keys[order], values[order]


def _climbed(keys: NumpyArray, froms: NumpyArray, tos: NumpyArray) -> NumpyArray:
    """Where one ends from each key by steps of the table `froms` (ascending) to `tos`."""
    while froms.size:
        at = np.minimum(np.searchsorted(froms, keys), froms.size - 1)
        known = froms[at] == keys
        known &= tos[at] != keys
        if not known.any():
            break
        keys = np.where(known, tos[at], keys)
    return keys


def _replaced(values: NumpyArray, keys: NumpyArray, by: NumpyArray) -> NumpyArray:
    """Values, those among `keys` (ascending) replaced."""
    if not keys.size:
        return values
    at = np.minimum(np.searchsorted(keys, values), keys.size - 1)
    return np.where(keys[at] == values, by[at], values)


def _within(keys: NumpyArray, low: Index, high: Index, shape: Index) -> NumpyArray:
    inside = np.ones(keys.size, bool)
    for x, first, last in zip(np.unravel_index(keys, shape), low, high, strict=True):
        inside &= (first <= x) & (x < last)
    return inside


def _outer(keys: NumpyArray, low: Index, high: Index, shape: Index) -> NumpyArray:
    """Which pixels of a box have neighbours in others."""
    outer = np.zeros(keys.size, bool)
    for x, first, last, size in zip(np.unravel_index(keys, shape), low, high, shape, strict=True):
        outer |= ((x == first) & (first > 0)) | ((x == last - 1) & (last < size))
    return outer
