"""Distances between the surfaces of objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gpuseg._backend import implementation
from gpuseg._shared.region_request import check_spacing
from gpuseg._shared.surfaces import Points, by_label
from gpuseg.compare.labels import check_pair, compare_labels
from gpuseg.typing import Array, NumpyArray


class SurfaceDistances(NamedTuple):
    """Columns with one entry for each pair of objects, in the units of `spacing`.

    Attributes
    ----------
    true, test : (pairs,) array of int
        Labels of the pair.
    hausdorff : (pairs,) array
        Largest distance from a surface pixel of either to the nearest one of the other.
    hausdorff_95 : (pairs,) array
        95th percentile of these distances, both ways together, as MedPy has it.
    average : (pairs,) array
        Their mean: the average symmetric surface distance (Heimann et al. 2009).

    Examples
    --------
    >>> import numpy as np
    >>> row = surface_distances(np.array([[1, 1, 1, 0]]) > 0, np.array([[0, 1, 1, 1]]) > 0)
    >>> float(row.hausdorff[0]), float(row.average[0])
    (1.0, 0.333...)
    """

    true: NumpyArray
    test: NumpyArray
    hausdorff: NumpyArray
    hausdorff_95: NumpyArray
    average: NumpyArray


def surface_distances(
    image_true: Array,
    image_test: Array,
    *,
    pairs: npt.ArrayLike | None = None,
    spacing: float | Sequence[float] | None = None,
) -> SurfaceDistances:
    """Hausdorff and average distances between surfaces, for each pair of objects.

    A surface pixel has a face towards another label, the background or the image's border.

    Parameters
    ----------
    image_true, image_test : bool or integer array
        As in `compare_labels`.
    pairs : (pairs, 2) array_like of int, optional
        True and test labels to compare. By default those that match at an intersection over union
        of 0.5, or, of two masks of bool, the masks.
    spacing : float or sequence of float, optional
        Size of a pixel along each axis; 1 by default.

    Returns
    -------
    SurfaceDistances
        Infinite where one object of a pair is absent, 0 where both are, as in
        `skimage.metrics.hausdorff_distance`.

    Raises
    ------
    TypeError, ValueError
        As `compare_labels`, and if `pairs` or `spacing` are none.

    Examples
    --------
    >>> import numpy as np
    >>> true = np.zeros((9, 9), int)
    >>> true[2:6, 2:6] = 4
    >>> found = surface_distances(true, np.roll(true, 1, axis=0), spacing=(0.5, 0.5))
    >>> found.true, found.test, found.hausdorff
    (array([4]), array([4]), array([0.5]))
    """
    check_pair(image_true, image_test)
    masks = image_true.dtype.kind == image_test.dtype.kind == "b"
    if pairs is None and not masks:
        pairs = np.stack(compare_labels(image_true, image_test).matches()[:2], axis=-1)
    wanted = np.asarray([(1, 1)] if pairs is None else pairs)
    if wanted.dtype.kind not in "iu" or wanted.ndim != 2 or wanted.shape[1] != 2:
        raise ValueError(f"pairs must be pairs of labels, got {pairs!r}")
    steps = np.array(check_spacing(spacing, image_true.ndim))
    sides = [
        _Surfaces(image, ids, steps)
        for image, ids in zip((image_true, image_test), wanted.T.astype(np.int64), strict=True)
    ]
    return _distances(wanted, *sides)


class _Surfaces:
    """Surface points of an image's objects, one pair after the other."""

    def __init__(self, image: Array, ids: NumpyArray, steps: NumpyArray) -> None:
        found: Points = implementation(image, "surfaces").surfaces(image, np.unique(ids))
        labels, places = by_label(found)
        first, last = (np.searchsorted(labels, ids, side) for side in ("left", "right"))
        sizes = last - first
        self.edges = np.concatenate(([0], np.cumsum(sizes)))
        rows = np.repeat(first - self.edges[:-1], sizes) + np.arange(self.edges[-1])
        self.points = places[rows] * steps

    def distances_to(self, other: _Surfaces) -> NumpyArray:
        """Of each point to the nearest of the other side."""
        found: NumpyArray = implementation(self.points, "surfaces").nearest(
            self.points, self.edges, other.points, other.edges
        )
        return found


def _distances(pairs: NumpyArray, true: _Surfaces, test: _Surfaces) -> SurfaceDistances:
    values = np.concatenate((true.distances_to(test), test.distances_to(true)))
    sizes = np.diff(true.edges), np.diff(test.edges)
    owner = np.concatenate([np.repeat(np.arange(len(pairs)), size) for size in sizes])
    values = values[np.lexsort((values, owner))]
    count = sizes[0] + sizes[1]
    ends = np.cumsum(count)
    starts = ends - count
    some = (sizes[0] > 0) & (sizes[1] > 0)
    at = 0.95 * (count - 1)[some]
    low = starts[some] + np.floor(at).astype(np.int64)
    step = values[np.minimum(low + 1, ends[some] - 1)] - values[low]
    columns = np.zeros((3, len(pairs)))
    columns[0, some] = values[ends[some] - 1]
    columns[1, some] = values[low] + step * (at % 1)
    total = np.concatenate(([0.0], values)) if values.size == 0 else values
    columns[2, some] = np.add.reduceat(total, starts[some]) / count[some]
    columns[:, (sizes[0] > 0) != (sizes[1] > 0)] = np.inf
    return SurfaceDistances(pairs[:, 0], pairs[:, 1], *columns)
