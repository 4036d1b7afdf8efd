"""All metrics of two label images beside StarDist, Cellpose's formulas, scikit-image, scikit-learn.

StarDist and Cellpose solve an assignment of all objects to all: minutes and a dozen GB for 23,000
objects, so they are measured on fewer. Cellpose's module needs torch to be imported; where it is
not, its functions are loaded without the modules they don't use.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dask.array as da
import numpy as np
from scipy import sparse
from skimage import metrics as skimage_metrics

from benchmarks._harness import Row, compare
from benchmarks.bench_regionprops import discs
from gpuseg.compare import compare_labels, surface_distances


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    rows = [_all(256 if quick else 4096, 90 if quick else 23_000, repeats)]
    rows += _matching(128 if quick else 1024, 20 if quick else 1450, min(repeats, 3))
    rows.append(
        _streamed(
            512 if quick else 4096, 360 if quick else 65_536, 2 if quick else 4, min(repeats, 3)
        )
    )
    rows.append(_surfaces(128 if quick else 1024, 20 if quick else 1450, min(repeats, 3)))
    return rows


def images(side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Discs, and the same moved a little, some missing, some merged with their next."""
    true = discs(side, count)
    test = np.roll(true, (2, 3), (0, 1))
    names = np.arange(true.max() + 1, dtype=np.int32)
    names[10::10] = 0
    names[7::7] = names[np.minimum(np.arange(8, true.max() + 2, 7), true.max())]
    return true, names[test]


def _all(side: int, count: int, repeats: int) -> Row:
    true, test = images(side, count)

    def ours() -> dict[str, Any]:
        return compare_labels(true, test).to_dict()

    def scikit_image() -> dict[str, Any]:
        error, precision, recall = skimage_metrics.adapted_rand_error(true, test)
        split, merge = skimage_metrics.variation_of_information(true, test)
        return {
            "adapted_rand_error": error,
            "adapted_rand_precision": precision,
            "adapted_rand_recall": recall,
            "voi_split": split,
            "voi_merge": merge,
        }

    def scipy() -> dict[str, Any]:
        """Average precision alone, from a sparse matrix."""
        ones = np.ones(true.size, np.int64)
        table = sparse.coo_array((ones, (true.ravel(), test.ravel()))).tocsr()
        a, b = np.asarray(table.sum(axis=1)).ravel(), np.asarray(table.sum(axis=0)).ravel()
        pairs = table.tocoo()
        i, j = pairs.coords
        inside = (i > 0) & (j > 0)
        i, j, both = i[inside], j[inside], pairs.data[inside]
        iou = both / (a[i] + b[j] - both)
        n_true, n_test = np.count_nonzero(a[1:]), np.count_nonzero(b[1:])
        found = {}
        for threshold in (0.55, 0.75, 0.95):
            tp = np.count_nonzero(iou >= threshold)
            found[f"ap_{100 * threshold:g}"] = tp / (n_true + n_test - tp)
        return found

    contestants: dict[str, Callable[[], Any]] = {
        "gpuseg": ours,
        "scikit-image (adapted Rand, VOI)": scikit_image,
        "SciPy (AP alone)": scipy,
    }
    if importlib.util.find_spec("sklearn") is not None:
        from sklearn.metrics import adjusted_rand_score

        contestants["scikit-learn (adjusted Rand)"] = lambda: {
            "adjusted_rand": adjusted_rand_score(true.ravel(), test.ravel())
        }
    return compare(
        "compare_labels: all metrics",
        contestants,
        size=f"{side}², {count:,} objects",
        unit_count=side**2,
        repeats=repeats,
        check=_equal,
    )


def _equal(answers: Mapping[str, Mapping[str, float]]) -> None:
    ours, *others = answers.values()
    for other in others:
        for name, value in other.items():
            assert abs(ours[name] - value) < 1e-9, (name, ours[name], value)


def _matching(side: int, count: int, repeats: int) -> list[Row]:
    """Peers whose time and memory grow with the square of the objects, on few of them."""
    true, test = images(side, count)
    from skimage.segmentation import relabel_sequential

    # Cellpose counts objects by the largest label.
    true, test = (relabel_sequential(labels)[0] for labels in (true, test))
    thresholds = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    contestants: dict[str, Callable[[], Any]] = {
        "gpuseg": lambda: compare_labels(true, test).average_precision(thresholds)
    }
    if importlib.util.find_spec("stardist") is not None:
        from stardist.matching import matching

        contestants["StarDist"] = lambda: np.array(
            [scores.accuracy for scores in matching(true, test, thresholds)]
        )
    cellpose = _cellpose()
    if cellpose is not None:
        contestants["Cellpose"] = lambda: cellpose.average_precision(true, test, thresholds)[0]

    def check(answers: Mapping[str, Any]) -> None:
        for found in answers.values():
            # Cellpose returns float32.
            np.testing.assert_allclose(found, answers["gpuseg"], atol=1e-7)

    if len(contestants) < 2:
        return []
    size = f"{side}², {count:,} objects"
    return [compare("average precision", contestants, size=size, repeats=repeats, check=check)]


def _cellpose() -> Any:
    """Cellpose's `metrics` module, or None where it is not installed."""
    try:
        files = importlib.metadata.files("cellpose") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    path = next(file for file in files if str(file) == "cellpose/metrics.py").locate()
    names = ("cellpose", "cellpose.dynamics", "cellpose.utils")
    for name in names:
        sys.modules.setdefault(name, types.ModuleType(name))
    spec = importlib.util.spec_from_file_location("cellpose.metrics", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in names:
        sys.modules.pop(name)
    return module


def _streamed(side: int, count: int, grid: int, repeats: int) -> Row:
    """A large image that exists only chunk by chunk; all its objects have their own numbers."""
    true, test = images(side, count)
    inside = [(labels > 0).astype(np.int32) for labels in (true, test)]
    offsets = da.arange(grid * grid, chunks=1, dtype=np.int32).reshape(grid, grid)

    def whole(tile: np.ndarray, mask: np.ndarray) -> Any:
        def block(number: np.ndarray) -> np.ndarray:
            out = mask * np.int32(number[0, 0] * 2 * count)
            out += tile
            return out

        return offsets.map_blocks(block, chunks=((side,) * grid,) * 2, dtype=np.int32)

    images_ = [whole(*pair) for pair in zip((true, test), inside, strict=True)]

    def make_both() -> Any:
        return da.map_blocks(lambda a, b: a[:1, :1] + b[:1, :1], *images_, dtype=np.int32).compute()

    contestants = {
        "gpuseg": lambda: compare_labels(*images_).to_dict(),
        "making the images": make_both,
    }
    objects = int(np.unique(true).size - 1) * grid**2
    return compare(
        "compare_labels: all metrics, chunk by chunk",
        contestants,
        size=f"{grid * side}² in {grid**2} chunks, {objects:,} objects",
        unit_count=(grid * side) ** 2,
        repeats=repeats,
    )


def _surfaces(side: int, count: int, repeats: int) -> Row:
    """Hausdorff distances of all matches; scikit-image's, object by object in its box."""
    from scipy import ndimage
    from skimage.metrics import hausdorff_distance

    true, test = images(side, count)
    pairs = np.stack(compare_labels(true, test).matches()[:2], axis=-1)

    def scikit_image() -> np.ndarray:
        boxes, found = ndimage.find_objects(true), []
        for a, b in pairs:
            # Matches reach at most as far out of the box as the object is wide.
            box = tuple(slice(max(0, s.start - 40), s.stop + 40) for s in boxes[a - 1])
            masks = true[box] == a, test[box] == b
            edges = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
            found.append(hausdorff_distance(*edges))
        return np.array(found)

    def check(answers: Mapping[str, Any]) -> None:
        np.testing.assert_allclose(answers["gpuseg"], answers["scikit-image"], atol=1e-9)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compare(
            "surface_distances of matched objects",
            {
                "gpuseg": lambda: surface_distances(true, test).hausdorff,
                "scikit-image": scikit_image,
            },
            size=f"{side}², {len(pairs):,} matches",
            repeats=repeats,
            check=check,
        )
