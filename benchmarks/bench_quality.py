"""How well the recipes find objects that people drew, beside the recipes of blog posts and slides.

The rows hold scores, not seconds: F1 over the objects of all images at an intersection over union
of 0.5, its mean from 0.5 to 0.95, and errors of counts. A ratio above 1 is a better score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from benchmarks import _gold
from benchmarks._harness import Row, row
from gpuseg import compare, filters, measure, recipes

_VOXEL = np.array([5.0, 2.0, 2.0])


def run(quick: bool) -> list[Row]:
    rows = _scores("made ellipses", list(_gold.made()))
    folder = _gold.data()
    if quick or folder is None:
        return rows
    for name, read in (
        ("BBBC039", _gold.bbbc039),
        ("DSB 2018, fluorescence", _gold.dsb2018),
        ("StarDist's sample", _gold.stardist),
    ):
        rows += _scores(name, read(folder))
    rows.append(_blood(list(_gold.blood_smears(folder))))
    rows.append(_cells(*_gold.cells(folder)))
    return rows


def dask_blog(image: np.ndarray) -> np.ndarray:
    """The recipe of "Image segmentation with Dask": a local threshold as wide as the image."""
    smooth = filters.gaussian(image.astype(np.float64), 1, preserve_range=True)
    window = tuple(side // 2 * 2 + 1 for side in image.shape)
    mask = ndimage.binary_opening(smooth > filters.threshold_local(smooth, window))
    return measure.label(mask, connectivity=1)[0]


def otsu(image: np.ndarray) -> np.ndarray:
    """What tutorials do: smooth, Otsu, connected components."""
    smooth = filters.gaussian(image.astype(np.float64), 1, preserve_range=True)
    return measure.label(smooth > filters.threshold_otsu(smooth), connectivity=1)[0]


def _scores(name: str, cases: Iterable[_gold.Case]) -> list[Row]:
    contestants: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "gpuseg": recipes.load("nuclei").segment,
        "Dask blog": dask_blog,
        "Otsu": otsu,
    }
    found: dict[str, list[Any]] = {who: [] for who in contestants}
    count = 0
    for image, gold in cases:
        count += 1
        for who, segment in contestants.items():
            found[who].append(compare.compare_labels(gold, segment(image)))
    size = f"{count} images, {sum(each.n_true for each in found['gpuseg'])} objects"
    pooled = {who: compare.pool(each) for who, each in found.items()}
    at_half = {who: each.matching(0.5).f1 for who, each in pooled.items()}
    mean = {
        who: float(np.mean([each.matching(t).f1 for t in compare.THRESHOLDS]))
        for who, each in pooled.items()
    }
    errors = {
        who: float(np.mean([abs(each.n_test - each.n_true) for each in of]))
        for who, of in found.items()
    }
    goal = 0.93 if name == "BBBC039" else None
    return [
        _row(f"{name}: F1 at IoU 0.5", at_half, size, "F1", goal),
        _row(f"{name}: mean F1 at IoU 0.5 to 0.95", mean, size, "F1"),
        row(
            f"{name}: error of an image's count",
            errors,
            size=size,
            repeats=1,
            measured_in="objects",
        ),
    ]


def _blood(images: list[tuple[np.ndarray, int]]) -> Row:
    recipe = recipes.load("blood_smear")
    grey = [image[..., :3] @ np.array([0.2125, 0.7154, 0.0721]) for image, _ in images]
    counts = [count for _, count in images]
    found = {
        "gpuseg": [int(recipe.segment(image).max()) for image, _ in images],
        "Dask blog": [int(dask_blog(-each).max()) for each in grey],
    }
    errors = {who: float(np.abs(np.subtract(each, counts)).mean()) for who, each in found.items()}
    size = f"{len(images)} images, {sum(counts)} cells"
    return row(
        "blood smears: error of an image's count", errors, size=size, repeats=1,
        measured_in="objects",
    )  # fmt: skip


def _cells(volume: np.ndarray, gold: np.ndarray) -> Row:
    """Centres within 10 µm, in the box of the cells that people marked: they marked no others."""
    recipe = recipes.load("cells_3d")
    ours = recipe.segment(volume, spacing=_VOXEL.tolist())
    bright = ndimage.gaussian_filter(volume.astype(np.float32), 1)
    plain = measure.label(bright > filters.threshold_otsu(bright))[0]
    scores = {}
    for who, labels in {"gpuseg": ours, "Otsu": plain}.items():
        table = measure.regionprops_table(labels, properties=("centroid", "area"))
        centres = np.stack([table[f"centroid-{axis}"] for axis in range(3)], 1)[table["area"] >= 5]
        scores[who] = _matched(centres, gold)
    return _row("cellfinder's crop: F1 of centres within 10 µm", scores, f"{len(gold)} cells", "F1")


def _matched(found: np.ndarray, gold: np.ndarray) -> float:
    inside = ((found >= gold.min(axis=0) - 1) & (found <= gold.max(axis=0) + 1)).all(axis=1)
    found = found[inside]
    distance = cdist(found * _VOXEL, gold * _VOXEL)
    pairs = linear_sum_assignment(np.where(distance > 10, 1e6, distance))
    matched = int((distance[pairs] <= 10).sum())
    return 2 * matched / (len(found) + len(gold))


def _row(
    name: str, scores: dict[str, float], size: str, unit: str, goal: float | None = None
) -> Row:
    return row(name, scores, size=size, repeats=1, measured_in=unit, goal=goal, more_is_better=True)
