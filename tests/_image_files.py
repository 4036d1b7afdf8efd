"""Images written as files, for tests that read many."""

from __future__ import annotations

import imagecodecs
import numpy as np
import simplejpeg
import tifffile
from _slides import smooth_image


def write(path, image):
    """File of the kind that its suffix names."""
    encode = {
        ".png": imagecodecs.png_encode,
        ".jp2": lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0),
        ".jpg": lambda pixels: simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[..., None]),
            colorspace="RGB" if pixels.ndim == 3 else "GRAY",
        ),
    }.get(path.suffix)
    if encode is None:
        tifffile.imwrite(path, image)
    else:
        path.write_bytes(encode(image))
    return path


def grey(seed, height=40, width=52, dtype=np.uint8):
    return smooth_image(height, width, 1, dtype, seed)[..., 0]


def fill(folder, images, suffix=".tif"):
    """Write images `t0`, `t1`, … of a kind into a folder, and return it."""
    for number, image in enumerate(images):
        write(folder / f"t{number}{suffix}", image)
    return folder
