"""Edit label images of any size: borders, numbering, growth, outlines, lookup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg import measure
from gpuseg._backend import floor, implementation
from gpuseg._shared.edt import check_spacing, metric
from gpuseg._shared.region_request import check_labels
from gpuseg._validate import check_integer, check_number
from gpuseg.typing import Array, NumpyArray

__all__ = ["clear_border", "expand_labels", "find_boundaries", "map_array", "relabel_sequential"]

_MODES = ("thick", "inner", "outer")


def clear_border(
    labels: Array, buffer_size: int = 0, bgval: int = 0, mask: Array | None = None
) -> Array:
    """Clear objects that touch the border, as `skimage.segmentation.clear_border` does.

    Parameters
    ----------
    labels : bool or integer array
        NumPy or Dask array. Of a label in several parts only those that touch go.
    buffer_size : int
        How many pixels beside the outermost count as border.
    bgval : int
        What cleared pixels become, background that touches the border among them.
    mask : bool array, optional
        Instead of the border, whatever is False here.

    Returns
    -------
    array
        Of the labels' dtype and chunks.

    Raises
    ------
    TypeError
        If labels are neither bool nor integer, or on a device; if the mask is not bool.
    ValueError
        If `buffer_size` is not below all sides, or the mask is of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 2]])
    >>> clear_border(labels)
    array([[0, 0, 0, 0],
           [0, 1, 0, 0],
           [0, 0, 0, 0]])
    """
    floor(labels)
    check_integer(bgval, "bgval")
    check_integer(buffer_size, "buffer_size")
    if mask is None and not 0 <= buffer_size < min(labels.shape, default=1):
        raise ValueError(
            f"buffer_size must be at least 0 and below the sides {labels.shape}, got {buffer_size}"
        )
    if mask is not None and floor(mask) and mask.dtype.kind != "b":
        raise TypeError(f"mask must be of bool, got {mask.dtype}")
    if mask is not None and mask.shape != labels.shape:
        raise ValueError(f"mask must have the labels' shape {labels.shape}, got {mask.shape}")
    parts, _ = measure.label(labels)
    if labels.dtype.kind != "b":
        limits = np.iinfo(labels.dtype)
        if not limits.min <= bgval <= limits.max:
            raise ValueError(f"bgval must fit into {labels.dtype}, got {bgval}")
    tools = implementation(parts, "label_tools")
    ids = tools.touching(parts, buffer_size + 1, mask)
    return np.where(tools.member(parts, ids), labels.dtype.type(bgval), labels)


def relabel_sequential(labels: Array, offset: int = 1) -> tuple[Array, Any, Any]:
    """Number labels without gaps, in their order, as `skimage.segmentation` does.

    Parameters
    ----------
    labels : array of integers
        NumPy or Dask array; 0 stays 0.
    offset : int
        Number of the smallest label.

    Returns
    -------
    relabeled : array
        Of the labels' dtype, or a wider one where that is needed; for Dask arrays int64 where
        `offset` is above 1, since how many labels there are is not known.
    forward_map, inverse_map : ArrayMap
        scikit-image's, from old to new labels and back; `dask.delayed.Delayed` for Dask arrays.

    Raises
    ------
    TypeError
        If labels are no integers, or on a device.
    ValueError
        If a label is negative, or `offset` below 1.

    Examples
    --------
    >>> import numpy as np
    >>> relabeled, forward, inverse = relabel_sequential(np.array([[0, 5, 5], [99, 5, 8]]))
    >>> relabeled
    array([[0, 1, 1],
           [3, 1, 2]])
    >>> int(inverse[3])
    99
    """
    offset = check_integer(offset, "offset", 1)
    check_labels(labels)
    return implementation(labels, "label_tools").relabel(labels, offset)


def expand_labels(
    label_image: Array, distance: float = 1, spacing: float | Sequence[float] = 1
) -> Array:
    """Grow labels by `distance` without letting them overlap, as `skimage.segmentation` does.

    Parameters
    ----------
    label_image : array of integers, of 1 to 3 axes
        NumPy, CuPy or Dask array.
    distance : float
        How far to grow, in units of `spacing`. A Dask array's chunks see that far into their
        neighbours.
    spacing : float or sequence of float
        Pixel size along each axis.

    Returns
    -------
    array
        Of the labels' dtype and chunks. A background pixel as near to several labelled ones takes
        the label of the first in raster order; scikit-image's choice is another, and not said.

    Raises
    ------
    TypeError
        If labels are no integers.
    ValueError
        If `distance` is negative or NaN, spacing is not positive, or labels have no axis, more than
        three, or chunks of unknown size.

    Examples
    --------
    >>> import numpy as np
    >>> expand_labels(np.array([[0, 0, 1, 0, 0, 0, 2]]), distance=2)
    array([[1, 1, 1, 1, 1, 2, 2]])
    """
    check_labels(label_image)
    if not 1 <= label_image.ndim <= 3:
        raise ValueError(f"labels must have 1 to 3 axes, got {label_image.ndim}")
    check_number(distance, "distance", 0)
    measured = metric(label_image.shape, check_spacing(spacing, label_image.ndim), distance)
    return implementation(label_image, "edt").expand(label_image, measured)


def find_boundaries(
    label_img: Array, connectivity: int = 1, mode: str = "thick", background: int = 0
) -> Array:
    """Outline labelled regions, as `skimage.segmentation.find_boundaries` does.

    Parameters
    ----------
    label_img : bool or integer array
        NumPy or Dask array.
    connectivity : int
        Along how many axes neighbours may differ, from 1 to their number.
    mode : {"thick", "inner", "outer"}
        Pixels on both sides of an outline, those in objects, or those in the background around
        them (and in both where objects touch).
    background : int
        Label that is no object, for the latter two.

    Returns
    -------
    bool array
        In the labels' chunks.

    Raises
    ------
    TypeError
        If labels are neither bool nor integer, or on a device.
    ValueError
        If an argument is out of range. scikit-image's mode "subpixel" gives an image of another
        size, and is not offered.

    Notes
    -----
    Labels of 64 bits have the outlines of the same labels in 32. scikit-image's mode "outer" gives
    them another one inside each object: it compares them as float64, where the greatest integer,
    which it puts in place of the background, overflows.

    Examples
    --------
    >>> import numpy as np
    >>> find_boundaries(np.array([[0, 0, 5, 5, 5, 0]]), mode="inner").astype(int)
    array([[0, 0, 1, 0, 1, 0]])
    """
    floor(label_img)
    if label_img.dtype.kind == "b":
        label_img = label_img.astype(np.uint8)
    check_labels(label_img)
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(_MODES)}, got {mode!r}")
    check_integer(background, "background")
    if not 1 <= check_integer(connectivity, "connectivity") <= label_img.ndim:
        raise ValueError(f"connectivity must be between 1 and {label_img.ndim}, got {connectivity}")
    tools = implementation(label_img, "label_tools")
    return tools.boundaries(label_img, connectivity, mode, background)


def map_array(
    input_arr: Array, input_vals: NumpyArray, output_vals: NumpyArray, out: Array | None = None
) -> Array:
    """Replace labels by values, as `skimage.util.map_array` does.

    Parameters
    ----------
    input_arr : array of integers
        NumPy or Dask array.
    input_vals : (K,) array of int
        Labels to replace, such as a table's ``label`` column.
    output_vals : (K,) array
        Their values, such as another column. Labels that are not listed get 0.
    out : array, optional
        Where to write; not for Dask arrays.

    Returns
    -------
    array
        Of `output_vals`' dtype, in the labels' shape and chunks.

    Raises
    ------
    TypeError
        If labels are no integers, or on a device; if `out` is given for a Dask array.
    ValueError
        If shapes don't match.

    Examples
    --------
    >>> import numpy as np
    >>> map_array(np.array([[0, 3], [7, 3]]), np.array([3, 7]), np.array([0.5, 2.5]))
    array([[0. , 0.5],
           [2.5, 0.5]])
    """
    check_labels(input_arr)
    keys, values = np.asarray(input_vals), np.asarray(output_vals)
    if keys.ndim != 1 or keys.shape != values.shape:
        raise ValueError(
            "input_vals and output_vals must be 1-D and of one length, got shapes "
            f"{keys.shape} and {values.shape}"
        )
    kind = keys.dtype.kind
    if kind not in "biuf" or (kind == "f" and not _whole(keys)):
        raise ValueError(f"input_vals must be integers, got {input_vals!r}")
    if values.dtype.kind not in "biufc":
        raise TypeError(f"output_vals must be numbers, got {values.dtype}")
    # Of a label listed twice, the last value counts.
    keys, last = np.unique(keys.astype(np.int64)[::-1], return_index=True)
    mapped = implementation(input_arr, "label_tools").map_values(
        input_arr, keys, values[::-1][last]
    )
    if out is None:
        return mapped
    if floor(input_arr) == "_dask":
        raise TypeError("out is not for Dask arrays, got one")
    floor(out)
    if out.shape != input_arr.shape:
        raise ValueError(f"out must have the input's shape {input_arr.shape}, got {out.shape}")
    out[...] = mapped
    return out


def _whole(values: NumpyArray) -> bool:
    return bool(np.isfinite(values).all()) and bool((values == np.floor(values)).all())
