"""Flood an image from markers."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg._backend import floor, implementation
from gpuseg._shared.window import native
from gpuseg._validate import check_landscape
from gpuseg.typing import Array, NumpyArray

_NAMES = {"_cpu": "NumPy", "_cuda": "CuPy", "_dask": "Dask"}


def watershed(
    image: Array,
    markers: Array | int | npt.ArrayLike | None = None,
    *,
    mask: Array | None = None,
    connectivity: int = 1,
) -> Array:
    """Flood an image from markers: each pixel gets the label of the basin that it lies in.

    The answer is defined without an order of work: it is the minimum spanning forest rooted in the
    markers, under a strict order of edges. So it is the same on a CPU and a GPU, for any chunks and
    any number of threads.

    Parameters
    ----------
    image : (M,), (M, N) or (P, M, N) array of real numbers
        NumPy, CuPy or Dask array; low values are flooded first.
    markers : array of integers, points, int, or None
        Labels where the image's shape is that of the array, 0 where there is no marker. Else
        ``(K, ndim)`` coordinates of points, which get the labels 1 to K (the first one of several
        in one pixel counts). A number asks for about as many markers on a regular grid, and None
        for the local minima, both as scikit-image takes them.
    mask : bool array of the image's shape, optional
        Where to flood; markers outside are left out.
    connectivity : int
        Along how many axes two neighbours may differ, from 1 (4 neighbours in 2-D, 6 in 3-D) to the
        number of axes (8, 26).

    Returns
    -------
    array
        Labels in the markers' dtype (int32 where these are no array of labels), and a Dask image's
        chunks; 0 outside the mask, and where no marker can be reached.

    Raises
    ------
    TypeError
        If dtypes are others, or the arrays don't live in one place.
    ValueError
        If shapes don't match, a marker is negative, a point lies outside, or `connectivity` is out
        of range. NaN within the mask are refused too; for Dask arrays, when they are computed.

    Notes
    -----
    Pixels are in the order of (value, steps to a lower pixel or a marker within a stretch of equal
    pixels, index), edges in that of (higher pixel, lower pixel). Where scikit-image's answer
    differs, both labels reach a pixel at the same height: there scikit-image goes by time of
    arrival. `docs/design/watershed.md` says more.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import watershed
    >>> image = np.array([[3, 1, 2, 5, 2, 0], [3, 1, 2, 4, 1, 0]], np.uint8)
    >>> watershed(image, [(0, 1), (1, 5)])
    array([[1, 1, 1, 1, 2, 2],
           [1, 1, 1, 2, 2, 2]], dtype=int32)
    """
    _check_image(image, connectivity)
    mask = _as_mask(image, mask)
    labels = _as_labels(image, markers, mask, connectivity)
    arrays = [image, labels] if mask is None else [image, labels, mask]
    owner = next((array for array in arrays if floor(array) == "_dask"), image)
    return implementation(owner, "watershed").watershed(image, labels, mask, connectivity)


def _check_image(image: Array, connectivity: int) -> None:
    check_landscape(image)
    if isinstance(connectivity, bool) or not isinstance(connectivity, numbers.Integral):
        raise TypeError(f"connectivity must be an integer, got {connectivity!r}")
    if not 1 <= connectivity <= image.ndim:
        raise ValueError(
            f"connectivity must be between 1 and {image.ndim} for {image.ndim} axes, "
            f"got {connectivity}"
        )


def _as_mask(image: Array, mask: Array | None) -> Array | None:
    if mask is None:
        return None
    _check_home(image, mask, "mask")
    if mask.dtype.kind not in "biu":
        raise TypeError(f"mask must be bool or integer (0 is outside), got {mask.dtype}")
    if tuple(mask.shape) != tuple(image.shape):
        raise ValueError(f"mask must have the image's shape {image.shape}, got {mask.shape}")
    return mask if mask.dtype.kind == "b" else mask != 0


def _check_home(image: Array, other: Array, name: str) -> None:
    kinds = {floor(image), floor(other)}
    if "_cuda" in kinds and len(kinds) > 1:
        raise TypeError(
            f"{name} must live where the image lives ({_NAMES[floor(image)]}), got a "
            f"{_NAMES[floor(other)]} array"
        )


def _as_labels(image: Array, markers: Any, mask: Array | None, connectivity: int) -> Array:
    """Markers of any kind as an array of labels."""
    if markers is None:
        return implementation(image, "watershed").minima(image, mask, connectivity)
    if isinstance(markers, numbers.Integral):
        points = _grid(image, int(markers), mask)
    elif isinstance(markers, list | tuple):
        points = np.asarray(markers)
        points = points.reshape(0, image.ndim) if points.size == 0 else points
    else:
        floor(markers)
        if markers.dtype.kind not in "iu":
            raise TypeError(
                f"markers must be labels (integers), points or a number, got {markers.dtype}; "
                "label a mask of markers with `gpuseg.measure.label`"
            )
        if tuple(markers.shape) == tuple(image.shape):
            _check_home(image, markers, "markers")
            kind = native(markers.dtype)
            return markers if markers.dtype == kind else markers.astype(kind)
        points = markers
    return implementation(image, "watershed").paint(image, _check_points(image, points))


def _check_points(image: Array, points: Any) -> NumpyArray:
    """Coordinates of points, as NumPy array of int64."""
    if points.ndim != 2 or points.shape[1] != image.ndim:
        raise ValueError(
            f"markers must have the image's shape {tuple(image.shape)}, or be (K, {image.ndim}) "
            f"coordinates of points, got shape {tuple(points.shape)}"
        )
    if points.dtype.kind not in "iu" and points.size:
        raise TypeError(f"points must be integers, got {points.dtype}; round them first")
    if not isinstance(points, np.ndarray) or floor(points) != "_cpu":
        raise TypeError(
            f"points must be a NumPy array or a sequence, got a {_NAMES[floor(points)]} array"
        )
    points = points.astype(np.int64)
    outside = ((points < 0) | (points >= np.array(image.shape))).any(axis=1)
    if outside.any():
        bad = tuple(points[np.argmax(outside)].tolist())
        raise ValueError(f"points must lie within the image's shape {image.shape}, got {bad}")
    return points


def _grid(image: Array, count: int, mask: Array | None) -> NumpyArray:
    """Points of scikit-image's regular grid, about `count` within the mask."""
    if count < 1:
        raise ValueError(f"markers must be at least 1, got {count}")
    from skimage.util import regular_grid

    pixels = image.size if mask is None else int(mask.sum())
    wanted = count if pixels == 0 else int(count / (pixels / image.size))
    axes = [
        np.arange(size)[span]
        for size, span in zip(image.shape, regular_grid(image.shape, wanted), strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, image.ndim)
