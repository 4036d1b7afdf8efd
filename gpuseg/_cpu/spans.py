"""Spans of regions within one tile of a box: cut them out, paint them into a mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg.typing import NumpyArray


def by_row(spans: NumpyArray, height: int) -> tuple[NumpyArray, NumpyArray]:
    """Spans (region, row, start, stop) sorted by row, and where the spans of each row begin."""
    order = np.argsort(spans[:, 1], kind="stable")
    sorted_spans = spans[order]
    return sorted_spans, np.searchsorted(sorted_spans[:, 1], np.arange(height + 1))


def clip(
    spans: NumpyArray, first: NumpyArray, top: int, left: int, height: int, width: int
) -> NumpyArray:
    """Parts of the spans of `by_row` within a tile, counted from the tile's corner.

    Examples
    --------
    >>> spans, first = by_row(np.array([[0, 1, 2, 9], [1, 3, 0, 4]], np.int32), 8)
    >>> clip(spans, first, 0, 4, 4, 4).tolist()
    [[0, 1, 0, 4]]
    """
    return _clip(spans[first[top] : first[top + height]], top, left, width)


@jit
def _clip(spans: Any, top: int, left: int, width: int) -> Any:
    found = np.empty((len(spans), 4), np.int32)
    count = 0
    for k in range(len(spans)):
        start = max(spans[k, 2] - left, 0)
        stop = min(spans[k, 3] - left, width)
        if start < stop:
            found[count, 0] = spans[k, 0]
            found[count, 1] = spans[k, 1] - top
            found[count, 2] = start
            found[count, 3] = stop
            count += 1
    return found[:count]


def union(spans: NumpyArray, number: int) -> NumpyArray:
    """Spans of the pixels in any region, as region `number`; `spans` must be sorted by row.

    Examples
    --------
    >>> union(np.array([[0, 1, 0, 4], [1, 1, 2, 9], [0, 3, 1, 2]], np.int32), 2).tolist()
    [[2, 1, 0, 9], [2, 3, 1, 2]]
    """
    return _union(spans[:, 1:].copy(), number)


@jit
def _union(sides: Any, number: int) -> Any:
    found = np.empty((len(sides), 4), np.int32)
    count = 0
    for k in range(len(sides)):
        # Few regions share a row, and they come in about the same order in each.
        row, start, stop, j = sides[k, 0], sides[k, 1], sides[k, 2], k
        while j > 0 and sides[j - 1, 0] == row and sides[j - 1, 1] > start:
            sides[j] = sides[j - 1]
            j -= 1
        sides[j, 0], sides[j, 1], sides[j, 2] = row, start, stop
    for k in range(len(sides)):
        row, start, stop = sides[k, 0], sides[k, 1], sides[k, 2]
        if count and found[count - 1, 1] == row and start <= found[count - 1, 3]:
            found[count - 1, 3] = max(found[count - 1, 3], stop)
        else:
            found[count, 0], found[count, 1] = number, row
            found[count, 2], found[count, 3] = start, stop
            count += 1
    return found[:count]


@jit
def area(spans: Any) -> int:
    """Pixels of all spans (…, start, stop), each counted as often as it is there."""
    total = 0
    for k in range(len(spans)):
        total += spans[k, 3] - spans[k, 2]
    return total


def lengths(spans: NumpyArray, n_regions: int) -> NumpyArray:
    """Pixels of each region (int64).

    Examples
    --------
    >>> lengths(np.array([[1, 0, 2, 9], [1, 3, 0, 4]]), 3).tolist()
    [0, 11, 0]
    """
    found = np.zeros(n_regions, np.int64)
    np.add.at(found, spans[:, 0], spans[:, 3] - spans[:, 2])
    return found


def paint(spans: NumpyArray, height: int, width: int) -> NumpyArray:
    """Mask (height, width) of the pixels in any region.

    Examples
    --------
    >>> paint(np.array([[0, 0, 0, 2], [1, 0, 1, 3]]), 1, 4).astype(int).tolist()
    [[1, 1, 1, 0]]
    """
    mask = np.zeros((height, width), np.bool_)
    _paint(spans, mask)
    return mask


@jit
def _paint(spans: Any, mask: Any) -> None:
    for k in range(len(spans)):
        mask[spans[k, 1], spans[k, 2] : spans[k, 3]] = True
