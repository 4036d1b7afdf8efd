"""Filters of eager arrays; each works on one strip, see `windows.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpuseg._cpu import _cosine, _lines
from gpuseg._shared.window import float_dtype, gaussian_weights
from gpuseg.typing import NumpyArray


def as_float(image: NumpyArray, preserve_range: bool) -> NumpyArray:
    """The image as scikit-image's filters take it: floating, and scaled unless told otherwise."""
    dtype = float_dtype(image.dtype)
    if image.dtype.kind == "f" or preserve_range:
        return image.astype(dtype, copy=False)
    from skimage.util import img_as_float

    return img_as_float(image).astype(dtype, copy=False)


def gaussian(
    image: NumpyArray,
    *,
    lines: Mapping[int, tuple[float, int]],
    whole: Sequence[int],
    mode: str,
    cval: float,
    preserve_range: bool,
) -> NumpyArray:
    """Gaussian along the axes of `lines` (deviation and radius), by cosines along `whole` ones."""
    source = image
    image = as_float(image, preserve_range)
    last = image.ndim - 1
    summed = {axis: line for axis, line in lines.items() if axis not in whole}
    for axis, (sigma, radius) in sorted(lines.items()):
        if axis in whole:
            image = _cosine.gaussian(image, axis, sigma, radius)
        elif axis == last:
            image = _along_both(
                image, [summed.get(a, (1.0, 0)) for a in (last - 1, last)], mode, cval
            )
        elif axis < last - 1 or last not in summed:
            image = _along(image, axis, gaussian_weights(sigma, radius), mode, cval)
    return image.copy() if image is source else image


def _source(image: NumpyArray, *shape: int) -> NumpyArray:
    """Contiguous and always read-only: numba would compile once more for images that are."""
    source = np.ascontiguousarray(image).reshape(shape).view()
    source.flags.writeable = False
    return source


def _along(image: NumpyArray, axis: int, weights: NumpyArray, mode: str, cval: float) -> NumpyArray:
    shape = image.shape
    source = _source(image, math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    out = np.empty(source.shape, source.dtype)
    table = _lines.positions(shape[axis], weights.size - 1, mode)
    _lines.along_rows(source, weights, table, float(cval), out)
    return out.reshape(shape)


def _along_both(
    image: NumpyArray, both: Sequence[tuple[float, int]], mode: str, cval: float
) -> NumpyArray:
    shape = (1, *image.shape)
    source = _source(image, math.prod(shape[:-2]), *shape[-2:])
    out = np.empty(source.shape, source.dtype)
    tables = []
    for size, (sigma, radius) in zip(shape[-2:], both, strict=True):
        tables += [gaussian_weights(sigma, radius), _lines.positions(size, radius, mode)]
    _lines.along_both(source, *tables, float(cval), out)
    return out.reshape(image.shape)


def local_mean(image: NumpyArray, *, size: Sequence[int], mode: str, cval: float) -> NumpyArray:
    """Mean of a box around each pixel."""
    dtype = float_dtype(image.dtype)
    found = image.astype(np.float64, copy=False)
    for axis, length in enumerate(size):
        if length > 1:
            found = _box_sum(found, axis, length, mode, cval * math.prod(size[:axis]))
    return (found / math.prod(size)).astype(dtype, copy=False)


def _box_sum(image: NumpyArray, axis: int, length: int, mode: str, cval: float) -> NumpyArray:
    """Sums of `length` neighbours, by sums of 2, 4, 8 of them.

    A running sum is faster by a half, and its rounding depends on where the line began.
    """
    padding = [(0, 0)] * image.ndim
    padding[axis] = (length // 2, length - 1 - length // 2)
    if mode == "constant":
        sums = np.pad(image, padding, constant_values=cval)
    else:
        sums = np.pad(image, padding, mode=_lines.PAD[mode])  # type: ignore[call-overload]
    shape = image.shape

    def part(array: NumpyArray, start: int, size: int) -> NumpyArray:
        return array[(slice(None),) * axis + (slice(start, start + size),)]

    total: NumpyArray | None = None
    done, width = 0, 1
    while True:
        if length & width:
            piece = part(sums, done, shape[axis])
            total = piece if total is None else total + piece
            done += width
        if done == length:
            assert total is not None
            return total
        left = sums.shape[axis] - width
        sums = part(sums, 0, left) + part(sums, width, left)
        width *= 2


def ndimage(image: NumpyArray, *, function: str, dtype: Any, **options: Any) -> NumpyArray:
    """One of SciPy's filters, of the image as `dtype`."""
    from scipy import ndimage as scipy_ndimage

    called: Callable[..., NumpyArray] = getattr(scipy_ndimage, function)
    return called(image.astype(dtype, copy=False), **options)


def generic(image: NumpyArray, *, called: Callable[..., float], **options: Any) -> NumpyArray:
    """Any function of the flat array of a pixel's surroundings."""
    from scipy.ndimage import generic_filter

    image = image.astype(float_dtype(image.dtype), copy=False)
    found: NumpyArray = generic_filter(image, called, **options)
    return found


def edges(image: NumpyArray, *, function: str, **options: Any) -> NumpyArray:
    """One of scikit-image's filters of steepness."""
    from skimage import filters as skimage_filters

    called: Callable[..., NumpyArray] = getattr(skimage_filters, function)
    return called(image, **options).astype(float_dtype(image.dtype), copy=False)
