"""Small objects, small holes and all holes of masks and label images."""

from __future__ import annotations

import numpy as np

from gpuseg import measure
from gpuseg._backend import floor, implementation
from gpuseg._shared.region_request import check_labels
from gpuseg._validate import check_labelable, check_number
from gpuseg.typing import Array

__all__ = ["fill_holes", "remove_small_holes", "remove_small_objects"]


def remove_small_objects(image: Array, *, max_size: int = 64, connectivity: int = 1) -> Array:
    """Remove objects of at most `max_size` pixels, as `skimage.morphology` does.

    Parameters
    ----------
    image : bool or integer array
        NumPy or Dask array: a mask, whose connected components are the objects, or labels, whose
        equal values are, connected or not.
    max_size : int
        Size of the largest object to remove, in pixels.
    connectivity : int
        Along how many axes neighbours in a mask may differ, from 1 to their number.

    Returns
    -------
    array
        Of the image's dtype and chunks; a Dask array is lazy, and read a second time when sizes
        are known.

    Raises
    ------
    TypeError
        If the image is neither bool nor integer, or on a device.
    ValueError
        If `max_size` or a label is negative.

    Examples
    --------
    >>> import numpy as np
    >>> remove_small_objects(np.array([[1, 1, 0, 2], [1, 0, 0, 0]]), max_size=2)
    array([[1, 1, 0, 0],
           [1, 0, 0, 0]])
    """
    check_labelable(image)
    check_number(max_size, "max_size", 0)
    labels = _components(image, connectivity) if image.dtype.kind == "b" else image
    check_labels(labels)
    tools = implementation(labels, "label_tools")
    removed = tools.member(labels, tools.small(labels, max_size))
    return np.where(removed, image.dtype.type(0), image)


def remove_small_holes(image: Array, *, max_size: int = 64, connectivity: int = 1) -> Array:
    """Fill holes of at most `max_size` pixels in a mask, as `skimage.morphology` does.

    Background that touches the border is a hole too, where it is that small.

    Parameters
    ----------
    image : bool array
        NumPy or Dask array.
    max_size : int
        Size of the largest hole to fill, in pixels.
    connectivity : int
        Along how many axes neighbours in the background may differ.

    Returns
    -------
    bool array
        In the image's chunks.

    Raises
    ------
    TypeError
        If the image is not bool, or on a device.

    Examples
    --------
    >>> import numpy as np
    >>> remove_small_holes(np.array([[1, 0, 1, 0, 0]], bool), max_size=1)
    array([[ True,  True,  True, False, False]])
    """
    _check_mask(image)
    return ~remove_small_objects(~image, max_size=max_size, connectivity=connectivity)


def fill_holes(image: Array, *, connectivity: int = 1) -> Array:
    """Fill background that is cut off from the border, as `scipy.ndimage.binary_fill_holes`.

    Parameters
    ----------
    image : bool array
        NumPy or Dask array.
    connectivity : int
        Along how many axes neighbours in the background may differ; 1 lets diagonal lines enclose
        a hole.

    Returns
    -------
    bool array
        In the image's chunks.

    Raises
    ------
    TypeError
        If the image is not bool, or on a device.

    Examples
    --------
    >>> import numpy as np
    >>> fill_holes(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)).astype(int)
    array([[0, 1, 0],
           [1, 1, 1],
           [0, 1, 0]])
    """
    _check_mask(image)
    background = _components(~image, connectivity)
    tools = implementation(background, "label_tools")
    outside = tools.touching(background, 1, None)
    return ~tools.member(background, outside[outside > 0])


def _components(mask: Array, connectivity: int) -> Array:
    labels, _ = measure.label(mask, connectivity=connectivity)
    return labels


def _check_mask(image: Array) -> None:
    floor(image)
    if image.dtype.kind != "b":
        raise TypeError(
            f"image must be a mask of bool, got {image.dtype}: compare it, as image > 0"
        )
    check_labelable(image)
