"""Prepare photographs of blood smears for analysis: bulk read, grey, smooth, threshold, measure.

    python docs/examples/blood_smears.py [PATTERN]

The steps of "Cell Image Pre-Processing with Dask Image", lazily and over all images at once: one
array for all files, and nothing is read before the table is asked for. Cells are darker than what
is around them. Without a pattern, photographs are made up.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from gpuseg.color import rgb2gray
from gpuseg.filters import gaussian, threshold_local
from gpuseg.io import imread
from gpuseg.measure import label, regionprops_table

SURROUNDINGS = 151
OFFSET = 0.02


def prepare(pattern: Any) -> dict[str, Any]:
    """Cells of all images: which image each is in, and its area in pixels."""
    photographs = imread(pattern)  # (image, y, x, colour)
    grey = rgb2gray(photographs)  # a third of the numbers
    smooth = gaussian(grey, sigma=(0, 1, 1))  # each image for itself
    threshold = threshold_local(smooth, (1, SURROUNDINGS, SURROUNDINGS), offset=OFFSET)
    cells, _ = label(smooth < threshold, connectivity=1, axes=(1, 2))
    table = regionprops_table(cells, properties=("label", "area", "bbox"))
    return {"image": table["bbox-0"], "area": table["area"].astype(int)}


def make_up(folder: Path, images: int = 4) -> str:
    """Photographs of dark discs on a light, uneven background; their pattern."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:192, :256]
    for number in range(images):
        shade = 215 + 15 * np.sin(y / 80 + x / 70 + number)
        photograph = np.stack([shade, shade - 10, shade - 5], axis=-1)
        for _ in range(5 + number):
            top, left, radius = rng.integers(0, 192), rng.integers(0, 256), rng.integers(8, 16)
            photograph[(y - top) ** 2 + (x - left) ** 2 < radius**2] -= [20, 90, 40]
        pixels = (photograph + rng.normal(0, 4, photograph.shape)).clip(0, 255).astype(np.uint8)
        (folder / f"smear_{number}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    return str(folder / "*.jpg")


def main(pattern: str | None = None) -> dict[str, Any]:
    """Prepare the images of a pattern, or made-up ones."""
    with tempfile.TemporaryDirectory() as folder:
        table = prepare(pattern or make_up(Path(folder)))
    for image, objects in enumerate(np.bincount(table["image"])):
        areas = table["area"][table["image"] == image]
        print(f"image {image}: {objects} objects, {areas.sum()} px, the largest {areas.max()} px")
    return table


if __name__ == "__main__":
    main(*sys.argv[1:2])
