"""Maxima and minima that rise or fall far enough."""

from __future__ import annotations

from gpuseg._backend import implementation
from gpuseg._validate import check_integer, check_landscape, check_number
from gpuseg.typing import Array

__all__ = ["h_maxima", "h_minima"]


def h_maxima(image: Array, h: float, *, connectivity: int | None = None) -> Array:
    """Maxima that one must go down from by `h` at least to reach a higher one, and the highest.

    As `skimage.morphology.h_maxima`: seeds for a watershed that noise does not multiply.

    Parameters
    ----------
    image : (M,), (M, N) or (P, M, N) array of real numbers
        NumPy or Dask array.
    h : float
        How much higher than the saddle to a higher one a maximum is at least, in the image's units;
        above 0. Of float32 images differences are those of float32.
    connectivity : int, optional
        Along how many axes two neighbours may differ; all by default (8 neighbours in 2-D, 26 in
        3-D), as scikit-image's footprint is.

    Returns
    -------
    array of uint8
        1 in the pixels of those maxima. Lazy, in the image's chunks, for a Dask array, and then the
        same for every chunking; chunks are read once.

    Raises
    ------
    TypeError
        If the image is of no real numbers, or on a device.
    ValueError
        If `h` is not above 0, or `connectivity` out of range. NaN, and integers beyond 2^53, are
        refused too; for Dask arrays, when they are computed.

    Notes
    -----
    Equal maxima with a shallow saddle between them all count, as in scikit-image, which also takes
    floats for equal that differ in their last digits; here they are not. `docs/design/maxima.md`
    says how it is done.

    References
    ----------
    P. Soille, "Morphological Image Analysis", 2nd edition, 2003, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> h_maxima(np.array([0, 5, 4, 6, 1, 3, 0]), 2)
    array([0, 0, 0, 1, 0, 1, 0], dtype=uint8)
    """
    return _extrema(image, h, connectivity, 1)


def h_minima(image: Array, h: float, *, connectivity: int | None = None) -> Array:
    """Minima that one must go up from by `h` at least to reach a lower one, and the lowest.

    Parameters, errors and chunks are those of `h_maxima`; as `skimage.morphology.h_minima`.

    Parameters
    ----------
    image : (M,), (M, N) or (P, M, N) array of real numbers
        NumPy or Dask array.
    h : float
        How much lower than the saddle to a lower one a minimum is at least; above 0.
    connectivity : int, optional
        Along how many axes two neighbours may differ; all by default.

    Returns
    -------
    array of uint8
        1 in the pixels of those minima.

    Examples
    --------
    >>> import numpy as np
    >>> h_minima(np.array([5, 0, 1, 0, 4, 2, 5]), 2)
    array([0, 1, 0, 1, 0, 1, 0], dtype=uint8)
    """
    return _extrema(image, h, connectivity, -1)


def _extrema(image: Array, h: float, connectivity: int | None, sign: int) -> Array:
    check_landscape(image)
    if not check_number(h, "h") > 0:
        raise ValueError(f"h must be above 0, got {h}")
    near = image.ndim if connectivity is None else check_integer(connectivity, "connectivity", 1)
    if near > image.ndim:
        raise ValueError(f"connectivity must be between 1 and {image.ndim}, got {near}")
    return implementation(image, "maxima").h_maxima(image, float(h), near, sign)
