"""dask-image's `ndmeasure` names, as thin functions over one pass of `gpuseg.measure`.

Every function takes NumPy, CuPy and Dask arrays and gives NumPy arrays, or for Dask input lazy
Dask arrays: of all that is computed together, values that share an image share one pass over it.
Answers are SciPy's (`scipy.ndimage`). They differ from dask-image's where dask-image's do:

- a Dask array is returned for Dask input only;
- `histogram` takes any limits (dask-image truncates them to integers), and returns one array with
  a row of bins for each label (dask-image: an array of objects), zeros for labels not there;
- `find_objects` returns a dictionary (dask-image: a Dask data frame with the same content);
- means of float32 images are exact before the one rounding (SciPy's too are summed in float64,
  NumPy's and scikit-image's are not).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gpuseg import measure
from gpuseg._backend import floor, implementation
from gpuseg._shared.region_columns import centre_of_mass
from gpuseg._shared.region_request import check_image, check_labels
from gpuseg._shared.region_rows import Plan
from gpuseg._shared.region_table import Request, Table
from gpuseg._shared.window import check_real, native
from gpuseg._validate import check_integer, check_number
from gpuseg.typing import Array, NumpyArray

__all__ = [
    "area",
    "center_of_mass",
    "extrema",
    "find_objects",
    "histogram",
    "label",
    "labeled_comprehension",
    "maximum",
    "maximum_position",
    "mean",
    "median",
    "minimum",
    "minimum_position",
    "standard_deviation",
    "sum",
    "sum_labels",
    "variance",
]

# One set of sums for all functions of values, so that Dask computes it once for several of them.
_VALUES = frozenset({"sum", "square", "extrema", "positions"})
_CENTRES = frozenset({"sum", "weighted"})


def area(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Number of pixels of each region.

    Parameters
    ----------
    image : array of numbers
        Only its shape matters.
    label_image : array of integers, optional
        One region for each value. All of `image` is one region by default.
    index : int or sequence of int, optional
        Regions to report, 0 for the background. All pixels with a label above 0 are one region by
        default.

    Returns
    -------
    array of int64
        In the shape of `index`: 0 for labels that are not there.

    Raises
    ------
    TypeError
        If labels are no integers, or arrays live in different memories.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[1, 1, 0], [1, 0, 3], [0, 7, 0]])
    >>> area(labels, labels, [0, 1, 2, 3])
    array([4, 3, 0, 1])
    >>> area(labels, labels)
    np.int64(5)
    """
    return _reduce(image, label_image, index, frozenset(), _area, np.int64)


def sum_labels(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Sum of the values of each region, exact until it is rounded to float64.

    Parameters are those of `area`; 0 for labels that are not there.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[1, 1, 0], [2, 2, 2]])
    >>> sum_labels(np.array([[0.1, 0.2, 9.0], [1.0, 2.0, 3.0]]), labels, [1, 2])
    array([0.3, 6. ])
    """
    return _reduce(image, label_image, index, _VALUES, _sum, np.float64)


def sum(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """As `sum_labels`.

    Examples
    --------
    >>> import numpy as np
    >>> sum(np.array([1, 2, 3]), np.array([1, 0, 1]))
    np.float64(4.0)
    """
    return sum_labels(image, label_image, index)


def mean(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Mean value of each region.

    Parameters are those of `area`; NaN for labels that are not there.

    Examples
    --------
    >>> import numpy as np
    >>> mean(np.array([1, 2, 6]), np.array([1, 2, 2]), [1, 2, 3])
    array([ 1.,  4., nan])
    """
    return _reduce(image, label_image, index, _VALUES, _mean, np.float64)


def variance(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Variance of the values of each region, over all of its pixels.

    Parameters are those of `area`; NaN for labels that are not there.

    Examples
    --------
    >>> import numpy as np
    >>> variance(np.array([1, 2, 6]), np.array([1, 2, 2]), [1, 2])
    array([0., 4.])
    """
    return _reduce(image, label_image, index, _VALUES, _variance, np.float64)


def standard_deviation(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Square root of `variance`.

    Examples
    --------
    >>> import numpy as np
    >>> standard_deviation(np.array([1, 2, 6]), np.array([1, 2, 2]), [1, 2])
    array([0., 2.])
    """
    return _reduce(image, label_image, index, _VALUES, _deviation, np.float64)


def minimum(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Least value of each region, in the image's dtype.

    Parameters are those of `area`; 0 for labels that are not there.

    Examples
    --------
    >>> import numpy as np
    >>> minimum(np.array([5, 2, 6]), np.array([1, 2, 2]), [1, 2])
    array([5, 2])
    """
    make = partial(_extremum, name="minimum")
    return _reduce(image, label_image, index, _VALUES, make)


def maximum(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Greatest value of each region, in the image's dtype.

    Parameters are those of `area`; 0 for labels that are not there.

    Examples
    --------
    >>> import numpy as np
    >>> maximum(np.array([5, 2, 6]), np.array([1, 2, 2]), [1, 2])
    array([5, 6])
    """
    make = partial(_extremum, name="maximum")
    return _reduce(image, label_image, index, _VALUES, make)


def minimum_position(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Index of each region's least value, the first in raster order where there are several.

    Parameters are those of `area`.

    Returns
    -------
    array of int64
        In the shape of `index`, with a last axis of coordinates; zeros for labels not there.

    Examples
    --------
    >>> import numpy as np
    >>> minimum_position(np.array([[5, 2, 2]]), np.array([[1, 2, 2]]), [1, 2])
    array([[0, 0], [0, 1]])
    """
    make = partial(_position, name="at_minimum")
    return _reduce(image, label_image, index, _VALUES, make, np.int64, coordinates=True)


def maximum_position(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Index of each region's greatest value, the first in raster order where there are several.

    As `minimum_position`.

    Examples
    --------
    >>> import numpy as np
    >>> maximum_position(np.array([[5, 2, 2]]), np.array([[1, 1, 2]]), [1, 2])
    array([[0, 0], [0, 2]])
    """
    make = partial(_position, name="at_maximum")
    return _reduce(image, label_image, index, _VALUES, make, np.int64, coordinates=True)


def extrema(
    image: Array, label_image: Array | None = None, index: Any = None
) -> tuple[Array, Array, Array, Array]:
    """Least and greatest values, and their positions.

    Examples
    --------
    >>> import numpy as np
    >>> extrema(np.array([5, 2, 6]), np.array([1, 2, 2]), [1, 2])
    (array([5, 2]), array([5, 6]), array([[0], [1]]), array([[0], [2]]))
    """
    parts = minimum, maximum, minimum_position, maximum_position
    low, high, at_low, at_high = (part(image, label_image, index) for part in parts)
    return low, high, at_low, at_high


def center_of_mass(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Mean position of each region, weighted by its values.

    Parameters are those of `area`.

    Returns
    -------
    array of float64
        In the shape of `index`, with a last axis of coordinates; NaN for labels not there, and
        where values add up to 0.

    Examples
    --------
    >>> import numpy as np
    >>> center_of_mass(np.array([[1, 1], [0, 2]]), np.ones((2, 2), int), 1)
    array([0.5 , 0.75])
    """
    return _reduce(
        image, label_image, index, _CENTRES, centre_of_mass, np.float64, coordinates=True
    )


def histogram(
    image: Array,
    min: float,
    max: float,
    bins: int,
    label_image: Array | None = None,
    index: Any = None,
) -> Array:
    """Histogram of each region's values, as `numpy.histogram` counts.

    Parameters
    ----------
    image : array of numbers
    min, max : float
        Limits of the bins; values outside are not counted, and the last bin holds `max`.
    bins : int
        Number of bins of equal width.
    label_image, index
        As in `area`.

    Returns
    -------
    array of int64
        In the shape of `index`, with a last axis of bins.

    Examples
    --------
    >>> import numpy as np
    >>> histogram(np.array([0, 1, 2, 4]), 0, 4, 2, np.array([1, 1, 2, 2]), [1, 2])
    array([[2, 0], [0, 2]])
    """
    check_integer(bins, "bins", 1)
    if not -math.inf < check_number(min, "min") < check_number(max, "max") < math.inf:
        raise ValueError(f"min must be below max, and both finite, got {min} and {max}")
    edges = np.histogram_bin_edges(np.empty(0), bins, (min, max))
    labels, ids, shape = _regions(image, label_image, index)
    nouns = implementation(labels, "ndmeasure")
    return _shaped(nouns.histogram(labels, image, ids, edges), (*shape, bins))


def label(image: Array, structure: Any = None, wrap_axes: Any = None) -> tuple[Array, Any]:
    """Label connected regions of what is not 0, as `scipy.ndimage.label` numbers them.

    Parameters
    ----------
    image : array
    structure : array_like, optional
        Which neighbours connect; by default those that share a face.
    wrap_axes : int or sequence of int, optional
        Axes whose two ends meet.

    Returns
    -------
    labels : array of int32
    number : int
        A 0-d Dask array for Dask arrays. `gpuseg.measure.label` has more to choose from.

    Examples
    --------
    >>> import numpy as np
    >>> label(np.array([[0.5, 0.0, 2.0], [0.0, 1.0, 0.0]]))
    (array([[1, 0, 2],
           [0, 3, 0]], dtype=int32), 3)
    """
    floor(image)
    check_real(image.dtype)
    if structure is None:
        return measure.label(image != 0, connectivity=1, wrap_axes=wrap_axes)
    return measure.label(image != 0, structure=structure, wrap_axes=wrap_axes)


def labeled_comprehension(
    image: Array,
    label_image: Array | None,
    index: Any,
    func: Callable[..., Any],
    out_dtype: Any,
    default: Any,
    pass_positions: bool = False,
) -> Array:
    """Any function of each region's values.

    All pixels of the regions asked for are brought together in memory.

    Parameters
    ----------
    image, label_image, index
        As in `area`.
    func : callable
        Called with a 1-D array of a region's values in raster order and, with `pass_positions`,
        one of their indices in the flattened image.
    out_dtype : dtype
        Of the result.
    default : object
        Result for labels that are not there.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([1, 1, 2, 1])
    >>> labeled_comprehension(np.array([5, 3, 8, 4]), labels, [1, 2, 3], np.ptp, int, -1)
    array([ 2,  0, -1])
    """
    labels, ids, shape = _regions(image, label_image, index)
    nouns = implementation(labels, "ndmeasure")
    return _shaped(
        nouns.labeled_comprehension(
            labels, image, ids, func, np.dtype(out_dtype), default, pass_positions
        ),
        shape,
    )


def median(image: Array, label_image: Array | None = None, index: Any = None) -> Array:
    """Median of each region's values.

    Parameters are those of `area`; NaN for labels that are not there.

    Examples
    --------
    >>> import numpy as np
    >>> median(np.array([1, 2, 6, 3]), np.array([1, 2, 2, 2]), [1, 2])
    array([1., 3.])
    """
    return labeled_comprehension(image, label_image, index, np.median, np.float64, np.nan)


def find_objects(label_image: Array) -> dict[int, tuple[slice, ...]]:
    """Bounding box of each label above 0, by label.

    Dask labels are computed here. `pandas.DataFrame.from_dict(found, orient="index")` is the
    table that dask-image gives.

    Examples
    --------
    >>> import numpy as np
    >>> find_objects(np.array([[0, 5, 5], [0, 5, 0]]))
    {5: (slice(0, 2, None), slice(1, 3, None))}
    """
    check_labels(label_image)
    plan = Plan(tuple(label_image.shape), frozenset({"bbox"}))
    rows = implementation(label_image, "regionprops").measure(label_image, None, plan)
    table = Table(rows, Request(plan))
    boxes = np.stack([table.lower(), table.upper() + 1], axis=-1).tolist()
    return {
        label: tuple(slice(start, stop) for start, stop in box)
        for label, box in zip(table.labels.tolist(), boxes, strict=True)
    }


def _regions(
    image: Array, label_image: Array | None, index: Any
) -> tuple[Array, NumpyArray, tuple[int, ...]]:
    """Labels in the image's container, labels to report as int64 (n,), and the index's shape."""
    floor(image)
    if image.ndim < 1:
        raise ValueError("image must have at least one axis, got a 0-d array")
    if label_image is None:
        label_image, index = np.ones_like(image, dtype=np.uint8), np.int64(1)
    floor(label_image)
    if label_image.dtype.kind == "b":
        label_image = label_image.astype(np.uint8)
    check_labels(label_image)
    check_image(label_image, image, channels=False)
    if floor(image) == "_dask" and floor(label_image) != "_dask":
        label_image = np.zeros_like(image, dtype=label_image.dtype) + label_image
    if index is None:
        return (label_image > 0).astype(np.uint8), np.ones(1, np.int64), ()
    ids = np.asarray(index)
    if ids.dtype.kind not in "iu" and ids.size:
        raise TypeError(f"index must be of integers, got {index!r}")
    return label_image, ids.astype(np.int64).ravel(), ids.shape


def _reduce(
    image: Array,
    label_image: Array | None,
    index: Any,
    features: frozenset[str],
    make: Callable[[Table], NumpyArray],
    dtype: Any = None,
    *,
    coordinates: bool = False,
) -> Array:
    """What `make` finishes from the sums of `features`, in the shape of `index`.

    In the image's dtype unless another is given; `coordinates` are along a last axis.
    """
    labels, ids, shape = _regions(image, label_image, index)
    dtype = native(image.dtype) if dtype is None else dtype
    last = (image.ndim,) if coordinates else ()
    plan = Plan(
        tuple(image.shape),
        features,
        np.dtype(image.dtype) if features else None,
        1 if features else 0,
        everything=bool((ids < 1).any()),
    )
    nouns = implementation(labels, "regionprops")
    request = Request(plan, ids=ids)
    return _shaped(nouns.reduce(labels, image, request, make, dtype, last), (*shape, *last))


def _shaped(values: Array, shape: tuple[int, ...]) -> Array:
    """Values in the shape of the index; NumPy's own scalar type without one."""
    values = values.reshape(shape)
    return values[()] if isinstance(values, np.ndarray) and shape == () else values


def _area(t: Table) -> NumpyArray:
    return np.where(t.missing, 0, t.count)


def _sum(t: Table) -> NumpyArray:
    return t.finite(t.total("sum"), 0)


def _mean(t: Table) -> NumpyArray:
    return np.where(t.missing, np.nan, _sum(t) / t.count)


def _variance(t: Table) -> NumpyArray:
    return np.where(t.missing, np.nan, t.variance(0))


def _deviation(t: Table) -> NumpyArray:
    return np.sqrt(_variance(t))


def _extremum(t: Table, name: str) -> NumpyArray:
    return t.extremum(name, 0)


def _position(t: Table, name: str) -> NumpyArray:
    return t.position(name, 0)
