"""Points in the structures of an atlas: where each is, how many there are, how dense they lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gpuseg._backend import floor
from gpuseg._shared.atlas_frame import Affine, make_affine, triple
from gpuseg._shared.atlas_table import make_table
from gpuseg._validate import check_number
from gpuseg.atlas.annotation import Atlas
from gpuseg.typing import NumpyArray

__all__ = ["count_regions", "density_map", "locate"]

_MM3 = 1e9  # cubic micrometres


def locate(
    points: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    atlas: Atlas,
    *,
    affine: npt.ArrayLike | None = None,
    units: Literal["um", "voxels"] = "um",
) -> dict[str, NumpyArray]:
    """Which structure each point is in, and on which side.

    Parameters
    ----------
    points, atlas, affine, units
        As in `count_regions`.

    Returns
    -------
    dict of str to NumPy array
        `structure`, the id of each point's structure, 0 for none; and `side`, 1 on the left, 2 on
        the right, 0 where that is not known.

    Raises
    ------
    ValueError
        As `count_regions`.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.atlas import Atlas
    >>> atlas = Atlas(np.full((2, 2, 2), 8), [{"id": 8, "acronym": "grey"}], spacing=10)
    >>> locate([[0, 0, 4.9], [0, 0, -6]], atlas)["structure"]
    array([8, 0])
    """
    to_voxels = _to_voxels(atlas, make_affine(affine), units)
    found = atlas.places(_check_points(points), to_voxels)
    ids = np.concatenate([[0], atlas.structures.ids])
    return {"structure": ids[found // 3], "side": (found % 3).astype(np.uint8)}


def count_regions(
    points: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    atlas: Atlas,
    *,
    affine: npt.ArrayLike | None = None,
    units: Literal["um", "voxels"] = "um",
    shape: Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    origin: float | Sequence[float] = 0.0,
) -> dict[str, NumpyArray]:
    """Count points in the structures of an atlas, with densities per cubic millimetre.

    A point belongs to the structure of the voxel whose centre is next to it.

    Parameters
    ----------
    points : (N, 3) array_like, or mapping with `z`, `y` and `x`
        In micrometres of the sample, such as the table of `find_cells` or a data frame.
    atlas : Atlas
    affine : (4, 4) array_like, optional
        Leads from the sample, (z, y, x, 1) in micrometres, to the atlas; by default the same.
    units : {"um", "voxels"}
        What the affine leads to: micrometres of the atlas, or its voxels.
    shape : sequence of int, optional
        Voxels (z, y, x) of the sample, where the volumes of the structures end; needs `spacing`.
        By default structures count as a whole.
    spacing, origin : float or sequence of float, optional
        Of the sample's voxels, as in `measure_cells`.

    Returns
    -------
    dict of str to NumPy array
        A row for each structure, in the table's order, and a last one, of id 0, for points in none
        of them. Columns: `id`, `acronym`, `name`, `parent` (id, 0 for none), `depth`; `own`, points
        in the structure but in none of its parts, which adds up to all points; `count`,
        `volume_mm3` and `density` with all parts, the volume in space of the sample; and the same
        with `_left` and `_right` where the atlas knows the sides.

    Raises
    ------
    ValueError
        If points are not finite, the affine has no inverse, or nothing of the atlas lies in the
        sample (or no point in the atlas' voxels).

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.atlas import Atlas
    >>> annotation = np.zeros((10, 10, 10), np.uint32)
    >>> annotation[:, :, 2:5], annotation[:, :, 5:] = 8, 567
    >>> rows = [
    ...     {"id": 997, "acronym": "root", "parent_id": 0},
    ...     {"id": 8, "acronym": "grey", "parent_id": 997},
    ...     {"id": 567, "acronym": "CH", "parent_id": 997},
    ... ]
    >>> atlas = Atlas(annotation, rows, spacing=100)
    >>> counts = count_regions([[0, 0, 0], [50, 80, 300], [0, 0, 600], [0, 0, 700]], atlas)
    >>> counts["acronym"].tolist(), counts["count"].tolist()
    (['root', 'grey', 'CH', 'outside'], [3, 1, 2, 1])
    >>> counts["volume_mm3"], counts["density"].round(2)
    (array([0.8, 0.3, 0.5, nan]), array([3.75, 3.33, 4.  ,  nan]))
    """
    place = _check_points(points)
    whole = make_affine(affine)
    to_voxels = _to_voxels(atlas, whole, units)
    voxels = atlas.voxels
    if shape is not None:
        voxels = _sampled(atlas, to_voxels, shape, spacing, origin)
    found = atlas.places(place, to_voxels)
    if shape is None and len(place) and not found.any():
        _check_overlap(place, to_voxels, atlas)
    rows = len(atlas.structures) + 1
    counts = np.bincount(found, minlength=3 * rows).reshape(rows, 3)
    voxel_mm3 = 1 / abs(to_voxels.determinant()) / _MM3
    return make_table(counts, voxels, voxel_mm3, atlas.structures, atlas.has_sides)


def _to_voxels(atlas: Atlas, affine: Affine, units: str) -> Affine:
    if units == "um":
        return affine.then(atlas.spacing, atlas.origin)
    if units == "voxels":
        return affine
    raise ValueError(f"units must be 'um' or 'voxels', got {units!r}")


def _check_points(points: Any) -> NumpyArray:
    """(N, 3) float64 in C order."""
    if hasattr(points, "keys"):
        missing = [letter for letter in "zyx" if letter not in points]
        if missing:
            raise ValueError(
                f"points must have columns z, y and x, {', '.join(missing)} is missing"
            )
        points = np.stack([np.asarray(points[letter]) for letter in "zyx"], axis=-1)
    if not isinstance(points, list | tuple) and floor(points) != "_cpu":
        raise TypeError(f"points must be a NumPy array, got {type(points)}; convert it first")
    place = np.ascontiguousarray(points, np.float64)
    if place.size == 0:
        place = place.reshape(0, 3)
    if place.ndim != 2 or place.shape[1] != 3:
        raise ValueError(f"points must have shape (N, 3), got {place.shape}")
    bad = ~np.isfinite(place).all(axis=1)
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"points must be finite, {int(bad.sum())} are not; the first is point {first}, "
            f"{place[first].tolist()}"
        )
    return place


def _sampled(
    atlas: Atlas, to_voxels: Affine, shape: Sequence[int], spacing: Any, origin: Any
) -> NumpyArray:
    """Voxels of the atlas in the sample; at least one."""
    sizes = tuple(np.atleast_1d(shape).tolist())
    if len(sizes) != 3 or not all(isinstance(n, int | np.integer) and n > 0 for n in sizes):
        raise ValueError(f"shape must be three positive integers (z, y, x), got {shape}")
    steps = triple(spacing, "spacing (of the sample, with shape)", positive=True)
    first = triple(origin, "origin", positive=False)
    grid = to_voxels.of_grid(steps, first)
    voxels = atlas.tally(grid.inverse().packed(), np.array(sizes, np.float64))
    if not voxels.any():
        corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in sizes], indexing="ij"), -1)
        raise ValueError(
            "the atlas must overlap the sample, which lies "
            f"{_extent(corners.reshape(-1, 3), grid)}, while the annotation has {atlas.shape}; "
            "check the affine and its units"
        )
    return voxels


def _check_overlap(points: NumpyArray, to_voxels: Affine, atlas: Atlas) -> None:
    where = points @ to_voxels.matrix.T + to_voxels.shift
    inside = ((where >= -0.5) & (where < np.array(atlas.shape) - 0.5)).all(axis=1)
    if not inside.any():
        raise ValueError(
            f"the atlas must overlap the sample, whose points lie {_extent(points, to_voxels)}, "
            f"while the annotation has {atlas.shape}; check the affine and its units"
        )


def _extent(points: NumpyArray, to_voxels: Affine) -> str:
    where = points @ to_voxels.matrix.T + to_voxels.shift
    low, high = where.min(axis=0), where.max(axis=0)
    spans = ", ".join(f"{a:.4g} to {b:.4g}" for a, b in zip(low, high, strict=True))
    return f"at voxels {spans} (z, y, x)"


def density_map(
    points: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    shape: Sequence[int],
    spacing: float | Sequence[float],
    *,
    side: float = 100.0,
    origin: float | Sequence[float] = 0.0,
) -> NumpyArray:
    """Density of points per cubic millimetre on a coarse grid over a volume.

    Parameters
    ----------
    points : (N, 3) array_like, or mapping with `z`, `y` and `x`
        In micrometres.
    shape, spacing, origin
        Of the volume, as in `count_regions`.
    side : float
        Side of the grid's cubes in micrometres; the last ones end where the volume does.

    Returns
    -------
    (A, B, C) float64 array
        Points over volume for each cube; points outside of the volume are not counted.

    Raises
    ------
    ValueError
        If points are not finite, or an argument is not positive.

    Examples
    --------
    >>> density_map([[0, 0, 10], [0, 0, 20], [0, 0, 190]], (10, 10, 20), 10.0, side=100)
    array([[[2000., 1000.]]])
    """
    place = _check_points(points)
    steps = np.array(triple(spacing, "spacing", positive=True))
    sizes = np.asarray(shape)
    if sizes.shape != (3,) or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise ValueError(f"shape must be three positive integers (z, y, x), got {shape}")
    if not (check_number(side, "side") > 0 and math.isfinite(side)):
        raise ValueError(f"side must be positive, got {side}")
    extent = sizes * steps
    # The volume begins at the outer face of its first voxel.
    within = place - np.array(triple(origin, "origin", positive=False)) + steps / 2
    inside = ((within >= 0) & (within < extent)).all(axis=1)
    cubes = np.ceil(extent / side).astype(np.int64)
    index = np.minimum((within[inside] / side).astype(np.int64), cubes - 1)
    counts = np.bincount(np.ravel_multi_index(index.T, cubes), minlength=int(cubes.prod()))
    lengths = [
        np.minimum(side, length - side * np.arange(n))
        for length, n in zip(extent, cubes, strict=True)
    ]
    volumes = np.multiply.outer(np.multiply.outer(lengths[0], lengths[1]), lengths[2])
    density: NumpyArray = counts.reshape(volumes.shape) / (volumes / _MM3)
    return density
