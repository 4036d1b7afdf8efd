"""Touching objects are parted the same way for every chunking, and none is lost."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import skimage
from scipy import ndimage

from conftest import to_numpy
from gpuseg.segmentation import split_touching


def discs(centres, radius, shape):
    at = np.indices(shape)
    mask = np.zeros(shape, bool)
    for centre in centres:
        apart = [x - c for x, c in zip(at, centre, strict=True)]
        mask |= np.sqrt(sum(x * x for x in apart)) <= radius
    return mask


def crowd(seed=0, side=110, count=30):
    """Discs of radius 7 whose centres are 11 or more apart, so that many touch."""
    rng, centres = np.random.default_rng(seed), []
    while len(centres) < count:
        one = rng.integers(7, side - 7, 2)
        if all(np.hypot(*(one - other)) >= 11.5 for other in centres):
            centres.append(one)
    return centres, discs(centres, 7, (side, side))


def test_each_disc_is_one_object():
    centres, mask = crowd()
    labels = split_touching(mask, min_distance=5)
    assert labels.dtype == np.int32
    assert ndimage.label(mask)[1] < len(centres) - 5
    assert labels.max() == len(centres)
    assert len({int(labels[tuple(centre)]) for centre in centres}) == len(centres)
    np.testing.assert_array_equal(labels > 0, mask)


def test_balls():
    centres = [(8, 8, 8), (8, 8, 19), (8, 20, 13)]
    mask = discs(centres, 6.5, (17, 28, 28))
    labels = split_touching(mask, min_distance=4)
    assert [int(labels[centre]) for centre in centres] == [1, 2, 3]


def test_as_scikit_image_by_hand():
    """Peaks of each part, and the watershed from them."""
    _, mask = crowd(1)
    distance = skimage.filters.gaussian(ndimage.distance_transform_edt(mask), 1, mode="nearest")
    peaks = skimage.feature.peak_local_max(
        distance, min_distance=5, labels=ndimage.label(mask)[0], exclude_border=False
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = 1
    markers[markers > 0] = np.arange(1, len(peaks) + 1)
    expected = skimage.segmentation.watershed(-distance, markers, mask=mask)
    labels = split_touching(mask)
    assert labels.max() == len(peaks)
    assert (labels == expected)[mask].mean() > 0.98


MASKS = {
    "crowd": crowd(2, 60, 8)[1],
    "bars": np.arange(40) % 9 < np.ones((30, 1)) * 5,
    "noise": np.random.default_rng(0).random((40, 41)) < 0.6,
    "all": np.ones((20, 30), bool),
    "none": np.zeros((20, 30), bool),
    "volume": discs([(6, 8, 8), (6, 8, 17)], 6, (12, 16, 25)),
    "one pixel": np.ones((1, 1), bool),
    "line": np.arange(50) % 17 < 12,
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("sigma", [0, 1.0])
def test_nothing_is_lost_and_parts_stay_apart(name, sigma):
    mask = MASKS[name]
    labels = split_touching(mask, min_distance=3, sigma=sigma)
    np.testing.assert_array_equal(labels > 0, mask)
    parts, _ = ndimage.label(mask)
    pairs = np.unique(np.stack([labels[mask], parts[mask]]), axis=1)
    assert np.unique(pairs[0]).size == pairs.shape[1]
    assert set(np.unique(labels)) - {0} == set(range(1, labels.max() + 1))


@pytest.mark.parametrize("name", MASKS)
def test_chunks(name, container):
    mask = MASKS[name]
    expected = split_touching(mask, min_distance=4)
    found = split_touching(container(mask), min_distance=4)
    np.testing.assert_array_equal(to_numpy(found), expected)


@pytest.mark.parametrize("chunks", [16, (7, 60), ((30, 1, 29), (25, 35))], ids=str)
def test_any_chunks(chunks):
    mask = MASKS["crowd"]
    array = da.from_array(mask, chunks=chunks)
    labels = split_touching(array, connectivity=2)
    assert labels.chunks == array.chunks
    np.testing.assert_array_equal(labels.compute(), split_touching(mask, connectivity=2))


BAD = [
    ((np.zeros((3, 3)),), {}, TypeError, "got float64"),
    ((np.zeros((2, 2, 2, 2), bool),), {}, ValueError, r"got shape \(2, 2, 2, 2\)"),
    ((np.zeros((3, 3), bool),), {"min_distance": 0}, ValueError, "got 0"),
    ((np.zeros((3, 3), bool),), {"sigma": -1}, ValueError, "got -1"),
    ((np.zeros((3, 3), bool),), {"connectivity": 3}, ValueError, "got 3"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_what_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        split_touching(*arguments, **options)


@pytest.mark.parametrize("shape", [(40,), (30, 50), (12, 14, 16)])
@pytest.mark.parametrize("sigma", [0, 1.5])
def test_a_mask_without_background_is_one_object(shape, sigma, container):
    mask = np.ones(shape, bool)
    found = to_numpy(split_touching(container(mask, len(shape)), min_distance=3, sigma=sigma))
    np.testing.assert_array_equal(found, mask)


def test_farther_than_the_mask():
    mask = np.ones((5, 9), bool)
    np.testing.assert_array_equal(split_touching(mask, min_distance=10**30), mask)
