"""Watershed, peaks and touching nuclei beside scikit-image, in memory and in chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import dask.array as da
import numpy as np
from scipy import ndimage
from skimage import feature as skimage_feature
from skimage import filters as skimage_filters
from skimage import segmentation as skimage_segmentation

from benchmarks._harness import Row, compare
from benchmarks._label_images import nuclei
from gpuseg import feature, segmentation

Case = tuple[np.ndarray, np.ndarray, np.ndarray | None]

# scikit-image's answer is its own in ties; this share of pixels is equal at least.
_EQUAL = 0.97


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "3"))
    side = 96 if quick else 4096
    cases = {
        "nuclei, distances": _nuclei(side),
        "gradient of nuclei": _gradient(side),
        "smooth noise, uint8": _smooth(side),
    }
    rows = [
        _flood(name, *case, connectivity, repeats)
        for name, case in cases.items()
        for connectivity in (1, 2)
    ]
    rows.append(_flood("white noise", *_white(side), 1, repeats, equal=0.9))
    for name, case in _space(24 if quick else 160).items():
        rows += [
            _flood(name, *case, connectivity, repeats, equal=0.9) for connectivity in (1, 2, 3)
        ]
    rows.append(_chunks(*_nuclei(side), repeats))
    rows.append(_peaks(side, repeats))
    rows.append(_peaks_of_labels(96 if quick else 2048, repeats))
    rows.append(_split(96 if quick else 2048, repeats))
    return rows


@cache
def _mask(side: int) -> np.ndarray:
    return nuclei(side)


@cache
def _nuclei(side: int) -> Case:
    mask = _mask(side)
    distance = ndimage.distance_transform_edt(mask)
    return -distance, _points(distance, 5) * mask, mask


@cache
def _gradient(side: int) -> Case:
    """Nuclei and points between them as markers."""
    mask = _mask(side)
    noise = np.random.default_rng(0).standard_normal(mask.shape, np.float32)
    image = ndimage.gaussian_filter(100 * mask + 3 * noise, 1)
    markers = _nuclei(side)[1].copy()
    far = ndimage.distance_transform_edt(~mask) > 4
    markers[far & (np.indices(mask.shape).sum(0) % 101 == 0)] = markers.max() + 1
    return ndimage.gaussian_gradient_magnitude(image, 1), markers, None


@cache
def _smooth(side: int) -> Case:
    image = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((side, side)), 4)
    low, high = image.min(), image.max()
    return ((image - low) / (high - low) * 255).astype(np.uint8), _points(-image, 8), None


def _white(side: int) -> Case:
    image = np.random.default_rng(1).random((side, side), np.float32)
    return image, _smooth(side)[1], None


def _space(side: int) -> dict[str, Case]:
    """Touching blobs, and an image whose every pixel is next to other basins."""
    noise = np.random.default_rng(0).standard_normal((side,) * 3, np.float32)
    smooth = ndimage.gaussian_filter(noise, 3)
    mask = smooth > 0
    distance = ndimage.distance_transform_edt(mask)
    peaks = _points(ndimage.gaussian_filter(distance, 1), 4) * mask
    edges = ndimage.gaussian_gradient_magnitude(100 * mask.astype(np.float32) + 3 * noise, 1)
    return {
        "blobs in space, distances": (-distance, peaks, mask),
        "gradient of blobs in space": (edges, _points(-smooth, 5), None),
    }


def _points(image: np.ndarray, distance: int) -> np.ndarray:
    peaks = feature.peak_local_max(image, distance)
    markers = np.zeros(image.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return markers


def _flood(
    name: str,
    image: np.ndarray,
    markers: np.ndarray,
    mask: np.ndarray | None,
    connectivity: int,
    repeats: int,
    equal: float = _EQUAL,
) -> Row:
    options = {"mask": mask, "connectivity": connectivity}
    near = np.abs(np.indices((3,) * image.ndim) - 1).sum(axis=0)

    def check(answers: Mapping[str, Any]) -> None:
        ours, theirs = answers.values()
        inside = slice(None) if mask is None else mask
        share = (ours == theirs)[inside].mean()
        if share < equal:
            raise AssertionError(f"{name}: only {share:.4f} of the pixels are scikit-image's")

    return compare(
        f"watershed: {name}, {np.count_nonzero(near <= connectivity) - 1} neighbours",
        {
            "gpuseg": lambda: segmentation.watershed(image, markers, **options),
            "scikit-image": lambda: skimage_segmentation.watershed(image, markers, **options),
        },
        size=f"{image.shape[0]}{' ²³'[image.ndim - 1]}, {markers.max()} markers",
        unit_count=image.size,
        repeats=repeats,
        check=check,
        goal=1.5,
    )


def _chunks(image: np.ndarray, markers: np.ndarray, mask: np.ndarray | None, repeats: int) -> Row:
    side = max(8, image.shape[0] // 4)
    arrays = [da.from_array(array, chunks=side) for array in (image, markers, mask)]
    contestants: dict[str, Callable[[], Any]] = {
        "gpuseg, 16 chunks": lambda: segmentation.watershed(*arrays[:2], mask=arrays[2]).compute(),
        "gpuseg": lambda: segmentation.watershed(image, markers, mask=mask),
        "scikit-image": lambda: skimage_segmentation.watershed(image, markers, mask=mask),
    }

    def check(answers: Mapping[str, Any]) -> None:
        np.testing.assert_array_equal(answers["gpuseg, 16 chunks"], answers["gpuseg"])

    return compare(
        "watershed in chunks: nuclei, distances",
        contestants,
        size=f"{image.shape[0]}²",
        unit_count=image.size,
        repeats=repeats,
        check=check,
    )


def _peaks(side: int, repeats: int) -> Row:
    distance = -_nuclei(side)[0]
    return compare(
        "peak_local_max, 5 pixels apart",
        {
            "gpuseg": lambda: feature.peak_local_max(distance, 5),
            "scikit-image": lambda: skimage_feature.peak_local_max(distance, 5),
        },
        size=f"{side}²",
        unit_count=distance.size,
        repeats=repeats,
        check=lambda answers: np.testing.assert_array_equal(*answers.values()),
    )


def _peaks_of_labels(side: int, repeats: int) -> Row:
    distance = -_nuclei(side)[0]
    labels, count = ndimage.label(_mask(side))
    options = {"min_distance": 5, "labels": labels}
    return compare(
        "peak_local_max of labels",
        {
            "gpuseg": lambda: feature.peak_local_max(distance, **options),
            "scikit-image": lambda: skimage_feature.peak_local_max(distance, **options),
        },
        size=f"{side}², {count} labels",
        unit_count=distance.size,
        repeats=repeats,
        check=lambda answers: np.testing.assert_array_equal(*answers.values()),
    )


def _split(side: int, repeats: int) -> Row:
    """The same steps by hand; peaks of each part for itself, as labels ask for it."""
    mask = _mask(side)

    def by_hand() -> np.ndarray:
        distance = skimage_filters.gaussian(ndimage.distance_transform_edt(mask), 1)
        parts, _ = ndimage.label(mask)
        peaks = skimage_feature.peak_local_max(
            distance, min_distance=5, labels=parts, exclude_border=False
        )
        markers = np.zeros(mask.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return skimage_segmentation.watershed(-distance, markers, mask=mask)

    def check(answers: Mapping[str, Any]) -> None:
        ours, theirs = (answer.max() for answer in answers.values())
        if abs(int(ours) - int(theirs)) > 0.01 * theirs + 1:
            raise AssertionError(f"{ours} objects, by hand {theirs}")

    return compare(
        "split_touching",
        {
            "gpuseg": lambda: segmentation.split_touching(mask),
            "SciPy and scikit-image": by_hand,
        },
        size=f"{side}²",
        unit_count=mask.size,
        repeats=repeats,
        check=check,
    )
