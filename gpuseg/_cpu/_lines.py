"""Symmetric filters along lines, in SciPy's order of additions, so with its results.

SciPy takes lines one by one; here rows are added to rows, which the compiler turns into vectors.
The outermost weights come first, as there: rounding depends on it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg.typing import NumpyArray

# Doubles that are summed at a time; they and what is added stay in the first-level cache.
_BLOCK = 1024
# Columns whose boxes are summed together; fewer were slower.
COLUMNS = 64

PAD = {"reflect": "symmetric", "nearest": "edge", "mirror": "reflect", "wrap": "wrap"}


@lru_cache(maxsize=64)
def positions(size: int, radius: int, mode: str) -> NumpyArray:
    """Where along an axis to read for positions -radius to size + radius - 1; -1: nowhere."""
    inside = np.arange(size)
    found: NumpyArray
    if mode == "constant":
        found = np.pad(inside, radius, constant_values=-1)
    else:
        found = np.pad(inside, radius, mode=PAD[mode])  # type: ignore[call-overload]
    found.flags.writeable = False
    return found


@jit
def along_rows(source: Any, weights: Any, table: Any, cval: float, out: Any) -> None:
    """Filter the middle axis of three."""
    outer, size, inner = source.shape
    radius = weights.size - 1
    total = np.empty(_BLOCK, np.float64)
    for o in range(outer):
        for i in range(size):
            for first in range(0, inner, _BLOCK):
                n = min(_BLOCK, inner - first)
                _sum_rows(source[o], weights, table, cval, i + radius, first, n, total)
                for x in range(n):
                    out[o, i, first + x] = total[x]


@jit
def along_both(
    source: Any,
    weights: Any,
    table: Any,
    row_weights: Any,
    row_table: Any,
    cval: float,
    out: Any,
) -> None:
    """Filter the middle axis of three, then the last one, whose rows stay in the cache."""
    outer, size, inner = source.shape
    radius, row_radius = weights.size - 1, row_weights.size - 1
    total = np.empty(inner, np.float64)
    row = np.empty(inner, out.dtype)
    line = np.empty(inner + 2 * row_radius, np.float64)
    for o in range(outer):
        for i in range(size):
            _sum_rows(source[o], weights, table, cval, i + radius, 0, inner, total)
            # SciPy rounds to the type of the image after each axis.
            for x in range(inner):
                row[x] = total[x]
            for x in range(row_radius):
                at = row_table[x]
                line[x] = row[at] if at >= 0 else cval
                at = row_table[inner + row_radius + x]
                line[inner + row_radius + x] = row[at] if at >= 0 else cval
            line[row_radius : row_radius + inner] = row
            middle = line[row_radius:]
            for x in range(inner):
                total[x] = middle[x] * row_weights[0]
            for k in range(row_radius, 0, -1):
                weight = row_weights[k]
                before, after = line[row_radius - k :], line[row_radius + k :]
                for x in range(inner):
                    total[x] += (before[x] + after[x]) * weight
            for x in range(inner):
                out[o, i, x] = total[x]


@jit(forceinline=True)
def _sum_rows(
    plane: Any, weights: Any, table: Any, cval: float, at: int, first: int, n: int, total: Any
) -> None:
    """Weighted sum of the rows around position `at` of the table, from column `first` on."""
    # Slices, as the compiler makes no vectors of an index that it cannot prove to be positive.
    here = plane[table[at], first:]
    for x in range(n):
        total[x] = here[x] * weights[0]
    for k in range(weights.size - 1, 0, -1):
        weight, one, other = weights[k], table[at - k], table[at + k]
        if one >= 0 and other >= 0:
            before, after = plane[one, first:], plane[other, first:]
            for x in range(n):
                total[x] += (np.float64(before[x]) + np.float64(after[x])) * weight
            continue
        for x in range(n):
            left = np.float64(plane[one, first + x]) if one >= 0 else cval
            right = np.float64(plane[other, first + x]) if other >= 0 else cval
            total[x] += (left + right) * weight


@jit
def box_rows(
    source: Any, length: int, table: Any, cval: float, start: int, stop: int, out: Any
) -> None:
    """Sums of `length` rows along the middle axis of three, by sums of 2, 4, 8 of them.

    Of columns `start` to `stop` alone.
    A running sum is as fast for 11 neighbours and faster by a half for 101, but its rounding
    depends on where the line began.
    """
    outer, size, _ = source.shape
    here = np.empty((table.size, COLUMNS), np.float64)
    total = np.empty((size, COLUMNS), np.float64)
    for o in range(outer):
        for first in range(start, stop, COLUMNS):
            n = min(COLUMNS, stop - first)
            for i in range(table.size):
                at = table[i]
                if at >= 0:
                    row = source[o, at, first:]
                    for x in range(n):
                        here[i, x] = row[x]
                else:
                    here[i, :n] = cval
            done, width, rows = 0, 1, table.size
            while True:
                if length & width:
                    for i in range(size):
                        mine, ahead = total[i], here[i + done]
                        if done:
                            for x in range(n):
                                mine[x] += ahead[x]
                        else:
                            for x in range(n):
                                mine[x] = ahead[x]
                    done += width
                if done == length:
                    break
                rows -= width
                for i in range(rows):
                    mine, ahead = here[i], here[i + width]
                    for x in range(n):
                        mine[x] += ahead[x]
                width *= 2
            for i in range(size):
                row, mine = out[o, i, first:], total[i]
                for x in range(n):
                    row[x] = mine[x]


@jit
def box_columns(
    source: Any, length: int, table: Any, cval: float, start: int, stop: int, out: Any
) -> None:
    """Sums of `length` neighbours in lines `start` to `stop`, in the same order."""
    size = source.shape[1]
    here, there = np.empty(table.size, np.float64), np.empty(table.size, np.float64)
    total = np.empty(size, np.float64)
    for line in range(start, stop):
        for x in range(table.size):
            at = table[x]
            here[x] = source[line, at] if at >= 0 else cval
        done, width, left = 0, 1, table.size
        while True:
            if length & width:
                if done:
                    ahead = here[done:]
                    for x in range(size):
                        total[x] += ahead[x]
                else:
                    for x in range(size):
                        total[x] = here[x]
                done += width
            if done == length:
                break
            left -= width
            ahead = here[width:]
            for x in range(left):
                there[x] = here[x] + ahead[x]
            here, there = there, here
            width *= 2
        for x in range(size):
            out[line, x] = total[x]
