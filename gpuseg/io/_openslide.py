"""Vendors' formats that only OpenSlide reads: MRXS, NDPI, VMS, SCN, BIF, DICOM and others."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpuseg.io._reader import Facts, Grid, SlideError, TileError
from gpuseg.io._tiff_metadata import positive_number
from gpuseg.typing import NumpyArray

# A call costs a conversion by Pillow; a multiple of the stored tiles near this size is read.
_TILE = 1024


class OpenSlideReader:
    """Reads what OpenSlide reads, as RGB; see `gpuseg.io._reader.Reader`.

    Its transparent pixels (areas that were not scanned) get the slide's background colour, white
    unless the file names another. A level whose downsample is no integer is addressed in whole
    pixels of level 0, by up to half a pixel of which OpenSlide shifts (and interpolates) it.
    """

    def __init__(self, name: str) -> None:
        import openslide

        self._openslide: Any = openslide
        self._name = name
        self._lock = threading.Lock()
        self._handle: Any = self._open()
        handle = self._handle
        properties = {str(key): str(value) for key, value in handle.properties.items()}
        self._downsamples = [float(value) for value in handle.level_downsamples]
        x, y = (positive_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
        self._background = _background(properties.get("openslide.background-color"))
        self.facts = Facts(
            f"OpenSlide {properties.get('openslide.vendor', '')}".strip(),
            "OpenSlide",
            tuple(_grids(handle.level_dimensions, properties)),
            np.dtype(np.uint8),
            3,
            mpp=(y, x) if x and y else None,
            magnification=positive_number(properties.get("openslide.objective-power")),
            properties=properties,
        )

    def _open(self) -> Any:
        try:
            return self._openslide.OpenSlide(self._name)
        except (self._openslide.OpenSlideError, OSError) as error:
            raise SlideError(f"{self._name}: OpenSlide cannot read it: {error}") from error

    def read(
        self, level: int, positions: Sequence[tuple[int, int]]
    ) -> Iterator[NumpyArray | TileError | None]:
        """Read tiles in OpenSlide's threads-safe way."""
        grid, scale = self.facts.grids[level], self._downsamples[level]
        for row, column in positions:
            top, left = row * grid.tile[0], column * grid.tile[1]
            size = (min(grid.tile[1], grid.shape[1] - left), min(grid.tile[0], grid.shape[0] - top))
            handle = self._handle
            if handle is None:
                raise SlideError(f"{self._name}: the slide is closed")
            try:
                image = handle.read_region((round(left * scale), round(top * scale)), level, size)
            except self._openslide.OpenSlideError as error:
                self._replace(handle)
                yield TileError(str(error))
            else:
                yield self._flatten(np.asarray(image))

    def _replace(self, broken: Any) -> None:
        """Open the file again: after one error a handle answers nothing else."""
        with self._lock:
            if self._handle is broken:
                # Not closed: another thread may be in a call with it; the last user frees it.
                self._handle = self._open()

    def _flatten(self, rgba: NumpyArray) -> NumpyArray:
        alpha = rgba[..., 3:]
        if alpha.min() == 255:
            return rgba[..., :3]
        weight = alpha.astype(np.uint32)
        mixed = rgba[..., :3] * weight + self._background * (255 - weight) + 127
        flat: NumpyArray = (mixed // 255).astype(np.uint8)
        return flat

    def close(self) -> None:
        """Close the handle."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


def detect(name: str) -> str | None:
    """Vendor of a file that OpenSlide knows, else None."""
    import openslide

    vendor: str | None = openslide.OpenSlide.detect_format(name)
    return vendor


def _grids(dimensions: Sequence[tuple[int, int]], properties: Mapping[str, str]) -> Iterator[Grid]:
    for level, (width, height) in enumerate(dimensions):
        tile = []
        for side, length in (("height", height), ("width", width)):
            stored = int(properties.get(f"openslide.level[{level}].tile-{side}", 0)) or 256
            tile.append(min(length, stored * max(1, _TILE // stored)))
        yield Grid((height, width), (tile[0], tile[1]))


def _background(colour: str | None) -> NumpyArray:
    value = int(colour, 16) if colour else 0xFFFFFF
    return np.array([value >> 16 & 255, value >> 8 & 255, value & 255], np.uint32)
