"""What every slide reader answers, and the error they all raise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from gpuseg.typing import NumpyArray

if TYPE_CHECKING:
    from gpuseg.io._jpeg import Streams

# What one decode may take: a whole image that has no tiles, or one tile. A header can claim
# anything (a 2 kB TIFF of Pillow's collection claims 3.5 TiB), so it is asked first.
MAX_DECODE_BYTES = 2 << 30


class SlideError(OSError):
    """A slide cannot be opened or read; the message names the file, the level and the tile."""


class TileError(Exception):
    """A tile cannot be decoded; the slide adds where it is and raises `SlideError`."""


class Tile(NamedTuple):
    """A decoded tile: its place in pixels of the slide's level, and its pixels (H, W, C).

    `pixels` is None for a tile that could not be read (only with ``on_error="skip"``); the
    others may be views, and white where the file leaves a tile out.
    """

    top: int
    left: int
    height: int
    width: int
    pixels: NumpyArray | None


class CodedTiles(NamedTuple):
    """JPEG tiles that meet a box, as they are in the file.

    `parts` has a row for each: top, left, height and width, in pixels of the slide's level, of what
    the box has of it. `runs` yields numbers of such rows, bytes that hold these tiles, where each
    begins, and its size; tiles that the file lacks are in none.
    """

    streams: Streams
    parts: NumpyArray
    runs: Iterator[tuple[NumpyArray, bytes, NumpyArray, NumpyArray]]


@dataclass(frozen=True)
class Grid:
    """One resolution as a reader sees it: `shape` and `tile` are (height, width) in pixels."""

    shape: tuple[int, int]
    tile: tuple[int, int]

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.shape[0] // self.tile[0]), -(-self.shape[1] // self.tile[1])


@dataclass(frozen=True)
class Facts:
    """What a reader knows once the headers are parsed.

    `mpp` is (y, x) in micrometres per pixel of level 0. `beyond_end` holds, for each level, how
    many tiles lie (partly) beyond the end of the file: 0 unless it is truncated. `grey` images have
    three equal channels here.
    """

    format: str
    codec: str
    grids: tuple[Grid, ...]
    dtype: np.dtype
    channels: int
    mpp: tuple[float, float] | None = None
    magnification: float | None = None
    properties: dict[str, str] = field(default_factory=dict)
    beyond_end: tuple[int, ...] = ()
    grey: bool = False


class Reader(Protocol):
    """Decodes tiles of one file; every method may be called from several threads at once."""

    facts: Facts

    def read(
        self, level: int, positions: Sequence[tuple[int, int]]
    ) -> Iterator[NumpyArray | TileError | None]:
        """Tiles at (row, column) of the level's grid, in that order.

        An array (height, width, channels) that covers at least the tile's part of the image,
        None for a tile that the file leaves out, or the reason why it cannot be read.
        """

    def close(self) -> None:
        """Close what is open; closing twice is allowed."""


def check_decode_size(name: str, what: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse by its header an image or tile that one decode could not hold.

    Raises
    ------
    SlideError
        If `shape` times `dtype` exceeds `MAX_DECODE_BYTES`, or has no pixels.
    """
    size = dtype.itemsize
    for length in shape:
        size *= length
    extent = " × ".join(map(str, shape))
    if min(shape) <= 0:
        raise SlideError(f"{name}: the header claims {what} of {extent}: there are no pixels")
    if size > MAX_DECODE_BYTES:
        raise SlideError(
            f"{name}: the header claims {what} of {extent} {dtype.name}, {size / 2**30:.1f} GiB "
            f"in one piece; at most {MAX_DECODE_BYTES / 2**30:.0f} GiB are decoded at once. "
            "Convert it to a tiled TIFF (for example with `vips tiffsave --tile --pyramid`)"
        )
