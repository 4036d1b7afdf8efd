"""Erosion of masks, 64 pixels to a word.

A row of a footprint is a few runs of pixels. Whether a run of n pixels is all set takes log2(n)
shifts of words, and every run of every row is one more AND.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg.typing import NumpyArray

_ZERO, _ONES = np.uint64(0), np.uint64(0xFFFFFFFFFFFFFFFF)


def pack(mask: NumpyArray) -> NumpyArray:
    """Words of each row of a 2-D mask; bits beyond the end are 0."""
    rows, width = mask.shape
    words = np.zeros((rows, -(-width // 64)), "<u8")
    packed = np.packbits(mask, axis=1, bitorder="little")
    words.view(np.uint8)[:, : packed.shape[1]] = packed
    return words


def unpack(words: NumpyArray, width: int) -> NumpyArray:
    """Mask of rows of this width."""
    return np.unpackbits(words.view(np.uint8), axis=1, count=width, bitorder="little").view(bool)


def runs(footprint: NumpyArray) -> NumpyArray:
    """Runs of set pixels along the last axis: offset along each other axis, first and last.

    Offsets are from the middle. Runs of one row follow each other.
    """
    return _runs(footprint.shape, footprint.tobytes())


@lru_cache(maxsize=64)
def _runs(shape: tuple[int, ...], pixels: bytes) -> NumpyArray:
    footprint = np.frombuffer(pixels, bool).reshape(shape)
    edges = np.diff(np.pad(footprint, [(0, 0)] * (footprint.ndim - 1) + [(1, 1)]).astype(np.int8))
    starts, stops = np.argwhere(edges == 1), np.argwhere(edges == -1)
    middle = np.array(footprint.shape) // 2
    return np.concatenate([starts - middle, stops[:, -1:] - 1 - middle[-1]], axis=1)


@jit
def erode(
    source: Any, width: int, shape: Any, runs: Any, outside: bool, inverse: bool, out: Any
) -> None:
    """Words of pixels all of whose neighbours are set.

    `shape` is that of the axes whose product is the number of rows. With `inverse` it is the
    complement of the source that is eroded, and of the result that is written: a dilation.
    """
    rows, words = source.shape
    above = shape.size
    far = 0
    for r in range(runs.shape[0]):
        far = max(far, abs(runs[r, above]), abs(runs[r, above + 1]))
    pad = far // 64 + 1
    line = np.empty(words + 2 * pad + 1, np.uint64)
    work = np.empty(line.size, np.uint64)
    flip = _ONES if inverse else _ZERO
    border = _ONES if outside != inverse else _ZERO
    at = np.zeros(above, np.int64)
    for row in range(rows):
        rest = row
        for axis in range(above - 1, -1, -1):
            at[axis] = rest % shape[axis]
            rest //= shape[axis]
        for w in range(words):
            out[row, w] = _ONES
        loaded = -1
        for r in range(runs.shape[0]):
            other = _row(at, shape, runs, r)
            if other < 0:
                if not border:
                    for w in range(words):
                        out[row, w] = _ZERO
                    break
                continue
            if other != loaded:
                _load(source[other], width, flip, border, pad, line)
                loaded = other
            first, last = runs[r, above], runs[r, above + 1]
            _and_run(line, work, last - first + 1)
            _and_shifted(work, pad, first, out[row])
        if inverse:
            for w in range(words):
                out[row, w] = ~out[row, w]


@jit(forceinline=True)
def _row(at: Any, shape: Any, runs: Any, r: int) -> int:
    """Row of a run of the footprint about the row with the coordinates `at`; -1 outside."""
    other = 0
    for axis in range(shape.size):
        place = at[axis] + runs[r, axis]
        if place < 0 or place >= shape[axis]:
            return -1
        other = other * shape[axis] + place
    return other


@jit(forceinline=True)
def _load(row: Any, width: int, flip: Any, border: Any, pad: int, line: Any) -> None:
    """Copy a row between words of what is outside, which also fills the last word."""
    words = row.size
    for w in range(pad):
        line[w] = border
    for w in range(words):
        line[pad + w] = row[w] ^ flip
    tail = np.uint64(width % 64)
    if tail:
        kept = (np.uint64(1) << tail) - np.uint64(1)
        line[pad + words - 1] = (line[pad + words - 1] & kept) | (border & ~kept)
    for w in range(pad + words, line.size):
        line[w] = border


@jit(forceinline=True)
def _and_run(line: Any, work: Any, length: int) -> None:
    """Whether the `length` pixels from each one on are all set; wrong only in the last words."""
    for w in range(line.size):
        work[w] = line[w]
    done = 1
    while done < length:
        step = min(done, length - done)
        skip, shift = step // 64, np.uint64(step % 64)
        back = np.uint64(64) - shift
        for w in range(work.size - skip - 1):
            ahead = work[w + skip] >> shift
            if shift:
                ahead |= work[w + skip + 1] << back
            work[w] &= ahead
        done += step


@jit(forceinline=True)
def _and_shifted(work: Any, pad: int, first: int, out: Any) -> None:
    """AND each pixel with the one `first` pixels to its right."""
    skip, shift = first // 64, np.uint64(first % 64)
    back = np.uint64(64) - shift
    for w in range(out.size):
        ahead = work[pad + w + skip] >> shift
        if shift:
            ahead |= work[pad + w + skip + 1] << back
        out[w] &= ahead
