"""Tiled and stripped TIFF, BigTIFF, OME-TIFF and Aperio SVS, from a file or a URL.

tifffile parses, and decodes what is rare; the bytes are read without its lock, and 8-bit colour
JPEG, which most slides are, is decoded by `_jpeg`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpuseg.io._bytes import ByteSource, read_runs
from gpuseg.io._jpeg import Streams
from gpuseg.io._reader import Grid, SlideError, TileError, check_decode_size
from gpuseg.io._tiff_colour import make_finish
from gpuseg.io._tiff_decode import jpeg_streams, make_decoder
from gpuseg.io._tiff_metadata import describe
from gpuseg.io._tiff_pages import foreign_vendor, parsing, pyramid
from gpuseg.io._tiff_planes import Plane, TiffLevel, in_pieces
from gpuseg.typing import NumpyArray


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
            grey=levels[0].finish.grey,
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
        size = self._source.size
        # Offset 0 is the file's header: no tile can be there.
        present = [
            offset > 0 and length > 0 and offset + length <= size for offset, length in ranges
        ]
        pieces = self._source.read(
            [pair for pair, there in zip(ranges, present, strict=True) if there]
        )
        for number, index in enumerate(indices):
            part = slice(number * len(planes), (number + 1) * len(planes))
            # Read even where a plane fails: the iterator of bytes must stay in step.
            data = [next(pieces) if there else None for there in present[part]]
            if all(offset == 0 or length == 0 for offset, length in ranges[part]):
                yield None
                continue
            answer: NumpyArray | TileError
            try:
                answer = self._decode(chosen, index, data, ranges[part])
            except TileError as error:
                # A new one: a traceback would keep this frame, and so the tile's bytes, alive.
                answer = TileError(*error.args)
            yield answer

    def streams(self, level: int) -> Streams | None:
        """What the tiles of a level have in common, if they are JPEG in RGB or YCbCr."""
        return self._levels[level].streams

    def coded(
        self, level: int, positions: NumpyArray
    ) -> Iterator[tuple[NumpyArray, bytes, NumpyArray, NumpyArray]]:
        """Tiles at (row, column) as they are in the file; those that are not (all) there left out.

        Yields tiles' numbers in `positions`, bytes that hold all of them, where each begins in
        these, and its size.
        """
        chosen = self._levels[level]
        plane, size = chosen.planes[0], self._source.size
        indices = positions[:, 0] * chosen.grid.tiles[1] + positions[:, 1]
        offsets, lengths = plane.offsets[indices], plane.lengths[indices]
        there = np.flatnonzero((offsets > 0) & (lengths > 0) & (lengths <= size - offsets))
        ranges = zip(offsets[there].tolist(), lengths[there].tolist(), strict=True)
        for first, stop, data in read_runs(self._source, list(ranges)):
            own = there[first:stop]
            yield own, data, offsets[own] - offsets[own[0]], lengths[own]

    def _decode(
        self, level: TiffLevel, index: int, data: list[Any], wanted: list[tuple[int, int]]
    ) -> NumpyArray:
        parts = []
        for plane, piece, (offset, length) in zip(level.planes, data, wanted, strict=True):
            if piece is None or len(piece) < length:
                raise TileError(
                    f"its {length} bytes at {offset} are not all in the file, which has "
                    f"{self._source.size}"
                )
            part = plane.decode(piece, index)
            if part.dtype != level.stored or part.shape[2:] != (level.samples,):
                raise TileError(
                    f"it holds {part.shape[2:]} samples of {part.dtype}, but the header claims "
                    f"{level.samples} of {level.stored}"
                )
            parts.append(part)
        if len({part.shape[:2] for part in parts}) > 1:
            raise TileError("its channels decode to different sizes")
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
        int(np.count_nonzero((plane.offsets > 0) & (plane.lengths > size - plane.offsets)))
        for plane in level.planes
    )


def _level(source: ByteSource, pages: list[Any]) -> TiffLevel:
    page = pages[0]
    grid = _grid(source, page)
    for other in pages[1:]:
        if other.dtype != page.dtype or _grid(source, other) != grid or other.shape != page.shape:
            raise SlideError(f"{source.name}: its channels differ in size, tiles or type")
    finish = make_finish(source.name, page, channels=len(pages))
    check_decode_size(
        source.name,
        "a tile" if page.is_tiled else "a strip",
        (*grid.tile, page.samplesperpixel),
        np.dtype(page.dtype),
    )
    planes = [plane for each in pages for plane in _planes(source, each, grid)]
    samples = 1 if page.planarconfig == 2 else int(page.samplesperpixel)
    streams = jpeg_streams(page) if page.is_tiled and len(pages) == 1 else None
    level = TiffLevel(grid, tuple(planes), np.dtype(page.dtype), samples, finish, streams)
    return level if page.is_tiled else in_pieces(level, page)


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
    decode = make_decoder(page)
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
