"""Tools on label images beside scikit-image and SciPy, in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import morphology as skimage_morphology
from skimage import segmentation as skimage_segmentation
from skimage import util as skimage_util

from benchmarks._harness import Row, compare
from benchmarks.bench_regionprops import discs
from gpuseg import morphology, segmentation


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    side, count = (128, 20) if quick else (4096, 20_000)
    labels = discs(side, count)
    labels[::3, ::5] = 0
    mask = labels > 0
    keys, values = np.arange(1, count + 1), np.random.default_rng(0).random(count)
    ours, theirs = segmentation, skimage_segmentation
    pairs: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        (
            "remove_small_objects",
            lambda: morphology.remove_small_objects(mask, max_size=300),
            lambda: skimage_morphology.remove_small_objects(mask, max_size=300),
        ),
        (
            "fill_holes",
            lambda: morphology.fill_holes(mask),
            lambda: ndimage.binary_fill_holes(mask),
        ),
        ("clear_border", lambda: ours.clear_border(labels), lambda: theirs.clear_border(labels)),
        (
            "relabel_sequential",
            lambda: ours.relabel_sequential(labels)[0],
            lambda: theirs.relabel_sequential(labels)[0],
        ),
        (
            "expand_labels by 5",
            lambda: ours.expand_labels(labels, 5) > 0,
            lambda: theirs.expand_labels(labels, 5) > 0,
        ),
        (
            "find_boundaries",
            lambda: ours.find_boundaries(labels),
            lambda: theirs.find_boundaries(labels),
        ),
        (
            "map_array",
            lambda: ours.map_array(labels, keys, values),
            lambda: skimage_util.map_array(labels, keys, values),
        ),
    ]
    return [
        compare(
            name,
            {"gpuseg": mine, "SciPy" if name == "fill_holes" else "scikit-image": peer},
            size=f"{side}², {count} labels",
            unit_count=labels.size,
            repeats=repeats,
            check=_equal,
        )
        for name, mine, peer in pairs
    ]


def _equal(answers: Mapping[str, Any]) -> None:
    np.testing.assert_array_equal(*answers.values())
