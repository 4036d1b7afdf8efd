"""What the pixels of a run add to their label's row: sums and extrema of one channel.

Narrow kernels take 8- and 16-bit integers, whose sums over a run fit int64. Wide kernels take
64-bit words (float64 bits, int64 or uint64) and add each value exactly to limbs of 32 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._cpu._regionprops_runs import put, run_at
from gpuseg._shared.region_rows import HALF_MANTISSA, LIMB_BITS, MINUS_INFINITY, NAN, PLUS_INFINITY
from gpuseg.typing import NumpyArray

FLOAT, SIGNED, UNSIGNED = 0, 1, 2

_LOW = np.uint64((1 << LIMB_BITS) - 1)
_BITS = np.uint64(LIMB_BITS)
_LOG2 = np.int64(5)
_SIGN = np.uint64(1 << 63)
_FRACTION = np.uint64((1 << 52) - 1)
_IMPLIED = np.uint64(1 << 52)
_HALF = np.uint64(HALF_MANTISSA)
# Exponent of a float64's last bit, less its biased exponent.
_LAST_BIT = np.int64(-1075)
_NAN, _PLUS, _MINUS = np.int64(NAN), np.int64(PLUS_INFINITY), np.int64(MINUS_INFINITY)


@jit
def narrow_sums(
    runs: NumpyArray,
    n: int,
    image: NumpyArray,
    acc: NumpyArray,
    total: int,
    square: int,
    width: int,
) -> None:
    """Sum and sum of squares; a column below 0 is not wanted. `image` is (rows, columns)."""
    for i in range(n):
        r, a, b, slot = run_at(runs, i)
        if total >= 0:
            s = np.int64(0)
            for x in range(a, b):
                s += np.int64(image[r, x])
            acc[slot, total] += s
        if square >= 0:
            q = np.int64(0)
            for x in range(a, b):
                q += np.int64(image[r, x]) * np.int64(image[r, x])
            put(acc, slot, square, width, q)


@jit
def narrow_weighted(
    runs: NumpyArray,
    n: int,
    image: NumpyArray,
    places: NumpyArray,
    x0: int,
    acc: NumpyArray,
    column: int,
    width: int,
) -> None:
    """Sums of value times coordinate, one after the other."""
    leading = places.shape[1]
    for i in range(n):
        r, a, b, slot = run_at(runs, i)
        s, t = np.int64(0), np.int64(0)
        for x in range(a, b):
            v = np.int64(image[r, x])
            s += v
            t += v * np.int64(x)
        for axis in range(leading):
            put(acc, slot, column + axis * width, width, places[r, axis] * s)
        put(acc, slot, column + leading * width, width, t + x0 * s)


@jit
def narrow_extrema(
    runs: NumpyArray, n: int, image: NumpyArray, acc: NumpyArray, least: int, greatest: int
) -> None:
    """Least and greatest values."""
    for i in range(n):
        r, a, b, slot = run_at(runs, i)
        low = high = image[r, a]
        for x in range(a, b):
            v = image[r, x]
            low = v if v < low else low
            high = v if v > high else high
        acc[slot, least] = min(acc[slot, least], np.int64(low))
        acc[slot, greatest] = max(acc[slot, greatest], np.int64(high))


@jit
def narrow_positions(
    runs: NumpyArray,
    n: int,
    image: NumpyArray,
    base: NumpyArray,
    acc: NumpyArray,
    least: int,
    greatest: int,
) -> None:
    """Least and greatest values, each followed by its first position.

    `base` is the index, in the whole image, of each row's first pixel.
    """
    for i in range(n):
        r, a, b, slot = run_at(runs, i)
        row = acc[slot]
        low = high = np.int64(image[r, a])
        at_low = at_high = a
        for x in range(a, b):
            v = np.int64(image[r, x])
            if v < low:
                low, at_low = v, x
            if v > high:
                high, at_high = v, x
        merge_least(row, least, 2, low, base[r] + np.int64(at_low))
        merge_greatest(row, greatest, 2, high, base[r] + np.int64(at_high))


@jit(inline="always")
def merge_least(row: NumpyArray, column: int, stride: int, value: Any, at: Any) -> None:
    """Take the smaller value, and of equal ones the first."""
    if stride and (value < row[column] or (value == row[column] and at < row[column + 1])):
        row[column + 1] = at
    row[column] = min(row[column], value)


@jit(inline="always")
def merge_greatest(row: NumpyArray, column: int, stride: int, value: Any, at: Any) -> None:
    """Take the greater value, and of equal ones the first."""
    if stride and (value > row[column] or (value == row[column] and at < row[column + 1])):
        row[column + 1] = at
    row[column] = max(row[column], value)


@jit
def exponents(words: NumpyArray) -> Any:
    """Least and greatest exponent of the last bits of finite values other than 0."""
    low, high = np.uint64(2047), np.uint64(0)
    for r in range(words.shape[0]):
        for x in range(words.shape[1]):
            w = words[r, x] & ~_SIGN
            e = max(w >> np.uint64(52), np.uint64(1))
            if w != 0 and e < 2047:
                low = min(low, e)
                high = max(high, e)
    if high == 0:
        return np.int64(0), np.int64(0)
    return np.int64(low) + _LAST_BIT, np.int64(high) + _LAST_BIT


@jit(inline="always")
def add(row: NumpyArray, column: int, magnitude: Any, exponent: Any, sign: Any) -> None:
    """Add `sign * magnitude * 2**exponent` to limbs; `exponent` counts from the first one's."""
    k = column + (exponent >> _LOG2)
    shift = np.uint64(exponent & np.int64(LIMB_BITS - 1))
    low = (magnitude & _LOW) << shift
    high = (magnitude >> _BITS) << shift
    row[k] += sign * np.int64(low & _LOW)
    row[k + 1] += sign * np.int64((low >> _BITS) + (high & _LOW))
    row[k + 2] += sign * np.int64(high >> _BITS)


@jit(inline="always")
def split(word: Any, kind: int) -> Any:
    """Sign, magnitude, exponent and size of the low part of a value; magnitude 0 if not finite."""
    if kind == 0:
        biased = (word >> np.uint64(52)) & np.uint64(2047)
        magnitude = word & _FRACTION
        if biased == 2047:
            magnitude = np.uint64(0)
        elif biased > 0:
            magnitude |= _IMPLIED
        sign = np.int64(-1) if word & _SIGN else np.int64(1)
        return sign, magnitude, np.int64(max(biased, np.uint64(1))) + _LAST_BIT, _HALF
    if kind == 1 and word & _SIGN:
        return np.int64(-1), ~word + np.uint64(1), np.int64(0), _BITS
    return np.int64(1), word, np.int64(0), _BITS


@jit
def wide_sum(
    runs: NumpyArray, n: int, words: NumpyArray, kind: int, acc: NumpyArray, column: int, first: int
) -> None:
    """Sum in limbs; `first` is the exponent of the first one.

    What neighbours add to the same three limbs waits in registers: 2.5 ns a pixel, 4.5 without.
    """
    for i in range(n):
        line, row = words[runs[0, i]], acc[runs[3, i]]
        k = np.int64(column)
        a, b, c = np.int64(0), np.int64(0), np.int64(0)
        for x in range(runs[1, i], runs[2, i]):
            sign, m, e, _ = split(line[x], kind)
            if m == 0:
                continue
            at = column + ((e - first) >> _LOG2)
            if at != k:
                row[k] += a
                row[k + 1] += b
                row[k + 2] += c
                a, b, c = np.int64(0), np.int64(0), np.int64(0)
                k = at
            shift = np.uint64((e - first) & np.int64(LIMB_BITS - 1))
            low = (m & _LOW) << shift
            high = (m >> _BITS) << shift
            a += sign * np.int64(low & _LOW)
            b += sign * np.int64((low >> _BITS) + (high & _LOW))
            c += sign * np.int64(high >> _BITS)
        row[k] += a
        row[k + 1] += b
        row[k + 2] += c


@jit
def wide_square(
    runs: NumpyArray, n: int, words: NumpyArray, kind: int, acc: NumpyArray, column: int, first: int
) -> None:
    """Sum of squares in limbs; `first` is the exponent of the first one."""
    for i in range(n):
        line, row = words[runs[0, i]], acc[runs[3, i]]
        for x in range(runs[1, i], runs[2, i]):
            _, m, e, half = split(line[x], kind)
            if m == 0:
                continue
            low, high = m & ((np.uint64(1) << half) - np.uint64(1)), m >> half
            at = 2 * e - first
            add(row, column, low * low, at, np.int64(1))
            # Twice the product may need a 65th bit, so it is added twice.
            add(row, column, low * high, at + np.int64(half), np.int64(1))
            add(row, column, low * high, at + np.int64(half), np.int64(1))
            add(row, column, high * high, at + 2 * np.int64(half), np.int64(1))


@jit
def wide_weighted(
    runs: NumpyArray,
    n: int,
    words: NumpyArray,
    kind: int,
    places: NumpyArray,
    x0: int,
    acc: NumpyArray,
    column: int,
    width: int,
    first: int,
) -> None:
    """Sums of value times coordinate in limbs, one after the other."""
    leading = places.shape[1]
    for i in range(n):
        r = runs[0, i]
        line, row = words[r], acc[runs[3, i]]
        for x in range(runs[1, i], runs[2, i]):
            sign, m, e, half = split(line[x], kind)
            if m == 0:
                continue
            low, high = m & ((np.uint64(1) << half) - np.uint64(1)), m >> half
            for axis in range(leading + 1):
                p = np.uint64(places[r, axis] if axis < leading else x0 + x)
                add(row, column + axis * width, low * p, e - first, sign)
                add(row, column + axis * width, high * p, e - first + np.int64(half), sign)


@jit(inline="always")
def ordered(word: Any, kind: int) -> Any:
    """The int64 that sorts as the value does; both zeros are one."""
    key = np.int64(word)
    if kind == 0:
        if word & ~_SIGN == 0:
            return np.int64(0)
        return key if key >= 0 else key ^ np.int64(0x7FFFFFFFFFFFFFFF)
    return key if kind == 1 else np.int64(word ^ _SIGN)


@jit
def wide_extrema(
    runs: NumpyArray,
    n: int,
    words: NumpyArray,
    kind: int,
    base: NumpyArray,
    acc: NumpyArray,
    least: int,
    greatest: int,
    stride: int,
) -> None:
    """As `narrow_positions` with `stride` 2, as `narrow_extrema` with 0; NaN takes no part."""
    for i in range(n):
        r = runs[0, i]
        line, row = words[r], acc[runs[3, i]]
        some = False
        low, high, at_low, at_high = np.int64(0), np.int64(0), 0, 0
        for x in range(runs[1, i], runs[2, i]):
            if kind == 0 and (line[x] & ~_SIGN) >> np.uint64(52) == 2047 and line[x] & _FRACTION:
                continue
            key = ordered(line[x], kind)
            if not some or key < low:
                low, at_low = key, x
            if not some or key > high:
                high, at_high = key, x
            some = True
        if some:
            merge_least(row, least, stride, low, base[r] + np.int64(at_low))
            merge_greatest(row, greatest, stride, high, base[r] + np.int64(at_high))


@jit
def flags(runs: NumpyArray, n: int, words: NumpyArray, acc: NumpyArray, column: int) -> None:
    """Note NaN and infinities."""
    for i in range(n):
        line, row = words[runs[0, i]], acc[runs[3, i]]
        for x in range(runs[1, i], runs[2, i]):
            w = line[x]
            if (w & ~_SIGN) >> np.uint64(52) == 2047:
                if w & _FRACTION:
                    row[column] |= _NAN
                else:
                    row[column] |= _MINUS if w & _SIGN else _PLUS


@jit
def carry(table: NumpyArray, column: int, width: int) -> None:
    """Bring all limbs but the last into [0, 2^32), so that 2^31 more can be added."""
    for i in range(table.shape[0]):
        for c in range(column, column + width - 1):
            over = table[i, c] >> np.int64(LIMB_BITS)
            table[i, c] -= over << np.int64(LIMB_BITS)
            table[i, c + 1] += over
