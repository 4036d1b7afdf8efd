"""Filters of eager arrays; each works on one strip, see `windows.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu import _cosine, _lines, _ranks
from gpuseg._cpu._extremes import extremes
from gpuseg._cpu._strips import shared
from gpuseg._shared.window import float_dtype, gaussian_weights
from gpuseg.typing import NumpyArray

# Pixels whose boxes are summed in the time that a helper takes to come.
_PART_PIXELS = 1 << 15
_ADDED_AS_THEY_ARE = (np.dtype(np.uint8), np.dtype(np.uint16))


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
    last = image.ndim - 1
    summed = {axis: line for axis, line in lines.items() if axis not in whole}
    for axis, (sigma, radius) in sorted(lines.items()):
        if axis == last and axis in summed:
            # Rows of these types are converted as they are added, without a copy of the image.
            if not (preserve_range and image.dtype in _ADDED_AS_THEY_ARE):
                image = as_float(image, preserve_range)
            both = [summed.get(a, (1.0, 0)) for a in (last - 1, last)]
            image = _along_both(image, both, mode, cval)
        elif axis in whole:
            image = as_float(image, preserve_range)
            image = _cosine.gaussian(image, axis, sigma, radius, spare=image is not source)
        elif axis < last - 1 or last not in summed:
            weights = gaussian_weights(sigma, radius)
            image = _along(as_float(image, preserve_range), axis, weights, mode, cval)
    image = as_float(image, preserve_range)
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
    out = np.empty(source.shape, float_dtype(image.dtype))
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
            found = _box_sum(found, axis, length, mode, float(cval) * math.prod(size[:axis]))
    return (found / math.prod(size)).astype(dtype, copy=False)


def _box_sum(image: NumpyArray, axis: int, length: int, mode: str, cval: float) -> NumpyArray:
    """Sums of `length` neighbours along an axis; exact where the pixels are integers."""
    shape, table = image.shape, _lines.positions(image.shape[axis], length // 2, mode)
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    if axis == image.ndim - 1:
        source, sums, count, least = (
            _source(image, outer, shape[axis]),
            _lines.box_columns,
            outer,
            1,
        )
    else:
        source = _source(image, outer, shape[axis], inner)
        sums, count, least = _lines.box_rows, inner, _lines.COLUMNS
    out = np.empty(source.shape)
    # Wide boxes leave few strips, or one, whose lines are independent of each other.
    parts = max(1, min(2 * threads(), count // least, out.size // _PART_PIXELS))
    edges = [count * k // parts // least * least for k in range(parts)] + [count]
    shared(lambda ends: sums(source, length, table, cval, *ends, out), list(pairwise(edges)))
    return out.reshape(shape)


def ndimage(image: NumpyArray, *, function: str, dtype: Any, **options: Any) -> NumpyArray:
    """One of SciPy's filters, of the image as `dtype`."""
    from scipy import ndimage as scipy_ndimage

    image = image.astype(dtype, copy=False)
    if function in _ORDERED and not np.any(options.get("origin", 0)):
        found = _ordered(image, function, **options)
        if found is not None:
            return found
    called: Callable[..., NumpyArray] = getattr(scipy_ndimage, function)
    return called(image, **options)


_ORDERED = ("median_filter", "rank_filter", "percentile_filter", "minimum_filter", "maximum_filter")


def _ordered(
    image: NumpyArray,
    function: str,
    *,
    mode: str,
    cval: Any,
    size: Any = None,
    footprint: NumpyArray | None = None,
    rank: int = 0,
    percentile: float = 0,
    origin: Any = 0,
) -> NumpyArray | None:
    """One of SciPy's filters of ranks, faster; None where it is not."""
    del origin
    if footprint is None:
        footprint = np.ones(size, bool)
    pixels = int(np.count_nonzero(footprint))
    if not _held(image, mode, cval):
        return None
    if function in ("minimum_filter", "maximum_filter"):
        if any(side % 2 == 0 for side in footprint.shape):
            return None
        return extremes(image, footprint, function == "maximum_filter", mode, cval)
    if pixels > _ranks.MOST_PIXELS:
        return None
    if function == "median_filter":
        rank = pixels // 2
    elif function == "percentile_filter":
        # As SciPy counts, negative ones from the end.
        percentile += 100 * (percentile < 0)
        rank = pixels - 1 if percentile == 100 else int(float(pixels) * percentile / 100.0)
    return _ranks.ranked(image, footprint, rank % pixels, mode, cval)


def _held(image: NumpyArray, mode: str, cval: Any) -> bool:
    """Whether the image's type holds the value outside; otherwise SciPy makes something of it."""
    with np.errstate(invalid="ignore", over="ignore"):
        return mode != "constant" or bool(np.asarray(cval).astype(image.dtype) == cval)


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
