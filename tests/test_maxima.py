"""h-maxima against scikit-image's, for every chunking."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import morphology as skimage_morphology
from watershed_cases import as_bytes, smooth

from gpuseg._backend import limit_threads
from gpuseg._cpu import maxima as engine
from gpuseg.morphology import h_maxima, h_minima

IMAGES = {
    "smooth": (smooth(60, 70), 0.1),
    "bytes": (as_bytes(smooth(60, 70)), 9),
    "noise": (np.random.default_rng(0).random((50, 60), np.float32), 0.3),
    "few values": (np.random.default_rng(0).integers(-2, 2, (40, 50)), 2),
    "distances": (ndimage.distance_transform_edt(smooth(80, 80) > 0), 0.5),
    "volume": (smooth(14, 15, 16, sigma=1), 0.2),
    "few values in space": (np.random.default_rng(0).integers(0, 5, (9, 12, 11), np.int16), 2),
    "line": (smooth(200), 0.05),
    "half": (np.random.default_rng(0).integers(0, 9, (20, 30)).astype(np.float16), 3),
    "mask": (smooth(30, 40) > 0, 1),
    "one pixel": (np.ones((1, 1)), 0.5),
    "constant": (np.full((7, 8), 3), 1),
    "bars": ((np.arange(40) % 20 < 9)[:, np.newaxis] * np.ones((1, 30), np.uint8), 1),
    "empty": (np.ones((0, 4)), 1),
}


def expected(image, h, connectivity=None):
    if image.size == 0:
        return np.zeros(image.shape, np.uint8)
    footprint = ndimage.generate_binary_structure(image.ndim, connectivity or image.ndim)
    image = image.astype(np.uint8) if image.dtype == bool else image
    return skimage_morphology.h_maxima(image, h, footprint)


@pytest.mark.parametrize("name", IMAGES)
def test_as_scikit_image(name):
    image, h = IMAGES[name]
    for connectivity in (None, *range(1, image.ndim + 1)):
        want = expected(image, h, connectivity)
        found = h_maxima(image, h, connectivity=connectivity)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, want)
        if image.dtype.kind == "f":
            np.testing.assert_array_equal(h_minima(-image, h, connectivity=connectivity), want)


def test_minima_of_unsigned_integers():
    image = as_bytes(smooth(40, 50))
    want = skimage_morphology.h_minima(image, 9)
    np.testing.assert_array_equal(h_minima(image, 9), want)
    chunked = da.from_array(image, chunks=(13, 17))
    np.testing.assert_array_equal(h_minima(chunked, 9).compute(), want)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("side", [3, 7, 19])
def test_chunks_change_nothing(name, side):
    image, h = IMAGES[name]
    found = h_maxima(da.from_array(image, chunks=side), h)
    assert found.dtype == np.uint8
    assert found.chunks == da.from_array(image, chunks=side).chunks
    np.testing.assert_array_equal(found.compute(), expected(image, h))


@st.composite
def cut_images(draw):
    """Few values, so that plateaus and equal maxima lie across the cuts."""
    shape = draw(hnp.array_shapes(max_dims=3, max_side=9))
    image = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 4)))
    chunks = []
    for size in shape:
        cuts = sorted(draw(st.sets(st.integers(1, size), max_size=3)) | {0, size})
        chunks.append(tuple(np.diff(cuts).tolist()))
    return image, tuple(chunks)


@given(cut_images(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_any_cut_of_equal_values(cut, h):
    image, chunks = cut
    want = expected(image, h)
    np.testing.assert_array_equal(h_maxima(image, h), want)
    with dask.config.set(scheduler="sync"):
        found = h_maxima(da.from_array(image, chunks=chunks), h).compute()
    np.testing.assert_array_equal(found, want)


def test_boxes_of_boxes():
    image = smooth(150, 160, sigma=1)
    found = h_maxima(da.from_array(image, chunks=6), 0.3)
    np.testing.assert_array_equal(found.compute(), expected(image, 0.3))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_joined_by_passes_or_by_pairs_alike(share, monkeypatch):
    monkeypatch.setattr(engine, "_LISTED", share)
    for name in ("noise", "bytes", "few values in space"):
        image, h = IMAGES[name]
        np.testing.assert_array_equal(h_maxima(image, h), expected(image, h))


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(engine, "_LEAST", 64)
    for count in (1, 5):
        for name in ("noise", "distances", "few values in space", "line"):
            image, h = IMAGES[name]
            with limit_threads(count):
                np.testing.assert_array_equal(h_maxima(image, h), expected(image, h))


def test_chunks_are_read_once():
    read = []
    image = as_bytes(smooth(40, 50))

    def chunk(block, block_info=None):
        read.append(block_info[0]["chunk-location"])
        return block

    meta = np.empty((0, 0), np.uint8)
    array = da.from_array(image, chunks=10).map_blocks(chunk, meta=meta)
    with dask.config.set(scheduler="sync"):
        h_maxima(array, 9).compute()
    assert len(read) == len(set(read)) == 20


def test_a_maximum_below_no_saddle_of_its_depth():
    # 6 is 2 above the saddle to 9, 5 is 1 above that to 6.
    line = np.array([0, 9, 4, 6, 4, 5, 0])
    for h, places in ((1, [1, 3, 5]), (2, [1, 3]), (3, [1]), (9, [1]), (10, [])):
        assert np.flatnonzero(h_maxima(line, h)).tolist() == places


def test_differences_of_float32_are_rounded_as_such():
    # Their difference in float32 is more than in float64.
    low, high = np.float32([0.60663575, 7.2949653])
    h = float(high - low)
    assert float(high) - float(low) < h
    for image in (np.array([low, high, low]), np.array([low, high, low, high + 1], np.float32)):
        want = expected(image, h)
        assert want[1]
        np.testing.assert_array_equal(h_maxima(image, h), want)
        np.testing.assert_array_equal(h_maxima(da.from_array(image, chunks=2), h), want)


def test_integers_beyond_floats_are_refused():
    image = np.array([[0, 2**53 + 1]])
    with pytest.raises(ValueError, match=r"at most 2\^53 .*got 9007199254740993"):
        h_maxima(image, 1)
    np.testing.assert_array_equal(h_maxima(image - 1, 1), [[0, 1]])


@pytest.mark.parametrize(
    ("image", "options", "error"),
    [
        (np.ones((3, 3)), {"h": 0}, "h must be above 0, got 0"),
        (np.ones((3, 3)), {"h": float("nan")}, "h must be"),
        (np.ones((3, 3)), {"h": 1, "connectivity": 3}, "connectivity must be between 1 and 2"),
        (np.ones((3, 3)), {"h": 1, "connectivity": 0}, "connectivity must be at least 1"),
        (np.ones((2, 2, 2, 2)), {"h": 1}, "image must have 1 to 3 axes"),
        (np.array([1.0, np.nan]), {"h": 1}, "image must not hold NaN"),
    ],
)
def test_bad_values(image, options, error):
    with pytest.raises(ValueError, match=error):
        h_maxima(image, **options)


def test_bad_types():
    with pytest.raises(TypeError, match="image must be of real numbers"):
        h_maxima(np.ones((3, 3), complex), 1)
    unknown = da.from_array(np.ones(9), chunks=3)
    unknown = unknown[unknown > 0]
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        h_maxima(unknown, 1)
    with pytest.raises(ValueError, match="must not hold NaN"):
        h_maxima(da.from_array(np.array([1.0, np.nan, 3.0]), chunks=2), 1).compute()
