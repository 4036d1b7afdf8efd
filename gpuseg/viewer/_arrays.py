"""Layers of arrays and of tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array, is_dask_array

from gpuseg.typing import Array

# What a reader of napari returns: data, options of the layer, and its kind.
LayerData = tuple[Any, dict[str, Any], str]

_CENTROID = re.compile(r"centroid[-_](\d)")


def array_layer(source: Array | Sequence[Array], kind: str | None) -> LayerData:
    """Layer of an array, or of a pyramid.

    Raises
    ------
    TypeError
        If an array is on a device, or is none.
    ValueError
        If a level is no coarser than the one before, or an array has no two axes.
    """
    levels: list[Any] = list(source) if isinstance(source, list | tuple) else [source]
    for level in levels:
        _check(level)
    if not levels:
        raise ValueError("a pyramid needs at least one level, got none")
    for finer, coarser in pairwise(levels):
        shapes = finer.shape, coarser.shape
        if len(shapes[0]) != len(shapes[1]) or not np.all(np.less_equal(shapes[1], shapes[0])):
            raise ValueError(f"a level must be coarser than the one before, got {shapes}")
    first = levels[0]
    if kind == "points":
        if first.ndim != 2 or len(levels) > 1:
            raise ValueError(f"points must be of shape (points, axes), got {first.shape}")
        return np.asarray(first), {}, "points"
    if kind is None:
        wide = first.dtype.kind in "iu" and first.dtype.itemsize >= 4
        kind = "labels" if first.dtype.kind == "b" or wide else "image"
    options: dict[str, Any] = {}
    if kind == "image" and is_rgb(first):
        options["rgb"] = True
    return pyramid(levels, kind), {**options, **_multiscale(levels)}, kind


def _multiscale(levels: Sequence[Array]) -> dict[str, Any]:
    return {"multiscale": True} if len(levels) > 1 else {}


def _check(array: Any) -> None:
    if not hasattr(array, "dtype") or not hasattr(array, "ndim"):
        raise TypeError(f"a level must be an array, got {type(array).__name__}")
    if is_cupy_array(array):
        raise TypeError("napari shows arrays of the host; convert this with `array.get()`")
    if is_dask_array(array) and is_cupy_array(array._meta):
        raise TypeError(
            "napari shows arrays of the host; convert this with `array.map_blocks(cupy.asnumpy)`"
        )
    if array.ndim < 2:
        raise ValueError(f"napari shows arrays of at least two axes, got shape {array.shape}")


def is_rgb(array: Array) -> bool:
    """Whether the last axis is one of colours, as far as shape and dtype tell."""
    return array.ndim >= 3 and array.shape[-1] in (3, 4) and array.dtype == np.uint8


def pyramid(levels: Sequence[Array], kind: str) -> Any:
    """What napari takes as data: one array, or a list; labels as integers."""
    if kind == "labels":
        levels = [_integers(level) for level in levels]
    return levels[0] if len(levels) == 1 else list(levels)


def _integers(labels: Array) -> Array:
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be bool or integers, got {labels.dtype}")
    return labels


def points_layer(table: Mapping[str, Any]) -> LayerData:
    """Layer of a table's centroids; its other columns are features.

    Raises
    ------
    TypeError
        If it has no centroids.
    """
    found = {int(match[1]): name for name in table if (match := _CENTROID.fullmatch(str(name)))}
    if sorted(found) != list(range(len(found))) or len(found) < 2:
        raise TypeError(f"a table needs columns centroid-0, centroid-1, …, got {list(table)}")
    places = np.stack([np.asarray(table[found[axis]], np.float64) for axis in sorted(found)], -1)
    features = {
        str(name): np.asarray(column)
        for name, column in table.items()
        if name not in found.values()
    }
    options = {"features": features, "face_color": "transparent", "border_color": "yellow"}
    return places, options, "points"
