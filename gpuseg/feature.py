"""Find features: local maxima."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

from gpuseg._backend import floor, implementation
from gpuseg._shared.region_request import check_labels
from gpuseg._validate import check_integer, check_landscape, check_number
from gpuseg.typing import Array

__all__ = ["peak_local_max"]


def peak_local_max(
    image: Array,
    min_distance: int = 1,
    threshold_abs: float | None = None,
    threshold_rel: float | None = None,
    exclude_border: bool | int | tuple[int, ...] = True,
    num_peaks: int | None = None,
    labels: Array | None = None,
) -> Array:
    """Find local maxima that keep a distance from each other, as `skimage.feature` does.

    Parameters
    ----------
    image : (M,), (M, N) or (P, M, N) array of real numbers
        NumPy or Dask array.
    min_distance : int
        A peak is the largest value among pixels that are at most this far along each axis; of equal
        ones nearer to each other than that, the first in raster order is taken.
    threshold_abs : float, optional
        What peaks are above; the least value of the image by default.
    threshold_rel : float, optional
        The same as a fraction of the largest value; the larger of the two counts.
    exclude_border : bool, int or tuple of int
        How many pixels along each axis have no peaks at either end; True is `min_distance`.
    num_peaks : int, optional
        How many peaks to return at most.
    labels : array of integers, optional
        Regions that are looked at one by one; label 0 has no peaks. Peaks then come in the order of
        labels, and a region of one value has none, as in scikit-image.

    Returns
    -------
    (K, ndim) array of int64
        Coordinates, the highest peak first. Of a Dask image a Dask array of unknown length in one
        chunk; candidates from all chunks come together in one task.

    Raises
    ------
    TypeError
        If the image is of no real numbers, or on a device, or labels are no integers.
    ValueError
        If an argument is out of range, or shapes don't match; if the image has NaN (for a Dask
        image, when it is computed).

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((7, 7))
    >>> image[3, 4], image[3, 2] = 1, 1.5
    >>> peak_local_max(image, min_distance=1)
    array([[3, 2],
           [3, 4]])
    >>> peak_local_max(image, min_distance=2)
    array([[3, 2]])
    """
    check_landscape(image)
    if not isinstance(min_distance, numbers.Integral) or min_distance < 1:
        raise ValueError(f"min_distance must be an integer of at least 1, got {min_distance!r}")
    if num_peaks is not None:
        check_integer(num_peaks, "num_peaks", 0)
    for name, value in (("threshold_abs", threshold_abs), ("threshold_rel", threshold_rel)):
        if value is not None:
            check_number(value, name)
    border = _border(exclude_border, int(min_distance), image.shape)
    if labels is not None:
        check_labels(labels)
        if floor(labels) == "_dask" and floor(image) != "_dask":
            raise TypeError("labels must be no Dask array unless the image is; `labels.compute()`")
        if tuple(labels.shape) != tuple(image.shape):
            raise ValueError(
                f"labels must have the image's shape {image.shape}, got {labels.shape}"
            )
    # A farther look sees no more, and would take as long as it is far.
    reach = min(int(min_distance), max(1, *image.shape))
    return implementation(image, "peaks").peaks(
        image, labels, reach, threshold_abs, threshold_rel, border, num_peaks
    )


def _border(given: Any, distance: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Pixels without peaks at both ends of each axis."""
    ndim = len(shape)
    if isinstance(given, bool):
        given = distance if given else 0
    widths = (given,) * ndim if isinstance(given, numbers.Integral) else given
    if not isinstance(widths, tuple) or not all(isinstance(w, numbers.Integral) for w in widths):
        raise TypeError(f"exclude_border must be bool, int or a tuple of int, got {given!r}")
    if len(widths) != ndim or min(widths) < 0:
        raise ValueError(f"exclude_border must be at least 0, one or {ndim} numbers, got {given!r}")
    return tuple(min(int(width), size) for width, size in zip(widths, shape, strict=True))
