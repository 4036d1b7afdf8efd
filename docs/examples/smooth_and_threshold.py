"""Load an image, smooth it, threshold it, label it: the first script of many talks.

    python docs/examples/smooth_and_threshold.py [PATTERN]

"Large Scale Analysis of Bioimages Using Python" shows it with mahotas, for one image:

    im = mh.imread('image_stretched.jpeg')
    sigma = 2.3
    imf = mh.gaussian_filter(im.mean(2), sigma)
    binary = (imf > imf.mean())
    labeled, _ = mh.label(binary)

Here are the same steps for one image in memory and for all images of a pattern at once; the
answers are the same. What the talk does with Jug, `compare_methods.py` does with `gpuseg run`.
Without a pattern, images are made up.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from gpuseg.io import imread
from gpuseg.measure import label
from gpuseg.ndfilters import gaussian_filter

SIGMA = 2.3


def label_one(im: Any) -> tuple[Any, int]:
    """Labels of one image (y, x, colour) and their number."""
    imf = gaussian_filter(im.mean(axis=2), SIGMA)
    binary = imf > imf.mean()
    return label(binary, connectivity=1)


def label_many(images: Any) -> tuple[Any, Any]:
    """Labels of images (image, y, x, colour), numbered through, and their number."""
    smooth = gaussian_filter(images.mean(axis=3), [0, SIGMA, SIGMA])
    binary = smooth > smooth.mean(axis=(1, 2), keepdims=True)
    return label(binary, connectivity=1, axes=(1, 2))


def make_up(folder: Path, images: int = 3) -> str:
    """Images of bright discs; their pattern."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :150]
    for number in range(images):
        image = np.full((128, 150, 3), 30.0)
        for top, left in zip(rng.integers(10, 118, 8), rng.integers(10, 140, 8), strict=True):
            image[(y - top) ** 2 + (x - left) ** 2 < 60] = 180
        pixels = (image + rng.normal(0, 10, image.shape)).clip(0, 255).astype(np.uint8)
        (folder / f"image_{number}.jpeg").write_bytes(simplejpeg.encode_jpeg(pixels))
    return str(folder / "*.jpeg")


def main(pattern: str | None = None) -> list[int]:
    """Count the objects in each image of a pattern, or of made-up ones."""
    with tempfile.TemporaryDirectory() as folder:
        images = imread(pattern or make_up(Path(folder)))
        labels, number = (each.compute() for each in label_many(images))
        one_by_one = [label_one(image.compute())[1] for image in images]
    counts = [len(np.unique(frame[frame > 0])) for frame in labels]
    print("Objects in each image:", *counts)
    assert counts == one_by_one
    assert sum(counts) == number
    return counts


if __name__ == "__main__":
    main(*sys.argv[1:2])
