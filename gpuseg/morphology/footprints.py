"""Erosion, dilation and what is made of them, with any footprint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg._backend import floor, implementation
from gpuseg._shared import footprints
from gpuseg._shared.window import MODES, Window, check_real, native
from gpuseg._validate import check_number
from gpuseg.typing import Array

__all__ = [
    "binary_closing",
    "binary_dilation",
    "binary_erosion",
    "binary_opening",
    "black_tophat",
    "closing",
    "dilation",
    "erosion",
    "opening",
    "white_tophat",
]

_GREY_MODES = (*MODES, "max", "min", "ignore")
_MASK_MODES = ("ignore", "max", "min")


def erosion(
    image: Array, footprint: Any = None, *, mode: str = "reflect", cval: float = 0.0
) -> Array:
    """Least value around each pixel, as `skimage.morphology.erosion` takes it.

    Parameters
    ----------
    image : array
        NumPy, CuPy or Dask array of booleans, integers or floats.
    footprint : array, or sequence of (array, int), optional
        Neighbours to look at, as nonzero pixels around the middle; by default those along the axes.
        Size 1 along an axis keeps frames apart. A sequence is applied one after the other, each
        so many times.
    mode : str
        What stands for pixels outside the image: "reflect", "constant" (`cval`), "nearest",
        "mirror", "wrap", the type's "max" or "min", or "ignore" for nothing.
    cval : float
        Value outside, for "constant".

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Notes
    -----
    Masks are packed 64 pixels to a word. Where a neighbour is NaN the answer is undefined.

    Examples
    --------
    >>> import numpy as np
    >>> erosion(np.array([5, 5, 1, 5, 9, 9]))
    array([5, 1, 1, 1, 5, 9])
    """
    return _grey(image, footprint, (False,), mode, cval)


def dilation(
    image: Array, footprint: Any = None, *, mode: str = "reflect", cval: float = 0.0
) -> Array:
    """Greatest value around each pixel, as `skimage.morphology.dilation` takes it.

    Parameters
    ----------
    image, footprint, mode, cval
        As in `erosion`.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> dilation(np.array([5, 5, 1, 5, 9, 9]))
    array([5, 5, 5, 9, 9, 9])
    """
    return _grey(image, footprint, (True,), mode, cval)


def opening(
    image: Array, footprint: Any = None, *, mode: str = "reflect", cval: float = 0.0
) -> Array:
    """Erosion, then dilation, as `skimage.morphology.opening`: small bright spots go.

    Parameters
    ----------
    image, footprint, mode, cval
        As in `erosion`.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> opening(np.array([1, 7, 1, 5, 5, 5]))
    array([1, 1, 1, 5, 5, 5])
    """
    return _grey(image, footprint, (False, True), mode, cval)


def closing(
    image: Array, footprint: Any = None, *, mode: str = "reflect", cval: float = 0.0
) -> Array:
    """Dilation, then erosion, as `skimage.morphology.closing`: small dark spots go.

    Parameters
    ----------
    image, footprint, mode, cval
        As in `erosion`.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> closing(np.array([5, 5, 1, 5, 9, 9]))
    array([5, 5, 5, 5, 9, 9])
    """
    return _grey(image, footprint, (True, False), mode, cval)


def white_tophat(
    image: Array, footprint: Any = None, *, mode: str = "reflect", cval: float = 0.0
) -> Array:
    """Image less its opening, as `skimage.morphology.white_tophat`: bright spots stay.

    Parameters
    ----------
    image, footprint, mode, cval
        As in `erosion`.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Notes
    -----
    With a footprint larger than the objects this takes an uneven background away.

    Examples
    --------
    >>> import numpy as np
    >>> white_tophat(np.array([1, 7, 1, 5, 5, 5]))
    array([0, 6, 0, 0, 0, 0])
    """
    return _grey(image, footprint, (False, True), mode, cval, "white")


def black_tophat(
    image: Array, footprint: Any = None, *, mode: str = "reflect", cval: float = 0.0
) -> Array:
    """Closing less the image, as `skimage.morphology.black_tophat`: dark spots stay.

    Parameters
    ----------
    image, footprint, mode, cval
        As in `erosion`.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> black_tophat(np.array([5, 5, 1, 5, 9, 9]))
    array([0, 0, 4, 0, 0, 0])
    """
    return _grey(image, footprint, (True, False), mode, cval, "black")


def _grey(
    image: Array, footprint: Any, grows: Sequence[bool], mode: str, cval: float, tophat: str = ""
) -> Array:
    floor(image)
    check_real(image.dtype)
    if mode not in _GREY_MODES:
        raise ValueError(f"mode must be one of {', '.join(_GREY_MODES)}, got {mode!r}")
    check_number(cval, "cval")
    steps = footprints.grey_steps(footprint, image.ndim, grows)
    options = {"steps": steps, "mode": mode, "cval": cval, "tophat": tophat}
    window = Window(
        "morphology", "grey", footprints.reach(steps), native(image.dtype), mode, options=options
    )
    return implementation(image, "windows").apply(image, window)


def binary_erosion(image: Array, footprint: Any = None, *, mode: str = "ignore") -> Array:
    """Pixels all of whose neighbours are set, as `skimage.morphology.binary_erosion`.

    Parameters
    ----------
    image : array
        NumPy, CuPy or Dask array of booleans or integers; nonzero is set.
    footprint : array, or sequence of (array, int), optional
        As in `erosion`.
    mode : str
        What stands for pixels outside the image: nothing ("ignore"), set ("max") or unset ("min")
        ones.

    Returns
    -------
    bool array
        Of the image's shape.

    Raises
    ------
    TypeError
        If the image is neither bool nor integer.
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Notes
    -----
    `gpuseg.ndmorph` has SciPy's and dask-image's form, which erodes at the border too.

    Examples
    --------
    >>> import numpy as np
    >>> binary_erosion(np.array([1, 1, 1, 0, 1, 1], bool)).astype(int)
    array([1, 1, 0, 0, 0, 1])
    """
    return _binary(image, footprint, (False,), mode)


def binary_dilation(image: Array, footprint: Any = None, *, mode: str = "ignore") -> Array:
    """Pixels with a neighbour that is set, as `skimage.morphology.binary_dilation`.

    Parameters
    ----------
    image, footprint, mode
        As in `binary_erosion`.

    Returns
    -------
    bool array
        Of the image's shape.

    Raises
    ------
    TypeError
        If the image is neither bool nor integer.
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> binary_dilation(np.array([0, 0, 1, 0, 0], bool)).astype(int)
    array([0, 1, 1, 1, 0])
    """
    return _binary(image, footprint, (True,), mode)


def binary_opening(image: Array, footprint: Any = None, *, mode: str = "ignore") -> Array:
    """Erosion, then dilation, as `skimage.morphology.binary_opening`: specks go.

    Parameters
    ----------
    image, footprint, mode
        As in `binary_erosion`.

    Returns
    -------
    bool array
        Of the image's shape.

    Raises
    ------
    TypeError
        If the image is neither bool nor integer.
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> binary_opening(np.array([0, 1, 0, 1, 1, 1, 0], bool)).astype(int)
    array([0, 0, 0, 1, 1, 1, 0])
    """
    return _binary(image, footprint, (False, True), mode)


def binary_closing(image: Array, footprint: Any = None, *, mode: str = "ignore") -> Array:
    """Dilation, then erosion, as `skimage.morphology.binary_closing`: gaps go.

    Parameters
    ----------
    image, footprint, mode
        As in `binary_erosion`.

    Returns
    -------
    bool array
        Of the image's shape.

    Raises
    ------
    TypeError
        If the image is neither bool nor integer.
    ValueError
        If a footprint has other axes than the image or no pixel, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> binary_closing(np.array([0, 1, 0, 1, 0, 0, 0], bool)).astype(int)
    array([1, 1, 1, 1, 0, 0, 0])
    """
    return _binary(image, footprint, (True, False), mode)


def _binary(image: Array, footprint: Any, grows: Sequence[bool], mode: str) -> Array:
    floor(image)
    if mode not in _MASK_MODES:
        raise ValueError(f"mode must be one of {', '.join(_MASK_MODES)}, got {mode!r}")
    return of_mask(image, footprints.binary_steps(footprint, image.ndim, grows, mode))


def of_mask(image: Array, steps: Sequence[footprints.Step]) -> Array:
    """Steps on a mask."""
    if image.dtype.kind not in "biu":
        raise TypeError(
            f"image must be a mask of bool or integers, got {image.dtype}: compare it, as image > 0"
        )
    window = Window(
        "morphology",
        "binary",
        footprints.reach(steps),
        np.dtype(bool),
        options={"steps": tuple(steps)},
    )
    return implementation(image, "windows").apply(image, window)
