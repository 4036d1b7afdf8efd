"""Objects of a volume as a table: where they are, in micrometres, and how large."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from gpuseg import measure
from gpuseg._backend import floor
from gpuseg._shared.atlas_frame import Triple, triple
from gpuseg._validate import check_number
from gpuseg.typing import Array, NumpyArray

__all__ = ["find_cells", "measure_cells"]


def find_cells(
    mask: Array,
    *,
    spacing: float | Sequence[float],
    origin: float | Sequence[float] = 0.0,
    image: Array | None = None,
    properties: Sequence[str] = (),
    connectivity: int | None = None,
    min_volume: float = 0.0,
    max_volume: float = math.inf,
    labels: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> dict[str, NumpyArray]:
    """Label what is connected in a volume, and measure it: one row an object.

    Parameters
    ----------
    mask : (D, H, W) bool array
        NumPy, CuPy or Dask: a threshold, or what a model takes for cells. Objects across chunks are
        one object.
    spacing, origin, image, properties, min_volume, max_volume
        As in `measure_cells`.
    connectivity : int, optional
        1 for 6 neighbours, 2 for 18, 3 for 26, the default.
    labels : path, optional
        Where to write the labels, all of them, as OME-Zarr: chunk by chunk, see
        `gpuseg.measure.label_to_zarr`. They are measured from there.
    overwrite : bool
        Replace what is there even if gpuseg didn't make it.

    Returns
    -------
    dict of str to NumPy array
        As `measure_cells`; numbers are those of the whole volume, however it is chunked.

    Raises
    ------
    TypeError
        If the mask is not bool.
    ValueError
        If it is not 3-D, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((4, 6, 6), bool)
    >>> mask[1:3, 1:3, 1:3] = mask[1, 5, 5] = True
    >>> cells = find_cells(mask, spacing=(5, 2, 2))
    >>> cells["z"], cells["volume"]
    (array([7.5, 5. ]), array([160.,  20.]))
    """
    floor(mask)
    if mask.dtype.kind != "b":
        raise TypeError(
            f"mask must be bool, got {mask.dtype}: compare the image with a threshold, or measure "
            "labels by measure_cells"
        )
    steps = _check_volume(mask, "mask", spacing)
    if labels is None:
        found, _ = measure.label(mask, connectivity=connectivity)
    else:
        measure.label_to_zarr(
            mask,
            labels,
            connectivity=connectivity,
            axis_names="zyx",
            scale=steps,
            unit="micrometer",
            overwrite=overwrite,
        )
        found = _stored(labels)
    return measure_cells(
        found,
        spacing=steps,
        origin=origin,
        image=image,
        properties=properties,
        min_volume=min_volume,
        max_volume=max_volume,
    )


def _stored(labels: str | os.PathLike[str]) -> Array:
    from gpuseg.io._zarr_source import as_image

    return as_image(os.fspath(labels), None)[0]


def _check_volume(array: Array, name: str, spacing: float | Sequence[float]) -> Triple:
    if array.ndim != 3:
        raise ValueError(
            f"{name} must be 3-D (z, y, x), got shape {tuple(array.shape)}; pick a channel or time"
        )
    return triple(spacing, "spacing", positive=True)


def measure_cells(
    labels: Array,
    *,
    spacing: float | Sequence[float],
    origin: float | Sequence[float] = 0.0,
    image: Array | None = None,
    properties: Sequence[str] = (),
    min_volume: float = 0.0,
    max_volume: float = math.inf,
) -> dict[str, NumpyArray]:
    """Measure labelled objects of a volume: where they are, in micrometres, and how large.

    Parameters
    ----------
    labels : (D, H, W) array of integers
        NumPy, CuPy or Dask; 0 is background.
    spacing : float or sequence of float
        Size of a voxel (z, y, x) in micrometres.
    origin : float or sequence of float
        Where the centre of the first voxel is, in micrometres.
    image : array, optional
        Of the labels' shape, for properties of intensity.
    properties : sequence of str
        Further columns, of `gpuseg.measure.regionprops_table`.
    min_volume, max_volume : float
        Objects below or above, in cubic micrometres, are left out.

    Returns
    -------
    dict of str to NumPy array
        `label`, the centroid `z`, `y`, `x` in micrometres, `volume` in cubic micrometres, and the
        properties asked for.

    Raises
    ------
    TypeError
        If labels are no integers.
    ValueError
        If they are not 3-D, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((1, 2, 3), int)
    >>> labels[0, 1, 1:] = 4
    >>> measure_cells(labels, spacing=(5, 2, 2))
    {'label': array([4]), 'z': array([0.]), 'y': array([2.]), 'x': array([3.]),
     'volume': array([40.])}
    """
    floor(labels)
    steps = _check_volume(labels, "labels", spacing)
    first = triple(origin, "origin", positive=False)
    check_number(max_volume, "max_volume")
    if not 0 <= check_number(min_volume, "min_volume") <= max_volume:
        raise ValueError(
            f"min_volume must be from 0 to max_volume, got {min_volume} and {max_volume}"
        )
    names = ("label", "centroid", "area", *properties)
    table = measure.regionprops_table(labels, image, properties=names, spacing=steps)
    cells = {"label": table.pop("label")}
    for axis, letter in enumerate("zyx"):
        cells[letter] = table.pop(f"centroid-{axis}") + first[axis]
    cells["volume"] = table.pop("area")
    cells |= table
    keep = (cells["volume"] >= min_volume) & (cells["volume"] <= max_volume)
    return cells if keep.all() else {name: column[keep] for name, column in cells.items()}
