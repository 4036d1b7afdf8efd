"""SciPy's windows: their size, their middle, and how far they look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg._backend import floor, implementation
from gpuseg._shared.window import Window, check_mode, check_sizes, native, per_axis
from gpuseg._validate import check_integer, check_number
from gpuseg.typing import Array, NumpyArray


def apply(
    function: str, image: Array, reach: Sequence[int], mode: str, cval: float, **options: Any
) -> Array:
    """SciPy's function of that name on all of the image."""
    floor(image)
    check_mode(mode)
    check_number(cval, "cval")
    dtype = native(image.dtype)
    options |= {"function": function, "dtype": dtype, "mode": mode, "cval": cval}
    window = Window("filters", "ndimage", tuple(reach), dtype, mode, options=options)
    return implementation(image, "windows").apply(image, window)


def make_footprint(image: Array, size: Any, footprint: Any) -> NumpyArray:
    """Surroundings as a mask, from their size or from a footprint; one of both."""
    floor(image)
    if image.ndim < 1:
        raise ValueError("image must have at least one axis, got a 0-d array")
    if (size is None) == (footprint is None):
        raise ValueError(f"give either size or footprint, got {size!r} and {footprint!r}")
    if footprint is None:
        sizes = per_axis(size, image.ndim, "size", check_integer)
        if any(one < 1 for one in sizes):
            raise ValueError(f"size must be positive, got {size}")
        check_sizes(sizes, "size")
        return np.ones(sizes, bool)
    shape = np.asarray(footprint) != 0
    if shape.ndim != image.ndim or not shape.any():
        raise ValueError(
            f"footprint must have the image's {image.ndim} axes and a pixel, got {footprint!r}"
        )
    return shape


def check_origins(origin: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """One shift along each axis, by which the middle stays within the window."""
    origins = per_axis(origin, len(shape), "origin", check_integer)
    # SciPy's own limits: the middle moves within the window.
    if any(not 0 <= size // 2 + one < size for one, size in zip(origins, shape, strict=True)):
        raise ValueError(f"origin must stay within the window {tuple(shape)}, got {origin}")
    return origins


def reach(shape: Sequence[int], origins: Sequence[int]) -> tuple[int, ...]:
    """How far a window of that shape looks along each axis."""
    return tuple(size // 2 + abs(one) for size, one in zip(shape, origins, strict=True))
