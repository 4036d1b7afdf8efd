"""h-maxima against scikit-image's reconstruction, and chunks against one array."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import dask
import dask.array as da
import numpy as np
from scipy import ndimage
from skimage.morphology import h_maxima as reconstructed

from benchmarks._harness import Row, compare
from benchmarks._label_images import PLANES
from gpuseg._backend import threads
from gpuseg.morphology import h_maxima


def run(quick: bool) -> list[Row]:
    side = 128 if quick else 4096
    distance = ndimage.distance_transform_edt(PLANES["nuclei"](side))
    images = {
        "smoothed distances of nuclei": (ndimage.gaussian_filter(distance, 1.5), 0.5),
        "noise": (np.random.default_rng(0).random((side, side)), 0.3),
    }
    return [_row(name, image, h, 1 if quick else 3) for name, (image, h) in images.items()]


def _row(name: str, image: np.ndarray, h: float, repeats: int) -> Row:
    array = da.from_array(image, chunks=len(image) // 4)

    def chunks() -> np.ndarray:
        with dask.config.set(scheduler="threads", num_workers=threads()):
            return h_maxima(array, h).compute()

    def check(answers: Mapping[str, np.ndarray]) -> None:
        for other in answers.values():
            np.testing.assert_array_equal(answers["gpuseg"], other)

    return compare(
        f"h_maxima of {name}",
        {
            "gpuseg": partial(h_maxima, image, h),
            "gpuseg, 16 chunks": chunks,
            "scikit-image": partial(reconstructed, image, h),
        },
        size=f"{len(image)}²",
        unit_count=image.size,
        repeats=repeats,
        check=check,
    )
