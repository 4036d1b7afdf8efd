"""Morphology with footprints against scikit-image and SciPy, however the array is cut."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import morphology as skimage_morphology

from conftest import to_numpy
from gpuseg import filters, morphology
from gpuseg._cpu import morphology as eager
from gpuseg._cpu import windows
from gpuseg._shared.footprints import scipy_step

GREY = ["erosion", "dilation", "opening", "closing", "white_tophat", "black_tophat"]
BINARY = ["binary_erosion", "binary_dilation", "binary_opening", "binary_closing"]
MODES = ["reflect", "constant", "nearest", "mirror", "wrap", "max", "min", "ignore"]
FOOTPRINTS = {
    "cross": None,
    "box": np.ones((3, 5)),
    "even": np.ones((2, 4)),
    "crooked": np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 0]]),
    "row": np.ones((1, 4)),
    "sequence": [(np.ones((3, 1)), 2), (np.ones((1, 3)), 1)],
    "disk": skimage_morphology.disk(4),
}


def theirs(name, image, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # binary_* go in scikit-image 0.28
        return getattr(skimage_morphology, name)(image, *args, **options)


def noise(shape=(30, 37), density=0.55, seed=0):
    return np.random.default_rng(seed).random(shape) < density


def cuts(image):
    return [da.from_array(image, chunks=n) for n in (9, tuple(n // 2 + 1 for n in image.shape))]


@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize(
    ("mode", "which"),
    [
        (mode, which)
        for mode in MODES
        for which in FOOTPRINTS
        if mode in MODES[::7] or which in ("cross", "crooked")
    ],
)
def test_grey(name, mode, which):
    footprint = FOOTPRINTS[which]
    values = np.random.default_rng(1).random((20, 23))
    for image in ((values * 255).astype(np.uint8), values.astype(np.float32), values < 0.5):
        options = {"mode": mode, "cval": 1}
        expected = theirs(name, image, footprint, **options)
        found = getattr(morphology, name)(image, footprint, **options)
        np.testing.assert_array_equal(found, expected, strict=True)
    cut = da.from_array(image, chunks=(7, 12))
    np.testing.assert_array_equal(getattr(morphology, name)(cut, footprint, **options), expected)


@pytest.mark.parametrize("name", GREY)
def test_grey_of_types_and_axes(name, container):
    for shape, dtype in (((60,), np.int16), ((9, 14, 17), np.uint16), ((5, 1, 6), np.int64)):
        image = np.random.default_rng(0).integers(0, 1000, shape).astype(dtype)
        found = to_numpy(getattr(morphology, name)(container(image)))
        np.testing.assert_array_equal(found, theirs(name, image), strict=True)


@pytest.mark.parametrize("cval", [-1, 1.5, 300, -1e30, 7])
def test_values_outside_that_the_type_cannot_hold(cval):
    image = np.random.default_rng(0).integers(0, 256, (9, 11)).astype(np.uint8)
    for name in ("erosion", "dilation"):
        expected = theirs(name, image, mode="constant", cval=cval)
        found = getattr(morphology, name)(image, mode="constant", cval=cval)
        np.testing.assert_array_equal(found, expected)


def test_other_byte_orders(container):
    """As TIFF files have them; results are in this machine's."""
    image = np.random.default_rng(0).integers(0, 60_000, (15, 16)).astype(">u2")
    for name in ("opening", "white_tophat"):
        found = to_numpy(getattr(morphology, name)(container(image)))
        np.testing.assert_array_equal(found, theirs(name, image.astype("u2")), strict=True)
    found = to_numpy(filters.median(container(image)))
    np.testing.assert_array_equal(found, ndimage.median_filter(image, 3, mode="nearest"))
    assert found.dtype == np.uint16
    for smooth in (filters.gaussian, filters.sobel, filters.threshold_local):
        np.testing.assert_array_equal(
            to_numpy(smooth(container(image))), smooth(image.astype("u2")), strict=True
        )


def test_integers_of_64_bits_are_not_rounded(container):
    image = np.array([[2**60 + 1, 2**60, -(2**60) - 1], [2**60 + 3, 2**60 + 2, 5]])
    found = to_numpy(morphology.dilation(container(image), np.ones((3, 3))))
    np.testing.assert_array_equal(found, [[2**60 + 3, 2**60 + 3, 2**60 + 2]] * 2)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    ("mode", "which"),
    [("max", "crooked"), ("min", "crooked"), *(("ignore", which) for which in FOOTPRINTS)],
)
def test_binary(name, mode, which):
    footprint = FOOTPRINTS[which]
    for density in (0.3, 0.75):
        image = noise(density=density)
        expected = theirs(name, image, footprint, mode=mode)
        found = getattr(morphology, name)(image, footprint, mode=mode)
        np.testing.assert_array_equal(found, expected, strict=True)
        for cut in cuts(image):
            lazy = getattr(morphology, name)(cut, footprint, mode=mode)
            assert lazy.chunks == cut.chunks
            assert lazy.dtype == bool
            np.testing.assert_array_equal(lazy.compute(), expected)


def test_frames_stay_apart(container):
    """The flat cross between layers of zeros, and the same with one layer."""
    stack = noise((4, 30, 33), 0.6)
    flat = ndimage.generate_binary_structure(2, 1)[None]
    expected = np.stack([theirs("binary_opening", frame) for frame in stack])
    for footprint in (flat, np.pad(flat, ((1, 1), (0, 0), (0, 0)))):
        found = to_numpy(morphology.binary_opening(container(stack, 3), footprint))
        np.testing.assert_array_equal(found, expected)


def test_wide_rows_and_footprints():
    """Runs longer than a word, and images narrower than the footprint."""
    line = noise((3, 1000), 0.98)
    for footprint in (np.ones((1, 131)), np.ones((3, 64)), np.eye(3, 301), np.ones((1, 65))):
        for image in (line, line[:, :64], line[:, :63], line[:, :65], line[:, :3], line[:, 17:900]):
            for mask in (image, ~image):
                for name in ("binary_erosion", "binary_dilation"):
                    expected = theirs(name, mask, footprint)
                    found = getattr(morphology, name)(mask, footprint)
                    np.testing.assert_array_equal(found, expected)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, max_side=12)),
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
    st.integers(3, 7),
)
def test_any_structure_as_scipy_takes_it(image, seed, grow, outside, chunk):
    generator = np.random.default_rng(seed)
    size = generator.integers(1, 6, image.ndim)
    structure = generator.random(size) < 0.5
    structure.flat[0] = True
    origin = [int(generator.integers(-(n // 2), (n - 1) // 2 + 1)) for n in size]
    function = ndimage.binary_dilation if grow else ndimage.binary_erosion
    expected = function(image, structure, border_value=outside, origin=origin)
    step = scipy_step(structure, image.ndim, grow, outside, origin)
    np.testing.assert_array_equal(eager.binary(image, steps=[step]), expected)
    cut = morphology.footprints.of_mask(da.from_array(image, chunks=chunk), [step])
    np.testing.assert_array_equal(cut.compute(), expected)


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, max_side=20)),
    st.sampled_from(["opening", "closing"]),
)
def test_twice_is_once_and_duality(image, name):
    function = getattr(morphology, f"binary_{name}")
    once = function(image)
    np.testing.assert_array_equal(function(once), once)
    other = getattr(morphology, f"binary_{'closing' if name == 'opening' else 'opening'}")
    np.testing.assert_array_equal(~other(~image), once)
    np.testing.assert_array_equal(function(image[::-1])[::-1], once)


def test_odd_memory_and_masks_of_integers(monkeypatch):
    monkeypatch.setattr(windows, "_STRIP_PIXELS", 200)
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
    image = noise((64, 70))
    expected = theirs("binary_opening", image)
    np.testing.assert_array_equal(morphology.binary_opening(image), expected)
    np.testing.assert_array_equal(morphology.binary_opening(image.astype(np.int32) * 7), expected)
    np.testing.assert_array_equal(morphology.binary_opening(image.T), expected.T)
    np.testing.assert_array_equal(
        morphology.binary_opening(image[::-1, ::-1]), expected[::-1, ::-1]
    )
    image.flags.writeable = False
    np.testing.assert_array_equal(morphology.binary_opening(image), expected)
    for empty in (np.zeros((0, 4), bool), np.zeros((4, 0), np.uint8)):
        assert morphology.binary_closing(empty).shape == empty.shape
        assert morphology.closing(da.from_array(empty)).compute().shape == empty.shape


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: morphology.binary_erosion(x * 1.0), TypeError, "image > 0"),
        (lambda x: morphology.binary_erosion(x, np.ones(3)), ValueError, "2 axes"),
        (lambda x: morphology.erosion(x, np.zeros((3, 3))), ValueError, "with 0 pixels"),
        (lambda x: morphology.erosion(x, [(np.ones((3, 3)), 0)]), ValueError, "0 times"),
        (lambda x: morphology.erosion(x, mode="odd"), ValueError, "got 'odd'"),
        (lambda x: morphology.binary_closing(x, mode="reflect"), ValueError, "got 'reflect'"),
        (lambda x: morphology.opening([[1]]), TypeError, "list"),
        (lambda x: scipy_step(np.ones((3, 3)), 2, False, False, (2, 0)), ValueError, r"\(2, 0\)"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call(noise())
