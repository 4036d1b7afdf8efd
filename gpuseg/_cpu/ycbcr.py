"""YCbCr to RGB with libjpeg's integers, for JPEG 2000 tiles that hold YCbCr without saying so."""

from __future__ import annotations

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg.typing import NumpyArray


@jit
def _convert(pixels: NumpyArray, out: NumpyArray) -> None:
    # 1.402, 1.772, 0.71414 and 0.34414 in 16 fractional bits, rounded as libjpeg rounds them.
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            luma = np.int32(pixels[row, column, 0])
            blue = np.int32(pixels[row, column, 1]) - 128
            red = np.int32(pixels[row, column, 2]) - 128
            r = luma + ((91881 * red + 32768) >> 16)
            g = luma + ((-22554 * blue - 46802 * red + 32768) >> 16)
            b = luma + ((116130 * blue + 32768) >> 16)
            out[row, column, 0] = min(max(r, 0), 255)
            out[row, column, 1] = min(max(g, 0), 255)
            out[row, column, 2] = min(max(b, 0), 255)


def to_rgb(pixels: NumpyArray) -> NumpyArray:
    """RGB of uint8 YCbCr pixels (height, width, 3), as libjpeg and OpenSlide compute it.

    Examples
    --------
    >>> import numpy as np
    >>> to_rgb(np.array([[[76, 85, 255], [150, 44, 21], [255, 128, 128]]], np.uint8)).tolist()
    [[[254, 0, 0], [0, 255, 1], [255, 255, 255]]]
    """
    out = np.empty_like(pixels)
    _convert(pixels, out)
    return out
