"""Filters whose value at a pixel depends on pixels near it, and what all floors know of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from gpuseg._validate import check_number
from gpuseg.typing import NumpyArray

MODES = ("reflect", "constant", "nearest", "mirror", "wrap")

# Of a Gaussian along an axis: from this radius on a cosine transform of the whole axis costs less
# (3 ns a pixel for even lengths, 8 for others) than the sum, 0.13 for each pixel of the radius;
# unless the axis is so long that chunks along it should stay.
_DCT_RADIUS = 64
_DCT_LENGTH = 4096
# Pixels around one that can be asked for, along an axis and at all: their weights take 3 GB.
_FARTHEST = 1 << 26
_MOST = 1 << 31


@dataclass(frozen=True)
class Window:
    """A function `name` in the file `noun` of each floor, and what it must see of an image.

    Attributes
    ----------
    reach : per axis, how many pixels before and after a pixel decide on its value
    dtype : of the result, whose shape is the image's
    mode : what stands for pixels outside the image, in SciPy's words
    whole : axes of which every pixel decides
    options : keyword arguments of the function
    one_by_one : windows with one such axis each, which in their order do the same
    """

    noun: str
    name: str
    reach: tuple[int, ...]
    dtype: np.dtype[Any]
    mode: str = "reflect"
    whole: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    one_by_one: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        if not self.reach:
            raise ValueError("image must have at least one axis, got a 0-d array")


def check_mode(mode: str) -> None:
    """Refuse a border that SciPy does not know."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")


def check_real(dtype: np.dtype[Any]) -> None:
    """Refuse what are no real numbers."""
    if dtype.kind not in "biuf":
        raise TypeError(f"image must be bool, integer or floating, got {dtype}")


def gaussian_radii(sigma: Sequence[float], truncate: Any) -> tuple[int, ...]:
    """Where a Gaussian is cut off along each axis.

    Raises
    ------
    ValueError
        If it ends nowhere, before it begins, or farther away than weights can be held for.
    """
    if not check_number(truncate, "truncate", 0) < math.inf:
        raise ValueError(f"truncate must be finite, got {truncate}")
    for one in sigma:
        if not float(truncate) * float(one) <= _FARTHEST:
            raise ValueError(
                f"a Gaussian must end within {_FARTHEST} pixels, got one of deviation {one} that "
                f"is cut off at {truncate} of them"
            )
    return tuple(math.floor(truncate * one + 0.5) for one in sigma)


def check_sizes(sizes: Sequence[int], name: str, *, lines: bool = False) -> None:
    """Refuse windows, or `lines` along each axis, of more pixels than memory can be thought of."""
    pixels, most = (max(sizes), 2 * _FARTHEST) if lines else (math.prod(sizes), _MOST)
    if pixels > most:
        raise ValueError(f"{name} must span at most {most} pixels, got {tuple(sizes)}")


def float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The floating type in which scikit-image filters images of `dtype`."""
    check_real(dtype)
    # By size, for float32 in the other byte order is not equal to it.
    narrow = dtype.kind == "f" and dtype.itemsize <= 4
    return np.dtype(np.float32 if narrow else np.float64)


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in this machine's byte order, in which every result is."""
    return dtype.newbyteorder("=")


def per_axis(
    value: Any,
    ndim: int,
    name: str,
    check: Callable[[Any, str], Any] = check_number,
) -> tuple[Any, ...]:
    """One value for each axis, from a number or a sequence.

    Raises
    ------
    TypeError
        If they are no numbers, as `check` has it.
    ValueError
        If there are more or fewer than axes.
    """
    values = tuple(value) if isinstance(value, list | tuple) or np.ndim(value) else (value,) * ndim
    if len(values) != ndim:
        raise ValueError(f"{name} must be a number or one for each of {ndim} axes, got {value}")
    return tuple(check(one, name) for one in values)


@lru_cache(maxsize=64)
def gaussian_weights(sigma: float, radius: int) -> NumpyArray:
    """Weights at distances 0 to `radius`, of which all but the first count twice; the sum is 1."""
    x = np.arange(-radius, radius + 1)
    phi = np.exp(-0.5 / (sigma * sigma) * x**2)
    weights: NumpyArray = (phi / phi.sum())[radius:]
    weights.flags.writeable = False
    return weights


def gaussian(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    sigma: Sequence[float],
    *,
    mode: str,
    cval: float,
    truncate: float,
    preserve_range: bool,
) -> Window:
    """Gaussian of the given deviation along each axis."""
    check_number(cval, "cval")
    reaches = gaussian_radii(sigma, truncate)
    radius = [r if s > 1e-15 else 0 for s, r in zip(sigma, reaches, strict=True)]
    whole = tuple(
        axis
        for axis, (size, r) in enumerate(zip(shape, radius, strict=True))
        if mode == "reflect" and r >= _DCT_RADIUS and size <= max(_DCT_LENGTH, 8 * r)
    )
    options = {"mode": mode, "cval": cval, "preserve_range": preserve_range}

    def only(axes: Sequence[int]) -> Window:
        lines = {axis: (float(sigma[axis]), radius[axis]) for axis in axes if radius[axis]}
        reach = tuple(
            radius[axis] if axis in lines and axis not in whole else 0 for axis in range(len(shape))
        )
        mine = tuple(axis for axis in whole if axis in lines)
        return Window(
            "filters",
            "gaussian",
            reach,
            float_dtype(dtype),
            mode,
            mine,
            {**options, "lines": lines, "whole": mine},
        )

    together = only(range(len(shape)))
    if len(whole) < 2:
        return together
    return replace(together, one_by_one=tuple(only([axis]) for axis in range(len(shape))))
