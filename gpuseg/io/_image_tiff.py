"""TIFF, BigTIFF, OME-TIFF and ImageJ stacks: the first series of a file, frame by frame.

tifffile says what the series is and where its frames lie; the bytes are read without its lock and
decoded as those of slides are, so that damaged streams are errors and neither crashes nor grey.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import tifffile

from gpuseg.io._bytes import ByteSource, LocalFile
from gpuseg.io._image_tiff_quick import Directory, read_directory
from gpuseg.io._memory_file import MemoryFile
from gpuseg.io._quiet import quiet
from gpuseg.io._reader import SlideError, TileError, check_decode_size
from gpuseg.io._tiff_decode import Decode, make_decoder
from gpuseg.io._tiff_pages import parsing
from gpuseg.typing import NumpyArray

_JPEG = (6, 7, 33007, 34892)
_HEAD_BYTES = 1 << 20


class _Layout(NamedTuple):
    """How the segments of a page lie in it; `planes` is above 1 where channels are apart."""

    height: int
    width: int
    tall: int
    wide: int
    planes: int


class _Page(NamedTuple):
    """One frame: where its segments are, and in which file if that is another one."""

    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    decode: Decode
    elsewhere: str | None


class TiffImage:
    """First series of a TIFF as tifffile sees it, at one level of its pyramid.

    Frames are the pages. What is laid out as no other file (whole NDPI strips, volumes within a
    page) is left to tifffile, in one piece.
    """

    stored: tuple[int, ...] | None = None

    def __init__(self, source: ByteSource, level: int, whole_set: bool) -> None:
        """Parse the file; `whole_set` follows an OME-TIFF to the other files of its set."""
        self.name = source.name
        self._level = level
        self._whole_set = whole_set
        self._lock = threading.Lock()
        self._pages: list[_Page | None] | None = None
        with self._series(source) as series:
            key = series.keyframe
            self.shape: tuple[int, ...] = tuple(map(int, series.shape))
            self.dtype = np.dtype(series.dtype).newbyteorder("=")
            if 0 in self.shape or self.dtype.kind not in "buif":
                raise SlideError(
                    f"{self.name}: pixels of shape {self.shape} and type {self.dtype} "
                    "are not supported"
                )
            self._stored_dtype = self.dtype.newbyteorder(key.parent.byteorder)
            self._fill = key.nodata
            self._run: int | None = None if series.is_multifile else series.dataoffset
            self._layout = _layout(series)
            self.frame_axes = len(key.shape) if self._layout else len(self.shape)
            check_decode_size(self.name, "a frame", self._split(self.shape)[1], self.dtype)
            single = self._layout is not None and len(self.shape) == self.frame_axes
            if single and self._run is None:
                self._pages = self._parsed(series)
            # JPEG pages have tables of their own, and coarser levels a directory of their own.
            quick = single and level == 0 and not series.is_multifile
            self._directory: Directory | None = None
            if quick and key.compression not in _JPEG:
                self._directory = read_directory(
                    next(source.read([(0, min(source.size, _HEAD_BYTES))]))
                )

    def _split(self, axes: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Part of the axes before those of a frame, and the rest."""
        lead = len(self.shape) - self.frame_axes
        return axes[:lead], axes[lead:]

    @contextmanager
    def _series(self, source: ByteSource) -> Iterator[Any]:
        with _opened(source, self._whole_set) as tiff:
            if not tiff.series:
                raise SlideError(f"{self.name}: this TIFF holds no image")
            levels = tiff.series[0].levels
            if self._level >= len(levels):
                raise SlideError(
                    f"{self.name}: there is no level {self._level}; it has {len(levels)}"
                )
            yield levels[self._level]

    def _parsed(self, series: Any) -> list[_Page | None]:
        found = list(series)
        count = math.prod(self._split(self.shape)[0])
        if len(found) != count:
            raise SlideError(f"{self.name}: {self.shape} are {count} pages, it has {len(found)}")
        # JPEG pages may have tables of their own, which tifffile's light frames lack.
        if series.keyframe.compression in _JPEG:
            found = [page if _is_full(page) else page.aspage() for page in found]
            decoders = [None if page is None else make_decoder(page) for page in found]
        else:
            decoders = [make_decoder(series.keyframe)] * count
        return [
            None
            if page is None or decode is None
            else _Page(
                tuple(page.dataoffsets),
                tuple(page.databytecounts),
                decode,
                page.parent.filehandle.path if series.is_multifile else None,
            )
            for page, decode in zip(found, decoders, strict=True)
        ]

    def alike(self, source: ByteSource, data: bytes) -> TiffImage | None:
        """Image of a file that only differs in where its segments are; None if it may not.

        `data` holds the first bytes of the file, or all.
        """
        if self._directory is None:
            return None
        found = read_directory(data)
        if found is None or found.signature != self._directory.signature or not found.offsets:
            return None
        image = copy.copy(self)
        image.name = source.name
        if self._run is not None:
            ends = map(sum, zip(found.offsets, found.lengths, strict=True))
            size = math.prod(self.shape) * self.dtype.itemsize
            if [*found.offsets[1:]] != [*ends][:-1] or sum(found.lengths) != size:
                return None
            image._run = found.offsets[0]
        elif self._pages is not None and self._pages[0] is not None:
            image._pages = [self._pages[0]._replace(offsets=found.offsets, lengths=found.lengths)]
        return image

    def read_into(self, source: ByteSource, index: tuple[slice, ...], out: NumpyArray) -> None:
        """Copy to `out` what `index`, of slices without steps, selects."""
        if self._layout is None:
            with self._series(source) as series:
                out[...] = series.asarray()[index]
            return
        if self._run is None:
            with self._lock:
                if self._pages is None:
                    with self._series(source) as series:
                        self._pages = self._parsed(series)
        lead, frame = self._split(index)
        sizes = self._split(self.shape)[0]
        places = product(*(range(part.start, part.stop) for part in lead))
        for target, place in zip(np.ndindex(out.shape[: len(lead)]), places, strict=True):
            number = 0
            for position, size in zip(place, sizes, strict=True):
                number = number * size + position
            try:
                self._read_frame(source, number, frame, out[target])
            except TileError as error:
                where = f"frame {', '.join(map(str, place))}: " if place else ""
                raise SlideError(f"{self.name}: {where}{error}") from error

    def _read_frame(
        self, source: ByteSource, number: int, index: tuple[slice, ...], out: NumpyArray
    ) -> None:
        shape = self._split(self.shape)[1]
        if self._run is not None:
            size = math.prod(shape) * self.dtype.itemsize
            # Whole rows of what is selected, or all where channels are apart.
            part, rows = slice(0, shape[0]), index
            if self._layout is not None and self._layout.planes == 1:
                part, rows = index[0], (slice(None), *index[1:])
            step = size // shape[0]
            start = self._run + number * size + part.start * step
            size = (part.stop - part.start) * step
            data: bytes | memoryview
            if isinstance(source, MemoryFile) and start + size <= source.size:
                data = memoryview(source.data)[start : start + size]
            else:
                data = _read(source, [(start, size)])[0]
            out[...] = np.frombuffer(data, self._stored_dtype).reshape(-1, *shape[1:])[rows]
            return
        assert self._pages is not None
        page = self._pages[number]
        if page is None:  # an OME-TIFF may lack planes of a grid
            out[...] = self._fill
        elif page.elsewhere in (None, source.name):
            self._read_page(source, page, index, out)
        else:
            other = LocalFile(str(page.elsewhere))
            try:
                self._read_page(other, page, index, out)
            finally:
                other.close()

    def _read_page(
        self, source: ByteSource, page: _Page, index: tuple[slice, ...], out: NumpyArray
    ) -> None:
        assert self._layout is not None
        layout = self._layout
        if layout.planes == 1:
            self._read_plane(source, page, 0, index, out)
            return
        for target, plane in enumerate(range(index[0].start, index[0].stop)):
            self._read_plane(source, page, plane, index[1:], out[target])

    def _read_plane(
        self,
        source: ByteSource,
        page: _Page,
        plane: int,
        index: tuple[slice, ...],
        out: NumpyArray,
    ) -> None:
        """Decode the segments that meet rows and columns of one plane of a page."""
        assert self._layout is not None
        height, width, tall, wide, _ = self._layout
        rows, columns = index[:2]
        across = -(-width // wide)
        first = plane * across * -(-height // tall)
        cells = [
            (row, column)
            for row in range(rows.start // tall, -(-rows.stop // tall))
            for column in range(columns.start // wide, -(-columns.stop // wide))
        ]
        numbers = [first + row * across + column for row, column in cells]
        if numbers and min(len(page.offsets), len(page.lengths)) <= numbers[-1]:
            raise TileError(f"its directory lists {len(page.offsets)} segments, too few")
        ranges = [(page.offsets[number], page.lengths[number]) for number in numbers]
        present = [pair for pair in ranges if pair[0] and pair[1]]
        data = iter(_read(source, present))
        for (row, column), number, pair in zip(cells, numbers, ranges, strict=True):
            top, left = row * tall, column * wide
            y0, y1 = max(top, rows.start), min(top + tall, rows.stop)
            x0, x1 = max(left, columns.start), min(left + wide, columns.stop)
            target = out[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start]
            if not (pair[0] and pair[1]):
                target[...] = self._fill
                continue
            pixels = page.decode(next(data), number)
            pixels = pixels[..., 0] if target.ndim == 2 else pixels[..., index[2]]
            pixels = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
            if pixels.shape != target.shape:
                raise TileError(f"its segment {number} holds less than its part of the image")
            target[...] = pixels


def _is_full(page: Any) -> bool:
    return page is None or isinstance(page, tifffile.TiffPage)


@contextmanager
def _opened(source: ByteSource, whole_set: bool) -> Iterator[tifffile.TiffFile]:
    if not whole_set:
        with parsing(source) as tiff:
            yield tiff
        return
    try:
        with quiet(), tifffile.TiffFile(source.name) as tiff:
            yield tiff
    except OSError:
        raise
    except Exception as error:  # a damaged file leads tifffile to whatever error
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise SlideError(f"{source.name}: not a readable TIFF: {reason}") from error


def _layout(series: Any) -> _Layout | None:
    """Segments of the series' pages; None for what only tifffile itself puts together."""
    key = series.keyframe
    shape = tuple(key.shape)
    unusual = series.transform is not None or key.jpegheader is not None or key.imagedepth != 1
    if unusual or key.axes not in ("YX", "YXS", "SYX") or series.shape[-len(shape) :] != shape:
        return None
    height, width = int(key.imagelength), int(key.imagewidth)
    tall, wide = int(key.rowsperstrip), width
    if key.is_tiled:
        tall, wide = int(key.tilelength), int(key.tilewidth)
    if min(tall, wide) < 1:
        return None
    return _Layout(height, width, min(tall, height), wide, shape[0] if key.axes == "SYX" else 1)


def _read(source: ByteSource, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    data = list(source.read(ranges))
    for piece, (offset, length) in zip(data, ranges, strict=True):
        if len(piece) < length:
            raise TileError(
                f"its {length} bytes at {offset} are not all in the file, which has {source.size}"
            )
    return data
