"""Filters, thresholds, morphology and stains beside SciPy and scikit-image, in memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import color as skimage_color
from skimage import filters as skimage_filters
from skimage import morphology as skimage_morphology

from benchmarks._harness import Row, compare
from gpuseg import color, filters, morphology

Call = Callable[[], Any]


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    frame, plane = ((52, 70), (64, 64)) if quick else ((520, 696), (2048, 2048))
    rows = []
    for shape, pairs in ((frame, _of_frame(frame)), (plane, _of_plane(plane))):
        for name, (mine, peer) in pairs.items():
            rows.append(
                compare(
                    name,
                    {"gpuseg": mine, "scikit-image": peer},
                    size="x".join(map(str, shape)),
                    unit_count=int(np.prod(shape)),
                    repeats=repeats,
                    check=_equal,
                )
            )
    return rows


def _equal(answers: Mapping[str, Any]) -> None:
    np.testing.assert_allclose(*answers.values(), rtol=1e-9, atol=1e-9)


def _of_frame(shape: tuple[int, int]) -> dict[str, tuple[Call, Call]]:
    image = np.random.default_rng(0).random(shape)
    pairs: dict[str, tuple[Call, Call]] = {}
    for sigma in (1, 5, 20):
        options = {"sigma": sigma, "mode": "reflect"}
        pairs[f"gaussian, sigma {sigma}"] = (
            partial(filters.gaussian, image, **options),
            partial(skimage_filters.gaussian, image, **options),
        )
    for method, size in (("mean", 11), ("mean", 101)):
        pairs[f"threshold_local, {method} of {size}"] = (
            partial(filters.threshold_local, image, size, method),
            partial(skimage_filters.threshold_local, image, size, method),
        )
    return pairs


def _of_plane(shape: tuple[int, int]) -> dict[str, tuple[Call, Call]]:
    generator = np.random.default_rng(0)
    grey = ndimage.gaussian_filter(generator.integers(0, 60_000, shape), 3).astype(np.uint16)
    rgb = generator.integers(0, 256, (*shape, 3)).astype(np.uint8)
    mask = grey > np.median(grey)
    disk = skimage_morphology.disk(10)
    pairs: dict[str, tuple[Call, Call]] = {
        "gaussian, sigma 1": (
            partial(filters.gaussian, grey, preserve_range=True),
            partial(skimage_filters.gaussian, grey, preserve_range=True),
        ),
        "median of 3x3, uint16": (
            partial(filters.median, grey),
            partial(skimage_filters.median, grey),
        ),
        "threshold_otsu of uint16": (
            partial(filters.threshold_otsu, grey),
            partial(skimage_filters.threshold_otsu, grey),
        ),
        "rgb2hed": (partial(color.rgb2hed, rgb), partial(skimage_color.rgb2hed, rgb)),
        "white_tophat with a disk of radius 10": (
            partial(morphology.white_tophat, grey, disk),
            partial(skimage_morphology.white_tophat, grey, disk),
        ),
    }
    for name, footprint in (("cross", None), ("disk of radius 10", disk)):
        pairs[f"binary_opening with a {name}"] = (
            partial(morphology.binary_opening, mask, footprint),
            partial(_opening, mask, footprint),
        )
    return pairs


def _opening(mask: np.ndarray, footprint: np.ndarray | None) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return skimage_morphology.binary_opening(mask, footprint)
