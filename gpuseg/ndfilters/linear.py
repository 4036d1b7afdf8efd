"""Weighted sums of the pixels around each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg._backend import floor
from gpuseg._shared.window import gaussian_radii, per_axis
from gpuseg._validate import check_integer, check_number
from gpuseg.ndfilters._windows import apply, check_origins, make_footprint, reach
from gpuseg.typing import Array

__all__ = [
    "convolve",
    "correlate",
    "gaussian",
    "gaussian_filter",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "laplace",
    "prewitt",
    "sobel",
    "uniform_filter",
]


def convolve(
    image: Array, weights: Array, mode: str = "reflect", cval: float = 0.0, origin: Any = 0
) -> Array:
    """Sum of the pixels around each, weighted by the mirrored `weights`.

    Parameters
    ----------
    image : array
    weights : array
        With as many axes as the image, and where the image lives (a Dask image: its chunks).
    mode : str
        What stands for pixels outside the image: "reflect", "constant" (`cval`), "nearest",
        "mirror" or "wrap".
    cval : float
        Value outside, for "constant".
    origin : int or sequence of int
        Shifts the middle of the weights.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If `weights` has other axes than the image, `origin` leaves it, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> convolve(np.array([0, 0, 1, 0, 0]), np.array([1, 2, 3]))
    array([0, 1, 2, 3, 0])
    """
    return _weighted("convolve", image, weights, mode, cval, origin)


def correlate(
    image: Array, weights: Array, mode: str = "reflect", cval: float = 0.0, origin: Any = 0
) -> Array:
    """Sum of the pixels around each, weighted by `weights`; parameters are those of `convolve`.

    Examples
    --------
    >>> import numpy as np
    >>> correlate(np.array([0, 0, 1, 0, 0]), np.array([1, 2, 3]))
    array([0, 3, 2, 1, 0])
    """
    return _weighted("correlate", image, weights, mode, cval, origin)


def gaussian_filter(
    image: Array,
    sigma: float | Sequence[float],
    order: int | Sequence[int] = 0,
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
) -> Array:
    """Smooth with a Gaussian, or take its derivative.

    Parameters
    ----------
    image : array
    sigma : float or sequence of float
        Standard deviation in pixels; ``[0, 1, 1]`` smooths each frame of a stack for itself.
    order : int or sequence of int
        Derivative to take along each axis; 0 for none.
    mode, cval
        As in `convolve`.
    truncate : float
        Where to cut the Gaussian off, in standard deviations.

    Returns
    -------
    array
        Of the image's dtype: integers are cut off after each axis, as SciPy does.
        `gpuseg.filters.gaussian` gives floats.

    Raises
    ------
    ValueError
        If `sigma` is negative, not one for each axis or too wide, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_filter(np.array([0, 0, 100, 0, 0]), 0.5)
    array([ 0, 10, 78, 10,  0])
    """
    sigmas = _sigmas(image, sigma)
    around = gaussian_radii(sigmas, truncate)
    orders = per_axis(order, image.ndim, "order", check_integer)
    if any(one < 0 for one in orders):
        raise ValueError(f"order must be at least 0, got {order}")
    return _apply(
        "gaussian_filter", image, around, mode, cval, sigma=sigmas, order=orders, truncate=truncate
    )


def gaussian(
    image: Array,
    sigma: float | Sequence[float],
    order: int | Sequence[int] = 0,
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
) -> Array:
    """As `gaussian_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian(np.array([0, 0, 100, 0, 0]), 0.5)
    array([ 0, 10, 78, 10,  0])
    """
    return gaussian_filter(image, sigma, order, mode, cval, truncate)


def gaussian_gradient_magnitude(
    image: Array,
    sigma: float | Sequence[float],
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
) -> Array:
    """Steepness by derivatives of a Gaussian; parameters are those of `gaussian_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_gradient_magnitude(np.array([0.0, 0, 8, 8, 8]), 1).round(1)
    array([0.9, 2.9, 2.9, 1. , 0.1])
    """
    sigmas = _sigmas(image, sigma)
    around = gaussian_radii(sigmas, truncate)
    return _apply(
        "gaussian_gradient_magnitude", image, around, mode, cval, sigma=sigmas, truncate=truncate
    )


def gaussian_laplace(
    image: Array,
    sigma: float | Sequence[float],
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
) -> Array:
    """Sum of second derivatives of a Gaussian; parameters are those of `gaussian_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_laplace(np.array([0.0, 0, 8, 0, 0]), 0.5).round(1)
    array([  0.1,  10.2, -25.2,  10.2,   0.1])
    """
    sigmas = _sigmas(image, sigma)
    around = gaussian_radii(sigmas, truncate)
    return _apply("gaussian_laplace", image, around, mode, cval, sigma=sigmas, truncate=truncate)


def laplace(image: Array, mode: str = "reflect", cval: float = 0.0) -> Array:
    """Sum of second differences; parameters are those of `convolve`.

    Examples
    --------
    >>> import numpy as np
    >>> laplace(np.array([0, 0, 1, 0, 0]))
    array([ 0,  1, -2,  1,  0])
    """
    return _apply("laplace", image, 1, mode, cval)


def prewitt(image: Array, axis: int = -1, mode: str = "reflect", cval: float = 0.0) -> Array:
    """Differences along `axis`, smoothed along the others; parameters are those of `convolve`.

    Raises
    ------
    ValueError
        If there is no such axis, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> prewitt(np.array([[0, 0, 1, 1]] * 2))
    array([[0, 3, 3, 0],
           [0, 3, 3, 0]])
    """
    return _apply("prewitt", image, 1, mode, cval, axis=_axis(image, axis))


def sobel(image: Array, axis: int = -1, mode: str = "reflect", cval: float = 0.0) -> Array:
    """Differences along `axis`, smoothed along the others; parameters are those of `prewitt`.

    Examples
    --------
    >>> import numpy as np
    >>> sobel(np.array([[0, 0, 1, 1]] * 2))
    array([[0, 4, 4, 0],
           [0, 4, 4, 0]])
    """
    return _apply("sobel", image, 1, mode, cval, axis=_axis(image, axis))


def uniform_filter(
    image: Array,
    size: int | Sequence[int] = 3,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
) -> Array:
    """Mean of the pixels around each; parameters are those of `median_filter`.

    Notes
    -----
    SciPy adds and subtracts along a row, so that what is rounded (floats, integers of 64 bits)
    depends, in the last digits, on where it begins. Here that is summed anew for each pixel, and
    the same for every chunking.

    Examples
    --------
    >>> import numpy as np
    >>> uniform_filter(np.array([0, 0, 9, 0, 0]))
    array([0, 3, 3, 3, 0])
    """
    shape = make_footprint(image, size, None).shape
    origins = check_origins(origin, shape)
    around = reach(shape, origins)
    dtype = image.dtype
    whole = dtype.kind in "biu" and dtype.itemsize <= 4
    if whole and (mode != "constant" or float(check_number(cval, "cval")).is_integer()):
        return _apply("uniform_filter", image, around, mode, cval, size=shape, origin=origins)
    # One pass at least: what is given back is never the image itself.
    for axis in [axis for axis, length in enumerate(shape) if length > 1] or [0]:
        along = tuple(around[axis] if other == axis else 0 for other in range(image.ndim))
        length = shape[axis]
        options = {"origin": origins[axis], "axis": axis}
        if dtype.kind in "biu":
            options["weights"] = (1.0,) * length
            image = _apply("correlate1d", image.astype(np.float64), along, mode, cval, **options)
            image = np.trunc(image / length).astype(dtype)
        else:
            options["weights"] = (1 / length,) * length
            image = _apply("correlate1d", image, along, mode, cval, **options)
    return image


def _weighted(
    function: str, image: Array, weights: Array, mode: str, cval: float, origin: Any
) -> Array:
    floor(image)
    floor(weights)
    if weights.ndim != image.ndim or 0 in weights.shape:
        raise ValueError(
            f"weights must have the image's {image.ndim} axes and a value, got shape "
            f"{tuple(weights.shape)}"
        )
    origins = check_origins(origin, weights.shape)
    around = reach(weights.shape, origins)
    return _apply(function, image, around, mode, cval, weights=weights, origin=origins)


def _apply(
    function: str,
    image: Array,
    around: Sequence[int] | int,
    mode: str,
    cval: float,
    **options: Any,
) -> Array:
    """SciPy's function, of numbers that it takes."""
    floor(image)
    if image.dtype.kind not in "biufc" or image.dtype.char in "egG":
        raise TypeError(
            f"image must be bool, integer, or of floats of 32 or 64 bits, got {image.dtype}; "
            "convert it with `image.astype(numpy.float64)`"
        )
    reaches = (around,) * image.ndim if isinstance(around, int) else around
    return apply(function, image, reaches, mode, cval, **options)


def _sigmas(image: Array, sigma: Any) -> tuple[float, ...]:
    floor(image)
    sigmas = tuple(float(one) for one in per_axis(sigma, image.ndim, "sigma"))
    if any(not 0 <= one < math.inf for one in sigmas):
        raise ValueError(f"sigma must be finite and not negative, got {sigma}")
    return sigmas


def _axis(image: Array, axis: int) -> int:
    floor(image)
    axis = check_integer(axis, "axis")
    if not -image.ndim <= axis < image.ndim:
        raise ValueError(f"axis must be one of {image.ndim}, got {axis}")
    return axis
