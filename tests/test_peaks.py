"""Peaks against scikit-image's."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import feature as skimage_feature
from watershed_cases import as_bytes, smooth

from conftest import to_numpy
from gpuseg._backend import limit_threads
from gpuseg._cpu import peaks as engine
from gpuseg.feature import peak_local_max


def check(image, **options):
    expected = skimage_feature.peak_local_max(image, **options)
    found = peak_local_max(image, **options)
    np.testing.assert_array_equal(found, expected.reshape(-1, image.ndim))


IMAGES = {
    "smooth": smooth(60, 70),
    "bytes": as_bytes(smooth(60, 70)),
    "noise": np.random.default_rng(0).random((40, 50), np.float32),
    "few values": np.random.default_rng(0).integers(0, 3, (40, 50)),
    "distances": ndimage.distance_transform_edt(smooth(80, 80) > 0),
    "volume": smooth(14, 15, 16, sigma=1),
    "few values in space": np.random.default_rng(0).integers(0, 3, (9, 12, 11)).astype(np.int16),
    "line": smooth(200),
    "one pixel": np.ones((1, 1)),
    "constant": np.full((7, 8), 3),
    "bars": (np.arange(40) % 20 < 9)[:, np.newaxis] * np.ones((1, 30), np.uint8),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("distance", [1, 2, 5])
def test_as_scikit_image(name, distance):
    image = IMAGES[name]
    high = float(image.max())
    for options in (
        {},
        {"exclude_border": False},
        {"exclude_border": 3, "threshold_abs": high / 2},
        {"exclude_border": tuple(range(image.ndim)), "threshold_rel": 0.3},
        {"threshold_abs": -1, "threshold_rel": 0.9, "num_peaks": 4},
        {"num_peaks": 0},
    ):
        some = {"threshold_abs": 0.5} if name == "one pixel" else {}
        check(image, min_distance=distance, **(options | some))


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=12), elements=st.integers(0, 3)),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_small_images(image, distance, border):
    check(image, min_distance=distance, exclude_border=border)


def regions(shape, seed=2):
    """Labels of blobs, of blocks of one value, of lines and of single pixels."""
    labels, _ = ndimage.label(smooth(*shape, seed=seed) > 0.02)
    labels[labels == 3] = 1
    labels[(slice(2, 9),) * len(shape)] = 77
    labels[(slice(4, 5),) * len(shape)] = 78
    labels[(slice(10, 20),) + (slice(12, 13),) * (len(shape) - 1)] = 79
    return labels


@pytest.mark.parametrize("name", ["smooth", "bytes", "few values", "volume", "line", "bars"])
@pytest.mark.parametrize("distance", [1, 4])
def test_labels_as_scikit_image(name, distance, container):
    image = IMAGES[name].copy()
    labels = regions(image.shape)
    image[labels == 77] = image.max()
    for options in (
        {},
        {"exclude_border": False},
        {"num_peaks": 3},
        {"threshold_abs": 0, "exclude_border": 2},
    ):
        expected = skimage_feature.peak_local_max(
            image, min_distance=distance, labels=labels, **options
        )
        found = peak_local_max(
            container(image), min_distance=distance, labels=container(labels), **options
        )
        np.testing.assert_array_equal(to_numpy(found), expected.reshape(-1, image.ndim))


@given(
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=9).flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)),
            hnp.arrays(np.int32, shape, elements=st.integers(0, 3)),
        )
    ),
    st.integers(1, 3),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_small_labels(case, distance, border):
    image, labels = case
    check(image, min_distance=distance, labels=labels, exclude_border=border)


def test_no_labels():
    check(IMAGES["smooth"], labels=np.zeros((60, 70), np.uint8))


@pytest.mark.parametrize("name", IMAGES)
def test_chunks(name, container):
    image = IMAGES[name]
    for options in ({}, {"threshold_abs": float(image.mean())}, {"num_peaks": 3}):
        expected = peak_local_max(image, 4, **options)
        found = peak_local_max(container(image), 4, **options)
        np.testing.assert_array_equal(to_numpy(found), expected)


def test_threads_do_not_matter(monkeypatch):
    image = IMAGES["few values"]
    monkeypatch.setattr(engine, "_THREAD_PIXELS", 1)
    for threads in (1, 3, 50):
        with limit_threads(threads):
            check(image, min_distance=3)


def test_layouts():
    image = IMAGES["bytes"]
    check(np.asfortranarray(image), min_distance=2)
    check(np.repeat(image, 2, 1)[:, ::2], min_distance=2)
    np.testing.assert_array_equal(peak_local_max(image.astype(">u2"), 2), peak_local_max(image, 2))
    assert peak_local_max(image > 100, 2).shape[1] == 2
    assert peak_local_max(np.zeros((0, 4))).shape == (0, 2)


BAD = [
    ((np.zeros((3, 3), complex),), {}, TypeError, "got complex128"),
    ((np.zeros((2, 2, 2, 2)),), {}, ValueError, r"got shape \(2, 2, 2, 2\)"),
    ((np.zeros((3, 3)), 0), {}, ValueError, "at least 1, got 0"),
    ((np.zeros((3, 3)), 1.5), {}, ValueError, "got 1.5"),
    ((np.zeros((3, 3)),), {"num_peaks": -1}, ValueError, "got -1"),
    ((np.zeros((3, 3)),), {"exclude_border": -1}, ValueError, "got -1"),
    ((np.zeros((3, 3)),), {"exclude_border": (1,)}, ValueError, r"got \(1,\)"),
    ((np.zeros((3, 3)),), {"exclude_border": 0.5}, TypeError, "got 0.5"),
    ((np.zeros((3, 3)),), {"labels": np.ones((3, 2), int)}, ValueError, r"got \(3, 2\)"),
    ((np.zeros((3, 3)),), {"labels": np.ones((3, 3))}, TypeError, "got float64"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_what_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        peak_local_max(*arguments, **options)


def test_halves_in_another_byte_order(rng):
    image = rng.random((9, 11)).astype(np.float16)
    np.testing.assert_array_equal(peak_local_max(image.astype(">f2")), peak_local_max(image))


@pytest.mark.parametrize("options", [{}, {"threshold_abs": 0.5}, {"labels": np.ones((9, 11), int)}])
def test_nan_is_refused(options, rng, container):
    image = rng.random((9, 11))
    image[4, 5] = np.nan
    with pytest.raises(ValueError, match="image must have no NaN"):
        to_numpy(peak_local_max(container(image), **options))


def test_chunks_of_unknown_size():
    image = da.ones((6, 4), chunks=2)
    with pytest.raises(ValueError, match="known sizes"):
        peak_local_max(image[da.ones(6, chunks=2) > 0])


@pytest.mark.parametrize("distance", [50, 10**9, 10**30])
def test_farther_than_the_image(distance, rng):
    image = rng.random((9, 11))
    expected = [np.unravel_index(image.argmax(), image.shape)]
    for chunked in (image, da.from_array(image, chunks=4)):
        found = peak_local_max(chunked, distance, exclude_border=False)
        np.testing.assert_array_equal(np.asarray(found), expected)
        assert np.asarray(peak_local_max(chunked, distance)).shape == (0, 2)
    with pytest.raises(TypeError, match="threshold_abs must be a real number, got '1'"):
        peak_local_max(image, threshold_abs="1")


def test_an_image_at_hand_of_labels_in_chunks():
    with pytest.raises(TypeError, match="no Dask array unless the image is"):
        peak_local_max(np.ones((4, 4)), labels=da.ones((4, 4), dtype=int))
