"""Global thresholds of a device's arrays: the histogram there, the numbers in it here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from gpuseg._cuda.label import label
from gpuseg._shared.thresholds import (
    Counts,
    Extent,
    beside,
    check_extent,
    few_values,
    frames,
    from_counts,
)
from gpuseg.typing import Array


def threshold(image: Array, method: str, nbins: int, options: dict[str, Any]) -> Any:
    """Threshold by the method of that name.

    Raises
    ------
    TypeError
        If it is Li's, of floats.
    """
    if method == "li" and image.dtype.kind == "f":
        raise TypeError(
            "threshold_li of floats is not implemented for CuPy arrays; convert it with "
            "`array.get()` (NumPy) to run on the CPU"
        )
    counted = counts(image, None if few_values(image.dtype) else extent(image), nbins)
    return from_counts(counted, method, options)


def thresholds(
    image: Array, axes: Sequence[int], method: str, nbins: int, options: dict[str, Any]
) -> Array:
    """Threshold of each frame along `axes`, on the device."""
    found = [threshold(frame, method, nbins, options) for frame in frames(image, axes)]
    return cupy.asarray(beside(image, axes, found, method))


def extent(image: Array) -> Extent:
    """Least and greatest value."""
    return check_extent(Extent(image.min().get()[()], image.max().get()[()]))  # synchronize


def counts(image: Array, span: Extent | None, nbins: int) -> Counts:
    """Pixels of each integer, or of floats in `nbins` equal bins over `span`."""
    if span is None:
        info = np.iinfo(image.dtype)
        span = Extent(info.min, info.max)
    if image.dtype.kind == "f":
        # NumPy counts a value in the bin between whose edges it lies, as a search does.
        edges = np.histogram_bin_edges(np.empty(0, image.dtype), nbins, span)
        found, _ = cupy.histogram(image, cupy.asarray(edges))
        return Counts(found.get(), span.low, edges)  # synchronize
    size = int(span.high) - int(span.low) + 1
    offsets = image.ravel().astype(np.int64) - int(span.low)
    return Counts(cupy.bincount(offsets, minlength=size).get(), int(span.low))  # synchronize


def hysteresis(weak: Array, strong: Array) -> Array:
    """Components of `weak`, neighbours along axes, that hold a pixel of `strong`."""
    labels, number = label(weak, 1)
    held = cupy.zeros(int(number) + 1, bool)
    held[labels[strong]] = True
    return held[labels]
