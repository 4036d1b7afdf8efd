"""Part objects that touch."""

from __future__ import annotations

import numbers

import numpy as np

from gpuseg import measure
from gpuseg._backend import floor, implementation
from gpuseg._shared.window import gaussian_radii
from gpuseg._validate import check_number
from gpuseg.filters import gaussian
from gpuseg.morphology import distance_transform_edt
from gpuseg.segmentation._watershed import watershed
from gpuseg.typing import Array


def split_touching(
    mask: Array, *, min_distance: int = 5, sigma: float = 1.0, connectivity: int = 1
) -> Array:
    """Part touching round objects along the necks between them.

    Objects are the peaks of the smoothed distance to the background, grown by a watershed. Each
    connected part of the mask has one peak at least, so that nothing is lost.

    Parameters
    ----------
    mask : (M,), (M, N) or (P, M, N) bool array
        NumPy or Dask array.
    min_distance : int
        A peak is the highest pixel of its part of the mask up to this many pixels away along each
        axis: about the smallest radius of an object, in pixels.
    sigma : float
        Standard deviation in pixels of the Gaussian that smooths distances: more of it parts rough
        outlines less often. 0 leaves them as they are.
    connectivity : int
        Along how many axes pixels of one object may differ, as in `watershed`.

    Returns
    -------
    array of int32
        Labels from 1 on, numbered by the raster order of the peaks; 0 where the mask is False.
        Lazy, in the mask's chunks, for a Dask array, and then the same for every chunking.

    Raises
    ------
    TypeError
        If the mask is not bool, or on a device.
    ValueError
        If an argument is out of range.

    Notes
    -----
    Chunks are read again for each step rather than held: a Dask mask is best one that is cheap to
    read, such as one that has been stored. Candidates for peaks come together in one task.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.indices((9, 16))
    >>> mask = np.hypot(y - 4, x - 4) < 4.2
    >>> mask |= np.hypot(y - 4, x - 11) < 4.2
    >>> labels = split_touching(mask, min_distance=3)
    >>> labels[4]
    array([1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2], dtype=int32)
    """
    floor(mask)
    if mask.dtype.kind != "b":
        raise TypeError(f"mask must be of bool, got {mask.dtype}: compare it, as mask > 0")
    if not 1 <= mask.ndim <= 3:
        raise ValueError(f"mask must have 1 to 3 axes, got shape {mask.shape}")
    if not isinstance(min_distance, numbers.Integral) or min_distance < 1:
        raise ValueError(f"min_distance must be an integer of at least 1, got {min_distance!r}")
    if not 0 <= check_number(sigma, "sigma") < float("inf"):
        raise ValueError(f"sigma must be at least 0 and finite, got {sigma}")
    gaussian_radii((sigma,), 4.0)
    parts, _ = measure.label(mask, connectivity=connectivity)
    peaks = implementation(mask, "peaks")
    distance = distance_transform_edt(mask)
    # Without any background there is no distance; a slope with one peak stands for it.
    lonely = np.isinf(distance)
    if floor(mask) == "_dask" or lonely.any():
        distance = np.where(lonely, 0.0, distance)
        for axis, size in enumerate(mask.shape):
            shape = [-1 if at == axis else 1 for at in range(mask.ndim)]
            distance = distance + lonely * np.arange(size).reshape(shape)
    landscape = gaussian(distance, sigma=sigma) if sigma else distance
    markers = peaks.markers(landscape, parts, min(int(min_distance), max(1, *mask.shape)))
    return watershed(-landscape, markers, mask=mask, connectivity=connectivity)
