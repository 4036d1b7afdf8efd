"""Thresholds from histograms: scikit-image's answers, and those it gives only for an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpuseg.typing import Array, NumpyArray

# Integers of at most 16 bits have so few values that one pass counts them all.
_FEW_BITS = 16
# More bins than this are no histogram any more: 1 GB of counts.
_MOST_BINS = 1 << 27


def few_values(dtype: np.dtype[Any]) -> bool:
    """Whether a histogram needs no first pass for the extremes."""
    return dtype.kind in "iu" and dtype.itemsize * 8 <= _FEW_BITS


class Extent(NamedTuple):
    """Least and greatest value, as scalars of the image's dtype."""

    low: Any
    high: Any


class Counts(NamedTuple):
    """How many pixels have the integers from `low` on, or floats from `low` on lie in each bin."""

    counts: NumpyArray
    low: Any = 0
    edges: NumpyArray | None = None

    def trimmed(self) -> Counts:
        """Without the integers before the first and after the last pixel's."""
        some = np.flatnonzero(self.counts)
        first, last = int(some[0]), int(some[-1])
        return self._replace(counts=self.counts[first : last + 1], low=self.low + first)

    @property
    def centers(self) -> NumpyArray:
        """The value that stands for each bin."""
        if self.edges is not None:
            centers: NumpyArray = (self.edges[:-1] + self.edges[1:]) / 2.0
            return centers
        return np.arange(self.low, self.low + self.counts.size)


def merge_extents(parts: list[Extent]) -> Extent:
    """Extent of an image from those of its parts."""
    return Extent(min(part.low for part in parts), max(part.high for part in parts))


def merge_counts(parts: list[Counts]) -> Counts:
    """Counts of an image from those of its parts."""
    if parts[0].edges is not None:
        return parts[0]._replace(counts=np.sum([part.counts for part in parts], axis=0))
    low = min(part.low for part in parts)
    total = np.zeros(max(part.low + part.counts.size for part in parts) - low, np.int64)
    for part in parts:
        total[part.low - low : part.low - low + part.counts.size] += part.counts
    return Counts(total, low)


def check_extent(extent: Extent) -> Extent:
    """Refuse what cannot be cut into bins.

    Raises
    ------
    ValueError
        If there are NaN or infinity, or too many integers between the extremes.
    """
    low, high = extent
    if isinstance(low, np.floating):
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"image must be finite, got values from {low} to {high}")
    elif int(high) - int(low) >= _MOST_BINS:
        raise ValueError(
            f"image must span less than {_MOST_BINS} integers, got {low} to {high}; "
            "convert it to float32, which is counted in nbins bins"
        )
    return extent


def frames(image: Array, axes: Sequence[int]) -> Iterator[Array]:
    """Parts of an image along `axes`, one for each place along the others."""
    for index in np.ndindex(*(1 if k in axes else n for k, n in enumerate(image.shape))):
        yield image[tuple(slice(None) if k in axes else i for k, i in enumerate(index))]


def beside(image: Array, axes: Sequence[int], values: Sequence[Any], method: str) -> NumpyArray:
    """Thresholds of frames as an array to compare the image with; limits of classes come first."""
    found = np.array(values, result_dtype(method, image.dtype)).T
    sizes = [1 if k in axes else n for k, n in enumerate(image.shape)]
    return found.reshape(*found.shape[:-1], *sizes)


def result_dtype(method: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What several thresholds of images of a type are."""
    if method == "li":
        return np.dtype(np.float64)
    return np.dtype(np.int64) if dtype.kind in "iu" else dtype


def from_counts(found: Counts, method: str, options: dict[str, Any]) -> Any:
    """Threshold of an image with these counts, as scikit-image's function of that name gives it."""
    from skimage import filters

    if found.edges is None:
        found = found.trimmed()
    if method != "multiotsu" and np.count_nonzero(found.counts) == 1:
        return found.centers[0] if found.edges is None else found.low
    counts, centers = found.counts, found.centers
    if method == "otsu":
        return filters.threshold_otsu(hist=(counts, centers))
    if method == "yen":
        return filters.threshold_yen(hist=(counts, centers))
    if method == "multiotsu":
        shares = counts / np.sum(counts)
        return filters.threshold_multiotsu(hist=(shares, centers), **options)
    return {"triangle": _triangle, "li": _li}[method](counts, centers, **options)


def _triangle(counts: NumpyArray, centers: NumpyArray) -> Any:
    """Bin farthest below the line from the peak to the end of the longer tail (Zack 1977)."""
    peak = int(np.argmax(counts))
    low, high = np.flatnonzero(counts)[[0, -1]].tolist()
    flip = peak - low < high - peak
    if flip:
        counts = counts[::-1]
        low, peak = counts.size - high - 1, counts.size - peak - 1
    height, width = counts[peak], peak - low
    x = np.arange(width)
    norm = np.sqrt(height**2 + width**2)
    length = height / norm * x - width / norm * counts[x + low]
    level = int(np.argmax(length)) + low
    return centers[counts.size - level - 1 if flip else level]


def _li(
    counts: NumpyArray,
    centers: NumpyArray,
    *,
    tolerance: float | None = None,
    initial_guess: float | None = None,
) -> Any:
    """Li's iteration (1998) to the least cross entropy, over the integers of an image.

    The image is shifted to begin at 0, as scikit-image does, whose weights are float32 too.
    """
    least, span = int(centers[0]), counts.size - 1
    values = np.arange(counts.size)
    tolerance = tolerance or 0.5
    if initial_guess is None:
        after: Any = np.float64(int(np.dot(values, counts))) / np.float64(int(counts.sum()))
    else:
        after = initial_guess - float(least)
        if not 0 < after < span:
            raise ValueError(
                "initial_guess must lie within the image's values, "
                f"got {initial_guess} for {least} to {least + span}"
            )
        after = np.int64(after)  # scikit-image rounds it to the image's type
    weights = counts.astype(np.float32)
    before: Any = -2 * tolerance
    while abs(after - before) > tolerance:
        before = after
        above = values > before
        upper = np.average(values[above], weights=weights[above])
        lower = np.average(values[~above], weights=weights[~above])
        if lower == 0:
            break
        after = (lower - upper) / (np.log(lower) - np.log(upper))
    return after + least
