"""dask-image's `ndmorph` names: erosion and dilation of masks as `scipy.ndimage` defines them.

Every function takes NumPy, CuPy and Dask arrays and gives masks of the same kind, lazily for Dask,
equal to SciPy's on the whole array however it is chunked. `gpuseg.morphology` has scikit-image's
forms, whose border differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from gpuseg._backend import floor, implementation
from gpuseg._shared import footprints
from gpuseg._shared.window import Window, check_real, per_axis
from gpuseg._validate import check_integer
from gpuseg.typing import Array

__all__ = ["binary_closing", "binary_dilation", "binary_erosion", "binary_opening"]


def binary_erosion(
    image: Array,
    structure: Any = None,
    iterations: int = 1,
    mask: Array | bool | None = None,
    border_value: int = 0,
    origin: int | Sequence[int] = 0,
    brute_force: bool = False,
) -> Array:
    """Pixels all of whose neighbours are set, as `scipy.ndimage.binary_erosion`.

    Parameters
    ----------
    image : array
        Nonzero is set.
    structure : array_like, optional
        Neighbours to look at, with as many axes as the image; by default those that share a face.
        Zeros around a flat structure keep the frames of a stack apart.
    iterations : int
        How often.
    mask : bool array, optional
        Pixels that may change, of the image's shape and kind.
    border_value : int
        What stands for pixels outside the image: 0 or 1.
    origin : int or sequence of int
        Shifts the middle of the structure.
    brute_force : bool
        Ignored: a way of SciPy to go about it.

    Returns
    -------
    bool array
        Of the image's shape.

    Raises
    ------
    TypeError
        If the image is of no real numbers, or `iterations` or `border_value` is no integer.
    ValueError
        If the structure has other axes than the image or no pixel, the mask another shape, or an
        argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> binary_erosion(np.array([1, 1, 1, 0, 1, 1], bool)).astype(int)
    array([0, 1, 0, 0, 0, 0])
    """
    return _steps(image, (False,), structure, iterations, mask, border_value, origin)


def binary_dilation(
    image: Array,
    structure: Any = None,
    iterations: int = 1,
    mask: Array | bool | None = None,
    border_value: int = 0,
    origin: int | Sequence[int] = 0,
    brute_force: bool = False,
) -> Array:
    """Pixels with a neighbour that is set; parameters are those of `binary_erosion`.

    Examples
    --------
    >>> import numpy as np
    >>> binary_dilation(np.array([0, 0, 1, 0, 0], bool)).astype(int)
    array([0, 1, 1, 1, 0])
    """
    return _steps(image, (True,), structure, iterations, mask, border_value, origin)


def binary_opening(
    image: Array,
    structure: Any = None,
    iterations: int = 1,
    origin: int | Sequence[int] = 0,
    mask: Array | bool | None = None,
    border_value: int = 0,
    brute_force: bool = False,
) -> Array:
    """Erosion, then dilation: specks go. Parameters are those of `binary_erosion`.

    Examples
    --------
    >>> import numpy as np
    >>> binary_opening(np.array([0, 1, 0, 1, 1, 1, 0], bool)).astype(int)
    array([0, 0, 0, 1, 1, 1, 0])
    """
    return _steps(image, (False, True), structure, iterations, mask, border_value, origin)


def binary_closing(
    image: Array,
    structure: Any = None,
    iterations: int = 1,
    origin: int | Sequence[int] = 0,
    mask: Array | bool | None = None,
    border_value: int = 0,
    brute_force: bool = False,
) -> Array:
    """Dilation, then erosion: gaps close. Parameters are those of `binary_erosion`.

    Examples
    --------
    >>> import numpy as np
    >>> binary_closing(np.array([0, 1, 1, 0, 1, 1, 0], bool)).astype(int)
    array([0, 1, 1, 1, 1, 1, 0])
    """
    return _steps(image, (True, False), structure, iterations, mask, border_value, origin)


def _steps(
    image: Array,
    grows: Sequence[bool],
    structure: Any,
    iterations: Any,
    mask: Any,
    border_value: Any,
    origin: Any,
) -> Array:
    floor(image)
    check_real(image.dtype)
    for name, value in (("iterations", iterations), ("border_value", border_value)):
        if not isinstance(value, Integral):
            raise TypeError(f"{name} must be an integer, got {value!r}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    origins = per_axis(origin, image.ndim, "origin", check_integer)
    steps = [
        footprints.scipy_step(structure, image.ndim, grow, bool(border_value), origins)
        for grow in grows
        for _ in range(iterations)
    ]
    if mask is None or mask is True:
        return _apply(image, steps)
    if not isinstance(mask, bool):
        floor(mask)
    if isinstance(mask, bool) or tuple(mask.shape) != tuple(image.shape):
        shown = mask if isinstance(mask, bool) else tuple(mask.shape)
        raise ValueError(f"mask must have the image's shape {tuple(image.shape)}, got {shown}")
    found, free = image != 0, mask != 0
    for step in steps:
        found = (_apply(found, [step]) & free) | (found & ~free)
    return found


def _apply(image: Array, steps: Sequence[footprints.Step]) -> Array:
    # Bits are what an erosion works on; floats, which SciPy takes too, become them here.
    mask = image if image.dtype == bool else image != 0
    window = Window(
        "morphology",
        "binary",
        footprints.reach(steps),
        np.dtype(bool),
        "constant",
        options={"steps": tuple(steps)},
    )
    return implementation(mask, "windows").apply(mask, window)
