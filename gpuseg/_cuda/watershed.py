"""Watershed on the GPU: launches `kernels/watershed.cu`."""

from __future__ import annotations

from itertools import product
from typing import Any

import cupy
import numpy as np

from gpuseg._cuda._source import Build
from gpuseg._shared.order_keys import order_keys
from gpuseg.typing import Array, NumpyArray

_THREADS = 256
# Indices of threads that have nothing to do must fit as well.
_NARROW = (1 << 31) - (1 << 16)
_KEYS = {np.dtype(np.uint32): "u32", np.dtype(np.uint64): "u64"}
_LABELS = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


def _build(index: str, key: str) -> Build:
    names = [f"{name}<{key}>" for name in ("flats", "deepen", "descend", "choose", "vote")]
    writes = [f"write<{label}>" for label in _LABELS.values()]
    return Build("watershed", (f"-DINDEX={index}",), (*names, *writes))


BUILDS = tuple(_build(*kind) for kind in product(("i32", "i64"), _KEYS.values()))


def watershed(image: Array, markers: Array, mask: Array | None, connectivity: int) -> Array:
    """Labels of the minimum spanning forest rooted in the markers; 0 outside the mask."""
    out = cupy.empty(markers.shape, markers.dtype)
    if image.size == 0:
        return out
    keys, seeds = _prepared(image, markers, mask)
    index = "i64" if image.size >= _NARROW else "i32"
    kind = np.dtype(np.int64 if index == "i64" else np.int32)
    build = _build(index, _KEYS[keys.dtype])
    key = _KEYS[keys.dtype]
    grid = _grid(image.shape, connectivity, kind)
    blocks = (-(-image.size // _THREADS),)
    pixels = kind.type(image.size)

    def launch(name: str, *arguments: Any) -> None:
        build.kernel(name)(blocks, (_THREADS,), arguments)

    depth = cupy.empty(image.size, np.int32)
    changed = cupy.zeros(1, np.int32)
    launch(f"flats<{key}>", keys, seeds, depth, grid)
    while True:
        launch(f"deepen<{key}>", keys, depth, changed, grid)
        if not int(changed[0]):  # synchronize
            break
        changed[...] = 0
    root, following, best = (cupy.empty(image.size, kind) for _ in range(3))
    way = cupy.empty(image.size, np.uint8)
    launch(f"descend<{key}>", keys, depth, seeds, root, grid)
    launch("flatten", root, pixels)
    while True:
        launch(f"choose<{key}>", keys, depth, seeds, root, way, best, grid)
        launch(f"vote<{key}>", keys, depth, root, way, best, grid)
        launch("hook", root, way, best, following, changed, grid)
        if not int(changed[0]):  # synchronize
            break
        changed[...] = 0
        launch("relabel", root, following, pixels)
    label = f"u{markers.dtype.itemsize}"
    given = cupy.ascontiguousarray(markers).view(label)
    name = f"write<{_LABELS[markers.dtype.itemsize]}>"
    launch(name, root, seeds, given, out.view(label), pixels)
    return out


def minima(image: Array, mask: Array | None, connectivity: int) -> Array:
    """Not for the GPU."""
    raise TypeError(
        "markers must be given for a CuPy image; find them in `image.get()`, or label those of "
        "your own"
    )


def paint(image: Array, points: NumpyArray) -> Array:
    """Labels 1, 2, ... (int32) of points."""
    labels = np.zeros(image.shape, np.int32)
    # From the last to the first, which stays.
    labels[tuple(points[::-1].T)] = np.arange(len(points), 0, -1)
    return cupy.asarray(labels)


def _prepared(image: Array, markers: Array, mask: Array | None) -> tuple[Array, Array]:
    """Keys, the largest one where nothing is flooded; and where seeds are, as bytes."""
    inside = None if mask is None else cupy.ascontiguousarray(mask)
    image = cupy.ascontiguousarray(image)
    if image.dtype.kind == "f":
        odd = image != image
        count = int((odd if inside is None else odd & inside).sum())  # synchronize
        if count:
            raise ValueError(
                f"image must not have NaN where it is flooded, got {count} of {image.size} pixels; "
                "replace them, or leave them out by the mask"
            )
    seeds = markers != 0 if inside is None else (markers != 0) & inside
    if markers.dtype.kind == "i" and bool((seeds & (markers < 0)).any()):  # synchronize
        raise ValueError(f"markers must not be negative, got {int(markers.min())}")
    keys = order_keys(image)
    if inside is not None:
        keys = np.where(inside, keys, keys.dtype.type(np.iinfo(keys.dtype).max))
    return cupy.ascontiguousarray(keys), cupy.ascontiguousarray(seeds).view(np.uint8)


def _grid(shape: tuple[int, ...], connectivity: int, index: np.dtype[Any]) -> NumpyArray:
    """The kernels' `struct Grid`."""
    sizes = [(name, index) for name in ("planes", "rows", "width", "pixels")]
    grid = np.zeros((), np.dtype([*sizes, ("connectivity", np.int32)], align=True))
    planes, rows, width = (1,) * (3 - len(shape)) + tuple(shape)
    grid["planes"], grid["rows"], grid["width"] = planes, rows, width
    grid["pixels"], grid["connectivity"] = planes * rows * width, connectivity
    return grid
