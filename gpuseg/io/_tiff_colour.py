"""From a TIFF's samples to the channels of a slide, by its photometric interpretation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpuseg.io._reader import SlideError
from gpuseg.typing import NumpyArray

MINISWHITE, MINISBLACK, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
# Codecs whose decoder turns YCbCr into RGB itself.
_CONVERTED = {6, 7, 33007, 34892, 50001, 34712, 33004, 33005, 34933, 50002, 22610}
APERIO_JP2000_YCBCR = 33003


class Finish(NamedTuple):
    """How decoded samples become a slide's pixels, and what those are."""

    dtype: np.dtype
    channels: int
    convert: Callable[[NumpyArray], NumpyArray]
    grey: bool = False

    def __call__(self, pixels: NumpyArray) -> NumpyArray:
        """Pixels (height, width, channels) of decoded samples."""
        return self.convert(pixels)


def make_finish(name: str, page: Any, channels: int) -> Finish:
    """Conversion for `page`; `channels` is the number of pages that are channels of the image.

    Grey becomes three equal channels (with its alpha, if it has one, as the fourth), 0 is black
    whatever the file's convention, fewer than 8 bits are widened to 0…255, and a palette's colours
    are looked up.
    Images of several channels and RGB with alpha stay as they are; alpha is never composited.

    Raises
    ------
    SlideError
        If the samples are no colours without a colour profile or further processing (CMYK, CIE
        L*a*b*, raw sensor data, subsampled YCbCr that is not JPEG).
    """
    if page.dtype is None:
        raise SlideError(
            f"{name}: samples of {page.bitspersample} bits, format {page.sampleformat}, "
            "are not supported"
        )
    dtype = np.dtype(page.dtype)
    photometric, samples = int(page.photometric), int(page.samplesperpixel)
    if dtype.kind not in "buif":
        raise SlideError(f"{name}: samples of type {dtype.name} are not supported")
    # Aperio's scanners write photometric RGB beside this compression, which means YCbCr.
    hidden = page.compression == APERIO_JP2000_YCBCR
    bare = photometric == YCBCR and page.compression not in _CONVERTED and not page.is_subsampled
    if (hidden or bare) and dtype == np.uint8 and samples == 3 and channels == 1:
        from gpuseg._cpu.ycbcr import to_rgb

        return Finish(dtype, 3, to_rgb)
    if photometric in (MINISWHITE, MINISBLACK) and samples <= 2 and channels == 1:
        return _grey(dtype, samples, page, photometric == MINISWHITE)
    if photometric in (MINISWHITE, MINISBLACK) or (photometric == RGB and samples >= 3):
        return Finish(_widened(dtype), samples * channels, _widen(dtype, page.bitspersample))
    if photometric == PALETTE and channels == 1:
        return _palette(name, dtype, page)
    if photometric == YCBCR and samples == 3 and page.compression in _CONVERTED:
        return Finish(dtype, 3, _same)
    kind = getattr(page.photometric, "name", photometric)
    codec = getattr(page.compression, "name", page.compression)
    raise SlideError(
        f"{name}: {samples} samples per pixel of photometric {kind} (compression {codec}) have no "
        "RGB values that a decoder can give; convert the file to RGB"
    )


def _same(pixels: NumpyArray) -> NumpyArray:
    return pixels


def _widened(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def _widen(dtype: np.dtype, bits: Any) -> Callable[[NumpyArray], NumpyArray]:
    """0…2^bits − 1 to 0…255, as Pillow does; 10 to 15 bits stay, as instruments give them."""
    if dtype.kind == "b":
        return lambda pixels: pixels.astype(np.uint8) * np.uint8(255)
    if dtype.kind != "u" or not isinstance(bits, int) or bits >= 8:
        return _same
    top = (1 << bits) - 1
    table = ((np.arange(1 << bits) * 255 + top // 2) // top).astype(np.uint8)
    return lambda pixels: table[pixels]


def _grey(dtype: np.dtype, samples: int, page: Any, inverted: bool) -> Finish:
    widen, kept = _widen(dtype, page.bitspersample), _widened(dtype)
    # Floats and signed integers have no white to subtract from; Pillow leaves them, too.
    top = (1 << max(page.bitspersample, 8)) - 1 if kept.kind == "u" and inverted else None

    def convert(pixels: NumpyArray) -> NumpyArray:
        pixels = widen(pixels)
        grey = pixels[..., :1]
        if top is not None:
            grey = kept.type(top) - grey
        alpha = (pixels[..., 1:2],) if samples == 2 else ()
        return np.concatenate((grey, grey, grey, *alpha), axis=-1)

    return Finish(kept, samples + 2, convert, grey=True)


def _palette(name: str, dtype: np.dtype, page: Any) -> Finish:
    table = np.asarray(page.colormap if page.colormap is not None else ())
    if table.ndim != 2 or table.shape[0] != 3 or dtype.kind not in "bu":
        raise SlideError(f"{name}: a palette image without a palette")
    # 16-bit entries, of which some writers fill only the low byte (libtiff's own test for it).
    colours = (table >> 8 if table.max(initial=0) > 255 else table).astype(np.uint8).T

    def convert(pixels: NumpyArray) -> NumpyArray:
        index = np.minimum(pixels[..., 0], len(colours) - 1)
        return colours[index.astype(np.intp)]

    return Finish(np.dtype(np.uint8), 3, convert)
