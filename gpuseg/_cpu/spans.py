"""Spans of regions within one tile of a box: cut them out, paint them into a mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg.typing import NumpyArray


def by_row(spans: NumpyArray, height: int) -> tuple[NumpyArray, NumpyArray]:
    """Spans (region, row, start, stop) sorted by row and start; where those of each row begin."""
    sorted_spans = spans[np.lexsort((spans[:, 2], spans[:, 1]))]
    return sorted_spans, np.searchsorted(sorted_spans[:, 1], np.arange(height + 1))


@jit
def clip(spans: Any, first: Any, top: int, left: int, height: int, width: int) -> Any:
    """Parts of the spans of `by_row` within a tile, counted from the tile's corner.

    Examples
    --------
    >>> spans, first = by_row(np.array([[0, 1, 2, 9], [1, 3, 0, 4]], np.int32), 8)
    >>> clip(spans, first, 0, 4, 4, 4).tolist()
    [[0, 1, 0, 4]]
    """
    begin, end = first[top], first[top + height]
    found = np.empty((end - begin, 4), np.int32)
    count = 0
    for k in range(begin, end):
        start = max(spans[k, 2] - left, 0)
        stop = min(spans[k, 3] - left, width)
        if start < stop:
            found[count, 0] = spans[k, 0]
            found[count, 1] = spans[k, 1] - top
            found[count, 2] = start
            found[count, 3] = stop
            count += 1
    return found[:count]


@jit
def met(spans: Any, first: Any, parts: Any) -> Any:
    """Which parts (top, left, height, width) of a box any of the spans of `by_row` meets."""
    found = np.zeros(len(parts), np.bool_)
    for number in range(len(parts)):
        top, left, height, width = parts[number]
        for k in range(first[top], first[top + height]):
            if spans[k, 2] < left + width and spans[k, 3] > left:
                found[number] = True
                break
    return found


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
