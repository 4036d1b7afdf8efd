"""OME-Zarr images, versions 0.1 to 0.5, from a folder, a zip file or a URL."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpuseg.io._reader import Facts, Grid, SlideError, TileError, check_decode_size
from gpuseg.io._tiff_metadata import micrometres
from gpuseg.typing import NumpyArray

# Small chunks are read together: a call of zarr costs about a millisecond.
_TILE = 1024


class OmeZarrReader:
    """Reads the first image of an OME-Zarr group; see `gpuseg.io._reader.Reader`.

    First time point, first focal plane, all channels as the last axis; one channel becomes
    three equal ones. A chunk that is absent has the array's fill value, as Zarr defines.
    """

    def __init__(self, name: str) -> None:
        self._store = _open_store(name)
        try:
            # zarr warns of what is odd in other writers' metadata; it reads it all the same.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                group, image = _find_image(name, self._store)
                axes = _axes(name, image, _version(group, image))
                self._arrays, ignored = _arrays(name, group, image, axes)
        except SlideError:
            self.close()
            raise
        except Exception as error:  # zarr raises whatever damaged metadata leads it to
            self.close()
            raise SlideError(
                f"{name}: not readable OME-Zarr: {type(error).__name__}: {error}"
            ) from error
        self._axes = axes
        base = self._arrays[0]
        count = base.shape[axes.index("c")] if "c" in axes else 1
        self._bilevel = base.dtype.kind == "b"
        grids = tuple(_grid(array, axes) for array in self._arrays)
        self.facts = Facts(
            f"OME-Zarr {_version(group, image)}".strip(),
            _codec(base),
            grids,
            np.dtype(np.uint8) if self._bilevel else base.dtype.newbyteorder("="),
            3 if count == 1 else count,
            mpp=_mpp(image, axes),
            properties={**_properties(image, base), **ignored},
            grey=count == 1,
        )
        for grid in grids:
            shape = (*grid.tile, self.facts.channels)
            check_decode_size(name, "a chunk", shape, self.facts.dtype)

    def read(
        self, level: int, positions: Sequence[tuple[int, int]]
    ) -> Iterator[NumpyArray | TileError | None]:
        """Read tiles of one or several chunks each."""
        (height, width), (tall, wide) = self.facts.grids[level].shape, self.facts.grids[level].tile
        for row, column in positions:
            rows = slice(row * tall, min((row + 1) * tall, height))
            columns = slice(column * wide, min((column + 1) * wide, width))
            answer: NumpyArray | TileError
            try:
                answer = self._pixels(self._arrays[level], rows, columns)
            except Exception as error:  # stores and codecs raise whatever they please
                answer = TileError(f"{type(error).__name__}: {error}")
            yield answer

    def _pixels(self, array: Any, rows: slice, columns: slice) -> NumpyArray:
        index = tuple(
            {"y": rows, "x": columns, "c": slice(None)}.get(axis, 0) for axis in self._axes
        )
        kept = [axis for axis in self._axes if axis in "yxc"]
        pixels = np.asarray(array[index])
        if "c" not in kept:
            pixels, kept = pixels[..., None], [*kept, "c"]
        pixels = pixels.transpose([kept.index(axis) for axis in "yxc"])
        if self._bilevel:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        pixels = pixels.astype(self.facts.dtype, copy=False)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

    def close(self) -> None:
        """Close the store (a zip file stays open otherwise)."""
        # zarr opens a zip file late: one that turned out to be none has nothing to close.
        with contextlib.suppress(AttributeError):
            self._store.close()


def open_levels(name: str, options: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
    """Arrays of the first image's levels, and the names of their axes.

    Raises
    ------
    SlideError
        If there is no readable OME-Zarr image.
    """
    store = _open_store(name, options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            group, image = _find_image(name, store)
            axes = _axes(name, image, _version(group, image))
            return _arrays(name, group, image, axes)[0], axes
    except Exception as error:  # zarr raises whatever damaged metadata leads it to
        with contextlib.suppress(AttributeError):
            store.close()
        if isinstance(error, SlideError):
            raise
        raise SlideError(
            f"{name}: not readable OME-Zarr: {type(error).__name__}: {error}"
        ) from error


def _open_store(name: str, options: Mapping[str, Any] | None = None) -> Any:
    import zarr.storage

    try:
        if os.path.isfile(name):
            return zarr.storage.ZipStore(name, mode="r")
        if os.path.isdir(name):
            return zarr.storage.LocalStore(name, read_only=True)
        return zarr.storage.FsspecStore.from_url(
            name, read_only=True, storage_options=dict(options or {}) or None
        )
    except Exception as error:  # whatever the protocol's package raises
        raise SlideError(f"{name}: {type(error).__name__}: {error}") from error


def _find_image(name: str, store: Any) -> tuple[Any, Mapping[str, Any]]:
    """Group of the image, and its entry of `multiscales`."""
    import zarr

    try:
        group = zarr.open_group(store, mode="r")
    except (FileNotFoundError, zarr.errors.GroupNotFoundError) as error:
        raise SlideError(f"{name}: there is no Zarr group") from error
    except zarr.errors.ContainsArrayError as error:
        raise SlideError(
            f"{name}: this is a Zarr array; open the OME-Zarr image that it is part of"
        ) from error
    attributes = _ome(group)
    if "bioformats2raw.layout" in attributes and "multiscales" not in attributes:
        if "0" not in group:
            raise SlideError(f"{name}: its first image, 0, is missing")
        group = group["0"]
        attributes = _ome(group)
    if "plate" in attributes or "well" in attributes:
        raise SlideError(f"{name}: this is a plate or a well; open one of its images, as in B/03/0")
    images = attributes.get("multiscales")
    if not images:
        raise SlideError(f"{name}: this Zarr group holds no OME-Zarr image (no multiscales)")
    return group, images[0]


def _ome(group: Any) -> Mapping[str, Any]:
    attributes: Mapping[str, Any] = group.attrs.asdict()
    return attributes.get("ome", attributes)


def _axes(name: str, image: Mapping[str, Any], version: str) -> list[str]:
    """Names of axes: mappings since 0.4, strings in 0.3, the five of the earlier versions."""
    if "axes" not in image and version not in ("0.1", "0.2", ""):
        raise SlideError(f"{name}: OME-Zarr {version} is not supported; 0.1 to 0.5 are")
    axes = image.get("axes", list("tczyx"))
    names = []
    for axis in axes:
        named = axis if isinstance(axis, str) else axis["name"]
        kind = "" if isinstance(axis, str) else axis.get("type", "")
        names.append("c" if kind == "channel" else str(named).lower())
    if names.count("y") != 1 or names.count("x") != 1 or names.count("c") > 1:
        raise SlideError(
            f"{name}: an image needs axes y and x and at most one of channels, got {names}"
        )
    return names


def _arrays(
    name: str, group: Any, image: Mapping[str, Any], axes: list[str]
) -> tuple[list[Any], dict[str, str]]:
    """Arrays of the levels, and why others were left out; the first must be there."""
    arrays: list[Any] = []
    ignored = {}
    for dataset in image["datasets"]:
        path = dataset["path"]
        try:
            array = group[path]
            reason = _unusable(array, arrays, axes)
        except KeyError:
            reason = "there is none"
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if not reason:
            arrays.append(array)
        elif not arrays:
            raise SlideError(f"{name}: its array {path!r} cannot be read: {reason}")
        else:
            ignored[f"ignored.{path}"] = reason
    if not arrays:
        raise SlideError(f"{name}: the image lists no arrays")
    return arrays, ignored


def _unusable(array: Any, finer: list[Any], axes: list[str]) -> str:
    if not hasattr(array, "shape") or len(array.shape) != len(axes) or 0 in array.shape:
        return f"no array of {len(axes)} axes with pixels"
    if array.dtype.kind not in "buif":
        return f"samples of type {array.dtype} are not supported"
    if finer:
        sides = [(array.shape[axes.index(a)], finer[-1].shape[axes.index(a)]) for a in "yx"]
        if array.dtype != finer[0].dtype or any(this > before for this, before in sides):
            return "it is no coarser version of the level before it"
    return ""


def _grid(array: Any, axes: list[str]) -> Grid:
    shape, tile = [], []
    for axis in "yx":
        length, chunk = (values[axes.index(axis)] for values in (array.shape, array.chunks))
        shape.append(length)
        tile.append(min(length, chunk * max(1, _TILE // chunk)))
    return Grid((shape[0], shape[1]), (tile[0], tile[1]))


def _version(group: Any, image: Mapping[str, Any]) -> str:
    return str(_ome(group).get("version", image.get("version", "")))


def _codec(array: Any) -> str:
    names = [type(codec).__name__ for codec in array.compressors]
    return "+".join(names) or "none"


def _mpp(image: Mapping[str, Any], axes: list[str]) -> tuple[float, float] | None:
    """Scale of level 0: that of its dataset times that of the whole image."""
    units = {
        axis.get("name", "").lower(): axis.get("unit")
        for axis in image.get("axes", [])
        if isinstance(axis, dict)
    }
    dataset = image["datasets"][0].get("coordinateTransformations") or []
    sizes = []
    for axis in "yx":
        length = 1.0
        scaled = False
        for step in (*dataset, *(image.get("coordinateTransformations") or [])):
            if step.get("type") == "scale" and len(step.get("scale", ())) == len(axes):
                length *= float(step["scale"][axes.index(axis)])
                scaled = True
        # Without a unit a scale of 1 is a pixel, not a micrometre.
        unit = units.get(axis)
        size = micrometres(length, unit) if scaled and unit else None
        sizes.append(size)
    return None if sizes[0] is None or sizes[1] is None else (sizes[0], sizes[1])


def _properties(image: Mapping[str, Any], base: Any) -> dict[str, str]:
    properties = {"zarr.shape": str(base.shape), "zarr.chunks": str(base.chunks)}
    for key in ("name", "type", "version"):
        if image.get(key):
            properties[f"ome.{key}"] = str(image[key])
    return properties
