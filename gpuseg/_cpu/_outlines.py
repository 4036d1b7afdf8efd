"""Outlines of labels, 64 pixels at a time: which pixels differ from a neighbour.

Every pair of neighbours is compared once and marks both pixels. A strip also looks at the rows
after it that have neighbours in it, and writes none but its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._bits import LAST, ONE, WORD, ZERO, differs, equals, equals_left, popcount
from gpuseg._cpu._jit import jit
from gpuseg._cpu._runs import advance

inline = jit(forceinline=True)


@inline
def _valid(width: int, word: int) -> Any:
    """Bits of a word that are pixels."""
    left = width - word * WORD
    return ~ZERO if left >= WORD else (ONE << np.uint64(left)) - ONE


@inline
def _place(row: int, shape: Any, at: Any) -> None:
    """Coordinates of a row."""
    for axis in range(shape.size - 1, -1, -1):
        at[axis] = row % shape[axis]
        row //= shape[axis]


@inline
def _has(at: Any, steps: Any, k: int, sign: int, shape: Any) -> bool:
    for axis in range(shape.size):
        x = at[axis] + sign * steps[k, axis]
        if x < 0 or x >= shape[axis]:
            return False
    return True


@inline
def _mark_left(image: Any, a: int, b: int, own_a: bool, own_b: bool, marks: Any) -> None:
    """Mark pixels of row a, and those one to the left in row b, where they differ."""
    for word in range(marks.shape[1]):
        unequal = ~equals_left(image, a, b, word) & _valid(image.shape[1], word)
        if word == 0:
            unequal &= ~ONE
        if own_a:
            marks[a, word] |= unequal
        if own_b:
            marks[b, word] |= unequal >> ONE
            if word > 0:
                marks[b, word - 1] |= unequal << LAST


@jit
def mark(
    image: Any,
    shape: Any,
    steps: Any,
    diagonal: Any,
    jumps: Any,
    reach: int,
    first: int,
    last: int,
    marks: Any,
) -> None:
    """Mark the pixels of rows `first` to `last` that differ from a neighbour.

    Rows and steps are those of `label.geometry`; neighbours are at most `reach` rows away.
    """
    at = np.empty(shape.size, np.int64)
    _place(first, shape, at)
    for row in range(first, min(last + reach, image.shape[0])):
        own = row < last
        if own:
            _mark_left(image, row, row, True, True, marks)
        for k in range(steps.shape[0]):
            other = row + jumps[k, 0]
            others = first <= other < last
            if not (own or others) or not _has(at, steps, k, 1, shape):
                continue
            for word in range(marks.shape[1]):
                unequal = ~equals(image, row, other, word) & _valid(image.shape[1], word)
                if own:
                    marks[row, word] |= unequal
                if others:
                    marks[other, word] |= unequal
            if diagonal[k]:
                _mark_left(image, row, other, own, others, marks)
                _mark_left(image, other, row, others, own, marks)
        advance(at, shape)


@inline
def _several(
    image: Any,
    background: Any,
    top: Any,
    shape: Any,
    steps: Any,
    jumps: Any,
    at: Any,
    row: int,
    x: int,
) -> bool:
    """Whether the greatest value around a pixel is other than the least of objects.

    That is how scikit-image tells whether objects touch; for the least, background counts as `top`.
    """
    high = low = image[row, x]
    for k in range(-1, 2 * steps.shape[0]):
        other = row
        if k >= 0:
            sign = 1 - 2 * (k % 2)
            if not _has(at, steps, k // 2, sign, shape):
                continue
            other = row + sign * jumps[k // 2, 0]
        for beside in range(max(x - 1, 0), min(x + 2, image.shape[1])):
            value = image[other, beside]
            high = max(high, value)
            low = min(low, top if value == background else value)
    return high != low


@jit
def choose(
    image: Any,
    background: Any,
    everything: bool,
    outer: bool,
    top: Any,
    shape: Any,
    steps: Any,
    jumps: Any,
    first: int,
    last: int,
    marks: Any,
) -> None:
    """Keep marks in objects or, if `outer`, in the background and where objects touch.

    `steps` lead to all neighbours, and `top` is the greatest value of the dtype; `everything`
    says that no pixel is background, and `background` is `top` then.
    """
    at = np.empty(shape.size, np.int64)
    _place(first, shape, at)
    for row in range(first, last):
        for word in range(marks.shape[1]):
            objects = ~ZERO if everything else differs(image, row, word, background)
            if not outer:
                marks[row, word] &= objects
                continue
            left = marks[row, word] & objects
            marks[row, word] &= ~objects
            while left:
                bit = left & (ZERO - left)
                x = word * WORD + popcount(bit - ONE)
                if _several(image, background, top, shape, steps, jumps, at, row, x):
                    marks[row, word] |= bit
                left ^= bit
        advance(at, shape)
