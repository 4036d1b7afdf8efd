"""Global thresholds of eager arrays: one histogram, then the numbers in it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from gpuseg._backend import limit_threads, threads
from gpuseg._cpu._jit import jit
from gpuseg._cpu.label import label
from gpuseg._shared.thresholds import (
    Counts,
    Extent,
    beside,
    check_extent,
    few_values,
    frames,
    from_counts,
    merge_counts,
)
from gpuseg.typing import NumpyArray

# Fewer pixels a thread than this cost more to hand out than to count.
_THREAD_PIXELS = 1 << 18


def threshold(image: NumpyArray, method: str, nbins: int, options: dict[str, Any]) -> Any:
    """Threshold by the method of that name."""
    if method == "li" and image.dtype.kind == "f":
        from skimage.filters import threshold_li

        return threshold_li(image, **options)
    counted = counts(image, None if few_values(image.dtype) else extent(image), nbins)
    return from_counts(counted, method, options)


def thresholds(
    image: NumpyArray, axes: Sequence[int], method: str, nbins: int, options: dict[str, Any]
) -> NumpyArray:
    """Threshold of each frame along `axes`."""

    def one(frame: NumpyArray) -> Any:
        with limit_threads(1):
            return threshold(frame, method, nbins, options)

    with ThreadPoolExecutor(threads()) as pool:
        return beside(image, axes, list(pool.map(one, frames(image, axes))), method)


def extent(image: NumpyArray) -> Extent:
    """Least and greatest value."""
    return check_extent(Extent(image.min(), image.max()))


def counts(image: NumpyArray, span: Extent | None, nbins: int) -> Counts:
    """Pixels of each integer, or of floats in `nbins` equal bins over `span`."""
    if image.dtype.kind == "f":
        assert span is not None
        # Scalars of the image's dtype, not Python's: edges of float32 images are float32.
        found, edges = np.histogram(image, bins=nbins, range=span)
        return Counts(found, span.low, edges)
    if span is not None:
        size = int(span.high) - int(span.low) + 1
        offsets = image.ravel().astype(np.int64) - np.int64(int(span.low))
        return Counts(np.bincount(offsets, minlength=size), int(span.low))
    flat = np.ascontiguousarray(image, image.dtype.newbyteorder("=")).reshape(-1)
    values = 1 << 8 * flat.itemsize
    found = _count(flat.view(f"u{flat.itemsize}"), values)
    signed = flat.dtype.kind == "i"
    return Counts(np.roll(found, values // 2), -values // 2) if signed else Counts(found)


def _count(flat: NumpyArray, values: int) -> NumpyArray:
    parts = max(1, min(threads(), flat.size // _THREAD_PIXELS))
    if parts == 1:
        return _count_strip(flat, values)
    edges = [flat.size * k // parts for k in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        found = pool.map(
            lambda k: Counts(_count_strip(flat[edges[k] : edges[k + 1]], values)), range(parts)
        )
    return merge_counts(list(found)).counts


@jit
def _count_strip(flat: Any, values: int) -> Any:
    # Two tables: neighbours are often equal, and a counter must be written before it is read.
    even, odd = np.zeros(values, np.int64), np.zeros(values, np.int64)
    for i in range(0, flat.size - 1, 2):
        even[flat[i]] += 1
        odd[flat[i + 1]] += 1
    if flat.size % 2:
        even[flat[flat.size - 1]] += 1
    return even + odd


def hysteresis(weak: NumpyArray, strong: NumpyArray) -> NumpyArray:
    """Components of `weak`, neighbours along axes, that hold a pixel of `strong`."""
    labels, number = label(weak, 1)
    held = np.zeros(number + 1, bool)
    held[labels[strong]] = True
    return held[labels]
