"""Label images as OME-Zarr 0.5: the arrays of a pyramid, their metadata, and how to get there."""

from __future__ import annotations

import json
import math
import numbers
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpuseg._validate import check_integer, check_number
from gpuseg.typing import NumpyArray

Index = tuple[int, ...]

# Pixels of a zarr chunk at most, several of which lie in a shard (4 MB of int32).
_CHUNK = 1 << 20
_AXES = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}
# Lengths that OME-NGFF names, which are UDUNITS'.
_UNITS = frozenset({
    "angstrom", "attometer", "centimeter", "decimeter", "exameter", "femtometer", "foot",
    "gigameter", "hectometer", "inch", "kilometer", "megameter", "meter", "micrometer", "mile",
    "millimeter", "nanometer", "parsec", "petameter", "picometer", "terameter", "yard",
    "yoctometer", "yottameter", "zeptometer", "zettameter",
})  # fmt: skip


class Layout(NamedTuple):
    """Shape and shards of the full image, which of its axes are in space, and its coordinates."""

    shape: Index
    shards: Index
    axes: tuple[str, ...]
    scale: tuple[float, ...]
    unit: str | None

    def level(self, number: int) -> Layout:
        """Every second pixel along each axis in space, `number` times."""
        factor = [2**number if name in "zyx" else 1 for name in self.axes]
        shape = tuple(-(-size // f) for size, f in zip(self.shape, factor, strict=True))
        scale = tuple(s * f for s, f in zip(self.scale, factor, strict=True))
        return self._replace(shape=shape, scale=scale)

    def grid(self) -> list[Index]:
        counts = [-(-size // shard) for size, shard in zip(self.shape, self.shards, strict=True)]
        return list(np.ndindex(*counts))

    def region(self, index: Index) -> tuple[slice, ...]:
        """Pixels of a shard."""
        triples = zip(index, self.shards, self.shape, strict=True)
        return tuple(slice(i * n, min((i + 1) * n, size)) for i, n, size in triples)


def check_unit(unit: object) -> None:
    """Refuse what is neither None nor a unit of length that readers of OME-Zarr know.

    Raises
    ------
    TypeError
        If it is no string.
    ValueError
        If it is another one, such as "um".
    """
    if unit is None:
        return
    if not isinstance(unit, str):
        raise TypeError(f"unit must be a string such as 'micrometer', got {unit!r}")
    if unit not in _UNITS:
        raise ValueError(
            f"unit must be a length by its name in OME-Zarr, such as 'micrometer', got {unit!r}"
        )


def make_layout(
    shape: Index,
    shards: Index,
    connected: Sequence[int],
    axis_names: str | None = None,
    scale: Sequence[float] | None = None,
    unit: str | None = None,
) -> Layout:
    """Check what a user says of the axes, or guess their names.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If OME-Zarr has no such image, or the arguments don't fit each other.
    """
    if len(shape) not in _AXES:
        raise ValueError(f"OME-Zarr images have 2 to 5 axes, got shape {shape}")
    if not isinstance(axis_names, str | None):
        raise TypeError(f"axis_names must be a string such as 'zyx', got {axis_names!r}")
    names = tuple(_guessed(len(shape), connected) if axis_names is None else axis_names)
    if len(names) != len(shape) or len(set(names)) < len(names) or not set(names) <= set("tczyx"):
        raise ValueError(
            f"axis_names must be {len(shape)} different letters of 'tczyx', got {''.join(names)!r}"
        )
    sizes = (1.0,) * len(shape)
    if isinstance(scale, numbers.Number):
        raise TypeError(f"scale must be {len(shape)} positive numbers, got {scale}")
    if scale is not None:
        sizes = tuple(float(check_number(step, "scale")) for step in scale)
    if len(sizes) != len(shape) or not all(0 < s < math.inf for s in sizes):
        raise ValueError(f"scale must be {len(shape)} positive numbers, got {sizes}")
    return Layout(shape, shards, names, sizes, unit)


def _guessed(ndim: int, connected: Sequence[int]) -> str:
    """Names of the axes; a stack whose frames are labelled for themselves is one in time."""
    return "tyx" if ndim == 3 and tuple(connected) == (1, 2) else _AXES[ndim]


def levels_of(layout: Layout, levels: int | None) -> list[Layout]:
    """The full image and what is subsampled, until it fits into a shard.

    Raises
    ------
    ValueError
        If there are to be no levels.
    """
    if levels is not None:
        check_integer(levels, "levels", 1)
    found = [layout]
    while (
        any(a > b for a, b in zip(found[-1].shape, layout.shards, strict=True))
        if levels is None
        else len(found) < levels
    ):
        found.append(layout.level(len(found)))
        if found[-1].shape == found[-2].shape:
            return found[:-1]
    return found


def create(root: Path, levels: Sequence[Layout], dtype: np.dtype[Any]) -> None:
    """Make the arrays, unless they are there."""
    import zarr

    for number, level in enumerate(levels):
        if not (root / str(number) / "zarr.json").exists():
            zarr.create_array(
                root / str(number),
                shape=level.shape,
                dtype=dtype,
                chunks=_chunks(level.shards),
                shards=level.shards,
                compressors=zarr.codecs.ZstdCodec(level=1),
                dimension_names=level.axes,
            )


def _chunks(shards: Index) -> Index:
    """Shards halved along their longest axis until they are small."""
    chunks = list(shards)
    while math.prod(chunks) > _CHUNK:
        even = [size if size % 2 == 0 else 0 for size in chunks]
        if not any(even):
            break
        chunks[even.index(max(even))] //= 2
    return tuple(chunks)


def write(root: Path, number: int, level: Layout, index: Index, labels: NumpyArray) -> None:
    """Write one shard of a level."""
    import zarr

    array = zarr.open_array(root / str(number), mode="r+")
    array[level.region(index)] = labels.astype(array.dtype, copy=False)


def subsample(root: Path, number: int, level: Layout, index: Index) -> None:
    """Write one shard of a level from the level before."""
    import zarr

    steps = [2 if name in "zyx" else 1 for name in level.axes]
    pairs = zip(level.region(index), steps, strict=True)
    # The last pixel that is wanted, and no further: the level before may end there.
    wanted = tuple(slice(s.start * k, (s.stop - 1) * k + 1, k) for s, k in pairs)
    before = zarr.open_array(root / str(number - 1), mode="r")
    write(root, number, level, index, np.asarray(before[wanted]))


def write_metadata(root: Path, levels: Sequence[Layout], number: int) -> None:
    """Make the arrays an OME-Zarr label image of `number` labels."""
    layout = levels[0]
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in layout.axes]
    if layout.unit is not None:
        for axis in axes:
            if axis["type"] == "space":
                axis["unit"] = layout.unit
    multiscale = {
        "name": "labels",
        "axes": axes,
        "datasets": [
            {
                "path": str(k),
                "coordinateTransformations": [{"type": "scale", "scale": list(level.scale)}],
            }
            for k, level in enumerate(levels)
        ],
        "type": "subsampling",
    }
    attributes = {
        "ome": {"version": "0.5", "multiscales": [multiscale], "image-label": {}},
        "gpuseg": {"number": number},
    }
    _dump(root / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})


def is_ours(path: Path) -> bool:
    """Whether a label image was made here."""
    try:
        found = json.loads((path / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return False
    return "number" in found.get("attributes", {}).get("gpuseg", {})


def publish(partial: Path, destination: Path) -> None:
    """Move the finished image to its name, and list it if that lies in an image's labels."""
    if destination.exists():
        previous = partial / "previous"
        shutil.rmtree(previous, ignore_errors=True)
        os.replace(destination, previous)
    os.replace(partial / "image", destination)
    shutil.rmtree(partial)
    folder = destination.parent
    if folder.name == "labels" and (folder.parent / "zarr.json").exists():
        _list(folder, destination.name)


def _list(folder: Path, name: str) -> None:
    """Add a label image to the list that OME-Zarr keeps of an image's labels."""
    file = folder / "zarr.json"
    group: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    if file.exists():
        group = json.loads(file.read_bytes())
    ome: Mapping[str, Any] = group.setdefault("attributes", {}).get("ome", {"version": "0.5"})
    names = list(ome.get("labels", []))
    if name not in names:
        group["attributes"]["ome"] = {**ome, "labels": [*names, name]}
        _dump(file, group)


def _dump(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
