"""Thresholds of whole images and of the surroundings of each pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpuseg._backend import floor, implementation
from gpuseg._shared.neighbours import resolve
from gpuseg._shared.window import Window, check_mode, check_sizes, float_dtype, per_axis
from gpuseg._shared.window import gaussian as gaussian_window
from gpuseg._validate import check_grey, check_integer, check_labelable, check_number
from gpuseg.typing import Array

__all__ = [
    "apply_hysteresis_threshold",
    "threshold_li",
    "threshold_local",
    "threshold_multiotsu",
    "threshold_otsu",
    "threshold_triangle",
    "threshold_yen",
]

_METHODS = ("gaussian", "mean", "median", "generic")


def threshold_otsu(
    image: Array, nbins: int = 256, *, axes: Sequence[int] | int | None = None
) -> Any:
    """Threshold by Otsu's method: `skimage.filters.threshold_otsu` of the whole image.

    Parameters
    ----------
    image : array
        Grey values as a NumPy, CuPy or Dask array of integers or floats. Integers are counted one
        by one, floats in `nbins` bins.
    nbins : int
        Bins for floats.
    axes : int or sequence of int, optional
        Axes of a frame; all by default. ``axes=(1, 2)`` finds one threshold for each frame of a
        stack.

    Returns
    -------
    number, or array
        Pixels above it are foreground. For a Dask array a lazy 0-d one, so that
        ``image > threshold_otsu(image)`` is lazy too; the image is then read twice (floats and
        integers of 32 bits three times), and never held. With `axes` an array of the image's kind,
        with one pixel along these axes; chunks of a Dask array are joined along them.

    Raises
    ------
    TypeError
        If the image is neither integer nor floating.
    ValueError
        If it is empty, looks like RGB, has NaN or infinity, or spans 2^27 integers or more; or if
        `axes` are not the image's.

    Examples
    --------
    >>> import numpy as np
    >>> int(threshold_otsu(np.array([1, 2, 2, 3, 11, 12, 12])))
    3
    >>> threshold_otsu(np.array([[1, 2, 12, 11], [3, 3, 2, 9]]), axes=1)
    array([[2],
           [3]])
    """
    return _threshold(image, "otsu", nbins, axes)


def threshold_yen(
    image: Array, nbins: int = 256, *, axes: Sequence[int] | int | None = None
) -> Any:
    """Threshold by Yen's method: `skimage.filters.threshold_yen` of the whole image.

    Parameters
    ----------
    image, nbins, axes
        As in `threshold_otsu`.

    Returns
    -------
    number
        As of `threshold_otsu`.

    Raises
    ------
    TypeError, ValueError
        As `threshold_otsu`.

    Notes
    -----
    Of an image of one value that value; scikit-image divides by 0 where it is floating.

    Examples
    --------
    >>> import numpy as np
    >>> int(threshold_yen(np.array([1, 2, 2, 3, 11, 12, 12])))
    2
    """
    return _threshold(image, "yen", nbins, axes)


def threshold_triangle(
    image: Array, nbins: int = 256, *, axes: Sequence[int] | int | None = None
) -> Any:
    """Threshold by the triangle method: `skimage.filters.threshold_triangle` of the whole image.

    Parameters
    ----------
    image, nbins, axes
        As in `threshold_otsu`.

    Returns
    -------
    number
        As of `threshold_otsu`.

    Raises
    ------
    TypeError, ValueError
        As `threshold_otsu`.

    Examples
    --------
    >>> import numpy as np
    >>> int(threshold_triangle(np.array([1] * 9 + [2] * 3 + [3, 4, 5, 9])))
    3
    """
    return _threshold(image, "triangle", nbins, axes)


def threshold_li(
    image: Array,
    *,
    tolerance: float | None = None,
    initial_guess: float | None = None,
    axes: Sequence[int] | int | None = None,
) -> Any:
    """Threshold of least cross entropy: `skimage.filters.threshold_li` of the whole image.

    Parameters
    ----------
    image : array
        As in `threshold_otsu`; a Dask array only of integers, or with `axes`. scikit-image takes
        floats as they are, in an iteration over all of their sorted values.
    tolerance : float, optional
        When to stop; by default 0.5, or half the least difference between floats.
    initial_guess : float, optional
        Where to begin; by default the mean.
    axes : int or sequence of int, optional
        As in `threshold_otsu`.

    Returns
    -------
    number
        As of `threshold_otsu`.

    Raises
    ------
    TypeError
        If the image is a Dask array of floats and there are no `axes`, and as `threshold_otsu`.
    ValueError
        If `tolerance` is not above 0, `initial_guess` is outside the image's values, and as
        `threshold_otsu`.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(threshold_li(np.array([1, 2, 2, 3, 11, 12, 12]))), 2)
    5.08
    """
    if tolerance is not None and not check_number(tolerance, "tolerance") > 0:
        raise ValueError(f"tolerance must be above 0, got {tolerance}")
    if initial_guess is not None:
        check_number(initial_guess, "initial_guess")
    options = {"tolerance": tolerance, "initial_guess": initial_guess}
    return _threshold(image, "li", 256, axes, **options)


def threshold_multiotsu(
    image: Array,
    classes: int = 3,
    nbins: int = 256,
    *,
    axes: Sequence[int] | int | None = None,
) -> Any:
    """Thresholds between several classes: `skimage.filters.threshold_multiotsu` of the whole image.

    Parameters
    ----------
    image, nbins, axes
        As in `threshold_otsu`.
    classes : int
        How many classes there are.

    Returns
    -------
    array (classes - 1,)
        Upper limits of all classes but the last; lazy for a Dask array. With `axes` there are as
        many axes more as the image has.

    Raises
    ------
    TypeError
        As `threshold_otsu`.
    ValueError
        If there are fewer values than classes, fewer than two classes, and as `threshold_otsu`.

    Examples
    --------
    >>> import numpy as np
    >>> threshold_multiotsu(np.array([1, 2, 2, 11, 12, 12, 31, 32])).tolist()
    [2, 12]
    """
    check_integer(classes, "classes", 2)
    return _threshold(image, "multiotsu", nbins, axes, classes=classes)


def _threshold(
    image: Array, method: str, nbins: int, axes: Sequence[int] | int | None, **options: Any
) -> Any:
    check_grey(image)
    check_integer(nbins, "nbins", 1)
    floor = implementation(image, "thresholds")
    if axes is None:
        return floor.threshold(image, method, nbins, options)
    return floor.thresholds(image, resolve(image.ndim, axes=axes).axes, method, nbins, options)


def threshold_local(
    image: Array,
    block_size: int | Sequence[int] = 3,
    method: str = "gaussian",
    offset: float = 0,
    mode: str = "reflect",
    param: float | Sequence[float] | Callable[..., float] | None = None,
    cval: float = 0,
) -> Array:
    """Threshold for each pixel by its surroundings, as `skimage.filters.threshold_local` does.

    Parameters
    ----------
    image : array
        Grey values as a NumPy, CuPy or Dask array.
    block_size : int or sequence of int
        Size of the surroundings along each axis; 1 keeps frames apart, and
        ``(1, *image.shape[1:])`` takes each frame of a stack whole. Odd, except for "gaussian",
        where it only makes the deviation, of (size - 1) / 6.
    method : str
        "gaussian", "mean" or "median" of the surroundings, or "generic".
    offset : float
        Subtracted from that.
    mode, cval
        What stands for pixels outside, as in `gaussian`.
    param : float, sequence of float or callable, optional
        For "gaussian" the deviation, instead of that by `block_size`; for "generic" a function of
        the flat array of the surroundings.

    Returns
    -------
    array
        float32 for float16 and float32 images, otherwise float64.

    Raises
    ------
    TypeError
        If "generic" has no function.
    ValueError
        If a size is not positive or even where it must be odd, or a word is unknown.

    Notes
    -----
    The Gaussian is cut off at four deviations, as scikit-image does. From a radius of 64 pixels on
    it costs the same for all sizes (see `gaussian`): whole frames take 2 ms, not 230. "mean" has
    exact sums for integers; both differ from scikit-image by rounding alone.

    Examples
    --------
    >>> import numpy as np
    >>> threshold_local(np.array([0, 0, 9, 0, 0, 3]), 3, "mean")
    array([0., 3., 3., 3., 1., 2.])
    """
    check_grey(image)
    check_mode(mode)
    check_number(cval, "cval")
    check_number(offset, "offset")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, got {method!r}")
    sizes = per_axis(block_size, image.ndim, "block_size", check_integer)
    if any(size < 1 or (size % 2 == 0 and method != "gaussian") for size in sizes):
        raise ValueError(f"block_size must be positive and odd, got {block_size}")
    make = _gaussian_window if method == "gaussian" else _box_window
    window = make(image, sizes, method, mode, cval, param)
    found = implementation(image, "windows").apply(image, window)
    return found - offset if offset else found


def _gaussian_window(
    image: Array, sizes: tuple[int, ...], method: str, mode: str, cval: float, param: Any
) -> Window:
    sigma = [(size - 1) / 6.0 for size in sizes] if param is None else param
    sigmas = per_axis(sigma, image.ndim, "param")
    if any(not 0 <= s < math.inf for s in sigmas):
        raise ValueError(f"param must be finite deviations of at least 0, got {param}")
    return gaussian_window(
        image.shape,
        image.dtype,
        sigmas,
        mode=mode,
        cval=cval,
        truncate=4.0,
        preserve_range=True,
    )


def _box_window(
    image: Array, sizes: tuple[int, ...], method: str, mode: str, cval: float, param: Any
) -> Window:
    dtype = float_dtype(image.dtype)
    check_sizes(sizes, "block_size", lines=method == "mean")
    reach = tuple(size // 2 for size in sizes)
    options = {"size": sizes, "mode": mode, "cval": cval}
    if method == "mean":
        return Window("filters", "local_mean", reach, dtype, mode, options=options)
    if method == "generic":
        if not callable(param):
            raise TypeError(f"param must be a function for the method 'generic', got {param!r}")
        return Window(
            "filters", "generic", reach, dtype, mode, options={**options, "called": param}
        )
    options |= {"function": "median_filter", "dtype": dtype}
    return Window("filters", "ndimage", reach, dtype, mode, options=options)


def apply_hysteresis_threshold(image: Array, low: Any, high: Any) -> Array:
    """Pixels above `low` that hang together with one above `high`, as scikit-image finds them.

    Parameters
    ----------
    image : array
        Grey values as a NumPy, CuPy or Dask array.
    low, high : number or array
        Thresholds, also for each pixel; where `low` is above `high`, `high` stands for it.

    Returns
    -------
    bool array
        A Dask array is lazy; the image is read three times, and never held.

    Raises
    ------
    TypeError, ValueError
        If the image is no grey one, or a threshold is neither a number nor fits its shape.

    Examples
    --------
    >>> import numpy as np
    >>> apply_hysteresis_threshold(np.array([1, 2, 3, 2, 1, 2, 1]), 1.5, 2.5).astype(int)
    array([0, 1, 1, 1, 0, 0, 0])
    """
    check_grey(image)
    for name, value in (("low", low), ("high", high)):
        if not hasattr(value, "ndim") or isinstance(value, np.generic):
            check_number(value, name)
            continue
        if floor(value) == "_dask" and floor(image) != "_dask":
            raise TypeError(f"{name} must be no Dask array unless the image is; `{name}.compute()`")
        sizes = zip(value.shape[::-1], image.shape[::-1], strict=False)
        if value.ndim > image.ndim or any(size not in (1, wanted) for size, wanted in sizes):
            raise ValueError(
                f"{name} must be a number, or fit the image's shape {tuple(image.shape)}, got "
                f"shape {tuple(value.shape)}"
            )
    weak = image > np.minimum(low, high)
    check_labelable(weak)
    return implementation(image, "thresholds").hysteresis(weak, image > high)
