"""Region tables: cost against the number of objects, scikit-image, SciPy and dask-image."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
from scipy import ndimage

from benchmarks._harness import Row, compare
from gpuseg import ndmeasure
from gpuseg.measure import label, regionprops_table

PROPERTIES = ("label", "area", "intensity_mean", "centroid")


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    side = 256 if quick else 2048
    counts = (4, 50) if quick else (100, 1000, 10_000, 100_000)
    rows = [_table(side, count, repeats) for count in counts]
    rows.append(_everything(side, counts[1], repeats))
    if importlib.util.find_spec("dask_image") is not None:
        rows.append(_chunked(side, counts[0] if quick else 1000, 1 if quick else 2))
    rows.append(_labelled(512 if quick else 16384, 1 if quick else 2))
    return rows


def discs(side: int, count: int) -> np.ndarray:
    """About `count` discs on a grid, numbered in raster order."""
    grid = int(np.ceil(np.sqrt(count)))
    cell = side // grid
    y, x = np.mgrid[:cell, :cell] - (cell - 1) / 2
    disc = y**2 + x**2 < (0.45 * cell) ** 2
    numbers = np.arange(1, grid**2 + 1, dtype=np.int32).reshape(grid, grid)
    labels = np.zeros((side, side), np.int32)
    labels[: grid * cell, : grid * cell] = np.kron(numbers, disc)
    return labels


def _image(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)


def _close(answers: Mapping[str, Any]) -> None:
    ours, *others = answers.values()
    for other in others:
        for name, column in other.items():
            np.testing.assert_allclose(ours[name], column, rtol=1e-9, err_msg=name)


def _table(side: int, count: int, repeats: int) -> Row:
    from skimage.measure import regionprops_table as skimage_table

    labels, image = discs(side, count), _image(side)

    def scipy() -> dict[str, np.ndarray]:
        ids = np.unique(labels)[1:]
        ones = np.ones(labels.shape, np.uint8)
        centre = np.array(ndimage.center_of_mass(ones, labels, ids))
        return {
            "label": ids,
            "area": ndimage.sum_labels(ones, labels, ids),
            "intensity_mean": ndimage.mean(image, labels, ids),
            "centroid-0": centre[:, 0],
            "centroid-1": centre[:, 1],
        }

    contestants = {
        "gpuseg": lambda: regionprops_table(labels, image, properties=PROPERTIES),
        "scikit-image": lambda: skimage_table(labels, image, properties=PROPERTIES),
        "SciPy": scipy,
    }
    return compare(
        "regionprops_table: area, mean, centroid",
        contestants,
        size=f"{side}², {count} labels",
        unit_count=labels.size,
        repeats=repeats,
        check=_close,
        goal=None if side < 2048 else 30,
    )


def _everything(side: int, count: int, repeats: int) -> Row:
    """All that scikit-image has and ours has too."""
    from skimage.measure import regionprops_table as skimage_table

    labels, image = discs(side, count), _image(side)
    names = [
        *PROPERTIES, "bbox", "axis_major_length", "axis_minor_length", "eccentricity", "extent",
        "perimeter", "perimeter_crofton", "euler_number", "intensity_std", "intensity_min",
        "intensity_max", "centroid_weighted",
    ]  # fmt: skip
    return compare(
        "regionprops_table: 16 properties",
        {
            "gpuseg": lambda: regionprops_table(labels, image, properties=names),
            "scikit-image": lambda: skimage_table(labels, image, properties=names),
        },
        size=f"{side}², {count} labels",
        unit_count=labels.size,
        repeats=repeats,
        check=_close,
    )


def _chunked(side: int, count: int, repeats: int) -> Row:
    """dask-image makes tasks for every label and chunk."""
    from dask_image import ndmeasure as theirs

    labels = da.from_array(discs(side, count), chunks=side // 2)
    image = da.from_array(_image(side), chunks=side // 2)
    index = np.arange(1, int(labels.max()) + 1)
    return compare(
        "ndmeasure.area of chunks",
        {
            "gpuseg": lambda: ndmeasure.area(image, labels, index).compute(),
            "dask-image": lambda: theirs.area(image, labels, index).compute(),
        },
        size=f"{side}², 4 chunks, {count} labels",
        unit_count=side**2,
        repeats=repeats,
        check=lambda answers: np.testing.assert_array_equal(*answers.values()),
        goal=None if side < 2048 else 1000,
    )


def _labelled(side: int, repeats: int) -> Row:
    """Label a mask and measure all its objects, in memory."""
    noise = np.random.default_rng(1).random((side // 8, side // 8)).astype(np.float32)
    mask = np.kron(noise < 0.2, np.ones((8, 8), bool))
    image = _image(side)
    names = ("area", "intensity_sum", "centroid", "bbox", "intensity_min", "intensity_max")

    def ours() -> dict[str, np.ndarray]:
        return regionprops_table(label(mask, connectivity=1)[0], image, properties=names)

    def scipy() -> dict[str, np.ndarray]:
        labels, number = ndimage.label(mask)
        ids = np.arange(1, number + 1)
        centre = np.array(ndimage.center_of_mass(mask, labels, ids))
        boxes = ndimage.find_objects(labels)
        low, high, _, _ = ndimage.extrema(image, labels, ids)
        return {
            "area": ndimage.sum_labels(mask, labels, ids),
            "intensity_sum": ndimage.sum_labels(image, labels, ids),
            "centroid-0": centre[:, 0],
            "centroid-1": centre[:, 1],
            "bbox-0": np.array([box[0].start for box in boxes]),
            "bbox-3": np.array([box[1].stop for box in boxes]),
            "intensity_min": low,
            "intensity_max": high,
        }

    return compare(
        "label + table of 6 properties",
        {"gpuseg": ours, "SciPy": scipy},
        size=f"{side}²",
        unit_count=side**2,
        repeats=repeats,
        check=_close,
        goal=None if side < 16384 else 50,
    )
