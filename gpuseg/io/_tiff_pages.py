"""Which pages of a TIFF make up its image and its pyramid; parsing is tifffile's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import tifffile

from gpuseg.io._bytes import ByteSource
from gpuseg.io._quiet import quiet
from gpuseg.io._reader import SlideError

# A pyramid has few directories; stacks have thousands, and a damaged chain may be endless.
_MAX_PAGES = 64

# tifffile's tests for what OpenSlide puts together from overlapping or restart-marker tiles.
_FOREIGN = {
    "is_ndpi": "Hamamatsu",
    "is_scn": "Leica",
    "is_bif": "Ventana",
    "is_philips": "Philips",
}


@contextmanager
def parsing(source: ByteSource) -> Iterator[tifffile.TiffFile]:
    """TiffFile of `source`; whatever goes wrong within the block is a `SlideError`.

    tifffile logs what it repairs and raises whatever a damaged file leads it to (TypeError,
    ZeroDivisionError, MemoryError, …); in here neither reaches the caller.
    """
    try:
        with quiet(), source.open() as stream:
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


def foreign_vendor(tiff: Any) -> str | None:
    """Vendor whose tiles are stitched, padded or otherwise unlike TIFF's, or None."""
    for flag, vendor in _FOREIGN.items():
        if getattr(tiff, flag):
            return vendor
    software = tiff.pages[0].software
    return "Trestle" if isinstance(software, str) and software.startswith("MedScan") else None


def pyramid(tiff: Any) -> tuple[list[list[Any]], dict[str, str]]:
    """Pages of each level, coarser and coarser, and why other pages are none.

    Several pages of a level are its channels. The image is the first of the file, at its first
    time point and focal plane. Coarser levels are the SubIFDs of its page, or the pages after it
    that are smaller, of the same kind and of the same proportions. Labels, macro images and
    thumbnails (which vendors store in strips) are none.
    """
    if tiff.is_ome:
        try:
            levels = _ome_levels(tiff)
        except Exception:  # OME-XML that contradicts the pages: they alone are believed
            levels = []
        if levels:
            return levels, {}
    base = tiff.pages[0]
    levels, ignored = [[base]], {}
    for number, page in enumerate((base.pages if base.subifds else None) or _later_pages(tiff), 1):
        reason = _unfit(page, base, levels[-1][0])
        if not reason:
            levels.append([page])
        elif page.shape != base.shape:
            ignored[f"ignored.page {number}"] = reason
    return levels, ignored


def _later_pages(tiff: Any) -> Iterator[Any]:
    # By index: asking for the number of pages would walk through all of them.
    for index in range(1, _MAX_PAGES):
        try:
            yield tiff.pages[index]
        except IndexError:
            return


def _unfit(page: Any, base: Any, previous: Any) -> str:
    """Why `page` is no coarser level of `base`; empty if it is one."""
    if not isinstance(page, tifffile.TiffPage) or page.is_tiled != base.is_tiled:
        return "not tiled: a thumbnail, label or macro image"
    same = ("dtype", "samplesperpixel", "planarconfig", "bitspersample")
    if any(getattr(page, name) != getattr(base, name) for name in same):
        return "its samples are of another kind"
    # Bits 1 and 2 alone say page of a document and mask; 9 is Aperio's macro image.
    if page.subfiletype not in (0, 1):
        return f"its subfile type is {page.subfiletype}"
    height, width = page.imagelength, page.imagewidth
    if min(height, width) < 1 or height > previous.imagelength or width > previous.imagewidth:
        return f"{height} × {width} pixels are no coarser level"
    if height * width >= previous.imagelength * previous.imagewidth:
        return f"{height} × {width} pixels are no coarser level"
    # Both sides were rounded, up or down, at every level before this one.
    factor = base.imagelength / height
    tolerance = max(2 * factor + 2, 0.02 * base.imagewidth)
    if abs(width * factor - base.imagewidth) > tolerance:
        return f"{height} × {width} pixels are of other proportions"
    return ""


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
