"""Label image of a whole slide, written box by box as a pyramid: OME-Zarr 0.5 or TIFF."""

from __future__ import annotations

import json
import math
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tifffile

from gpuseg.io._checkpoint import Checkpoint
from gpuseg.io._label_tiff import write_tiff
from gpuseg.io._label_zarr import Colormap, write_metadata
from gpuseg.io._shards import Level

Box = tuple[int, int, int, int]

# HistomicsTK's colours of negative, weak, plain and strong.
COLOURS: Colormap = ((255, 255, 255), (60, 78, 194), (221, 220, 220), (180, 4, 38))
NAMES = ("negative", "weak", "plain", "strong")
# The coarsest level fits into this square.
_SMALLEST = 256


class LabelPyramid:
    """Label image that is written box by box, by many threads or processes, and can be resumed.

    Until it is whole it lies in `<destination>.partial`, a folder beside the destination; `finish`
    moves it. A run that died is taken up by making the object again with the same arguments: `done`
    tells which boxes are there.

    Parameters
    ----------
    destination : path
        `.zarr` makes an OME-Zarr 0.5 label image (Zarr 3, sharded, zstd), `.tif` or `.tiff` a
        tiled pyramidal BigTIFF with a palette (deflate).
    shape : (int, int)
        Height and width of the label image.
    mpp : float or (float, float), optional
        Micrometres per pixel (y, x), stored in the image.
    colormap : sequence of (red, green, blue), optional
        Colours of the labels 0, 1, …; HistomicsTK's by default.
    names : sequence of str, optional
        Names of the labels, stored in OME-Zarr.
    fingerprint : str
        Names what is computed (input, parameters). Boxes of an unfinished run with another
        fingerprint, shape or layout are thrown away.
    downsampling : "mode" or "any"
        A pixel of the next level is the most frequent label of 2 × 2 pixels, of equally frequent
        ones the largest; or simply the largest, so that no positive pixel vanishes from sight.
    box : int, optional
        Side of the boxes that are written at once, a multiple of 128. One that is a multiple of
        the slide's tile lets no tile be decoded twice.
    chunk : int, optional
        Side of the chunks or tiles, a divisor of `box` and multiple of 16; `box / 8` by default.
    overwrite : bool, optional
        Replace a destination even if gpuseg didn't make it. One that it made is always replaced,
        when the new one is whole and not before.

    Raises
    ------
    ValueError
        If the suffix is unknown or a number is out of range.
    FileExistsError
        If something that gpuseg didn't make has the destination's name.
    FileNotFoundError
        If the destination's folder doesn't exist.

    Examples
    --------
    >>> import tempfile, zarr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pyramid = LabelPyramid(f"{folder}/labels.zarr", (3, 5), fingerprint="example")
    ...     for box in pyramid.todo(pyramid.boxes()):
    ...         pyramid.write(box, np.full(box[2:], 2, np.uint8), {"positive": 15})
    ...     tallies = pyramid.done
    ...     zarr.open(pyramid.finish(), mode="r")["0"][:].tolist()
    [[2, 2, 2, 2, 2], [2, 2, 2, 2, 2], [2, 2, 2, 2, 2]]
    >>> tallies
    {(0, 0, 3, 5): {'positive': 15}}
    """

    def __init__(
        self,
        destination: str | os.PathLike[str],
        shape: tuple[int, int],
        *,
        mpp: float | tuple[float, float] | None = None,
        colormap: Colormap = COLOURS,
        names: Iterable[str] = NAMES,
        fingerprint: str,
        downsampling: Literal["mode", "any"] = "mode",
        box: int = 4096,
        chunk: int | None = None,
        overwrite: bool = False,
    ) -> None:
        self.destination = Path(os.path.abspath(destination))
        self.format = _format(str(destination))
        self.shape = (int(shape[0]), int(shape[1]))
        self.mpp = (mpp, mpp) if isinstance(mpp, int | float) else mpp
        self.colormap = tuple((int(r), int(g), int(b)) for r, g, b in colormap)
        self.names = tuple(names)
        self.fingerprint = fingerprint
        self.downsampling = downsampling
        self.box = box
        self.chunk = box // 8 if chunk is None else chunk
        self._check()
        self.partial = self.destination.with_name(self.destination.name + ".partial")
        self.levels = self._levels()
        self._checkpoint = Checkpoint(self.partial)
        self._wanted: frozenset[Box] | None = None
        _refuse_foreign(self.destination, overwrite)
        with self._disk_errors("starting"):
            self._checkpoint.open(self._state())
            self.done = dict(self._intact())

    def _check(self) -> None:
        if min(self.shape) < 1:
            raise ValueError(f"shape must be positive, got {self.shape}")
        if self.box < 128 or self.box % 128:
            raise ValueError(f"box must be a multiple of 128, got {self.box}")
        if self.chunk < 16 or self.chunk % 16 or self.box % self.chunk:
            raise ValueError(
                f"chunk must be a multiple of 16 that divides box ({self.box}), got {self.chunk}"
            )
        if self.downsampling not in ("mode", "any"):
            raise ValueError(f"downsampling must be 'mode' or 'any', got {self.downsampling!r}")
        if not 1 <= len(self.colormap) <= 256 or not all(
            0 <= value <= 255 for colour in self.colormap for value in colour
        ):
            raise ValueError(f"colormap must be 1 to 256 colours of 0 to 255, got {self.colormap}")
        if self.mpp is not None and not all(math.isfinite(v) and v > 0 for v in self.mpp):
            raise ValueError(f"mpp must be positive and finite, got {self.mpp}")

    def _levels(self) -> list[Level]:
        levels: list[Level] = []
        shape, shard, within = self.shape, self.box, True
        while not levels or max(levels[-1].shape) > _SMALLEST:
            folder = self.partial / "image" / str(len(levels))
            codec: Literal["zstd", "deflate"] = "zstd" if self.format == "zarr" else "deflate"
            levels.append(Level(folder, shape, shard, self.chunk, codec, within))
            shape = ((shape[0] + 1) // 2, (shape[1] + 1) // 2)
            within = within and shard % (2 * self.chunk) == 0
            # Beyond what a box holds whole chunks of: shards of about 2048, so that `finish` needs
            # 4096² pixels of the level before at a time.
            if within:
                shard //= 2
            elif levels[-1].within:
                shard *= max(1, 2048 // shard)
        return levels

    def boxes(self) -> list[Box]:
        """Boxes (top, left, height, width) that make up the image, row by row."""
        height, width = self.shape
        return [
            (top, left, min(self.box, height - top), min(self.box, width - left))
            for top in range(0, height, self.box)
            for left in range(0, width, self.box)
        ]

    def todo(self, boxes: Iterable[Box]) -> list[Box]:
        """Those of `boxes` that aren't done. `finish` insists on all of `boxes`; others are 0."""
        boxes = [self._checked(box) for box in boxes]
        self._wanted = frozenset(boxes)
        return [box for box in boxes if box not in self.done]

    def write(self, box: Box, labels: npt.NDArray[np.uint8], extra: Mapping[str, Any]) -> None:
        """Write a box at all levels that it holds whole chunks of, then note that it is done.

        Any number of threads and processes may do this at a time, each with other boxes.

        Parameters
        ----------
        box : (int, int, int, int)
            One of `boxes()`.
        labels : (height, width) uint8
            Its labels.
        extra : mapping
            What JSON can hold; comes back in `done`.

        Raises
        ------
        ValueError
            If `box` isn't one of `boxes()`, or `labels` hasn't its shape or isn't uint8.
        OSError
            If the disk is full or the like; what was done before stays.
        """
        from gpuseg._cpu.downsample import halve

        box = self._checked(box)
        if labels.shape != box[2:] or labels.dtype != np.uint8:
            raise ValueError(
                f"labels of box {box} must be uint8 of shape {box[2:]}, got {labels.dtype} of "
                f"shape {labels.shape}"
            )
        row, column = box[0] // self.box, box[1] // self.box
        with self._disk_errors(f"writing box {box}"):
            files = []
            for level in self.levels:
                if not level.within:
                    break
                if level is not self.levels[0]:
                    labels = halve(labels, self.downsampling)
                files.append(level.write(row, column, labels, self._checkpoint.scratch))
            record = {"box": box, "files": files, "extra": dict(extra)}
            self._checkpoint.write(*box[:2], record)
        self.done[box] = dict(extra)

    def finish(self) -> Path:
        """Make the coarser levels, then move the image to its name; returns it.

        Raises
        ------
        RuntimeError
            If boxes are missing: those given to `todo`, or else those of the whole image.
        OSError
            If the disk is full or the like; run it again when there is room.
        """
        wanted = self.boxes() if self._wanted is None else sorted(self._wanted)
        missing = [box for box in wanted if not self._checkpoint.path(*box[:2]).exists()]
        if missing:
            raise RuntimeError(
                f"{self.destination}: {len(missing)} of {len(wanted)} boxes aren't written, the "
                f"first is {missing[0]}"
            )
        with self._disk_errors("finishing"):
            self._coarsen()
            ours = {
                "version": version("gpuseg"),
                "fingerprint": self.fingerprint,
                "downsampling": self.downsampling,
            }
            image = self.partial / "image"
            if self.format == "zarr":
                write_metadata(
                    image, self.levels, self.mpp, self.colormap, self.names, self.downsampling, ours
                )
            else:
                image = self.partial / "image.tif"
                write_tiff(image, self.levels, self.mpp, self.colormap, ours)
            _synchronise(image)
            self._publish(image)
        return self.destination

    def discard(self) -> None:
        """Remove what was written so far; the image's name stays as it is."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def _coarsen(self) -> None:
        from gpuseg._cpu.downsample import halve

        for finer, level in zip(self.levels, self.levels[1:], strict=False):
            if level.within:
                continue
            for row in range(level.shards()[0]):
                for column in range(level.shards()[1]):
                    side = 2 * level.shard
                    labels = finer.read(row * side, column * side, side, side)
                    coarser = halve(labels, self.downsampling)
                    level.write(row, column, coarser, self._checkpoint.scratch)

    def _publish(self, image: Path) -> None:
        """Give the whole image its name. Dying in between leaves all that a rerun needs."""
        previous = self.partial / "previous"
        # Only a file can be replaced by a file in one step.
        if self.destination.exists() and (image.is_dir() or self.destination.is_dir()):
            shutil.rmtree(previous, ignore_errors=True)
            os.rename(self.destination, previous)
        try:
            os.replace(image, self.destination)
        except OSError:
            if previous.exists():
                os.rename(previous, self.destination)
            raise
        shutil.rmtree(self.partial, ignore_errors=True)

    def _state(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "shape": list(self.shape),
            "box": self.box,
            "chunk": self.chunk,
            "format": self.format,
            "downsampling": self.downsampling,
            "layout": 2,
        }

    def _intact(self) -> Iterator[tuple[Box, dict[str, Any]]]:
        """Boxes whose files are as they were written; after a power cut they may not be."""
        for path, record in self._checkpoint.records():
            try:
                box = self._checked(record["box"])
                row, column = box[0] // self.box, box[1] // self.box
                for level, (size, crc) in zip(self.levels, record["files"], strict=False):
                    data = level.path(row, column).read_bytes() if size else b""
                    if (len(data), zlib.crc32(data)) != (size, crc):
                        raise ValueError(f"{level.path(row, column)} isn't what was written")
            except (ValueError, KeyError, TypeError, FileNotFoundError):
                path.unlink()
            else:
                yield box, record["extra"]

    def _checked(self, box: Iterable[int]) -> Box:
        top, left, height, width = (int(value) for value in box)
        expected = (
            min(self.box, self.shape[0] - top),
            min(self.box, self.shape[1] - left),
        )
        inside = 0 <= top < self.shape[0] and 0 <= left < self.shape[1]
        if not inside or top % self.box or left % self.box or (height, width) != expected:
            raise ValueError(
                f"box must be one of the {self.box} x {self.box} grid over {self.shape}, got "
                f"{(top, left, height, width)}"
            )
        return top, left, height, width

    def __getstate__(self) -> dict[str, Any]:
        # Workers write boxes; what others have done is no matter of theirs.
        return {**self.__dict__, "done": {}}

    @contextmanager
    def _disk_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            raise OSError(
                error.errno,
                f"{doing} of {self.destination} failed: {error.strerror or error}. Boxes that are "
                f"done stay in {self.partial.name}; the same run goes on from there",
            ) from error


def colour(labels: npt.NDArray[np.uint8], colormap: Colormap = COLOURS) -> npt.NDArray[np.uint8]:
    """Colours of labels: (…) uint8 to (…, 3) uint8.

    >>> colour(np.array([0, 3], np.uint8)).tolist()
    [[255, 255, 255], [180, 4, 38]]
    """
    return np.asarray(colormap, np.uint8)[labels]


def fingerprint_of(path: str | os.PathLike[str]) -> str | None:
    """Fingerprint of a finished label image, or None if gpuseg didn't make what is there."""
    path = Path(path)
    try:
        if path.is_dir():
            document = json.loads((path / "zarr.json").read_bytes())["attributes"]
        else:
            with tifffile.TiffFile(path) as tiff:
                document = json.loads(tiff.pages.first.description)
        return str(document["gpuseg"]["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError):
        return None


def _format(destination: str) -> Literal["zarr", "tiff"]:
    name = destination.lower().rstrip("/")
    if "://" in name:
        raise ValueError(f"label images are written to local folders, got {destination!r}")
    if name.endswith(".zarr"):
        return "zarr"
    if name.endswith((".tif", ".tiff")) and not name.endswith((".ome.tif", ".ome.tiff")):
        return "tiff"
    raise ValueError(
        f"a label image ends in .zarr, .tif or .tiff (no OME-TIFF), got {destination!r}"
    )


def _refuse_foreign(destination: Path, overwrite: bool) -> None:
    if not destination.parent.is_dir():
        raise FileNotFoundError(f"{destination.parent} is no folder to write a label image to")
    if destination.exists() and not overwrite and fingerprint_of(destination) is None:
        raise FileExistsError(
            f"{destination} exists and isn't a label image of gpuseg; pass overwrite=True to "
            "replace it, or move it away"
        )


def _synchronise(image: Path) -> None:
    """Have the disk hold every byte before the image gets its name."""
    files = [image] if image.is_file() else [path for path in image.rglob("*") if path.is_file()]
    for path in files:
        with path.open("r+b") as file:
            os.fsync(file.fileno())
