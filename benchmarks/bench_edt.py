"""Distances and grown labels beside SciPy and scikit-image, in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import segmentation as skimage_segmentation

from benchmarks._harness import Row, compare
from benchmarks._label_images import nuclei, space
from gpuseg.morphology import distance_transform_edt
from gpuseg.segmentation import expand_labels


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "3"))
    side, depth = (128, 16) if quick else (4096, 192)
    rng = np.random.default_rng(0)
    sparse = rng.random((side, side)) < 1 - 64 / side**2
    masks = {
        "nuclei": nuclei(side),
        "random 50 %": rng.random((side, side)) < 0.5,
        "64 seeds": sparse,
        "nuclei in space": space(depth),
    }
    rows = [
        compare(
            f"distance_transform_edt, {name}",
            {
                "gpuseg": lambda mask=mask: distance_transform_edt(mask),
                "SciPy": lambda mask=mask: ndimage.distance_transform_edt(mask),
            },
            size="×".join(map(str, mask.shape)),
            unit_count=mask.size,
            repeats=repeats,
            check=_equal,
        )
        for name, mask in masks.items()
    ]
    labels, _ = ndimage.label(masks["nuclei"])
    rows += [
        compare(
            f"expand_labels by {distance}",
            {
                "gpuseg": lambda far=distance: expand_labels(labels, far),
                "scikit-image": lambda far=distance: skimage_segmentation.expand_labels(
                    labels, far
                ),
            },
            size=f"{side}²",
            unit_count=labels.size,
            repeats=repeats,
            check=_grown_alike,
        )
        for distance in (5, 50)
    ]
    return rows


def _equal(answers: Mapping[str, Any]) -> None:
    np.testing.assert_array_equal(*answers.values())


def _grown_alike(answers: Mapping[str, Any]) -> None:
    """Over the same pixels; which of two labels takes one in the middle is a rule of its own."""
    ours, theirs = answers.values()
    np.testing.assert_array_equal(ours > 0, theirs > 0)
    assert (ours == theirs).mean() > 0.95
