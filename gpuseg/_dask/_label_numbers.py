"""Numbers for the components of a chunked image: steps D and E of `_label_boxes.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu import _faces as kernels
from gpuseg._dask._label_boxes import Chunk, Index, Kept, Problem
from gpuseg.typing import Array, NumpyArray


class Ranked(NamedTuple):
    """Ranks of the labels of some lines of chunks, from 1; 0 for labels that start elsewhere.

    A rank counts within its plane: the pixels of the image with the same index on all axes but the
    last two; and within the line of chunks. `planes[line][column]` says where the labels of each
    plane of the chunk begin.
    """

    ranks: list[list[NumpyArray]]
    planes: list[list[NumpyArray]]
    rims: list[list[NumpyArray]]
    totals: list[NumpyArray]


class Rims(NamedTuple):
    """Of `Ranked`, for the labels that reach a face: ranks and planes; and the totals."""

    ranks: list[list[NumpyArray]]
    planes: list[list[NumpyArray]]
    totals: list[NumpyArray]


class Place(NamedTuple):
    """Where the chunk stands: its box among those given, its place there, its box's own boxes."""

    box: int
    part: int
    above: tuple[int, ...]


def rank(kept: Sequence[Kept], lines: Sequence[Sequence[Place]], width: int) -> Ranked:
    """Step D for lines of chunks along the last axis, which is `width` pixels long."""
    ranked = Ranked([], [], [], [])
    for line in lines:
        chunks = [kept[place.box].chunks[place.part] for place in line]
        firsts = [chunk.firsts() if callable(chunk.firsts) else chunk.firsts for chunk in chunks]
        survives = [
            _survives(chunk, found.size, [kept[k].closed for k in (place.box, *place.above)])
            for chunk, found, place in zip(chunks, firsts, line, strict=True)
        ]
        # Rows of a plane, and planes; a line of a 1-D image is one row.
        rows = chunks[0].shape[-2] if len(chunks[0].shape) > 1 else 1
        totals = np.zeros(int(np.prod(chunks[0].shape[:-2])), np.int64)
        small = np.int32 if rows * width < 2**31 else np.int64
        counts = np.zeros((totals.size * rows, len(line)), small)
        widths = [chunk.shape[-1] for chunk in chunks]
        blocks = list(zip(firsts, survives, widths, range(len(line)), strict=True))
        for found, stays, size, column in blocks:
            kernels.count_lines(found, stays, size, column, counts)
        kernels.scan_lines(counts, rows, totals)
        tables = [np.empty(found.size, small) for found in firsts]
        for (found, stays, size, column), table in zip(blocks, tables, strict=True):
            kernels.rank_lines(found, stays, size, column, counts, table)
        starts = [np.arange(totals.size) * rows * size for size in widths]
        ranked.ranks.append(tables)
        ranked.planes.append(
            [np.searchsorted(found, at) for found, at in zip(firsts, starts, strict=True)]
        )
        ranked.rims.append([chunk.rim for chunk in chunks])
        ranked.totals.append(totals)
    return ranked


def _survives(chunk: Chunk, labels: int, closed: Sequence[NumpyArray]) -> NumpyArray:
    """Which of a chunk's labels start their component."""
    stays = np.ones(labels, bool)
    found = np.zeros(chunk.keys.size, bool)
    for keys in closed:
        if keys.size:
            at = np.minimum(np.searchsorted(keys, chunk.keys), keys.size - 1)
            found |= keys[at] == chunk.keys
    stays[chunk.rim - 1] = found
    return stays


def pick_rims(ranked: Ranked) -> Rims:
    """The small part of what `rank` found, for the boxes above."""
    ranks, planes = [], []
    for line in range(len(ranked.ranks)):
        labels = ranked.rims[line]
        tables = zip(ranked.ranks[line], labels, strict=True)
        ranks.append([table[rim - 1] for table, rim in tables])
        starts = zip(ranked.planes[line], labels, strict=True)
        planes.append([np.searchsorted(at, rim - 1, side="right") - 1 for at, rim in starts])
    return Rims(ranks, planes, ranked.totals)


class Scan(NamedTuple):
    """Labels before each plane of each line of chunks, by group of lines; and how many in all."""

    before: list[list[NumpyArray]]
    number: int


def scan(groups: Sequence[Rims], numblocks: Index, starts: Sequence[Sequence[int]]) -> Scan:
    """Step D: exclusive sums over planes and lines of chunks, in raster order."""
    leading = [edges[-1] for edges in starts[:-2]]
    lines = numblocks[-2] if len(numblocks) > 1 else 1
    totals = np.zeros((*leading, lines), np.int64)
    where = list(np.ndindex(*numblocks[:-2], lines))
    slots = [
        (
            *(slice(edges[k], edges[k + 1]) for k, edges in zip(at, starts[:-2], strict=False)),
            at[-1],
        )
        for at in where
    ]
    found = [total for group in groups for total in group.totals]
    for slot, total in zip(slots, found, strict=True):
        totals[slot] = total.reshape(totals[slot].shape)
    before = np.cumsum(totals.reshape(-1)) - totals.reshape(-1)
    sums = iter([before.reshape(totals.shape)[slot].reshape(-1) for slot in slots])
    return Scan([[next(sums) for _ in group.totals] for group in groups], int(totals.sum()))


class Lifted(NamedTuple):
    """Numbers of the components of a box, 0 where they start outside of it."""

    open: NumpyArray
    closed: NumpyArray


def lift(kept: Kept, numbers: Sequence[NumpyArray]) -> Lifted:
    """Step D: the numbers that the parts know, as the box's components."""
    lifted = Lifted(np.zeros(kept.n_open, np.int64), np.zeros(kept.closed.size, np.int64))
    known = np.concatenate([np.empty(0, np.int64), *numbers])
    kernels.take_largest(kept.link, known, *lifted)
    return lifted


def rim_numbers(
    groups: Sequence[Rims], whole: Scan, where: Sequence[tuple[int, int, int, int]]
) -> list[NumpyArray]:
    """Numbers of the labels that reach a face, 0 where they start elsewhere.

    Chunks are given as (position in `groups`, group, line, column).
    """
    found = []
    for at, group, line, column in where:
        ranks, planes = groups[at].ranks[line][column], groups[at].planes[line][column]
        before = whole.before[group][line]
        found.append(np.where(ranks > 0, before[planes] + ranks, 0))
    return found


def spread(kept: Kept, lifted: Lifted, numbers: NumpyArray | None) -> list[NumpyArray]:
    """Step D: final numbers of each part's components, given those of the open ones."""
    both = np.concatenate([lifted.open if numbers is None else numbers, lifted.closed[::-1]])
    # ~k counts from the end, and closed components are there in reverse.
    found = both[kept.link]
    return np.split(found, np.cumsum(kept.sizes)[:-1])


def table(
    ranks: NumpyArray,
    planes: NumpyArray,
    rim: NumpyArray,
    before: NumpyArray,
    numbers: NumpyArray,
    dtype: np.dtype[np.generic],
) -> NumpyArray:
    """Final numbers of a chunk's labels.

    `ranks`, `planes` and `rim` are the chunk's in `Ranked`, `before` its line's in `Scan`, and
    `numbers` the final ones of the labels in `rim`.
    """
    found = ranks.astype(dtype)
    found += np.repeat(before.astype(dtype), np.diff(np.append(planes, found.size)))
    found[rim - 1] = numbers
    return found


def relabel(block: Array, numbers: NumpyArray, problem: Problem) -> Array:
    """Step E: the chunk with its final numbers."""
    connectivity, axes, _ = problem.neighbours
    with limit_threads(1):
        labels, _ = implementation(block, "label").label(
            block, connectivity, background=problem.background, axes=axes, numbers=numbers
        )
    return labels
