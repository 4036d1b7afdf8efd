"""What positive pixel counting computes, as numbers: the rule in integers, and the tally.

Saturation and intensity are decided as HistomicsTK decides them in float64; hue by exact
half-planes. `docs/design/hsi.md` has the derivation.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from gpuseg._shared.half_planes import direction, separator, split_direction
from gpuseg._shared.hsi_parameters import Labels, Output, Parameters, as_parameters
from gpuseg._validate import check_number
from gpuseg.typing import NumpyArray

__all__ = [
    "WORDS",
    "WORD_BITS",
    "HuePlanes",
    "Labels",
    "Output",
    "Parameters",
    "Rule",
    "Tally",
    "make_rule",
    "pixel_area_mm2",
    "rule_for",
]

# Larger than any rounding error of the float64 formulas (below 2^-50), far smaller than the gap
# between two lattice values: 1/(3 * 65535) in intensity, its square in saturation.
_TIE = Fraction(1, 1 << 49)
# An angle this close to a multiple of 1/12 turn is meant to be it: 1/3 has no exact float64.
_SAME_ANGLE = Fraction(1, 10**12)
# Unit of intensity sums of floating images, and how sums are cut into two int64 words.
_FLOAT_UNIT = 1 << 52
WORD_BITS = 26


@dataclass(frozen=True, slots=True)
class HuePlanes:
    """One parameter set on the lattice of integer images, and in float64 for floating ones.

    With u = G-R, v = B-R, s = R+G+B and m = min(R, G, B), a pixel meets the parameters where
    (a·u + b·v >= `edge` for both rows of `planes`) differs from `outside`, p·s >= q·m for
    `ratio` = (p, q), and lower <= s < upper. Of those, s >= weak is weak and s < strong strong.
    Where `ratio_ties` and p·s = q·m, or s is one of `tie_sums`, float64 has the last word; such
    pixels all meet the conditions above.
    """

    planes: tuple[tuple[int, int], tuple[int, int]]
    edge: int
    outside: bool
    ratio: tuple[int, int]
    lower: int
    upper: int
    weak: int
    strong: int
    ratio_ties: bool
    tie_sums: tuple[int, ...]
    float_planes: tuple[float, ...]
    grey: bool


@dataclass(frozen=True)
class Rule:
    """`Parameters` made ready for images whose full scale is `max_value`.

    Attributes
    ----------
    positive : Parameters
    negative : Parameters or None
        Counterstain: counts pixels that are not positive and meet these.
    max_value : int or float
        Image value of intensity 1; a pixel above it is an error.
    floating : bool
        Whether it is for floating images (float64 formulas) or integer ones (exact integers).
    forms : tuple of HuePlanes
        Of `positive`, and of `negative` if there is one.
    """

    positive: Parameters
    negative: Parameters | None
    max_value: float
    floating: bool
    forms: tuple[HuePlanes, ...]

    @property
    def unit(self) -> int:
        """Intensity sums are integers over this number."""
        return _FLOAT_UNIT if self.floating else 3 * int(self.max_value)

    @cached_property
    def tables(self) -> tuple[NumpyArray, NumpyArray]:
        """Integers (n, 18) and floats (n, 12) of the forms, as kernels read them."""
        sets = [p for p in (self.positive, self.negative) if p is not None]
        ties = [[*form.tie_sums, -1, -1, -1, -1][:4] for form in self.forms]
        integers = [
            [*f.planes[0], *f.planes[1], f.edge, f.outside, *f.ratio, f.lower, f.upper, f.weak,
             f.strong, f.ratio_ties, *tie, f.grey]
            for f, tie in zip(self.forms, ties, strict=True)
        ]  # fmt: skip
        floats = [
            [*f.float_planes, p.saturation_minimum, p.intensity_lower_limit,
             p.intensity_upper_limit, p.intensity_weak_threshold, p.intensity_strong_threshold,
             self.max_value]
            for f, p in zip(self.forms, sets, strict=True)
        ]  # fmt: skip
        return np.array(integers, np.int64), np.array(floats, np.float64)


def make_rule(
    params: Parameters,
    negative: Parameters | None = None,
    max_value: float = 255,
    *,
    floating: bool = False,
) -> Rule:
    """Integer form of validated parameters, for images with full scale `max_value`.

    Raises
    ------
    ValueError, TypeError
        If a parameter or `max_value` is out of range.
    """
    positive = as_parameters(params, "params")
    if negative is not None:
        negative = as_parameters(negative, "negative")
    if not floating and not (1 <= max_value <= 65535 and max_value == int(max_value)):
        raise ValueError(
            f"max_value of an integer image must be an integer from 1 to 65535, got {max_value!r}"
        )
    if floating and not (0 < max_value < math.inf):
        raise ValueError(f"max_value must be positive and finite, got {max_value!r}")
    max_value = float(max_value) if floating else int(max_value)
    return _make_rule(positive, negative, max_value, floating)


@lru_cache(maxsize=256)
def _make_rule(
    positive: Parameters, negative: Parameters | None, max_value: float, floating: bool
) -> Rule:
    lattice = 1 if floating else int(max_value)
    forms = tuple(_forms(p, lattice) for p in (positive, negative) if p is not None)
    return Rule(positive, negative, max_value, floating, forms)


def rule_for(
    dtype: Any,
    params: Parameters,
    negative: Parameters | None = None,
    max_value: float | None = None,
) -> Rule:
    """Rule for images of `dtype`, whose full scale is the dtype's maximum (1.0 for floats).

    Raises
    ------
    TypeError
        If `dtype` is none of uint8, uint16, float32 and float64.
    ValueError
        If a parameter is out of range, or `max_value` exceeds what the dtype can hold.
    """
    kind = np.dtype(dtype)
    if kind.newbyteorder("=") not in (np.uint8, np.uint16, np.float32, np.float64):
        raise TypeError(f"image must be uint8, uint16, float32 or float64, got {kind}")
    floating = kind.kind == "f"
    if max_value is None:
        max_value = 1.0 if floating else int(np.iinfo(kind).max)
    elif not isinstance(max_value, numbers.Real) or isinstance(max_value, bool):
        raise TypeError(f"max_value must be a real number, got {max_value!r}")
    elif not floating and max_value > np.iinfo(kind).max:
        raise ValueError(
            f"max_value must be at most {np.iinfo(kind).max} for {kind}, got {max_value!r}"
        )
    return make_rule(params, negative, max_value, floating=floating)


def pixel_area_mm2(mpp: float | None) -> float | None:
    """Square millimetres of a pixel with edges of `mpp` micrometres.

    Raises
    ------
    ValueError
        If `mpp` is not positive and finite.
    """
    if mpp is not None and not 0 < check_number(mpp, "mpp") < math.inf:
        raise ValueError(f"mpp must be positive and finite, got {mpp!r}")
    return None if mpp is None else (mpp / 1000) ** 2


def _forms(p: Parameters, max_value: int) -> HuePlanes:
    planes, edge, outside, float_planes, grey = _hue(p, max_value)
    ratio, ratio_ties = _saturation(p.saturation_minimum, max_value)
    full = 3 * max_value
    thresholds = [
        Fraction(value)
        for value in (
            p.intensity_lower_limit,
            p.intensity_upper_limit,
            p.intensity_weak_threshold,
            p.intensity_strong_threshold,
        )
    ]
    lower, upper, weak, strong = (min(math.ceil(t * full), full + 1) for t in thresholds)
    nearest = [round(t * full) for t in thresholds]
    ties = [
        s if 0 < s <= full and abs(Fraction(s, full) - t) <= _TIE else None
        for s, t in zip(nearest, thresholds, strict=True)
    ]
    # Ties are looked for among positive pixels only, so let them all be.
    if ties[0] is not None:
        lower = ties[0]
    if ties[1] is not None:
        upper = ties[1] + 1
    # Black has saturation 0 whatever its minimum over its mean.
    if p.saturation_minimum > 0:
        lower = max(lower, 1)
    return HuePlanes(
        planes, edge, outside, ratio, lower, upper, weak, strong, ratio_ties,
        tuple(sorted({s for s in ties if s is not None})), float_planes, grey,
    )  # fmt: skip


def _hue(
    p: Parameters, max_value: int
) -> tuple[tuple[tuple[int, int], tuple[int, int]], int, bool, tuple[float, ...], bool]:
    half = Fraction(p.hue_width) / 2
    start, stop = (_snap(Fraction(p.hue_value) + side) for side in (-half, half))
    if stop - start >= 1:
        return ((0, 0), (0, 0)), 0, False, (0.0,) * 6, True
    grey = math.ceil(start) <= stop
    after = split_direction(start, max_value, at_belongs_after=True)
    before = split_direction(stop, max_value, at_belongs_after=False)
    planes = (_left_of(*after), _left_of(-before[0], -before[1]))
    # Up to half a turn the range is where both planes meet, beyond it what both leave out.
    outside = stop - start >= Fraction(1, 2)
    if outside:
        planes = tuple((-a, -b) for a, b in planes)  # type: ignore[assignment]
    exact = [direction(start), direction(stop)]
    middle = direction((start + stop) / 2)
    # Perpendicular to the middle: keeps the ray of a range of width 0, not the opposite one.
    rows = (exact[0], (-exact[1][0], -exact[1][1]), (3 * middle[1], -middle[0]))
    floats = tuple(float(value) for x, y in rows for value in (x + y, y - x))
    return planes, int(not grey) if not outside else int(grey), outside, floats, grey


def _snap(turns: Fraction) -> Fraction:
    nearest = Fraction(round(turns * 12), 12)
    return nearest if abs(turns - nearest) <= _SAME_ANGLE else turns


def _left_of(x: int, y: int) -> tuple[int, int]:
    """Coefficients of u = G-R and v = B-R in the cross product of (x, y) with the pixel's hue."""
    return x + y, y - x


def _saturation(minimum: float, max_value: int) -> tuple[tuple[int, int], bool]:
    # 1 - 3 m/s >= minimum  <=>  m/s <= limit.
    limit = (1 - Fraction(minimum)) / 3
    nearest = limit.limit_denominator(3 * max_value)
    if abs(nearest - limit) * 3 <= _TIE:
        # Fully saturated pixels (m = 0) have no rounding error.
        return (nearest.numerator, nearest.denominator), nearest != 0
    target = (limit.numerator, limit.denominator)
    return separator(target, (max_value, 3 * max_value), target_is_high=True), False


@dataclass(frozen=True, slots=True)
class Tally:
    """Exact counts and intensity sums (integers over `Rule.unit`); adding two merges them.

    Examples
    --------
    >>> Tally(total=2) + Tally(total=3, strong=1, sum_strong=70)
    Tally(weak=0, plain=0, strong=1, negative=0, total=5, unreadable=0, sum_weak=0, sum_plain=0, \
sum_strong=70, sum_negative=0)
    """

    weak: int = 0
    plain: int = 0
    strong: int = 0
    negative: int = 0
    total: int = 0
    unreadable: int = 0
    sum_weak: int = 0
    sum_plain: int = 0
    sum_strong: int = 0
    sum_negative: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Tally of both."""
        return Tally(*(getattr(self, n) + getattr(other, n) for n in _TALLY))

    def to_ints(self) -> list[int]:
        """Words that fit int64: the six counts, then each sum as a high and a low word."""
        values = [getattr(self, name) for name in _TALLY]
        low = (1 << WORD_BITS) - 1
        return values[:6] + [part for s in values[6:] for part in (s >> WORD_BITS, s & low)]

    @staticmethod
    def from_ints(words: Sequence[int]) -> Tally:
        """Inverse of `to_ints`; low words may exceed their width, as sums of several do."""
        ints = [int(word) for word in words]
        if len(ints) != WORDS:
            raise ValueError(f"a tally has {WORDS} words, got {len(ints)}")
        sums = [(high << WORD_BITS) + low for high, low in zip(ints[6::2], ints[7::2], strict=True)]
        return Tally(*ints[:6], *sums)

    def to_output(self, rule: Rule, pixel_area_mm2: float | None = None) -> Output:
        """Statistics of the tally; each is rounded to float64 once."""
        positive = self.weak + self.plain + self.strong
        soft = self.weak + self.plain
        sums = self.sum_weak + self.sum_plain + self.sum_strong
        unit, counted, area = rule.unit, rule.negative is not None, pixel_area_mm2
        return Output(
            self.weak,
            self.plain,
            self.strong,
            self.total,
            self.sum_weak / unit,
            self.sum_plain / unit,
            self.sum_strong / unit,
            _ratio(sums, positive * unit),
            _ratio(self.strong, positive),
            _ratio(self.sum_weak + self.sum_plain, soft * unit),
            _ratio(self.strong, self.total),
            _ratio(self.weak, self.total),
            _ratio(positive, self.total),
            self.negative if counted else None,
            self.sum_negative / unit if counted else None,
            _ratio(self.sum_negative, self.negative * unit) if counted else None,
            _ratio(positive, positive + self.negative) if counted else None,
            None if area is None else self.total * area,
            None if area is None else positive * area,
            self.unreadable,
        )


_TALLY = tuple(field.name for field in fields(Tally))
WORDS = 6 + 2 * 4


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
