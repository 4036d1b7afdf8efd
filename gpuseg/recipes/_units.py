"""Lengths and sizes of a recipe in µm, turned into pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

LENGTHS = frozenset({"sigma", "low_sigma", "high_sigma", "radius", "distance", "window"})
SIZES = frozenset({"max_size", "min_size"})


def in_pixels(
    parameters: Mapping[str, Any], unit: str, spacing: Sequence[float] | None, ndim: int
) -> dict[str, Any]:
    """Parameters with lengths as one number an axis, and sizes as a number of pixels.

    A length in µm is divided by each axis's pixel size, so that a sphere in the sample becomes an
    ellipsoid of voxels; a size by the volume of a pixel.

    Examples
    --------
    >>> in_pixels({"sigma": 4.0, "max_size": 40}, "um", (4.0, 2.0, 2.0), 3)
    {'sigma': (1.0, 2.0, 2.0), 'max_size': 2}
    """
    found = dict(parameters)
    per_axis = tuple(spacing) if unit == "um" and spacing is not None else (1.0,) * ndim
    for name, value in parameters.items():
        if name in LENGTHS and value is not None:
            each = tuple(value) if isinstance(value, Sequence) else (value,) * ndim
            found[name] = tuple(v / step for v, step in zip(each, per_axis, strict=True))
        elif name in SIZES:
            found[name] = int(value / math.prod(per_axis))
    return found
