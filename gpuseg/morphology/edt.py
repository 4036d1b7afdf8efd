"""Exact Euclidean distances to the background."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpuseg._backend import implementation
from gpuseg._shared.edt import check_spacing, metric
from gpuseg._validate import check_labelable, check_number
from gpuseg.typing import Array


def distance_transform_edt(
    mask: Array,
    *,
    spacing: float | Sequence[float] | None = None,
    max_distance: float = math.inf,
    return_distances: bool = True,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Distance of each pixel to the nearest background, as `scipy.ndimage` defines it.

    Squared distances are integers where the spacing is 1, or integers, or decimals with a common
    unit (0.65 and 2): exact, and of several nearest background pixels the first in raster order is
    taken, on every device and for any chunks. Spacings without such a unit are compared in
    float64, where a tie is what rounding makes of it.

    Parameters
    ----------
    mask : bool or integer array, of 1 to 3 axes
        NumPy, CuPy or Dask array; 0 is background.
    spacing : float or sequence of float, optional
        Pixel size along each axis; 1 by default. SciPy's `sampling`.
    max_distance : float
        Farther pixels get the distance inf and the index -1. A Dask array's chunks then look that
        far into their neighbours; without a limit the array is cut anew for each axis, into chunks
        that are whole along it.
    return_distances, return_indices : bool
        What to return.

    Returns
    -------
    distances : float64 array
        0 in the background; inf where there is none (SciPy's answer then has no meaning).
    indices : int32 array (axes, ...)
        Coordinates of the nearest background pixel; -1 where there is none.

    Raises
    ------
    TypeError
        If the mask is neither bool nor integer.
    ValueError
        If it has no axis or more than three, a chunk of unknown size, if `spacing` is not positive,
        `max_distance` is negative or NaN, or nothing is to be returned.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.array([[0, 1, 1, 1], [0, 1, 1, 1]], bool)
    >>> distance_transform_edt(mask, spacing=(1, 0.5))
    array([[0. , 0.5, 1. , 1.5],
           [0. , 0.5, 1. , 1.5]])

    References
    ----------
    A. Meijster, J. Roerdink, W. Hesselink, "A general algorithm for computing distance transforms
    in linear time", 2000; P. Felzenszwalb, D. Huttenlocher, "Distance transforms of sampled
    functions", 2012.
    """
    check_labelable(mask)
    if not 1 <= mask.ndim <= 3:
        raise ValueError(f"mask must have 1 to 3 axes, got {mask.ndim}")
    check_number(max_distance, "max_distance", 0)
    if not (return_distances or return_indices):
        raise ValueError("one of return_distances and return_indices must be true, got neither")
    measured = metric(mask.shape, check_spacing(spacing, mask.ndim), max_distance)
    found = implementation(mask, "edt").transform(mask, measured, return_distances, return_indices)
    return found if all(part is not None for part in found) else found[not return_distances]
