"""From the bytes of a TIFF's tile or strip to its samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from imagecodecs import bitorder_decode

from gpuseg.io import _jpeg
from gpuseg.io._quiet import quiet
from gpuseg.io._reader import TileError
from gpuseg.typing import NumpyArray

# Samples (height, width, samples) of a tile's bytes and its number in the page.
Decode: TypeAlias = Callable[[bytes, int], NumpyArray]

_LZW = 5
_FAX = (2, 3, 4)
_JPEG = (7, 33007)


def jpeg_streams(page: Any) -> _jpeg.Streams | None:
    """What tiles of a page have in common, if they are 8-bit colour JPEG."""
    colour = (
        page.compression == 7
        and page.bitspersample == 8
        and page.samplesperpixel == 3
        and page.planarconfig == 1
        and page.photometric in (2, 6)
    )
    tables: bytes = page.jpegtables or b""
    return _jpeg.Streams(tables[2:-2], page.photometric == 2) if colour else None


def make_decoder(page: Any) -> Decode:
    """Decoder of a page: ours for 8-bit colour JPEG, tifffile's for all else."""
    tables: bytes = page.jpegtables or b""
    if page.compression in _JPEG:
        return _jpeg_decoder(page, tables)
    return _lzw_decoder(page) if page.compression == _LZW else _tifffile_decoder(page, tables)


def _lzw_decoder(page: Any) -> Decode:
    """Our LZW before tifffile's predictor: imagecodecs' crashes on some damaged streams."""
    from gpuseg._cpu import lzw

    reverse = page.fillorder == 2
    page.compression, page.fillorder = 1, 1
    for cached in ("hash", "decode"):
        page.__dict__.pop(cached, None)
    general = _tifffile_decoder(page, b"")
    samples = 1 if page.planarconfig == 2 else int(page.samplesperpixel)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    width = int(page.tilewidth if page.is_tiled else page.imagewidth)
    height = int(page.tilelength if page.is_tiled else page.rowsperstrip)
    strips = -(-page.imagelength // height)
    row_bytes = -(-width * samples * bits // 8)

    def decode(data: bytes, index: int) -> NumpyArray:
        rows = height
        if not page.is_tiled and index % strips == strips - 1:
            rows = page.imagelength - (strips - 1) * height
        try:
            unpacked = lzw.decode(
                bytes(bitorder_decode(data)) if reverse else data, rows * row_bytes
            )
        except ValueError as error:
            raise TileError(str(error)) from error
        return general(unpacked, index)

    return decode


def _jpeg_decoder(page: Any, tables: bytes) -> Decode:
    streams = jpeg_streams(page)
    general = _tifffile_decoder(page, tables)
    limit = _jpeg_limit(page)

    def decode(data: bytes, index: int) -> NumpyArray:
        if streams is not None and (pixels := streams.decode(data, limit)) is not None:
            return pixels
        header = _jpeg.read_header(data)
        if header.height > limit[0] or header.width > limit[1]:
            raise TileError(
                f"its JPEG header claims {header.height} × {header.width} pixels, "
                f"more than the {limit[0]} × {limit[1]} of a tile"
            )
        if streams is not None and header.components == 3 and header.precision == 8:
            whole = _jpeg.complete(data, streams.tables, header, streams.rgb)
            return _jpeg.decode(whole)
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
    fax = page.compression in _FAX and page.bitspersample == 1
    header = page.jpegheader
    options = {"jpegtables": tables or None, "jpegheader": header} if tables or header else {}

    def decode(data: bytes, index: int) -> NumpyArray:
        try:
            with quiet():
                pixels = function(data, index, **options)[0]
        except Exception as error:  # codecs raise whatever damage leads them to
            raise TileError(f"{type(error).__name__}: {error}") from error
        if pixels is None or pixels.shape[0] != 1:
            raise TileError("it decodes to nothing that is an image")
        # The fax decoders give bits as bytes.
        decoded: NumpyArray = pixels[0].astype(bool) if fax else pixels[0]
        return decoded

    return decode
