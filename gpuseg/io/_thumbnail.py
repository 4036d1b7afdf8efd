"""A small picture of a slide: averages over areas, summed up tile by tile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gpuseg._backend import threads
from gpuseg.io._levels import Level
from gpuseg.io._reader import Tile
from gpuseg.typing import NumpyArray

# What shows where a tile could not be read.
_UNREADABLE = 128


def choose(levels: Sequence[Level], max_size: int) -> tuple[int, tuple[int, int]]:
    """Level to read for a thumbnail, and its height and width.

    Twice the size at least: averages over one or two pixels in turn look jagged.

    Examples
    --------
    >>> levels = [Level((s, 2 * s), 1.0, None, (64, 64)) for s in (4000, 1000, 250)]
    >>> choose(levels, 500)
    (1, (250, 500))
    """
    height, width = levels[0].shape
    scale = min(1.0, max_size / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    fine = [
        index
        for index, level in enumerate(levels)
        if level.shape[0] >= 2 * size[0] and level.shape[1] >= 2 * size[1]
    ]
    return (fine[-1] if fine else 0), size


def average(
    shape: tuple[int, int],
    size: tuple[int, int],
    parts: Sequence[Callable[[], Iterable[Tile]]],
) -> NumpyArray:
    """uint8 RGB (*size, 3): means of the pixels that `parts` yield, read in threads."""
    cells = [np.arange(length) * size[axis] // length for axis, length in enumerate(shape)]
    sums = np.zeros((*size, 3), np.uint64)
    lock = threading.Lock()

    def add(part: Callable[[], Iterable[Tile]]) -> None:
        for tile in part():
            pixels = tile.pixels
            if pixels is None:
                pixels = np.full((tile.height, tile.width, 3), _UNREADABLE, np.uint8)
            else:
                pixels = to_rgb8(pixels)
            rows = cells[0][tile.top : tile.top + tile.height]
            columns = cells[1][tile.left : tile.left + tile.width]
            first_rows, first_columns = _starts(rows), _starts(columns)
            # Rows first: their sums run along contiguous memory and leave little for the columns.
            partial = np.add.reduceat(pixels, first_rows, axis=0, dtype=np.uint32)
            partial = np.add.reduceat(partial, first_columns, axis=1, dtype=np.uint64)
            with lock:
                sums[np.ix_(rows[first_rows], columns[first_columns])] += partial

    with ThreadPoolExecutor(threads()) as pool:
        for _ in pool.map(add, parts):
            pass
    counts = [np.bincount(each, minlength=n) for each, n in zip(cells, size, strict=True)]
    area = (counts[0][:, None] * counts[1][None, :])[..., None].astype(np.uint64)
    means: NumpyArray = ((sums + area // 2) // area).astype(np.uint8)
    return means


def _starts(cells: NumpyArray) -> NumpyArray:
    """Where a new value begins in an ascending array."""
    return np.concatenate(([0], np.flatnonzero(np.diff(cells)) + 1))


def to_rgb8(pixels: NumpyArray) -> NumpyArray:
    """First three channels as uint8 (one or two: the first as grey).

    Floats are taken as 0 to 1, integers as 0 to their maximum.

    Examples
    --------
    >>> to_rgb8(np.array([[[0.0, 0.5, 1.0]]])).tolist()
    [[[0, 128, 255]]]
    """
    if pixels.shape[2] < 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    pixels = pixels[..., :3]
    if pixels.dtype == np.uint8:
        return pixels
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    # Clipped before anything that could overflow; NaN is black.
    shares = np.clip(np.nan_to_num(pixels, nan=0.0), 0, top) / top
    rgb: NumpyArray = (shares * 255 + 0.5).astype(np.uint8)
    return rgb
