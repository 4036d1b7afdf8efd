"""Which pages of a TIFF make up its image and its pyramid; parsing is tifffile's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import tifffile

from gpuseg.io._bytes import ByteSource
from gpuseg.io._reader import SlideError

# A pyramid has few directories; stacks have thousands, and a damaged chain may be endless.
_MAX_PAGES = 64

_silent: ContextVar[bool] = ContextVar("silent", default=False)


def _not_silenced(record: logging.LogRecord) -> bool:
    return not _silent.get()


@contextmanager
def parsing(source: ByteSource) -> Iterator[tifffile.TiffFile]:
    """TiffFile of `source`; whatever goes wrong within the block is a `SlideError`.

    tifffile logs what it repairs and raises whatever a damaged file leads it to (TypeError,
    ZeroDivisionError, MemoryError, …); in here neither reaches the caller.
    """
    logger = logging.getLogger("tifffile")
    if _not_silenced not in logger.filters:
        logger.addFilter(_not_silenced)
    token = _silent.set(True)
    try:
        with source.open() as stream:
            _check_directory(source, stream.read(16))
            stream.seek(0)
            # No useframes: a frame inherits what a pyramid's page must say itself.
            with tifffile.TiffFile(stream, name=source.name, _multifile=False) as tiff:
                yield tiff
    except SlideError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise SlideError(f"{source.name}: not a readable TIFF: {reason}") from error
    finally:
        _silent.reset(token)


def _check_directory(source: ByteSource, header: bytes) -> None:
    """Refuse a file that ends before its first directory: writers put it last."""
    order: Literal["little", "big"] = "little" if header[:2] == b"II" else "big"
    big = int.from_bytes(header[2:4], order) == 43
    where = int.from_bytes(header[8:16] if big else header[4:8], order)
    if where >= source.size:
        raise SlideError(
            f"{source.name}: the file has {source.size} bytes, but its directory is at {where}: "
            "it is truncated, or still being copied"
        )


def pyramid(tiff: Any) -> list[list[Any]]:
    """Pages of each level, coarser and coarser; several pages of a level are its channels.

    The first image of the file, at the first time point and focal plane. Coarser levels are the
    SubIFDs of its page, or the pages after it that are smaller, of the same kind and of the same
    proportions. Labels, macro images and thumbnails (which vendors store in strips) are none.
    """
    if tiff.is_ome:
        levels = _ome_levels(tiff)
        if levels:
            return levels
    base = tiff.pages[0]
    levels = [[base]]
    candidates = list(base.pages or ()) if base.subifds else []
    for page in candidates or _later_pages(tiff):
        if _is_reduced(page, base, levels[-1][0]):
            levels.append([page])
    return levels


def _later_pages(tiff: Any) -> Iterator[Any]:
    # By index: asking for the number of pages would walk through all of them.
    for index in range(1, _MAX_PAGES):
        try:
            yield tiff.pages[index]
        except IndexError:
            return


def _is_reduced(page: Any, base: Any, previous: Any) -> bool:
    if not isinstance(page, tifffile.TiffPage) or page.is_tiled != base.is_tiled:
        return False
    same = ("dtype", "samplesperpixel", "planarconfig", "bitspersample")
    if any(getattr(page, name) != getattr(base, name) for name in same):
        return False
    # Bits 1 and 2 alone say page of a document and mask; 9 is Aperio's macro image.
    if page.subfiletype not in (0, 1):
        return False
    height, width = page.imagelength, page.imagewidth
    if not (0 < height <= previous.imagelength and 0 < width <= previous.imagewidth):
        return False
    if height * width >= previous.imagelength * previous.imagewidth:
        return False
    # Both sides were rounded, up or down, at every level before this one.
    factor = base.imagelength / height
    tolerance = 2 * factor + 2
    return bool(abs(width * factor - base.imagewidth) <= max(tolerance, 0.02 * base.imagewidth))


def _ome_levels(tiff: Any) -> list[list[Any]]:
    """Channel pages of the first image's levels, at its first time point and focal plane."""
    series = tiff.series[0]
    levels = []
    for level in series.levels:
        pages = list(level.pages)
        axes = [axis for axis in level.get_axes(False) if axis not in "YXS"]
        sizes = [level.get_shape(False)[level.get_axes(False).index(axis)] for axis in axes]
        chosen = [0]
        stride = 1
        for axis, size in zip(reversed(axes), reversed(sizes), strict=True):
            if axis == "C":
                chosen = [first + stride * channel for channel in range(size) for first in chosen]
            stride *= size
        if not all(index < len(pages) and pages[index] is not None for index in chosen):
            return []
        levels.append([_full_page(pages[index]) for index in chosen])
    return levels


def _full_page(page: Any) -> Any:
    return page if isinstance(page, tifffile.TiffPage) else page.aspage()
