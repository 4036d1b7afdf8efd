"""Properties of regions, as scikit-image names and defines them, from tables of sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from gpuseg._shared.region_moments import moments, moments_central, moments_hu, moments_normalized
from gpuseg._shared.region_rows import Rows
from gpuseg._shared.region_table import Request, Table
from gpuseg.typing import NumpyArray

# What scikit-image's `perimeter` and `perimeter_crofton` count each kind of pixel and of window.
_PERIMETER = np.array([1, math.sqrt(2), (1 + math.sqrt(2)) / 2])
_CROFTON = np.pi / 4 * np.array([1 + 1 / np.sqrt(2), 1 / np.sqrt(2), np.sqrt(2), 1, 2])


def make_columns(rows: Rows, request: Request) -> dict[str, NumpyArray]:
    """Columns of the labels found, in increasing order, or of `request.ids`, in theirs.

    Raises
    ------
    ValueError
        If a label is negative.
    """
    if rows.lowest < 0:
        raise ValueError(f"labels must not be negative, got {rows.lowest}")
    table = Table(rows, request)
    columns = {}
    for name in request.properties:
        values = PROPERTIES[name].make(table)
        if table.missing.any() and name != "label":
            values[table.missing] = PROPERTIES[name].empty if values.dtype.kind == "f" else 0
        for index in np.ndindex(values.shape[1:]):
            key = request.separator.join([name, *map(str, index)])
            columns[key] = np.ascontiguousarray(values[(slice(None), *index)])
    return columns


def _weigh(counts: NumpyArray, weights: NumpyArray) -> NumpyArray:
    """Product of (labels, columns) and (columns,), in an order that no other label changes.

    A matrix product rounds otherwise for one row than for many.
    """
    total = counts[:, 0] * weights[0]
    for column in range(1, weights.size):
        total += counts[:, column] * weights[column]
    return total


def _area(t: Table) -> NumpyArray:
    return t.count * np.prod(t.spacing)


def _bbox(t: Table) -> NumpyArray:
    return np.hstack([t.lower(), t.upper() + 1])


def _area_bbox(t: Table) -> NumpyArray:
    return np.prod(t.upper() - t.lower() + 1, axis=1) * np.prod(t.spacing)


def _centroid(t: Table) -> NumpyArray:
    # Each column in one piece, as the table will have it.
    centre = np.empty((t.ndim, t.labels.size)).T
    for axis in range(t.ndim):
        np.divide(t.total(f"first{axis}"), t.count, out=centre[:, axis])
        centre[:, axis] *= t.spacing[axis]
    return centre


def _inertia_tensor(t: Table) -> NumpyArray:
    tensor = -t.covariance * t.spacing[:, None] * t.spacing
    trace = np.trace(tensor, axis1=1, axis2=2)
    axes = np.arange(t.ndim)
    tensor[:, axes, axes] -= trace[:, None]
    return tensor


def _eigenvalues(t: Table) -> NumpyArray:
    """In decreasing order; those below 0 are rounding."""
    return np.maximum(np.linalg.eigvalsh(_inertia_tensor(t)), 0)[:, ::-1]


def _axis_length(t: Table, *, major: bool) -> NumpyArray:
    """Axis of the ellipse, or ellipsoid, with the same second moments."""
    values = _eigenvalues(t)
    if t.ndim == 2:
        return 4 * np.sqrt(values[:, 0 if major else 1])
    first, second, third = values.T
    square = first + second - third if major else second + third - first
    return np.sqrt(10 * np.maximum(square, 0))


def _eccentricity(t: Table) -> NumpyArray:
    major, minor = _eigenvalues(t).T
    return np.sqrt(1 - np.divide(minor, major, out=np.ones_like(minor), where=major > 0))


def _orientation(t: Table) -> NumpyArray:
    tensor = _inertia_tensor(t)
    a, b, c = tensor[:, 0, 0], tensor[:, 0, 1], tensor[:, 1, 1]
    diagonal = np.where(b < 0, np.pi / 4, -np.pi / 4)
    return np.where(a == c, diagonal, 0.5 * np.arctan2(-2 * b, c - a))


@cache
def _direction_weights(spacing: tuple[float, ...]) -> NumpyArray:
    """Area that one entry of a line into an object stands for, along each of 13 directions.

    Crofton's formula: a surface is four times the mean, over directions, of the projected area,
    counted as often as lines enter. Each direction stands for its Voronoi cell on the sphere.
    """
    from scipy.spatial import SphericalVoronoi

    offsets = np.array([d for d in np.ndindex(3, 3, 3) if d != (1, 1, 1)]) - 1
    steps = offsets * np.array(spacing)
    lengths = np.linalg.norm(steps, axis=1)
    cells = SphericalVoronoi(steps / lengths[:, None]).calculate_areas() / (4 * np.pi)
    half = len(offsets) // 2
    share = cells[:half] + cells[half:][::-1]
    return 4 * share * np.prod(spacing) / lengths[:half]


def _surface_area(t: Table) -> NumpyArray:
    return _weigh(t.block("surface"), _direction_weights(tuple(t.spacing.tolist())))


def _num_neighbors(t: Table) -> NumpyArray:
    named, counts = np.unique(t.pairs, return_counts=True)
    if named.size == 0:
        return np.zeros(t.labels.size, np.int64)
    at = np.minimum(np.searchsorted(named, t.labels), named.size - 1)
    return np.where(named[at] == t.labels, counts[at], 0)


def _sum(t: Table, channel: int) -> NumpyArray:
    dtype = np.dtype(t.plan.dtype)
    if dtype.kind != "f" and dtype.itemsize <= 2:
        return t.block("sum", channel)[:, 0].copy()
    return t.finite(t.total("sum", channel), channel)


def _mean(t: Table, channel: int) -> NumpyArray:
    return t.finite(t.total("sum", channel) / t.count, channel)


def centre_of_mass(t: Table, channel: int = 0) -> NumpyArray:
    """Mean coordinates (labels, axes) weighted by values; NaN where those sum to 0, or to none."""
    mass = t.finite(t.total("sum", channel), channel)
    sums = np.stack([t.total(f"weighted{axis}", channel) for axis in range(t.ndim)], axis=-1)
    bad = (mass == 0) | ~np.isfinite(mass) | t.missing
    centre = sums / np.where(bad, 1, mass)[:, None] * t.spacing
    return np.where(bad[:, None], np.nan, centre)


def _local(t: Table, centre: NumpyArray) -> NumpyArray:
    """Coordinates from the corner of the bounding box; axes of `centre` are (labels, axes, ...)."""
    corner = t.lower() * t.spacing
    return centre - corner.reshape(corner.shape + (1,) * (centre.ndim - 2))


def _of_channels(make: Callable[[Table, int], NumpyArray]) -> Callable[[Table], NumpyArray]:
    return lambda t: t.channels(lambda channel: make(t, channel))


class Property(NamedTuple):
    """How a property is finished, from which features, for which numbers of axes.

    `isotropic` ones need one spacing along all axes, `unit` ones a spacing of 1.
    `empty` is its value for a label that no pixel has (0 in any case for integers).
    """

    make: Callable[[Table], NumpyArray]
    features: frozenset[str]
    ndims: tuple[int, ...] = (2, 3)
    image: bool = False
    isotropic: bool = False
    unit: bool = False
    empty: float = math.nan


_SHAPE = frozenset({"bbox", "first", "second"})
_BOX = frozenset({"bbox"})
_POWERS = frozenset({"bbox", "first", "powers"})

PROPERTIES: dict[str, Property] = {
    "label": Property(lambda t: t.labels, frozenset()),
    "num_pixels": Property(lambda t: t.count.copy(), frozenset()),
    "area": Property(_area, frozenset(), empty=0.0),
    "equivalent_diameter_area": Property(
        lambda t: (2 * t.ndim * _area(t) / np.pi) ** (1 / t.ndim), frozenset()
    ),
    "bbox": Property(_bbox, _BOX),
    "area_bbox": Property(_area_bbox, _BOX),
    "extent": Property(lambda t: _area(t) / _area_bbox(t), _BOX),
    "centroid": Property(_centroid, frozenset({"first"})),
    "centroid_local": Property(lambda t: _local(t, _centroid(t)), frozenset({"bbox", "first"})),
    "inertia_tensor": Property(_inertia_tensor, _SHAPE),
    "inertia_tensor_eigvals": Property(_eigenvalues, _SHAPE),
    "axis_major_length": Property(lambda t: _axis_length(t, major=True), _SHAPE),
    "axis_minor_length": Property(lambda t: _axis_length(t, major=False), _SHAPE),
    "eccentricity": Property(_eccentricity, _SHAPE, (2,)),
    "orientation": Property(_orientation, _SHAPE, (2,)),
    "moments": Property(moments, _POWERS),
    "moments_central": Property(moments_central, _POWERS),
    "moments_normalized": Property(moments_normalized, _POWERS),
    "moments_hu": Property(moments_hu, _POWERS, (2,), unit=True),
    "euler_number": Property(lambda t: t.block("euler")[:, 0] >> t.ndim, frozenset({"euler"})),
    "perimeter": Property(
        lambda t: _weigh(t.block("perimeter"), _PERIMETER) * t.spacing[0],
        frozenset({"perimeter"}),
        (2,),
        isotropic=True,
    ),
    "perimeter_crofton": Property(
        lambda t: _weigh(t.block("crofton"), _CROFTON) * t.spacing[0],
        frozenset({"crofton"}),
        (2,),
        isotropic=True,
    ),
    "surface_area": Property(_surface_area, frozenset({"surface"}), (3,)),
    "num_neighbors": Property(_num_neighbors, frozenset({"neighbors"})),
    "intensity_mean": Property(_of_channels(_mean), frozenset({"sum"}), image=True),
    "intensity_sum": Property(_of_channels(_sum), frozenset({"sum"}), image=True, empty=0.0),
    "intensity_variance": Property(
        lambda t: t.channels(t.variance), frozenset({"sum", "square"}), image=True
    ),
    "intensity_std": Property(
        lambda t: np.sqrt(t.channels(t.variance)), frozenset({"sum", "square"}), image=True
    ),
    "intensity_min": Property(
        _of_channels(lambda t, c: t.extremum("minimum", c).astype(np.float64)),
        frozenset({"extrema"}),
        image=True,
    ),
    "intensity_max": Property(
        _of_channels(lambda t, c: t.extremum("maximum", c).astype(np.float64)),
        frozenset({"extrema"}),
        image=True,
    ),
    "intensity_min_position": Property(
        _of_channels(lambda t, c: t.position("at_minimum", c)),
        frozenset({"extrema", "positions"}),
        image=True,
    ),
    "intensity_max_position": Property(
        _of_channels(lambda t, c: t.position("at_maximum", c)),
        frozenset({"extrema", "positions"}),
        image=True,
    ),
    "centroid_weighted": Property(
        _of_channels(centre_of_mass), frozenset({"sum", "weighted"}), image=True
    ),
    "centroid_weighted_local": Property(
        lambda t: _local(t, _of_channels(centre_of_mass)(t)),
        frozenset({"bbox", "sum", "weighted"}),
        image=True,
    ),
}
