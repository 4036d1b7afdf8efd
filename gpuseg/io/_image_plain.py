"""Images that are decoded in one piece, as the file has them: PNG, JPEG, JPEG 2000, WebP, BMP."""

from __future__ import annotations

import imagecodecs
import numpy as np
import simplejpeg

from gpuseg.io import _jpeg
from gpuseg.io._plain import DECODERS, check_png
from gpuseg.io._plain_headers import Header, read_header
from gpuseg.io._quiet import quiet
from gpuseg.io._reader import SlideError, TileError, check_decode_size
from gpuseg.typing import NumpyArray

_JPEG = b"\xff\xd8\xff"
# What a stream's components are, and what to decode them to.
_SPACES = {"Gray": ("GRAY", 1), "YCbCr": ("RGB", 3), "RGB": ("RGB", 3)}


class PlainImage:
    """Grey (height, width) or colour (height, width, channels), and how to decode it.

    Unlike slides, a grey image stays grey. EXIF orientation is not applied.
    """

    stored: tuple[int, ...] | None = None

    def __init__(self, name: str, data: bytes) -> None:
        """Parse the header; `data` may end after it if the image is not to be read."""
        try:
            header = read_header(data)
        except TileError as error:
            raise SlideError(f"{name}: {error}") from error
        if header is None:
            raise SlideError(
                f"{name}: not an image of a known kind (it starts with {data[:8]!r}); "
                "a function that reads it may be given as `imread`"
            )
        if header.format == "JPEG" and header.channels == 4:
            raise SlideError(
                f"{name}: a CMYK JPEG has no RGB values without its colour profile; "
                "convert it to RGB"
            )
        if header.channels < 1 or not 1 <= header.bits <= 16:
            raise SlideError(
                f"{name}: {header.channels} channels of {header.bits} bits are not supported"
            )
        self.name = name
        self.shape: tuple[int, ...] = (header.height, header.width)
        if header.channels > 1:
            self.shape += (header.channels,)
        self.dtype = np.dtype(np.uint8 if header.bits <= 8 else np.uint16)
        # Two levels of grey are a mask, as in TIFF and as Pillow has it.
        bilevel = header.format == "PNG" and data[24:26] == b"\x01\x00"
        if bilevel and header.channels == 1:
            self.dtype = np.dtype(bool)
        check_decode_size(name, "an image", self.shape, self.dtype)
        self.frame_axes = len(self.shape)
        self._header = header
        self._data = data

    def read_into(self, index: tuple[slice, ...], out: NumpyArray) -> None:
        """Decode the image and copy the part that `index` selects."""
        try:
            pixels = _decode(self._data, self._header)
        except Exception as error:  # codecs raise whatever damage leads them to
            raise SlideError(f"{self.name}: {error}") from error
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        if self.dtype == bool:
            pixels = pixels != 0
        if pixels.shape != self.shape or pixels.dtype != self.dtype:
            raise SlideError(
                f"{self.name}: it decodes to {pixels.shape} {pixels.dtype}, but its header claims "
                f"{self.shape} {self.dtype}"
            )
        out[...] = pixels[index]


def _decode(data: bytes, header: Header) -> NumpyArray:
    pixels: NumpyArray
    if header.format != "JPEG":
        if header.format == "PNG":
            check_png(data)
        with quiet():
            pixels = DECODERS[header.format](data)
        return pixels
    if header.channels == 3 and _jpeg.read_header(data).lossy and header.bits == 8:
        return _jpeg.decode(data)
    if header.channels == 1 and header.bits == 8:
        try:
            pixels = simplejpeg.decode_jpeg(data, "GRAY")
            return pixels
        except ValueError as error:
            if _jpeg.read_header(data).lossy:
                raise TileError(f"corrupted JPEG stream: {error}") from error
    _jpeg.check_end(data)
    pixels = imagecodecs.jpeg_decode(data)
    return pixels


def decode_common_jpeg(data: bytes, out: NumpyArray) -> bool:
    """Decode an 8-bit JPEG of the shape of `out`, which is contiguous, straight into it.

    False if it is none, has another shape or is damaged: `PlainImage` tells which. This is all
    that most files need, and as fast as the codec: the header is read in C, nothing is copied.
    """
    if not data.startswith(_JPEG):
        return False
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        name, channels = _SPACES[space]
        if out.shape != ((height, width, channels) if channels > 1 else (height, width)):
            return False
        simplejpeg.decode_jpeg(data, name, buffer=out)
    except (ValueError, KeyError):
        return False
    return True
