"""Tiled and stripped TIFF, BigTIFF, OME-TIFF and Aperio SVS, from a file or a URL.

tifffile parses, and decodes what is rare; the bytes are read without its lock, and 8-bit colour
JPEG, which most slides are, is decoded by `_jpeg`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpuseg.io import _jpeg
from gpuseg.io._bytes import ByteSource
from gpuseg.io._reader import Grid, SlideError, TileError, check_decode_size
from gpuseg.io._tiff_colour import Finish, make_finish
from gpuseg.io._tiff_metadata import describe
from gpuseg.io._tiff_pages import foreign_vendor, parsing, pyramid
from gpuseg.typing import NumpyArray

_JPEG = (7, 33007)
# Strips of an uncompressed image are cut into pieces of about this size: writers such as ImageJ
# store the whole image as one.
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Plane:
    """Segments of one channel, or of all where they are interleaved."""

    offsets: NumpyArray
    lengths: NumpyArray
    decode: Callable[[bytes, int], NumpyArray]


@dataclass(frozen=True)
class TiffLevel:
    """One resolution: where its tiles are and how they become pixels."""

    grid: Grid
    planes: tuple[Plane, ...]
    finish: Finish


class TiffReader:
    """Reads tiles of a TIFF; see `gpuseg.io._reader.Reader`."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        # Vendor whose directories only OpenSlide understands; then nothing else is known.
        self.vendor: str | None = None
        with parsing(source) as tiff:
            self.vendor = foreign_vendor(tiff)
            if self.vendor is None:
                self._parse(tiff)

    def _parse(self, tiff: Any) -> None:
        pages, ignored = pyramid(tiff)
        facts = describe(tiff, pages[0][0])
        facts.properties.update(ignored)
        levels = [_level(self._source, pages[0])]
        for number, level in enumerate(pages[1:], 1):
            try:
                levels.append(_level(self._source, level))
            except Exception as error:  # a damaged level must not hide the others
                facts.properties[f"ignored.level {number}"] = str(error)
        self._levels = tuple(levels)
        self.facts = replace(
            facts,
            grids=tuple(level.grid for level in levels),
            beyond_end=tuple(_beyond_end(level, self._source.size) for level in levels),
            dtype=levels[0].finish.dtype,
            channels=levels[0].finish.channels,
        )

    def read(
        self, level: int, positions: Sequence[tuple[int, int]]
    ) -> Iterator[NumpyArray | TileError | None]:
        """Decode tiles; those of several planes are stacked along the last axis."""
        chosen = self._levels[level]
        columns = chosen.grid.tiles[1]
        indices = [row * columns + column for row, column in positions]
        planes = chosen.planes
        ranges = [
            (int(plane.offsets[index]), int(plane.lengths[index]))
            for index in indices
            for plane in planes
        ]
        # Offset 0 is the file's header: no tile can be there.
        present = [pair for pair in ranges if pair[0] and pair[1]]
        pieces = self._source.read(present)
        for number, index in enumerate(indices):
            wanted = ranges[number * len(planes) : (number + 1) * len(planes)]
            # Read even where a plane fails: the iterator of bytes must stay in step.
            data = [next(pieces) if offset and length else None for offset, length in wanted]
            if any(piece is None for piece in data):
                yield None
                continue
            try:
                yield self._decode(chosen, index, data, wanted)
            except TileError as error:
                yield error

    def _decode(
        self, level: TiffLevel, index: int, data: list[Any], wanted: list[tuple[int, int]]
    ) -> NumpyArray:
        parts = []
        for plane, piece, (offset, length) in zip(level.planes, data, wanted, strict=True):
            if len(piece) < length:
                raise TileError(
                    f"truncated: {length} bytes at {offset} expected, {len(piece)} are there"
                )
            parts.append(plane.decode(piece, index))
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        top, left = (
            position * size
            for position, size in zip(
                divmod(index, level.grid.tiles[1]), level.grid.tile, strict=True
            )
        )
        needed = (
            min(level.grid.tile[0], level.grid.shape[0] - top),
            min(level.grid.tile[1], level.grid.shape[1] - left),
        )
        if pixels.shape[0] < needed[0] or pixels.shape[1] < needed[1]:
            raise TileError(
                f"it holds {pixels.shape[0]} × {pixels.shape[1]} pixels, but "
                f"{needed[0]} × {needed[1]} of the image are its part"
            )
        return level.finish(pixels)

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def _beyond_end(level: TiffLevel, size: int) -> int:
    return max(
        int(np.count_nonzero((plane.lengths > 0) & (plane.offsets + plane.lengths > size)))
        for plane in level.planes
    )


def _level(source: ByteSource, pages: list[Any]) -> TiffLevel:
    page = pages[0]
    grid = _grid(source, page)
    finish = make_finish(source.name, page, channels=len(pages))
    check_decode_size(
        source.name,
        "a tile" if page.is_tiled else "a strip",
        (*grid.tile, page.samplesperpixel),
        np.dtype(page.dtype),
    )
    planes = [plane for each in pages for plane in _planes(source, each, grid)]
    if not page.is_tiled:
        return _in_pieces(TiffLevel(grid, tuple(planes), finish), page)
    return TiffLevel(grid, tuple(planes), finish)


def _grid(source: ByteSource, page: Any) -> Grid:
    shape = (int(page.imagelength), int(page.imagewidth))
    if page.imagedepth != 1:
        raise SlideError(f"{source.name}: {page.imagedepth} focal planes in one page: not a slide")
    if page.is_tiled:
        tile = (int(page.tilelength), int(page.tilewidth))
    else:
        tile = (int(page.rowsperstrip), shape[1])
    if min(*shape, *tile) <= 0:
        raise SlideError(
            f"{source.name}: the header claims {shape[0]} × {shape[1]} pixels in tiles of "
            f"{tile[0]} × {tile[1]}: there is nothing to read"
        )
    return Grid(shape, tile)


def _planes(source: ByteSource, page: Any, grid: Grid) -> list[Plane]:
    count = grid.tiles[0] * grid.tiles[1]
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    if min(len(page.dataoffsets), len(page.databytecounts)) < count * planes:
        raise SlideError(
            f"{source.name}: {grid.shape[0]} × {grid.shape[1]} pixels are {count * planes} tiles, "
            f"but the directory lists {len(page.dataoffsets)} offsets and "
            f"{len(page.databytecounts)} lengths"
        )
    offsets = np.array(page.dataoffsets[: count * planes], np.int64)
    lengths = np.array(page.databytecounts[: count * planes], np.int64)
    decode = _decoder(page)
    # The page stays alive in tifffile's decoder; its tables of a large slide need not.
    page.dataoffsets = page.databytecounts = ()
    for code in (273, 279, 324, 325):
        if code in page.tags and page.tags[code].count > 1:
            page.tags[code].value = ()
    return [
        Plane(
            offsets[first : first + count],
            lengths[first : first + count],
            lambda data, index, first=first: decode(data, first + index),  # type: ignore[misc]
        )
        for first in range(0, count * planes, count)
    ]


def _decoder(page: Any) -> Callable[[bytes, int], NumpyArray]:
    tables: bytes = page.jpegtables or b""
    if page.compression in _JPEG:
        fast = (
            page.compression == 7
            and page.bitspersample == 8
            and page.samplesperpixel == 3
            and page.planarconfig == 1
            and page.photometric in (2, 6)
        )
        return _jpeg_decoder(page, tables, fast)
    return _tifffile_decoder(page, tables)


def _jpeg_decoder(page: Any, tables: bytes, fast: bool) -> Callable[[bytes, int], NumpyArray]:
    inner = tables[2:-2]
    rgb = page.photometric == 2
    general = _tifffile_decoder(page, tables)
    limit = _jpeg_limit(page)

    def decode(data: bytes, index: int) -> NumpyArray:
        header = _jpeg.read_header(data)
        if header.height > limit[0] or header.width > limit[1]:
            raise TileError(
                f"its JPEG header claims {header.height} × {header.width} pixels, "
                f"more than the {limit[0]} × {limit[1]} of a tile"
            )
        if fast and header.components == 3 and header.precision == 8:
            return _jpeg.decode(_jpeg.complete(data, inner, header, rgb))
        _jpeg.check_end(data)
        return general(data, index)

    return decode


def _jpeg_limit(page: Any) -> tuple[int, int]:
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    # Streams are padded to whole blocks of up to 4 × 8 pixels.
    return int(page.rowsperstrip) + 32, int(page.imagewidth) + 32


def _tifffile_decoder(page: Any, tables: bytes) -> Callable[[bytes, int], NumpyArray]:
    function = page.decode
    header = page.jpegheader
    options = {"jpegtables": tables or None, "jpegheader": header} if tables or header else {}

    def decode(data: bytes, index: int) -> NumpyArray:
        try:
            pixels = function(data, index, **options)[0]
        except Exception as error:  # codecs raise whatever damage leads them to
            raise TileError(f"{type(error).__name__}: {error}") from error
        if pixels is None or pixels.shape[0] != 1:
            raise TileError("it decodes to nothing that is an image")
        decoded: NumpyArray = pixels[0]
        return decoded

    return decode


def _in_pieces(level: TiffLevel, page: Any) -> TiffLevel:
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
    decode: Callable[[bytes, int], NumpyArray],
) -> Plane:
    total = -(-grid.shape[0] // rows)
    strip, piece = np.divmod(np.arange(total), pieces)
    height = np.minimum(rows, grid.shape[0] - np.arange(total) * rows)
    present = plane.lengths[strip] > 0
    offsets = plane.offsets[strip] + piece * rows * row_bytes
    return Plane(offsets, np.where(present, height * row_bytes, 0), decode)
