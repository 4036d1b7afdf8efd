"""Filters of the pixels around each pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpuseg._backend import floor, implementation
from gpuseg._shared.window import (
    Window,
    check_mode,
    check_real,
    check_sizes,
    float_dtype,
    gaussian_radii,
    native,
    per_axis,
)
from gpuseg._shared.window import gaussian as gaussian_window
from gpuseg._validate import check_integer, check_number
from gpuseg.typing import Array

__all__ = ["difference_of_gaussians", "gaussian", "laplace", "median", "prewitt", "sobel"]


def gaussian(
    image: Array,
    sigma: float | Sequence[float] = 1.0,
    *,
    mode: str = "nearest",
    cval: float = 0,
    preserve_range: bool = False,
    truncate: float = 4.0,
    channel_axis: int | None = None,
) -> Array:
    """Smooth with a Gaussian, as `skimage.filters.gaussian` does.

    Parameters
    ----------
    image : array
        NumPy, CuPy or Dask array of booleans, integers or floats.
    sigma : float or sequence of float
        Standard deviation in pixels, for all axes or for each; ``(0, 1, 1)`` smooths each frame of
        a stack for itself.
    mode : str
        What stands for pixels outside the image: "reflect", "constant" (`cval`), "nearest",
        "mirror" or "wrap".
    cval : float
        Value outside, for "constant".
    preserve_range : bool
        Keep the range of integers; otherwise they are scaled to 0 to 1 (-1 to 1 if signed).
    truncate : float
        Where to cut the Gaussian off, in standard deviations.
    channel_axis : int, optional
        Axis along which not to smooth.

    Returns
    -------
    array
        float32 for float16 and float32 images, otherwise float64; lazy and in the image's chunks
        if that is a Dask array.

    Raises
    ------
    TypeError
        If the image is complex, or none of these arrays.
    ValueError
        If `sigma` is negative, not one for each axis, or so wide that `truncate` of them are
        more than 2^26 pixels; if `mode` is unknown.

    Notes
    -----
    With ``mode="reflect"``, axes of at most 4096 pixels (or 8 radii) are smoothed by a cosine
    transform from a radius of 64 pixels on, at a cost that no longer depends on it; chunks are
    joined along them. This equals SciPy's sum, cut off at the same radius, to 10^-12 of the
    greatest value, and refuses NaN and infinity. Elsewhere NaN spreads as far as the radius.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian(np.array([0.0, 0.0, 8.0, 0.0, 0.0]), sigma=0.5).round(2)
    array([0.  , 0.85, 6.29, 0.85, 0.  ])
    """
    floor(image)
    sigmas = _sigmas(sigma, image.ndim, channel_axis)
    check_mode(mode)
    window = gaussian_window(
        image.shape,
        image.dtype,
        sigmas,
        mode=mode,
        cval=cval,
        truncate=truncate,
        preserve_range=preserve_range,
    )
    return implementation(image, "windows").apply(image, window)


def _sigmas(
    sigma: float | Sequence[float], ndim: int, channel_axis: int | None, name: str = "sigma"
) -> list[float]:
    """Deviation along each axis, 0 along the channels."""
    if channel_axis is None or (np.ndim(sigma) and len(sigma) == ndim):  # type: ignore[arg-type]
        sigmas = list(per_axis(sigma, ndim, name))
    else:
        if not -ndim <= check_integer(channel_axis, "channel_axis") < ndim:
            raise ValueError(f"channel_axis must be one of {ndim} axes, got {channel_axis}")
        sigmas = list(per_axis(sigma, ndim - 1, name))
        sigmas.insert(channel_axis % ndim, 0)
    if any(not 0 <= s < math.inf for s in sigmas):
        raise ValueError(f"{name} must be finite and not negative, got {sigma}")
    return sigmas


def difference_of_gaussians(
    image: Array,
    low_sigma: float | Sequence[float],
    high_sigma: float | Sequence[float] | None = None,
    *,
    mode: str = "nearest",
    cval: float = 0,
    channel_axis: int | None = None,
    truncate: float = 4.0,
) -> Array:
    """Keep structures between two sizes, as `skimage.filters.difference_of_gaussians` does.

    Parameters
    ----------
    image : array
        As in `gaussian`; integers are scaled.
    low_sigma, high_sigma : float or sequence of float
        Deviations of the Gaussian and of the one that is subtracted from it, by default 1.6 times
        as wide.
    mode, cval, channel_axis, truncate
        As in `gaussian`.

    Returns
    -------
    array
        As of `gaussian`.

    Raises
    ------
    ValueError
        If a `high_sigma` is smaller than its `low_sigma`, and as `gaussian`.

    Examples
    --------
    >>> import numpy as np
    >>> difference_of_gaussians(np.array([0.0, 0.0, 8.0, 0.0, 0.0]), 0.5, 1).round(2)
    array([-0.43, -1.08,  3.1 , -1.08, -0.43])
    """
    floor(image)
    low = _sigmas(low_sigma, image.ndim, channel_axis, "low_sigma")
    wide = [1.6 * s for s in low] if high_sigma is None else high_sigma
    high = _sigmas(wide, image.ndim, channel_axis, "high_sigma")
    if any(b < a for a, b in zip(low, high, strict=True)):
        raise ValueError(f"high_sigma must be at least low_sigma, got {high_sigma} < {low_sigma}")
    gaussian_radii(high, truncate)
    narrow, broad = (
        gaussian(image, sigmas, mode=mode, cval=cval, truncate=truncate) for sigmas in (low, high)
    )
    return narrow - broad


def median(
    image: Array,
    footprint: npt.ArrayLike | None = None,
    *,
    mode: str = "nearest",
    cval: float = 0.0,
) -> Array:
    """Median of the pixels around each, as `skimage.filters.median` does.

    Parameters
    ----------
    image : array
        NumPy, CuPy or Dask array.
    footprint : array_like, optional
        Neighbours to take, with as many axes as the image, around the middle; by default three
        pixels along each axis. Size 1 along an axis keeps frames apart.
    mode, cval
        As in `gaussian`.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If the footprint has other axes than the image or no pixel, or `mode` is unknown.

    Notes
    -----
    Where a neighbour is NaN the answer is undefined, as it is in SciPy.

    Examples
    --------
    >>> import numpy as np
    >>> median(np.array([1, 1, 9, 1, 1, 7, 8]))
    array([1, 1, 1, 1, 1, 7, 8])
    """
    floor(image)
    check_real(image.dtype)
    check_mode(mode)
    check_number(cval, "cval")
    shape = np.ones((3,) * image.ndim, bool) if footprint is None else np.asarray(footprint) != 0
    if shape.ndim != image.ndim or not shape.any():
        raise ValueError(
            f"footprint must have the image's {image.ndim} axes and a pixel, got {footprint!r}"
        )
    options = {"function": "median_filter", "dtype": native(image.dtype), "footprint": shape}
    return implementation(image, "windows").apply(
        image,
        Window(
            "filters",
            "ndimage",
            tuple(size // 2 for size in shape.shape),
            native(image.dtype),
            mode,
            options={**options, "mode": mode, "cval": cval},
        ),
    )


def sobel(
    image: Array, *, axis: int | Sequence[int] | None = None, mode: str = "reflect", cval: float = 0
) -> Array:
    """Steepness by the Sobel filter, as `skimage.filters.sobel` measures it.

    Parameters
    ----------
    image : array
        NumPy, CuPy or Dask array; integers are scaled to 0 to 1.
    axis : int or sequence of int, optional
        Axis of a signed difference, or axes whose magnitude is taken; all by default.
    mode, cval
        As in `gaussian`.

    Returns
    -------
    array
        float32 or float64, as of `gaussian`.

    Raises
    ------
    ValueError
        If `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> sobel(np.array([[0.0, 0, 1, 1]] * 3), axis=1)
    array([[0., 1., 1., 0.],
           [0., 1., 1., 0.],
           [0., 1., 1., 0.]])
    """
    return _sloped(image, "sobel", axis, mode, cval)


def prewitt(
    image: Array, *, axis: int | Sequence[int] | None = None, mode: str = "reflect", cval: float = 0
) -> Array:
    """Steepness by the Prewitt filter, as `skimage.filters.prewitt` measures it.

    Parameters
    ----------
    image, axis, mode, cval
        As in `sobel`.

    Returns
    -------
    array
        As of `sobel`.

    Raises
    ------
    ValueError
        If `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> prewitt(np.array([[0.0, 0, 1, 1]] * 3), axis=1)
    array([[0., 1., 1., 0.],
           [0., 1., 1., 0.],
           [0., 1., 1., 0.]])
    """
    return _sloped(image, "prewitt", axis, mode, cval)


def laplace(image: Array, ksize: int = 3) -> Array:
    """Sum of second differences, as `skimage.filters.laplace` takes it.

    Parameters
    ----------
    image : array
        NumPy, CuPy or Dask array; integers are scaled to 0 to 1.
    ksize : int
        Size of the operator along each axis.

    Returns
    -------
    array
        float32 or float64, as of `gaussian`.

    Examples
    --------
    >>> import numpy as np
    >>> laplace(np.array([0.0, 0, 1, 0, 0]))
    array([ 0., -1.,  2., -1.,  0.])
    """
    floor(image)
    check_sizes((check_integer(ksize, "ksize", 3),) * image.ndim, "ksize")
    return _edges(image, "laplace", ksize // 2, "reflect", ksize=ksize)


def _sloped(
    image: Array, function: str, axis: int | Sequence[int] | None, mode: str, cval: float
) -> Array:
    floor(image)
    check_number(cval, "cval")
    if axis is not None:
        many = isinstance(axis, list | tuple) or np.ndim(axis)
        for one in axis if many else (axis,):  # type: ignore[union-attr]
            if not -image.ndim <= check_integer(one, "axis") < image.ndim:
                raise ValueError(f"axis must be among {image.ndim} axes, got {axis}")
    return _edges(image, function, 1, mode, axis=axis, mode=mode, cval=cval)


def _edges(image: Array, function: str, reach: int, border: str, **options: object) -> Array:
    floor(image)
    check_mode(border)
    window = Window(
        "filters",
        "edges",
        (reach,) * image.ndim,
        float_dtype(image.dtype),
        border,
        options={"function": function, **options},
    )
    return implementation(image, "windows").apply(image, window)
