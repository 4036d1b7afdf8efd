"""Images without tiles: PNG, JPEG, JPEG 2000, WebP and BMP, decoded whole at the first read."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import imagecodecs
import numpy as np

from gpuseg.io import _jpeg
from gpuseg.io._bytes import ByteSource
from gpuseg.io._plain_headers import Header, read_header
from gpuseg.io._quiet import quiet
from gpuseg.io._reader import Facts, Grid, SlideError, TileError, check_decode_size
from gpuseg.typing import NumpyArray

# Pretended tiles: the size of what a consumer holds at a time beside the image.
_TILE = 512
_HEAD_BYTES = 1 << 20

DECODERS = {
    "PNG": imagecodecs.png_decode,
    "JPEG 2000": imagecodecs.jpeg2k_decode,
    "WebP": imagecodecs.webp_decode,
    "BMP": imagecodecs.bmp_decode,
}


class PlainReader:
    """Reads an image that has no tiles; see `gpuseg.io._reader.Reader`.

    Grey becomes three equal channels, as in slides; EXIF orientation is not applied.
    """

    def __init__(self, source: ByteSource, header: Header) -> None:
        self._source = source
        self._header = header
        self._lock = threading.Lock()
        self._image: NumpyArray | TileError | None = None
        shape = (header.height, header.width)
        name = source.name
        if header.format == "JPEG" and header.channels == 4:
            raise SlideError(
                f"{name}: a CMYK JPEG has no RGB values without its colour profile; "
                "convert it to RGB"
            )
        if not 1 <= header.channels <= 4 or not 1 <= header.bits <= 16:
            raise SlideError(
                f"{name}: {header.channels} channels of {header.bits} bits are not supported"
            )
        dtype = np.dtype(np.uint8 if header.bits <= 8 else np.uint16)
        channels = header.channels + 2 if header.channels < 3 else header.channels
        check_decode_size(name, "an image", (*shape, channels), dtype)
        tile = (min(_TILE, shape[0]), min(_TILE, shape[1]))
        self.facts = Facts(
            header.format,
            header.codec,
            (Grid(shape, tile),),
            dtype,
            channels,
            properties={"bits": str(header.bits), "channels": str(header.channels)},
            grey=header.channels < 3,
        )

    def read(
        self, level: int, positions: Sequence[tuple[int, int]]
    ) -> Iterator[NumpyArray | TileError | None]:
        """Views of the decoded image; if it is damaged, every tile is."""
        image = self._decoded()
        for row, column in positions:
            if isinstance(image, TileError):
                yield image
            else:
                top, left = row * _TILE, column * _TILE
                yield image[top : top + _TILE, left : left + _TILE]

    def _decoded(self) -> NumpyArray | TileError:
        with self._lock:
            if self._image is None:
                try:
                    self._image = self._decode()
                except TileError as error:
                    # A new one: a traceback would keep the file's bytes alive.
                    self._image = TileError(*error.args)
            return self._image

    def _decode(self) -> NumpyArray:
        data = next(self._source.read([(0, self._source.size)]))
        header = self._header
        try:
            if header.format == "JPEG":
                pixels = _decode_jpeg(data)
            else:
                if header.format == "PNG":
                    check_png(data)
                with quiet():
                    pixels = DECODERS[header.format](data)
        except TileError:
            raise
        except Exception as error:  # codecs raise whatever damage leads them to
            raise TileError(f"{type(error).__name__}: {error}") from error
        return _conform(pixels, self.facts)

    def close(self) -> None:
        """Forget the image and close the file."""
        with self._lock:
            self._image = None
            self._source.close()


def open_plain(source: ByteSource) -> PlainReader | None:
    """Reader of a plain image; None if its first bytes are of no known kind.

    Raises
    ------
    SlideError
        If the header is damaged or claims what cannot be read.
    """
    try:
        header = read_header(next(source.read([(0, min(_HEAD_BYTES, source.size))])))
    except TileError as error:
        raise SlideError(f"{source.name}: {error}") from error
    return None if header is None else PlainReader(source, header)


def _decode_jpeg(data: bytes) -> NumpyArray:
    header = _jpeg.read_header(data)
    if header.precision == 8 and header.lossy:
        return _jpeg.decode(data)
    _jpeg.check_end(data)
    pixels: NumpyArray = imagecodecs.jpeg_decode(data)
    return pixels


def check_png(data: bytes) -> None:
    """Compare the checksums: imagecodecs does so, too, but never frees a damaged image."""
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind, end = data[position + 4 : position + 8], position + 8 + length
        # Damage in an ancillary chunk (a text, a date) leaves the pixels what they are.
        if kind[:1].isupper() and zlib.crc32(
            memoryview(data)[position + 4 : end]
        ) != int.from_bytes(data[end : end + 4], "big"):
            raise TileError(f"corrupted PNG: the checksum of its {kind.decode()} chunk is wrong")
        if kind == b"IEND":
            return
        position = end + 4
    raise TileError("corrupted PNG: it ends before its last chunk")


def _conform(pixels: Any, facts: Facts) -> NumpyArray:
    shape, channels = facts.grids[0].shape, facts.channels
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[:2] != shape or pixels.ndim != 3:
        raise TileError(f"it decodes to {pixels.shape}, but its header claims {shape}")
    if pixels.shape[2] < 3:
        grey, alpha = pixels[..., :1], pixels[..., 1:2]
        pixels = np.concatenate((grey, grey, grey, alpha), axis=-1)
    if pixels.shape[2] != channels or pixels.dtype != facts.dtype:
        raise TileError(
            f"it decodes to {pixels.shape[2]} channels of {pixels.dtype}, but its header claims "
            f"{channels} of {facts.dtype}"
        )
    conformed: NumpyArray = pixels
    return conformed
