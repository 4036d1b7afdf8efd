"""HistomicsTK's names for what goes into positive pixel counting and what comes out."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Labels:
    """Values of a label image.

    Examples
    --------
    >>> Labels.NEGATIVE, Labels.WEAK, Labels.PLAIN, Labels.STRONG
    (0, 1, 2, 3)
    """

    NEGATIVE = 0
    WEAK = 1
    PLAIN = 2
    STRONG = 3


class Parameters(NamedTuple):
    """What counts as positive, in HSI space; every value is a fraction of its full range.

    A pixel is positive where its hue lies within `hue_width` / 2 of `hue_value` (hue wraps around;
    a width of 1 or more takes every hue), its saturation is at least `saturation_minimum`, and its
    intensity is at least `intensity_lower_limit` and below `intensity_upper_limit`.

    Attributes
    ----------
    hue_value : float
        Centre of the hue range, in [0, 1]. Red is 0, green 1/3, blue 2/3; greys have hue 0.
    hue_width : float
        Full width of the hue range, at least 0.
    saturation_minimum : float
        In [0, 1].
    intensity_upper_limit : float
        In [0, 2]; the limit itself is negative, so that pure white (1) needs a value above 1.
    intensity_weak_threshold : float
        Positive pixels at or above it are weak.
    intensity_strong_threshold : float
        Positive pixels below it are strong; at most `intensity_weak_threshold`.
    intensity_lower_limit : float
        At most `intensity_upper_limit`.

    Notes
    -----
    Names, order and defaults are those of HistomicsTK's command line tool. Values are checked where
    they are used, or by `validate`.

    Examples
    --------
    >>> Parameters()._replace(hue_value=0.05).validate().hue_value
    0.05
    >>> Parameters(intensity_weak_threshold=0.35, intensity_strong_threshold=0.65).validate()
    Traceback (most recent call last):
    ValueError: intensity_weak_threshold must be at least intensity_strong_threshold, \
got 0.35 < 0.65
    """

    hue_value: float = 0.83
    hue_width: float = 0.15
    saturation_minimum: float = 0.05
    intensity_upper_limit: float = 0.95
    intensity_weak_threshold: float = 0.65
    intensity_strong_threshold: float = 0.35
    intensity_lower_limit: float = 0.05

    def validate(self) -> Parameters:
        """Check every value and return the parameters as plain floats.

        Raises
        ------
        TypeError
            If a value is no real number.
        ValueError
            If a value is not finite, is out of its range, or two of them are swapped.
        """
        for name, value in self._asdict().items():
            if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
                raise TypeError(f"{name} must be a real number, got {value!r}")
            if not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value!r}")
            most = _HIGHEST.get(name, 1.0)
            if not 0 <= float(value) <= most:
                rule = "at least 0" if most == math.inf else f"between 0 and {most:g}"
                raise ValueError(f"{name} must be {rule}, got {value!r}")
        for high, low in _ORDERED:
            if getattr(self, high) < getattr(self, low):
                raise ValueError(
                    f"{high} must be at least {low}, "
                    f"got {getattr(self, high)!r} < {getattr(self, low)!r}"
                )
        return Parameters(*map(float, self))


def as_parameters(given: Any, name: str) -> Parameters:
    """Parameters, also HistomicsTK's or a plain tuple, validated.

    Raises
    ------
    TypeError, ValueError
        If they are none, or a value is out of range.
    """
    if not isinstance(given, Sequence) or len(given) != len(Parameters._fields):
        raise TypeError(f"{name} must be Parameters, got {given!r}")
    return Parameters._make(given).validate()


_HIGHEST = {"hue_width": math.inf, "intensity_upper_limit": 2.0}
_ORDERED = (
    ("intensity_weak_threshold", "intensity_strong_threshold"),
    ("intensity_upper_limit", "intensity_lower_limit"),
)


class Output(NamedTuple):
    """Counts, exact intensity sums and ratios of one image, slide or region.

    The first thirteen fields are HistomicsTK's, in its order; a ratio over nothing is 0.
    Intensities are fractions of full scale.

    Attributes
    ----------
    NumberWeakPositive, NumberPositive, NumberStrongPositive : int
        Pixels of each class; `NumberPositive` is the plain class alone.
    NumberTotalPixels : int
        All pixels looked at: those of the mask, without unreadable ones.
    IntensitySumWeakPositive, IntensitySumPositive, IntensitySumStrongPositive : float
        The exact sum, rounded once.
    IntensityAverage : float
        Mean intensity of all positive pixels.
    RatioStrongToTotal : float
        Strong pixels over all positive pixels.
    IntensityAverageWeakAndPositive : float
        Mean intensity of the weak and plain classes.
    RatioStrongToPixels, RatioWeakToPixels, RatioTotalToPixels : float
        Strong, weak and all positive pixels over `NumberTotalPixels`.
    NumberNegative : int or None
        Pixels that are not positive but meet the `negative` (counterstain) parameters; None, like
        the three fields after it, where none were given.
    IntensitySumNegative, IntensityAverageNegative : float or None
        Their intensity.
    Positivity : float or None
        Positive pixels over positive and negative ones.
    AreaTotal, AreaPositive : float or None
        Square millimetres; None where the pixel size is unknown.
    PixelsUnreadable : int
        Pixels left out because their tile could not be decoded.

    Examples
    --------
    >>> from gpuseg._shared.hsi import Tally, make_rule
    >>> Tally(weak=3, total=12, sum_weak=1530).to_output(make_rule(Parameters())).RatioWeakToPixels
    0.25
    """

    NumberWeakPositive: int
    NumberPositive: int
    NumberStrongPositive: int
    NumberTotalPixels: int
    IntensitySumWeakPositive: float
    IntensitySumPositive: float
    IntensitySumStrongPositive: float
    IntensityAverage: float
    RatioStrongToTotal: float
    IntensityAverageWeakAndPositive: float
    RatioStrongToPixels: float
    RatioWeakToPixels: float
    RatioTotalToPixels: float
    NumberNegative: int | None = None
    IntensitySumNegative: float | None = None
    IntensityAverageNegative: float | None = None
    Positivity: float | None = None
    AreaTotal: float | None = None
    AreaPositive: float | None = None
    PixelsUnreadable: int = 0
