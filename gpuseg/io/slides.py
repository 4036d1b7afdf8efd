"""Whole-slide images and plain images: pyramids that are read tile by tile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np

from gpuseg.io._image_names import absolute
from gpuseg.io._levels import Level, choose_level, make_levels, refuse_truncated
from gpuseg.io._open import open_reader
from gpuseg.io._reader import CodedTiles, Reader, SlideError, Tile, TileError
from gpuseg.typing import Array, NumpyArray

__all__ = ["Level", "Slide", "SlideError", "Tile", "open_slide"]

OnError = Literal["raise", "skip"]

_CHUNK = 4096
_THUMBNAIL_BOX = 1024


def open_slide(
    path: str | os.PathLike[str],
    *,
    level: int = 0,
    mpp: float | None = None,
    magnification: float | None = None,
    on_error: OnError = "raise",
) -> Slide:
    """Open a slide or an image, from a file, a folder (OME-Zarr) or a URL.

    Reads Aperio SVS, tiled and stripped TIFF, BigTIFF and OME-TIFF, OME-Zarr 0.4 and 0.5, PNG,
    JPEG, JPEG 2000, WebP, and, through OpenSlide, MRXS, NDPI, VMS, SCN, BIF and others. URLs are
    read by fsspec (``https://``, ``s3://``, ``memory://``, …). Nothing is ever resampled: `mpp`
    and `magnification` choose among the levels that the file holds.

    Parameters
    ----------
    path : str or path-like
        File, folder or URL.
    level : int
        Resolution to read; 0 is the finest.
    mpp, magnification : float, optional
        Choose the level by micrometres per pixel or by objective power, within 5 %, instead.
    on_error : {"raise", "skip"}
        What `Slide.read_tiles` does with unreadable tiles unless told otherwise. A file that is
        shorter than its directory says (truncated, or still being copied) is refused here,
        unless it is "skip".

    Returns
    -------
    Slide

    Raises
    ------
    SlideError
        If the file cannot be read, or is no image of a supported kind, or is truncated.
    ValueError
        If no level is `level`, `mpp` or `magnification`; the message lists those that exist.

    Examples
    --------
    >>> import numpy as np, tempfile, tifffile
    >>> path = tempfile.NamedTemporaryFile(suffix=".tif").name
    >>> image = np.full((600, 800, 3), 200, np.uint8)
    >>> tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb",
    ...                  resolution=(20000, 20000), resolutionunit="CENTIMETER")
    >>> slide = open_slide(path)
    >>> slide.shape, slide.mpp, slide.levels[0].tile
    ((600, 800, 3), 0.5, (256, 256))
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error must be "raise" or "skip", got {on_error!r}')
    name = os.fspath(path)
    reader = open_reader(name)
    try:
        levels = make_levels(reader.facts)
        chosen = choose_level(name, levels, reader.facts.magnification, level, mpp, magnification)
        if on_error == "raise":
            refuse_truncated(name, reader.facts, chosen)
        return Slide(name, reader, levels, chosen, on_error)
    except BaseException:
        reader.close()
        raise


class Slide:
    """A pyramid of one file, at one of its levels; made by `open_slide`.

    It may be used from several threads at once, and pickled: another process opens the file
    again. Use it as a context manager, or call `close`, to close the file early.

    Attributes
    ----------
    path : str
    levels : tuple of Level
        All resolutions, the finest first.
    level : int
        The one that is read.
    shape : (height, width, channels)
    dtype : numpy.dtype
    mpp : float or None
        Micrometres per pixel of the level. Where they differ by axis, their geometric mean, so
        that ``mpp ** 2`` is always the area of a pixel; `mpp_yx` has both.
    mpp_yx : (float, float) or None
    magnification : float or None
        Objective power, divided by the level's downsample.
    format, codec : str
    grey : bool
        Whether the file has one channel, of which three equal ones are made.
    properties : dict of str to str

    Examples
    --------
    >>> import numpy as np, tempfile, tifffile
    >>> path = tempfile.NamedTemporaryFile(suffix=".tif").name
    >>> tifffile.imwrite(path, np.zeros((500, 700, 3), np.uint8), tile=(256, 256))
    >>> with open_slide(path) as slide:
    ...     slide.array.sum().compute(), slide.read_region(0, 0, 20, 30).shape
    (np.uint64(0), (20, 30, 3))
    """

    def __init__(
        self, path: str, reader: Reader, levels: tuple[Level, ...], level: int, on_error: OnError
    ) -> None:
        facts = reader.facts
        self.path = path
        self.levels = levels
        self.level = level
        self.on_error: OnError = on_error
        self.shape = (*levels[level].shape, facts.channels)
        self.dtype = np.dtype(facts.dtype)
        self.format = facts.format
        self.codec = facts.codec
        self.grey = facts.grey
        self.properties = facts.properties
        self.mpp = levels[level].mpp
        scale = levels[level].downsample
        self.mpp_yx = None if facts.mpp is None else (facts.mpp[0] * scale, facts.mpp[1] * scale)
        power = facts.magnification
        self.magnification = None if power is None else power / scale
        self._reader = reader

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (absolute(self.path), self.level, self.on_error, self.levels)

    def __repr__(self) -> str:
        height, width, channels = self.shape
        rows = [
            f"<Slide {self.path!r}",
            f"  {width} × {height} × {channels} {self.dtype}, {self.format}, {self.codec}, "
            f"tiles {self.levels[self.level].tile[1]} × {self.levels[self.level].tile[0]}",
            f"  {_number(self.mpp, ' µm/px') or 'mpp unknown'}, "
            f"{_number(self.magnification, '×') or 'magnification unknown'}",
        ]
        for index, level in enumerate(self.levels):
            mark = "*" if index == self.level else " "
            scale = _number(level.mpp, " µm/px")
            rows.append(
                f" {mark}level {index}: {level.shape[1]} × {level.shape[0]}, "
                f"1/{level.downsample:.4g}{', ' + scale if scale else ''}"
            )
        return "\n".join(rows) + ">"

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self._reader.close()

    @property
    def array(self) -> Array:
        """The level as a Dask array (height, width, channels).

        Chunks are about 4096² pixels, aligned to tiles, of NumPy; for CuPy use
        ``slide.array.map_blocks(cupy.asarray)``.
        """
        import dask.array as da

        step = self._box_shape(self.level, _CHUNK)
        chunks = tuple(
            tuple(min(size, length - start) for start in range(0, length, size))
            for length, size in zip(self.shape[:2], step, strict=True)
        )
        return da.map_blocks(
            partial(_read_block, self),
            chunks=(*chunks, (self.shape[2],)),
            dtype=self.dtype,
            meta=np.empty((0, 0, 0), self.dtype),
            name=f"slide-{_token(self)}",
        )

    def _box_shape(self, level: int, size: int) -> tuple[int, int]:
        (height, width), _, _, (tall, wide) = self.levels[level]
        box_width = min(max(size // wide, 1) * wide, width)
        # Wide tiles (strips) make wide boxes: as many pixels, but in fewer rows.
        rows = size if box_width <= 2 * size else size * size // box_width
        return min(max(rows // tall, 1) * tall, height), box_width

    def boxes(self, size: int = _CHUNK) -> list[tuple[int, int, int, int]]:
        """Boxes (top, left, height, width) of about `size`² pixels that partition the level.

        They are aligned to tiles: reading all of them decodes every tile once.
        """
        if size < 1:
            raise ValueError(f"size must be positive, got {size}")
        return self._boxes(self.level, size)

    def _boxes(self, level: int, size: int) -> list[tuple[int, int, int, int]]:
        tall, wide = self._box_shape(level, size)
        height, width = self.levels[level].shape
        return [
            (top, left, min(tall, height - top), min(wide, width - left))
            for top in range(0, height, tall)
            for left in range(0, width, wide)
        ]

    @property
    def tile_count(self) -> int:
        """Number of the level's tiles."""
        shape, _, _, (tall, wide) = self.levels[self.level]
        return -(-shape[0] // tall) * -(-shape[1] // wide)

    def read_tiles(
        self, top: int, left: int, height: int, width: int, on_error: OnError | None = None
    ) -> Iterator[Tile]:
        """Tiles that meet a box, decoded and clipped to it, row by row.

        Parameters
        ----------
        top, left, height, width : int
            Box in pixels of the level; what lies outside the slide is left out.
        on_error : {"raise", "skip"}, optional
            Whether an unreadable tile is an error, or comes with ``pixels=None``. By default as
            `open_slide` was told.

        Raises
        ------
        SlideError
            If a tile cannot be read; the message names the file, the level and the tile.
        """
        return self._read_tiles(self.level, (top, left, height, width), on_error or self.on_error)

    def _read_tiles(
        self, level: int, box: tuple[int, int, int, int], on_error: OnError
    ) -> Iterator[Tile]:
        tall, wide = self.levels[level].tile
        parts = self._parts(level, box)
        positions = [(y // tall, x // wide) for y, x, _, _ in parts]
        blank: NumpyArray | None = None
        for (y0, x0, y1, x1), pixels in zip(
            parts, self._reader.read(level, positions), strict=True
        ):
            y, x = y0 - y0 % tall, x0 - x0 % wide
            if pixels is None:
                blank = self._white(tall, wide) if blank is None else blank
                pixels = blank
            if isinstance(pixels, TileError):
                if on_error == "raise":
                    raise SlideError(
                        f"{self.path}: level {level}, tile row {y // tall}, column {x // wide} "
                        f"(top {y}, left {x}) is unreadable: {pixels}"
                    ) from pixels
                yield Tile(y0, x0, y1 - y0, x1 - x0, None)
            else:
                yield Tile(y0, x0, y1 - y0, x1 - x0, pixels[y0 - y : y1 - y, x0 - x : x1 - x])

    def _parts(self, level: int, box: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
        """Parts (top, left, bottom, right) of a box that are in one tile each, row by row."""
        shape, _, _, (tall, wide) = self.levels[level]
        top, left = max(box[0], 0), max(box[1], 0)
        bottom, right = min(box[0] + box[2], shape[0]), min(box[1] + box[3], shape[1])
        if right <= left:
            return []
        return [
            (max(y, top), max(x, left), min(y + tall, bottom), min(x + wide, right))
            for y in range(top - top % tall, bottom, tall)
            for x in range(left - left % wide, right, wide)
        ]

    def coded_tiles(
        self,
        top: int,
        left: int,
        height: int,
        width: int,
        wanted: Callable[[NumpyArray], NumpyArray] | None = None,
    ) -> CodedTiles | None:
        """Tiles that meet a box, not decoded, if the level's are JPEG in RGB or YCbCr.

        For code that decodes and computes in one go; what it cannot decode, `read_tiles` can, or
        says why not. `wanted` says of each of `CodedTiles.parts` whether to read it (default all).
        """
        from gpuseg.io._tiff import TiffReader

        reader, level = self._reader, self.level
        streams = reader.streams(level) if isinstance(reader, TiffReader) else None
        if not isinstance(reader, TiffReader) or streams is None:
            return None
        edges = self._parts(level, (top, left, height, width))
        parts = np.array(edges, np.int64).reshape(-1, 4)
        parts[:, 2:] -= parts[:, :2]
        parts = parts if wanted is None else parts[wanted(parts)]
        runs = reader.coded(level, parts[:, :2] // self.levels[level].tile)
        return CodedTiles(streams, parts, runs)

    def _white(self, height: int, width: int) -> NumpyArray:
        top = np.iinfo(self.dtype).max if self.dtype.kind in "iu" else 1
        return np.broadcast_to(self.dtype.type(top), (height, width, self.shape[2]))

    def read_region(self, top: int, left: int, height: int, width: int) -> NumpyArray:
        """Pixels (height, width, channels) of a box of the level.

        Raises
        ------
        ValueError
            If the box is empty or reaches beyond the slide.
        SlideError
            If a tile cannot be read.
        """
        inside = top + height <= self.shape[0] and left + width <= self.shape[1]
        if not inside or min(top, left) < 0 or min(height, width) < 1:
            raise ValueError(
                f"a region must lie within {self.shape[0]} × {self.shape[1]} pixels and not be "
                f"empty, got top {top}, left {left}, height {height}, width {width}"
            )
        out = np.empty((height, width, self.shape[2]), self.dtype)
        for tile in self._read_tiles(self.level, (top, left, height, width), "raise"):
            y, x = tile.top - top, tile.left - left
            out[y : y + tile.height, x : x + tile.width] = tile.pixels
        return out

    def thumbnail(self, max_size: int = 1024) -> NumpyArray:
        """Small uint8 RGB image of the whole slide, (height, width, 3).

        The coarsest level of at least twice its size is averaged over areas, tile by tile and in
        threads; a large slide without coarser levels takes as long as decoding it. Floats are
        taken as 0 to 1, integers as 0 to their maximum. With ``on_error="skip"`` unreadable
        tiles are grey.

        Parameters
        ----------
        max_size : int
            Length of the longer side in pixels; a smaller slide is not enlarged.
        """
        from gpuseg.io._thumbnail import average, choose

        if max_size < 1:
            raise ValueError(f"max_size must be positive, got {max_size}")
        level, size = choose(self.levels, max_size)
        parts = [
            partial(self._read_tiles, level, box, self.on_error)
            for box in self._boxes(level, _THUMBNAIL_BOX)
        ]
        return average(self.levels[level].shape, size, parts)


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.4g}{unit}"


def _token(slide: Slide) -> str:
    from dask.base import tokenize

    return str(tokenize(slide.path, slide.level, slide.levels, str(slide.dtype)))


def _read_block(slide: Slide, block_info: dict[Any, Any] | None = None) -> NumpyArray:
    if not block_info:
        return np.empty((0, 0, 0), slide.dtype)
    (top, bottom), (left, right), _ = block_info[None]["array-location"]
    return slide.read_region(top, left, bottom - top, right - left)


# A distributed task unpickles its slide; parsing a large slide's directory again each time would
# cost more than many chunks take to read.
@lru_cache(maxsize=8)
def _reopened(path: str, level: int, on_error: OnError, levels: tuple[Level, ...]) -> Slide:
    slide = open_slide(path, level=level, on_error=on_error)
    if slide.levels != levels:
        slide.close()
        raise SlideError(f"{path} has changed since it was opened: its levels differ")
    return slide
