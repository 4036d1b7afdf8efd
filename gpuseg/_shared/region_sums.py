"""From limbs to numbers: exact integers, and float64 rounded once."""

from __future__ import annotations

import numpy as np

from gpuseg._shared.region_rows import LIMB_BITS
from gpuseg.typing import NumpyArray

_LOW = np.int64((1 << LIMB_BITS) - 1)


def wrapped(limbs: NumpyArray) -> NumpyArray:
    """Sums (labels, limbs) of integers modulo 2^64, as int64."""
    result = limbs[:, 0].copy()
    if limbs.shape[1] > 1:
        result += limbs[:, 1] << LIMB_BITS
    return result


def exact(limbs: NumpyArray) -> NumpyArray:
    """Sums in units of the first limb, as Python integers."""
    result = limbs[:, 0].astype(object)
    for k in range(1, limbs.shape[1]):
        result += limbs[:, k].astype(object) << (LIMB_BITS * k)
    return result


def rounded(limbs: NumpyArray, first: int) -> NumpyArray:
    """Sums to the nearest float64, ties to even; `first` is the first limb's index.

    Infinite beyond the largest float64; gradual underflow may round a second time.
    """
    if limbs.shape[1] == 1:
        values = limbs[:, 0].astype(np.float64)
        return np.ldexp(values, LIMB_BITS * first) if first else values
    # Three zero limbs below, so that there always are a leading limb and two after it; two above
    # for what is carried.
    digits = np.zeros((limbs.shape[1] + 5, limbs.shape[0]), np.int64)
    digits[3:-2] = limbs.T
    _carry(digits)
    negative = digits[-1] < 0
    digits[:, negative] *= -1
    _carry(digits)
    lead = len(digits) - 1 - np.argmax(digits[:0:-1] != 0, axis=0)
    lead = np.maximum(lead, 3)
    column = np.arange(digits.shape[1])
    top, middle, bottom = (digits[lead - k, column].astype(np.uint64) for k in range(3))
    bits = np.frexp(top.astype(np.float64))[1]
    up = (LIMB_BITS - bits).astype(np.uint64)
    down = np.uint64(LIMB_BITS) - up
    mantissa = (top << (up + np.uint64(LIMB_BITS))) | (middle << up) | (bottom >> down)
    # Whether anything is left below decides ties: it is kept in the last bit, which is far below
    # the 53 that stay.
    below = np.cumsum(digits != 0, axis=0)[lead - 3, column] > 0
    rest = (bottom & ((np.uint64(1) << down) - np.uint64(1))) != 0
    mantissa |= (below | rest).astype(np.uint64)
    scale = LIMB_BITS * (first + lead - 3 - 1) - up.astype(np.int64)
    with np.errstate(over="ignore", under="ignore"):
        magnitude = np.ldexp(mantissa.astype(np.float64), scale)
    return np.where(negative, -magnitude, magnitude)


def _carry(digits: NumpyArray) -> None:
    for k in range(len(digits) - 1):
        over = digits[k] >> LIMB_BITS
        digits[k] &= _LOW
        digits[k + 1] += over


def central(
    count: NumpyArray, sums: tuple[NumpyArray, NumpyArray, NumpyArray], largest: NumpyArray
) -> NumpyArray:
    """Sum of (a - mean a) (b - mean b) from the limbs of the sums of a, of b and of a b.

    Integers only. Everything is shifted by the floors of the means first, modulo 2^64; then at
    most `count` is left to subtract, so that nothing cancels. `largest` bounds each shifted
    product; where `count * largest` leaves int64, Python's integers take over.
    """
    a, b, product = sums
    with np.errstate(over="ignore"):
        result = _shifted(count, wrapped(a), wrapped(b), wrapped(product))
    wide = max(a.shape[1], b.shape[1]) > 1
    risky = np.full(count.size, True) if wide else count.astype(np.float64) * largest > 2.0**62
    if risky.any():
        whole = (exact(limbs[risky]) for limbs in sums)
        result[risky] = _shifted(count[risky].astype(object), *whole)
    return result


def _shifted(count: NumpyArray, a: NumpyArray, b: NumpyArray, product: NumpyArray) -> NumpyArray:
    c, d = a // count, b // count
    product = product - d * a - c * b + c * d * count
    a, b = a - c * count, b - d * count
    return product.astype(np.float64) - a.astype(np.float64) * (
        b.astype(np.float64) / count.astype(np.float64)
    )


def variance(
    count: NumpyArray, total: NumpyArray, square: NumpyArray, firsts: tuple[int, int]
) -> NumpyArray:
    """Population variance from the limbs of sums of any width and first limb, rounded once."""
    s, q = exact(total), exact(square)
    n = count.astype(object)
    shifts = 2 * LIMB_BITS * firsts[0], LIMB_BITS * firsts[1]
    unit = min(shifts)
    spread = n * (q << (shifts[1] - unit)) - (s * s << (shifts[0] - unit))
    return np.array(
        [_ratio(int(a), int(b) ** 2, unit) for a, b in zip(spread, n, strict=True)], np.float64
    )


def _ratio(numerator: int, denominator: int, shift: int) -> float:
    if shift < 0:
        denominator <<= -shift
    else:
        numerator <<= shift
    try:
        return numerator / denominator
    except OverflowError:
        return float("inf")
