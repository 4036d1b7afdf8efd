"""How far pixels are apart: spacing in a common unit, so that squared distances are integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from gpuseg._shared.window import per_axis
from gpuseg.typing import Array

# Sums of squares up to here, and the quotients in which two of them meet, are exact in float64.
_EXACT = 1 << 52


class Metric(NamedTuple):
    """Squared distance: the sum over axes, the last one first, of (pixels * unit)^2 / divisor^2.

    Attributes
    ----------
    shape
        Three sides, ones in front of those that the array has.
    units
        Pixel size along each of them, times `divisor`: integers, unless `exact` is false.
    divisor
        What makes them integers; 1 for integer spacing.
    limit
        Largest squared distance, in units, that counts.
    exact
        Whether no rounding can occur before the square root.
    """

    shape: tuple[int, int, int]
    units: tuple[float, float, float]
    divisor: float
    limit: float
    exact: bool

    def of(self, shape: Sequence[int]) -> Metric:
        """Same distances in an array of another shape."""
        return self._replace(shape=_padded(shape))

    @property
    def dtype(self) -> np.dtype:
        """Integers that number all pixels, and threads of a GPU that have none as well."""
        return np.dtype(np.int32 if math.prod(self.shape) < 2**31 - 2**16 else np.int64)

    @property
    def reach(self) -> int:
        """Most pixels along an axis that are within the limit; at most the longest side."""
        longest = max(self.shape)
        steps = [unit for unit, size in zip(self.units, self.shape, strict=True) if size > 1]
        if self.limit == math.inf or not steps:
            return longest
        # Rounding may have cost one.
        return min(longest, math.floor(math.sqrt(self.limit) / min(steps) + 1e-9))

    @property
    def largest(self) -> float:
        """More than any squared distance, in units."""
        return sum((unit * size) ** 2 for unit, size in zip(self.units, self.shape, strict=True))


def check_spacing(spacing: float | Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Pixel size along each axis; 1 unless given.

    Raises
    ------
    ValueError
        If it is not positive, or not one number or one for each axis.
    """
    if spacing is None:
        return (1.0,) * ndim
    steps = [float(step) for step in per_axis(spacing, ndim, "spacing")]
    if len(steps) != ndim or not all(step > 0 and math.isfinite(step) for step in steps):
        raise ValueError(f"spacing must be positive, one or {ndim} numbers, got {spacing!r}")
    return tuple(steps)


def metric(shape: Sequence[int], spacing: Sequence[float], distance: float = math.inf) -> Metric:
    """Metric of an array of 1 to 3 axes, for distances up to `distance`.

    Examples
    --------
    >>> found = metric((30, 40), (2.0, 0.65))
    >>> found.units, found.divisor
    ((1.0, 40.0, 13.0), 20.0)
    """
    front = 3 - len(shape)
    units, divisor = _in_common_unit(spacing, shape)
    exact = divisor > 0
    divisor = divisor or 1.0
    padded = (1.0,) * front + units
    return Metric(_padded(shape), padded, divisor, _limit(distance, divisor), exact)  # type: ignore[arg-type]


def _padded(shape: Sequence[int]) -> tuple[int, int, int]:
    sides = (1,) * (3 - len(shape)) + tuple(shape)
    return sides  # type: ignore[return-value]


def _in_common_unit(
    spacing: Sequence[float], shape: Sequence[int]
) -> tuple[tuple[float, ...], float]:
    """Integers and what they are divided by; the spacing and 0 where they would be too large.

    A float is taken for the decimal that it is written as: 0.65 is 13 / 20.
    """
    fractions = [Fraction(repr(float(step))) for step in spacing]
    below = math.lcm(*(fraction.denominator for fraction in fractions))
    integers = [int(fraction * below) for fraction in fractions]
    above = math.gcd(*integers)
    for divided, divisor in ((1, float(below)), (above, below / above)):
        units = [integer // divided for integer in integers]
        if sum((unit * size) ** 2 for unit, size in zip(units, shape, strict=True)) < _EXACT // 2:
            return tuple(float(unit) for unit in units), divisor
    return tuple(spacing), 0.0


def _limit(distance: float, divisor: float) -> float:
    """Largest square whose root, divided, is at most `distance`."""
    limit = (distance * divisor) ** 2
    if not math.isfinite(limit):
        return math.inf
    while math.sqrt(limit) / divisor > distance:
        limit = math.nextafter(limit, 0.0)
    while math.sqrt(math.nextafter(limit, math.inf)) / divisor <= distance:
        limit = math.nextafter(limit, math.inf)
    return limit


def within(array: Array, inner: Sequence[tuple[int, int]] | None) -> Array:
    """Array without what was only looked at, which `inner` gives for each axis and end."""
    if inner is None:
        return array
    return array[tuple(slice(a, n - b) for (a, b), n in zip(inner, array.shape, strict=True))]
