"""From the bytes of a TIFF's tile or strip to its samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from gpuseg.io import _jpeg
from gpuseg.io._reader import TileError
from gpuseg.typing import NumpyArray

# Samples (height, width, samples) of a tile's bytes and its number in the page.
Decode: TypeAlias = Callable[[bytes, int], NumpyArray]

_JPEG = (7, 33007)


def make_decoder(page: Any) -> Decode:
    """Decoder of a page: ours for 8-bit colour JPEG, tifffile's for all else."""
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


def _jpeg_decoder(page: Any, tables: bytes, fast: bool) -> Decode:
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


def _tifffile_decoder(page: Any, tables: bytes) -> Decode:
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
