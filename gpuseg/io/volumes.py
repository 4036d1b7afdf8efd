"""Volumes: OME-Zarr and TIFF stacks as Dask arrays that know the size of a voxel."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gpuseg._shared.atlas_frame import Triple, triple
from gpuseg.io._image_files import Files
from gpuseg.io._image_names import URL, find
from gpuseg.io._image_stack import ImageStack
from gpuseg.io._volume_facts import Facts, facts_of
from gpuseg.io.images import _device
from gpuseg.typing import Array

__all__ = ["Volume", "VolumeLevel", "open_volume"]

# Voxels of a chunk: chunks of one plane would make every object lie across chunks, and labeling
# takes 20 bytes a voxel in each thread.
_CHUNK_VOXELS = 1 << 22


@dataclass(frozen=True)
class VolumeLevel:
    """One resolution of a volume.

    Attributes
    ----------
    shape : tuple of int
        Voxels along z, y and x.
    spacing : tuple of float or None
        Size of a voxel along z, y and x in micrometres; None if the file doesn't tell all three.

    Examples
    --------
    >>> VolumeLevel((30, 512, 512), (5.0, 2.0, 2.0)).shape
    (30, 512, 512)
    """

    shape: tuple[int, int, int]
    spacing: Triple | None


@dataclass(frozen=True)
class Volume:
    """A volume, or several channels of one; see `open_volume`.

    Attributes
    ----------
    path : str
        What was opened.
    array : dask.array.Array
        Its voxels.
    axes : str
        The array's axes: "zyx", or "czyx" with channels.
    spacing : tuple of float or None
        Size of a voxel along z, y and x in micrometres; None if the file doesn't tell all three.
    origin : tuple of float
        Centre of the first voxel (z, y, x) in micrometres, where the file has the level begin.
    level : int
    levels : tuple of VolumeLevel
        All resolutions, the finest first.
    channels : tuple of str
        Names of the channels, of all that the file has; empty if it doesn't name them.

    Examples
    --------
    >>> import dask.array as da
    >>> volume = Volume("a.zarr", da.zeros((3, 4, 5), dtype="u1"), "zyx", (5.0, 2.0, 2.0))
    >>> volume
    <Volume 'a.zarr': 3 x 4 x 5 uint8 (zyx), 5 x 2 x 2 µm>
    >>> volume.shape
    (3, 4, 5)
    """

    path: str
    array: Array = field(repr=False)
    axes: str
    spacing: Triple | None
    origin: Triple = (0.0, 0.0, 0.0)
    level: int = 0
    levels: tuple[VolumeLevel, ...] = ()
    channels: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        depth, height, width = self.array.shape[-3:]
        return depth, height, width

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.array.shape))
        voxel = "voxel size unknown"
        if self.spacing is not None:
            voxel = " x ".join(f"{step:.4g}" for step in self.spacing) + " µm"
        level = f", level {self.level} of {len(self.levels)}" if len(self.levels) > 1 else ""
        return f"<Volume {self.path!r}: {size} {self.array.dtype} ({self.axes}), {voxel}{level}>"


def open_volume(
    path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    level: int = 0,
    *,
    channel: int | str | None = None,
    time: int | None = None,
    spacing: float | Sequence[float] | None = None,
    arraytype: Literal["numpy", "cupy"] = "numpy",
    storage_options: Mapping[str, Any] | None = None,
) -> Volume:
    """Open a volume: OME-Zarr, a TIFF stack, or a TIFF for each plane.

    Parameters
    ----------
    path : str, path, or several
        OME-Zarr (versions 0.1 to 0.5; a folder, a zip file or a URL), a TIFF (OME-TIFF, ImageJ's
        and others, BigTIFF), or a pattern or list of files that are the planes, as
        `gpuseg.io.imread` takes them.
    level : int
        Resolution; 0 is the finest.
    channel : int or str, optional
        Channel by number or name; by default all, on a first axis if they are several.
    time : int, optional
        Point in time; needed where there are several.
    spacing : float or sequence of float, optional
        Size of a voxel (z, y, x) in micrometres at `level`, in place of what the file says.
    arraytype : {"numpy", "cupy"}
        What the chunks are.
    storage_options : mapping, optional
        What fsspec's filesystem is to be told.

    Returns
    -------
    Volume

    Raises
    ------
    FileNotFoundError
        If there is none.
    OSError
        If it cannot be read (`gpuseg.io.SlideError` is one).
    ValueError
        If there is no such level, channel or time, or the image has no depth.

    Examples
    --------
    >>> import numpy as np, tempfile, tifffile
    >>> path = tempfile.mkdtemp() + "/brain.tif"
    >>> stack = np.zeros((10, 20, 30), np.uint16)
    >>> about = {"axes": "ZYX", "spacing": 5.0, "unit": "um"}
    >>> tifffile.imwrite(path, stack, imagej=True, resolution=(0.5, 0.5), metadata=about)
    >>> volume = open_volume(path)
    >>> volume.shape, volume.spacing
    ((10, 20, 30), (5.0, 2.0, 2.0))
    """
    options = dict(storage_options or {})
    names, named = find(path, options)
    steps = None if spacing is None else triple(spacing, "spacing", positive=True)
    to_device = _device(arraytype)
    where = names[0]
    if named:
        facts = facts_of(where, options)
    elif level:
        raise ValueError(f"level must be 0 for a volume of planes, got {level}")
    index, kept = (
        _selection(where, facts, level, channel, time) if named else ((slice(None),) * 3, "zyx")
    )
    files = Files(where, level=level, options=options, whole_set=named and not URL.match(where))
    if not named:
        facts = _planes(where, len(names), files.shape, steps)
    lead = () if named else (len(names),)
    base = files.stored or tuple(
        size if axis >= len(files.shape) - files.frame_axes else 1
        for axis, size in enumerate(files.shape)
    )
    stack = ImageStack(names, lead, files, to_device)
    chunks = _chunks(facts.axes, stack.shape, (1,) * len(lead) + base)
    array = _as_dask(stack, chunks, (names, level, arraytype))[index]
    axes = "".join(sorted(kept, key="czyx".index))
    return Volume(
        where if named else str(path if isinstance(path, str | os.PathLike) else where),
        array.transpose([kept.index(letter) for letter in axes]),
        axes,
        steps or facts.spacings[level],
        facts.origins[level],
        level,
        _levels(facts),
        facts.channels,
    )


def _planes(where: str, number: int, shape: Sequence[int], spacing: Triple | None) -> Facts:
    if len(shape) != 2:
        raise ValueError(f"{where}: planes must be grey images of two axes, got shape {shape}")
    return Facts("zyx", ((number, *shape),), (spacing,), ((0.0, 0.0, 0.0),))


def _as_dask(
    stack: ImageStack, chunks: tuple[int, ...], source: tuple[list[str], int, str]
) -> Array:
    """Whole axes as a Dask array whose name is the same in every process.

    By its name `gpuseg.measure.label_to_zarr` takes up a run that died; files that changed since
    then have another one.
    """
    import dask.array as da
    from dask.base import tokenize

    stamps = [_stamp(name) for name in source[0]]
    return da.from_array(
        stack,
        chunks=chunks,
        name=f"volume-{tokenize(source, stack.shape, str(stack.dtype), chunks, stamps)}",
        asarray=False,
        fancy=False,
        meta=stack.to_chunk(np.empty((0,) * stack.ndim, stack.dtype)),
    )


def _stamp(name: str) -> tuple[int, ...]:
    """What tells that a file has changed; of OME-Zarr its metadata, of a URL nothing."""
    for each in (name, *(os.path.join(name, own) for own in ("zarr.json", ".zattrs"))):
        if os.path.isfile(each):
            found = os.stat(each)
            return found.st_size, found.st_mtime_ns
    return ()


def _chunks(axes: str, shape: Sequence[int], base: Sequence[int]) -> tuple[int, ...]:
    """Stored chunks or planes put together, as near to cubes as they go."""
    sizes = [min(size, length) for size, length in zip(base, shape, strict=True)]
    while True:
        room = [at for at, axis in enumerate(axes) if axis in "zyx" and sizes[at] < shape[at]]
        if not room or 2 * math.prod(sizes) > _CHUNK_VOXELS:
            return tuple(sizes)
        at = min(room, key=lambda axis: sizes[axis])
        sizes[at] = min(2 * sizes[at], shape[at])


def _selection(
    where: str, facts: Facts, level: int, channel: int | str | None, time: int | None
) -> tuple[tuple[int | slice, ...], str]:
    """Index that leaves the axes of a volume, and those axes in their stored order."""
    if not 0 <= level < len(facts.shapes):
        raise ValueError(f"{where}: level must be from 0 to {len(facts.shapes) - 1}, got {level}")
    sizes = dict(zip(facts.axes, facts.shapes[level], strict=True))
    if not set("zyx") <= set(sizes):
        raise ValueError(f"{where}: a volume needs axes z, y and x, got {', '.join(facts.axes)}")
    picked: dict[str, int | slice] = {}
    if "t" in sizes:
        if time is None and sizes["t"] > 1:
            raise ValueError(f"{where} has {sizes['t']} points in time; choose one with time=")
        picked["t"] = _within(where, "time", time or 0, sizes["t"])
    elif time:
        raise ValueError(f"{where} has no axis of time, got time={time}")
    number = sizes.get("c", 1)
    if isinstance(channel, str):
        if channel not in facts.channels:
            known = ", ".join(facts.channels) or "the file names none"
            raise ValueError(f"{where} has no channel {channel!r}; there are: {known}")
        channel = facts.channels.index(channel)
    if channel is not None or number == 1:
        at = _within(where, "channel", channel or 0, number)
        if "c" in sizes:
            picked["c"] = at
    index = tuple(picked.get(axis, slice(None)) for axis in facts.axes)
    return index, "".join(axis for axis in facts.axes if axis not in picked)


def _within(where: str, what: str, value: int, number: int) -> int:
    if not 0 <= value < number:
        raise ValueError(f"{where}: {what} must be from 0 to {number - 1}, got {value}")
    return int(value)


def _levels(facts: Facts) -> tuple[VolumeLevel, ...]:
    found = []
    for shape, spacing in zip(facts.shapes, facts.spacings, strict=True):
        z, y, x = (shape[facts.axes.index(letter)] for letter in "zyx")
        found.append(VolumeLevel((z, y, x), spacing))
    return tuple(found)
