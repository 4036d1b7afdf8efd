"""What to look at in napari: images, labels and points, lazily, with their pixel sizes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gpuseg.viewer._arrays import LayerData, array_layer, points_layer
from gpuseg.viewer._files import file_layers, opened_layers
from gpuseg.viewer._values import NothingToShow, result_layers

__all__ = ["LayerData", "NothingToShow", "add", "layers"]


def layers(
    source: Any,
    *,
    name: str | None = None,
    scale: Sequence[float] | float | None = None,
    kind: Literal["image", "labels", "points"] | None = None,
) -> list[LayerData]:
    """Napari's layers of a file, a run, a result, arrays or a table; napari itself is not needed.

    Parameters
    ----------
    source : path, result, array, arrays or table
        An OME-Zarr image or label image with its pyramid, channels and labels; a Zarr array; a
        slide; any image that `gpuseg.io.imread` reads; the folder of a run, or of one result in
        it; a result of `gpuseg.pipeline`; a `Slide` or `Volume` of `gpuseg.io`; a NumPy or Dask
        array; several, each coarser than the one before, as a pyramid; or a table of objects with
        columns ``centroid-0``, … as `gpuseg.measure.regionprops_table` makes it, whose other
        columns become features.
    name : str, optional
        Of the layers; by default that of the file or step.
    scale : float or sequence of float, optional
        Size of a pixel along each axis shown; by default what the file says, else 1. For points,
        what coordinates are multiplied with.
    kind : {"image", "labels", "points"}, optional
        By default labels where an OME-Zarr says so, or where an array is bool or of integers of
        32 bits or more; points for a table; else an image.

    Returns
    -------
    list of (data, options, kind)
        As a reader of napari returns them. Arrays are Dask arrays where they come from disk:
        nothing is read before it is shown.

    Raises
    ------
    TypeError
        If there is no way to show it (`NothingToShow` for results), or it is on a device.
    OSError, ValueError
        If it cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> ((data, options, kind),) = layers(np.eye(3, dtype=np.int32), name="found", scale=0.5)
    >>> kind, options
    ('labels', {'name': 'found', 'scale': (0.5, 0.5)})
    >>> table = {"label": np.array([7]), "centroid-0": np.array([1.5]), "centroid-1": np.array([2])}
    >>> ((data, options, kind),) = layers(table)
    >>> data, kind, options["features"]
    (array([[1.5, 2. ]]), 'points', {'label': array([7])})
    """
    if kind not in (None, "image", "labels", "points"):
        raise ValueError(f'kind must be "image", "labels" or "points", got {kind!r}')
    if isinstance(source, str | os.PathLike):
        found = file_layers(os.fspath(source))
    elif getattr(source, "__gpuseg_result__", False):
        found = result_layers(source)
    elif isinstance(source, Mapping):
        found = [points_layer(source)]
    elif hasattr(source, "ndim") or isinstance(source, list | tuple):
        found = [array_layer(source, kind)]
    else:
        found = opened_layers(source)
    return [_settled(layer, name, scale, kind, len(found) > 1) for layer in found]


def _settled(
    layer: LayerData,
    name: str | None,
    scale: Sequence[float] | float | None,
    kind: str | None,
    several: bool,
) -> LayerData:
    """The layer as asked for."""
    data, options, found = layer
    if kind is not None and kind != found:
        if "points" in (kind, found):
            raise TypeError(f"this holds {found}, which cannot be shown as {kind}")
        options = {key: value for key, value in options.items() if key in ("name", "scale",
                   "translate", "units", "multiscale", "metadata")}  # fmt: skip
        found = kind
    if name is not None:
        own = options.get("name")
        options = {**options, "name": f"{name} {own}" if several and own else name}
    if scale is not None:
        axes = data.shape[-1] if found == "points" else _axes(data, options)
        steps = (float(scale),) * axes if isinstance(scale, int | float) else tuple(scale)
        if len(steps) != axes:
            raise ValueError(f"scale must be a number or {axes} of them, got {scale!r}")
        options = {**options, "scale": steps}
    return data, options, found


def _axes(data: Any, options: Mapping[str, Any]) -> int:
    first = data[0] if options.get("multiscale") else data
    return first.ndim - bool(options.get("rgb"))


def add(
    viewer: Any,
    source: Any,
    *,
    name: str | None = None,
    scale: Sequence[float] | float | None = None,
    kind: Literal["image", "labels", "points"] | None = None,
) -> list[Any]:
    """Show something in a napari viewer, see `layers`; what has the same name is replaced.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    source, name, scale, kind
        As for `layers`.

    Returns
    -------
    list of napari layers

    Raises
    ------
    TypeError, OSError, ValueError
        As `layers`.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> window = SimpleNamespace(layers={}, add_image=lambda data, **options: options["name"])
    >>> add(window, np.zeros((4, 4)), name="smoothed")  # window = napari.Viewer(), but for tests
    ['smoothed']
    """
    added = []
    for data, options, found in layers(source, name=name, scale=scale, kind=kind):
        named = options.get("name")
        if named is not None and named in viewer.layers:
            viewer.layers.remove(named)
        added.append(getattr(viewer, f"add_{found}")(data, **options))
    return added
