"""Images that `label_to_zarr` takes, as Dask arrays."""

from __future__ import annotations

import os
from typing import Any

import dask.array as da
import numpy as np
import zarr

from gpuseg.typing import Array


def as_image(source: Any, chunks: Any) -> tuple[Array, dict[str, Any]]:
    """Dask array of what `label_to_zarr` takes, and what is known of its axes.

    Raises
    ------
    TypeError
        If it is none of an array, a zarr array, or a path.
    ValueError
        If the path holds neither an array nor an OME-Zarr image.
    """
    known: dict[str, Any] = {}
    if isinstance(source, str | os.PathLike):
        source, known = _opened(os.fspath(source))
    if isinstance(source, zarr.Array):
        stored = source.shards or source.chunks
        source = da.from_zarr(source, chunks=stored)
    elif isinstance(source, np.ndarray):
        for one in chunks if isinstance(chunks, tuple) else (chunks,):
            if isinstance(one, int) and one < 1 and one != -1:
                raise ValueError(f"chunks must be positive, or -1 for all, got {chunks!r}")
        source = da.from_array(source, chunks="auto" if chunks is None else chunks)
    elif not isinstance(source, da.Array):
        raise TypeError(
            f"source must be a Dask, NumPy or zarr array or a path, got {type(source).__name__}"
        )
    return (source if chunks is None else source.rechunk(chunks)), known


def _opened(path: str) -> tuple[Any, dict[str, Any]]:
    """Array at a path, or the full image of the OME-Zarr there, with its axes."""
    wrong = ValueError(f"{path} is neither a zarr array nor an OME-Zarr image")
    if os.path.isfile(path):
        raise wrong
    found = zarr.open(path, mode="r")
    if isinstance(found, zarr.Array):
        return found, {}
    attributes: Any = found.attrs.asdict()
    images = attributes.get("ome", attributes).get("multiscales")
    if not images:
        raise wrong
    axes, first = images[0].get("axes"), images[0]["datasets"][0]
    known: dict[str, Any] = {}
    if axes and all(isinstance(axis, dict) for axis in axes):
        known["axis_names"] = "".join(axis["name"] for axis in axes)
        known["unit"] = next(
            (axis["unit"] for axis in axes if axis.get("type") == "space" and "unit" in axis), None
        )
        for step in first.get("coordinateTransformations", ()):
            if step["type"] == "scale":
                known["scale"] = step["scale"]
    return found[first["path"]], known
