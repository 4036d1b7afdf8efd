"""Size and kind of PNG, JPEG, JPEG 2000, WebP and BMP images, from their first bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gpuseg.io import _jpeg
from gpuseg.io._reader import TileError


class Header(NamedTuple):
    """Pixels and samples that a file's first bytes claim."""

    format: str
    height: int
    width: int
    channels: int
    bits: int
    codec: str


def read_header(data: bytes) -> Header | None:
    """Header of an image by its first bytes; None if they are of no known kind.

    Raises
    ------
    TileError
        If the kind is known but its header is damaged.

    Examples
    --------
    >>> import imagecodecs, numpy as np
    >>> read_header(imagecodecs.png_encode(np.zeros((4, 5, 3), np.uint8)))
    Header(format='PNG', height=4, width=5, channels=3, bits=8, codec='DEFLATE')
    >>> read_header(b"no image") is None
    True
    """
    for magic, parse in _KINDS:
        if data.startswith(magic):
            if magic == b"RIFF" and data[8:12] != b"WEBP":
                continue
            try:
                return parse(data)
            except IndexError:
                raise TileError("its header is cut short") from None
    return None


def _big(data: bytes, position: int, size: int) -> int:
    if position + size > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + size], "big")


def _little(data: bytes, position: int, size: int) -> int:
    if position + size > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + size], "little")


def _png(data: bytes) -> Header:
    width, height = _big(data, 16, 4), _big(data, 20, 4)
    bits, kind = data[24], data[25]
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(kind)
    if data[12:16] != b"IHDR" or channels is None or bits not in (1, 2, 4, 8, 16):
        raise TileError(f"its header claims {bits} bits of PNG colour type {kind}")
    position = 8
    while position + 8 <= len(data) and data[position + 4 : position + 8] != b"IDAT":
        if data[position + 4 : position + 8] == b"tRNS" and kind in (0, 2, 3):
            channels += 1
            break
        position += 12 + _big(data, position, 4)
    return Header("PNG", height, width, channels, 16 if bits == 16 else 8, "DEFLATE")


def _jpeg_header(data: bytes) -> Header:
    found = _jpeg.read_header(data)
    return Header("JPEG", found.height, found.width, found.components, found.precision, "JPEG")


def _jpeg2000(data: bytes) -> Header:
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0:
        raise TileError("it holds no JPEG 2000 codestream near its start")
    size = [_big(data, start + 8 + 4 * index, 4) for index in range(4)]
    channels, bits = _big(data, start + 40, 2), (data[start + 42] & 0x7F) + 1
    palette = data.find(b"pclr", 0, start)
    if palette >= 0:
        channels = data[palette + 6]
    width, height = size[0] - size[2], size[1] - size[3]
    return Header("JPEG 2000", height, width, channels, bits, "JPEG2000")


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
        alpha = bool(data[20] & 0x10)
    elif kind == b"VP8L":
        packed = _little(data, 21, 4)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        alpha = bool(packed >> 28 & 1)
    else:
        width, height = _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
        alpha = False
    return Header("WebP", height, width, 4 if alpha else 3, 8, "WEBP")


def _bmp(data: bytes) -> Header:
    width, height = _little(data, 18, 4), _little(data, 22, 4)
    depth = _little(data, 28, 2)
    height = min(height, (1 << 32) - height)
    return Header("BMP", height, width, {8: 1, 32: 4}.get(depth, 3), 8, "NONE")


_KINDS: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8\xff", _jpeg_header),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", _jpeg2000),
    (b"\xff\x4f\xff\x51", _jpeg2000),
    (b"RIFF", _webp),
    (b"BM", _bmp),
)
