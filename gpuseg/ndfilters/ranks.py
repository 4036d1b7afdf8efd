"""Medians, extremes, percentiles, and any other function of the pixels around each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpuseg import filters
from gpuseg._backend import implementation
from gpuseg._shared.window import Window, check_mode, check_real, float_dtype, native
from gpuseg._validate import check_grey, check_integer, check_number
from gpuseg.ndfilters._windows import apply, check_origins, make_footprint, reach
from gpuseg.typing import Array

__all__ = [
    "generic_filter",
    "maximum_filter",
    "median_filter",
    "minimum_filter",
    "percentile_filter",
    "rank_filter",
    "threshold_local",
]


def generic_filter(
    image: Array,
    function: Callable[..., float],
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
) -> Array:
    """Any function of the flat array of the pixels around each.

    Parameters
    ----------
    image : array
    function : callable
        From a flat array of floats, `extra_arguments` and `extra_keywords` to a number.
    size, footprint, mode, cval, origin
        As in `median_filter`.
    extra_arguments, extra_keywords
        Passed on to `function`.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    TypeError
        If `function` is none.
    ValueError
        As of `median_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> generic_filter(np.array([1, 5, 2, 8]), np.ptp, size=3)
    array([4, 4, 6, 6])
    """
    if not callable(function):
        raise TypeError(f"function must be one, got {function!r}")
    shape = make_footprint(image, size, footprint)
    origins = check_origins(origin, shape.shape)
    check_mode(mode)
    check_number(cval, "cval")
    options = {
        "called": function,
        "footprint": shape,
        "mode": mode,
        "cval": cval,
        "origin": origins,
        "extra_arguments": tuple(extra_arguments),
        "extra_keywords": dict(extra_keywords or {}),
    }
    dtype = float_dtype(image.dtype)
    window = Window("filters", "generic", reach(shape.shape, origins), dtype, mode, (), options)
    return implementation(image, "windows").apply(image, window).astype(native(image.dtype))


def median_filter(
    image: Array,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
) -> Array:
    """Median of the pixels around each.

    Parameters
    ----------
    image : array
    size : int or sequence of int, optional
        Size of the surroundings along each axis; 1 keeps frames apart.
    footprint : array_like, optional
        In place of `size`: which of the surroundings count.
    mode, cval
        As in `convolve`.
    origin : int or sequence of int
        Shifts the middle of the surroundings.

    Returns
    -------
    array
        Of the image's dtype.

    Raises
    ------
    ValueError
        If not one of `size` and `footprint` is given, it does not fit the image's axes, `origin`
        leaves it, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> median_filter(np.array([1, 5, 2, 8, 8]), size=3)
    array([1, 2, 5, 8, 8])
    """
    return _ordered("median_filter", image, size, footprint, mode, cval, origin)


def minimum_filter(
    image: Array,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
) -> Array:
    """Least of the pixels around each; parameters are those of `median_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> minimum_filter(np.array([1, 5, 2, 8, 8]), size=3)
    array([1, 1, 2, 2, 8])
    """
    return _ordered("minimum_filter", image, size, footprint, mode, cval, origin)


def maximum_filter(
    image: Array,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
) -> Array:
    """Greatest of the pixels around each; parameters are those of `median_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> maximum_filter(np.array([1, 5, 2, 8, 8]), size=3)
    array([5, 5, 8, 8, 8])
    """
    return _ordered("maximum_filter", image, size, footprint, mode, cval, origin)


def rank_filter(
    image: Array,
    rank: int,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
) -> Array:
    """The pixel of a rank among those around each, -1 for the greatest; see `median_filter`.

    Raises
    ------
    ValueError
        If there are fewer pixels around each than the rank says, and as of `median_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> rank_filter(np.array([1, 5, 2, 8, 8]), -1, size=3)
    array([5, 5, 8, 8, 8])
    """
    pixels = np.count_nonzero(make_footprint(image, size, footprint))
    if not -pixels <= check_integer(rank, "rank") < pixels:
        raise ValueError(f"rank must be from {-pixels} to {pixels - 1}, got {rank}")
    return _ordered("rank_filter", image, size, footprint, mode, cval, origin, rank=int(rank))


def percentile_filter(
    image: Array,
    percentile: float,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
) -> Array:
    """A percentile of the pixels around each; see `median_filter`.

    Raises
    ------
    ValueError
        If it is not from -100 (those below 0 count from 100 down) to 100, and as of
        `median_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> percentile_filter(np.array([1, 5, 2, 8, 8]), 50, size=3)
    array([1, 2, 5, 8, 8])
    """
    if not -100 <= check_number(percentile, "percentile") <= 100:
        raise ValueError(f"percentile must be from -100 to 100, got {percentile}")
    return _ordered(
        "percentile_filter", image, size, footprint, mode, cval, origin, percentile=percentile
    )


def threshold_local(
    image: Array,
    block_size: int | Sequence[int],
    method: str = "gaussian",
    offset: float = 0,
    mode: str = "reflect",
    param: Any = None,
    cval: float = 0,
) -> Array:
    """Threshold for each pixel by its surroundings, as `gpuseg.filters.threshold_local`.

    Returns
    -------
    array of float64

    Examples
    --------
    >>> import numpy as np
    >>> threshold_local(np.array([0, 0, 9, 0, 0, 3]), 3, "mean")
    array([0., 3., 3., 3., 1., 2.])
    """
    check_grey(image)
    return filters.threshold_local(
        image.astype(np.float64), block_size, method, offset, mode, param, cval
    )


def _ordered(
    function: str,
    image: Array,
    size: Any,
    footprint: Any,
    mode: str,
    cval: float,
    origin: Any,
    **options: Any,
) -> Array:
    shape = make_footprint(image, size, footprint)
    check_real(image.dtype)
    origins = check_origins(origin, shape.shape)
    # SciPy knows faster ways for boxes, and tells them by their size.
    window = {"size": shape.shape} if shape.all() else {"footprint": shape}
    around = reach(shape.shape, origins)
    return apply(function, image, around, mode, cval, origin=origins, **window, **options)
