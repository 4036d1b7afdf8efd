"""Filters on a device: cupyx's and cuCIM's, under the names that `windows.py` calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cupy
import numpy as np

from gpuseg._shared.window import float_dtype
from gpuseg.typing import Array


def as_float(image: Array, preserve_range: bool) -> Array:
    """The image as scikit-image's filters take it: floating, and scaled unless told otherwise."""
    dtype = float_dtype(image.dtype)
    if image.dtype.kind == "f" or preserve_range:
        return image.astype(dtype, copy=False)
    if image.dtype.kind == "b":
        return image.astype(dtype)
    # skimage.util.img_as_float, in which the least signed integer counts as the one after it.
    scaled = image.astype(dtype) * (1.0 / np.iinfo(image.dtype).max)
    return cupy.maximum(scaled, -1.0) if image.dtype.kind == "i" else scaled


def gaussian(
    image: Array,
    *,
    lines: Mapping[int, tuple[float, int]],
    whole: Sequence[int],
    mode: str,
    cval: float,
    preserve_range: bool,
) -> Array:
    """Gaussian along the axes of `lines` (deviation and radius), `whole` ones by sums too."""
    from cupyx.scipy import ndimage as device_ndimage

    del whole
    image = as_float(image, preserve_range)
    for axis, (sigma, radius) in sorted(lines.items()):
        # cupyx takes no radius, but the number of deviations that makes it.
        image = device_ndimage.gaussian_filter1d(
            image, sigma, axis, mode=mode, cval=cval, truncate=radius / sigma
        )
    return image if lines else image.copy()


def local_mean(image: Array, *, size: Sequence[int], mode: str, cval: float) -> Array:
    """Mean of a box around each pixel."""
    from cupyx.scipy import ndimage as device_ndimage

    image = image.astype(float_dtype(image.dtype), copy=False)
    return device_ndimage.uniform_filter(image, tuple(size), mode=mode, cval=cval)


def ndimage(image: Array, *, function: str, dtype: Any, **options: Any) -> Array:
    """One of SciPy's filters, of the image as `dtype`."""
    from cupyx.scipy import ndimage as device_ndimage

    for name in options.keys() & {"footprint", "weights"}:
        options[name] = cupy.asarray(options[name])
    called: Callable[..., Array] = getattr(device_ndimage, function)
    return called(image.astype(dtype, copy=False), **options)


def edges(image: Array, *, function: str, **options: Any) -> Array:
    """One of scikit-image's filters of steepness."""
    from cucim.skimage import filters as device_filters

    called: Callable[..., Array] = getattr(device_filters, function)
    return called(image, **options).astype(float_dtype(image.dtype), copy=False)
