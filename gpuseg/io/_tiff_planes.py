"""Where the tiles of a TIFF's resolution are, and how its strips are cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpuseg.io._jpeg import Streams
from gpuseg.io._reader import Grid
from gpuseg.io._tiff_colour import Finish
from gpuseg.io._tiff_decode import Decode
from gpuseg.typing import NumpyArray

# Strips of an uncompressed image are cut into pieces of about this size: writers such as ImageJ
# store the whole image as one.
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Plane:
    """Segments of one channel, or of all where they are interleaved."""

    offsets: NumpyArray
    lengths: NumpyArray
    decode: Decode


@dataclass(frozen=True)
class TiffLevel:
    """One resolution: where its tiles are, and how they become pixels.

    Each plane decodes to `samples` of type `stored` a pixel; `finish` makes channels of them.
    `streams` is there where tiles are JPEG whose pixels need no finish.
    """

    grid: Grid
    planes: tuple[Plane, ...]
    stored: np.dtype
    samples: int
    finish: Finish
    streams: Streams | None = None


def in_pieces(level: TiffLevel, page: Any) -> TiffLevel:
    """Uncompressed strips, cut (or left) so that a piece is about `_PIECE_BYTES`."""
    grid, dtype = level.grid, np.dtype(page.dtype)
    samples = 1 if page.planarconfig == 2 else int(page.samplesperpixel)
    row_bytes = grid.shape[1] * samples * dtype.itemsize
    rows = max(1, _PIECE_BYTES // row_bytes)
    plain = page.compression == 1 and page.predictor == 1 and page.fillorder == 1
    if not plain or page.bitspersample != 8 * dtype.itemsize or rows >= grid.tile[0]:
        return level
    stored = dtype.newbyteorder(page.parent.byteorder)

    def decode(data: bytes, index: int) -> NumpyArray:
        pixels = np.frombuffer(data, stored).reshape(-1, grid.shape[1], samples)
        return pixels.astype(dtype, copy=False)

    heights = np.minimum(grid.tile[0], grid.shape[0] - np.arange(grid.tiles[0]) * grid.tile[0])
    if any(np.any((p.lengths > 0) & (p.lengths < heights * row_bytes)) for p in level.planes):
        return level
    edges = list(range(0, grid.tile[0], rows))
    if len(edges) * rows != grid.tile[0] and grid.tiles[0] > 1:
        # Pieces of one height must not straddle strips: take the largest divisor.
        rows = max(size for size in range(1, rows + 1) if grid.tile[0] % size == 0)
        edges = list(range(0, grid.tile[0], rows))
    planes = [
        _cut_plane(plane, grid, rows, len(edges), row_bytes, decode) for plane in level.planes
    ]
    return replace(level, grid=Grid(grid.shape, (rows, grid.shape[1])), planes=tuple(planes))


def _cut_plane(
    plane: Plane,
    grid: Grid,
    rows: int,
    pieces: int,
    row_bytes: int,
    decode: Decode,
) -> Plane:
    total = -(-grid.shape[0] // rows)
    strip, piece = np.divmod(np.arange(total), pieces)
    height = np.minimum(rows, grid.shape[0] - np.arange(total) * rows)
    present = plane.lengths[strip] > 0
    offsets = plane.offsets[strip] + piece * rows * row_bytes
    return Plane(offsets, np.where(present, height * row_bytes, 0), decode)
