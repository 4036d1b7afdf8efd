"""The pipeline of "Image segmentation with Dask", with its imports changed.

    python docs/examples/segment_nuclei.py [PATTERN]

The post (Genevieve Buckley, Dask's blog, 2021) finds 271 nuclei in the first three images of
BBBC039 (https://bbbc.broadinstitute.org/BBBC039), and so does this. Where the post's two
listings differ, the one that runs is kept: `threshold_local` has no `blocksize`, and without a flat
structure `label` would join nuclei of neighbouring frames. The post's index leaves out the last
nucleus; this one doesn't. Without a pattern, frames are made up.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from gpuseg import ndfilters, ndmeasure, ndmorph
from gpuseg.imread import imread


def segment(pattern: str, frames: int = 3) -> dict[str, Any]:
    """Count, areas and mean intensities of the nuclei in the first frames."""
    images = imread(pattern)
    smoothed = ndfilters.gaussian_filter(images, sigma=[0, 1, 1])
    thresh = ndfilters.threshold_local(smoothed, images.chunksize)
    threshold_images = smoothed > thresh
    structuring_element = np.array(
        [
            [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
            [[0, 1, 0], [1, 1, 1], [0, 1, 0]],
            [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        ]
    )
    binary_images = ndmorph.binary_opening(threshold_images, structure=structuring_element)
    label_images, num_features = ndmeasure.label(binary_images[:frames], structuring_element)
    index = np.arange(num_features) + 1
    area = ndmeasure.area(images[:frames], label_images, index)
    mean_intensity = ndmeasure.mean(images[:frames], label_images, index)
    return {"number": len(index), "area": np.asarray(area), "mean": np.asarray(mean_intensity)}


def make_up(folder: Path, frames: int = 3) -> str:
    """Frames of bright discs on an uneven background; their pattern."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :160]
    for number in range(frames):
        frame = 200 + 80 * np.sin(y / 60 + x / 90 + number)
        for _ in range(12):
            top, left, radius = rng.integers(8, 112), rng.integers(8, 152), rng.integers(4, 9)
            frame[(y - top) ** 2 + (x - left) ** 2 < radius**2] += 400
        frame += rng.normal(0, 15, frame.shape)
        tifffile.imwrite(folder / f"frame_{number}.tif", frame.astype(np.uint16))
    return str(folder / "*.tif")


def main(pattern: str | None = None) -> dict[str, Any]:
    """Segment the images of a pattern, or made-up ones."""
    with tempfile.TemporaryDirectory() as folder:
        found = segment(pattern or make_up(Path(folder)))
    print("Number of nuclei:", found["number"])
    print(f"Median area: {np.median(found['area']):g} px")
    print(f"Median of the mean intensities: {np.median(found['mean']):.1f}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
