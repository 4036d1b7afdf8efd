"""Filters against scikit-image and SciPy, however the array is cut."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import filters as skimage_filters

from conftest import to_numpy
from gpuseg import filters, ndfilters, segmentation
from gpuseg._backend import limit_threads
from gpuseg._cpu import windows

MODES = ["reflect", "constant", "nearest", "mirror", "wrap"]


def image_of(shape=(40, 53), dtype=np.float64, seed=0):
    values = np.random.default_rng(seed).random(shape)
    if np.dtype(dtype).kind in "iu":
        return (values * min(60_000, np.iinfo(dtype).max)).astype(dtype)
    return values.astype(dtype)


def same_everywhere(function, image, **options):
    """The answer, which must not depend on chunks or threads, bit for bit."""
    whole = function(image, **options)
    for chunks in (7, tuple(max(1, size // 2 + 1) for size in image.shape)):
        cut = function(da.from_array(image, chunks=chunks), **options)
        assert cut.dtype == whole.dtype
        assert cut.shape == image.shape
        assert cut.chunks == da.from_array(image, chunks=chunks).chunks
        np.testing.assert_array_equal(cut.compute(), whole)
    return whole


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "sigma"), [((40, 53), 1.3), ((40, 53), (0, 2)), ((40, 53), (3, 0)), ((9, 14, 17), 1)]
)
def test_gaussian(mode, shape, sigma):
    image = image_of(shape)
    found = same_everywhere(filters.gaussian, image, sigma=sigma, mode=mode, cval=0.3)
    expected = skimage_filters.gaussian(image, sigma=sigma, mode=mode, cval=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("preserve_range", [False, True])
def test_gaussian_of_types(dtype, preserve_range):
    image = image_of(dtype=np.uint8).astype(dtype)
    found = filters.gaussian(image, 1, preserve_range=preserve_range)
    expected = skimage_filters.gaussian(image, 1, preserve_range=preserve_range)
    assert found.dtype == expected.dtype
    rtol = 1e-6 if found.dtype == np.float32 else 1e-14
    np.testing.assert_allclose(found, expected, rtol=rtol)
    assert not np.shares_memory(filters.gaussian(image, 0), image)


@pytest.mark.parametrize("mode", ["reflect", "nearest", "wrap"])
@pytest.mark.parametrize("sigma", [(17, 30), (3, 20), (40, 1), (0, 9)])
def test_wide_gaussian(mode, sigma):
    """Where the window is wider than the image, with cosines or sums, or both on different axes."""
    image = image_of((60, 45))
    found = same_everywhere(filters.gaussian, image, sigma=sigma, mode=mode)
    expected = skimage_filters.gaussian(image, sigma=sigma, mode=mode)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_wide_gaussian_of_volume_and_line():
    volume = image_of((20, 31, 16), np.float32)
    found = same_everywhere(filters.gaussian, volume, sigma=(0.7, 17, 16), mode="reflect")
    expected = skimage_filters.gaussian(volume, sigma=(0.7, 17, 16), mode="reflect")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    line = image_of((200,))
    found = same_everywhere(filters.gaussian, line, sigma=17, mode="reflect")
    np.testing.assert_allclose(found, ndimage.gaussian_filter(line, 17), rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 16), min_size=1, max_size=3),
    st.floats(0, 18),
    st.sampled_from(MODES),
    st.integers(4, 9),
    st.sampled_from([np.float32, np.float64, np.uint16]),
)
def test_gaussian_in_any_shape(shape, sigma, mode, chunk, dtype):
    image = image_of(shape, dtype)
    options = {"sigma": sigma, "mode": mode, "preserve_range": True}
    whole = filters.gaussian(image, **options)
    expected = skimage_filters.gaussian(image, **options)
    scale = float(image.max()) or 1.0
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(whole, expected, atol=tolerance * scale, rtol=tolerance)
    cut = filters.gaussian(da.from_array(image, chunks=chunk), **options)
    np.testing.assert_array_equal(cut.compute(), whole)


@pytest.mark.parametrize("size", [1, 2, 4, 6, 9, 16, 50, 56, 62, 74, 120, 178, 1006])
def test_cosines_of_lengths(size):
    """Lengths of all kinds of factors, odd ones, and one with too great a prime; a vector of lines,
    a part of one, and lines along the last axis."""
    image = image_of((2, size, 11), seed=size)
    image[..., 9] = image[..., 0]
    for lines, sigma in ((image, 20.0), (image[..., :3], 16.5)):
        found = filters.gaussian(lines, (0, sigma, 0), mode="reflect")
        expected = ndimage.gaussian_filter1d(lines, sigma, axis=1, mode="reflect")
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        last = filters.gaussian(lines.swapaxes(1, 2), (0, 0, sigma), mode="reflect")
        np.testing.assert_array_equal(last.swapaxes(1, 2), found)
    whole = filters.gaussian(image, (0, 20.0, 0), mode="reflect")
    np.testing.assert_array_equal(whole[..., 0], whole[..., 9])


def test_cosines_keep_zero_and_constants():
    """`image > threshold` where both are 0 must not be decided by rounding."""
    image = np.zeros((300, 200))
    image[:3, :3] = 1000.0
    found = filters.gaussian(image, (16, 18), mode="reflect")
    expected = ndimage.gaussian_filter(image, (16, 18))
    assert not ((found < 0) | ((found != 0) & (found < 1e-300))).any()
    np.testing.assert_allclose(found, expected, atol=1e-12 * 1000)
    assert (found[expected == 0] >= 0).all()
    constant = np.full((64, 80), 0.1)
    for view in (constant, constant.T, constant.astype(np.float32).T, constant[::-1, ::2]):
        np.testing.assert_array_equal(filters.gaussian(view, 20, mode="reflect"), view)
    transposed = filters.gaussian(image.astype(np.uint16).T, (18, 16), mode="reflect")
    assert transposed.min() == 0


def test_cosines_refuse_nan(container):
    image = image_of((80, 70))
    image[3, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        to_numpy(filters.gaussian(container(image), 20, mode="reflect"))


def test_nan_spreads_as_in_scipy(container):
    image = image_of()
    image[20, 30] = np.nan
    found = to_numpy(filters.gaussian(container(image), 1))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(ndimage.gaussian_filter(image, 1)))


def test_gaussian_of_channels(container):
    image = image_of((20, 21, 3), np.uint8)
    for channel_axis in (2, -1):
        found = to_numpy(filters.gaussian(container(image), 1.5, channel_axis=channel_axis))
        expected = skimage_filters.gaussian(image, 1.5, channel_axis=channel_axis)
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_gaussian_of_odd_memory(rng):
    image = rng.random((50, 60))
    for view in (image.T, image[::-1, ::2], np.asfortranarray(image), image.astype(">f8")):
        kept = view.copy()
        np.testing.assert_allclose(
            filters.gaussian(view, 2), ndimage.gaussian_filter(view, 2, mode="nearest"), rtol=1e-13
        )
        np.testing.assert_array_equal(view, kept)
    image.flags.writeable = False
    filters.gaussian(image, 2)
    empty = np.empty((0, 5))
    assert filters.gaussian(empty, 1).shape == (0, 5)
    assert filters.gaussian(da.from_array(empty), 1).compute().shape == (0, 5)


def test_threads_do_not_change_the_answer(monkeypatch):
    monkeypatch.setattr(windows, "_STRIP_PIXELS", 500)
    image = image_of((120, 90))
    stack = image_of((12, 30, 40), np.uint16)
    for mode in MODES:
        with limit_threads(1):
            alone = filters.gaussian(image, 1, mode=mode)
        monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
        np.testing.assert_array_equal(filters.gaussian(image, 1, mode=mode), alone)
    frames = filters.gaussian(stack, (0, 17, 2), mode="reflect")
    for frame, found in zip(stack, frames, strict=True):
        np.testing.assert_array_equal(filters.gaussian(frame, (17, 2), mode="reflect"), found)


@pytest.mark.parametrize("high", [None, 3, (2, 4)])
def test_difference_of_gaussians(high, container):
    image = image_of(dtype=np.uint16)
    found = to_numpy(filters.difference_of_gaussians(container(image), 1.2, high))
    expected = skimage_filters.difference_of_gaussians(image, 1.2, high)
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("footprint", [None, np.ones((1, 4)), np.eye(5)])
def test_median(mode, footprint):
    for dtype in (np.uint8, np.float64):
        image = image_of((30, 31), dtype)
        found = same_everywhere(filters.median, image, footprint=footprint, mode=mode)
        np.testing.assert_array_equal(
            found, skimage_filters.median(image, footprint, mode=mode), strict=True
        )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from(MODES),
    st.sampled_from([bool, np.uint8, np.int64, np.float32]),
)
def test_median_of_any_footprint(seed, size, mode, dtype):
    generator = np.random.default_rng(seed)
    footprint = generator.random(size) < 0.6
    footprint.flat[-1] = True
    image = generator.integers(0, 9, generator.integers(1, 9, len(size))).astype(dtype)
    found = filters.median(image, footprint, mode=mode, cval=1)

    # By its definition: SciPy's median of one axis takes any footprint for a whole one.
    def middle(values):
        return np.sort(values)[values.size // 2]

    options = {"footprint": footprint, "mode": mode, "cval": 1}
    expected = ndimage.generic_filter(image.astype(float), middle, **options).astype(dtype)
    np.testing.assert_array_equal(found, expected, strict=True)


def test_median_beyond_the_network():
    """More pixels than are worth sorting, and a value outside that the type cannot hold."""
    image = image_of((30, 31), np.uint8)
    for options in ({"footprint": np.ones((13, 11))}, {"mode": "constant", "cval": -3}):
        expected = skimage_filters.median(image, **options)
        np.testing.assert_array_equal(filters.median(image, **options), expected)


@pytest.mark.parametrize("name", ["sobel", "prewitt"])
@pytest.mark.parametrize("axis", [None, 0, (0, 1)])
def test_edges(name, axis):
    for dtype in (np.uint8, np.float32):
        image = image_of((25, 30), dtype)
        found = same_everywhere(getattr(filters, name), image, axis=axis)
        expected = getattr(skimage_filters, name)(image, axis=axis)
        np.testing.assert_array_equal(found, expected, strict=True)


def test_laplace():
    image = image_of((25, 30), np.uint8)
    for ksize in (3, 5):
        found = same_everywhere(filters.laplace, image, ksize=ksize)
        np.testing.assert_array_equal(found, skimage_filters.laplace(image, ksize), strict=True)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: filters.gaussian(x, -1), ValueError, "negative, got -1"),
        (lambda x: filters.gaussian(x, (1, 2, 3)), ValueError, r"2 axes, got \(1, 2, 3\)"),
        (lambda x: filters.gaussian(x, 1, mode="odd"), ValueError, "got 'odd'"),
        (lambda x: filters.gaussian(x, 1, channel_axis=5), ValueError, "got 5"),
        (lambda x: filters.gaussian(x.astype(complex)), TypeError, "complex128"),
        (lambda x: filters.gaussian([1, 2]), TypeError, "list"),
        (lambda x: filters.difference_of_gaussians(x, 2, 1), ValueError, "1 < 2"),
        (lambda x: filters.median(x, np.ones(3)), ValueError, "2 axes"),
        (lambda x: filters.median(x, np.zeros((3, 3))), ValueError, "a pixel"),
        (lambda x: filters.sobel(x, mode="odd"), ValueError, "got 'odd'"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call(image_of((5, 6)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: filters.gaussian(x, 1e30), "within 67108864 pixels, got .* deviation 1e.30"),
        (lambda x: filters.gaussian(x, 1, truncate=1e9), "deviation 1 .* cut off at 1000000000.0"),
        (lambda x: filters.difference_of_gaussians(x, 1, 1e30), r"got .* deviation 1e\+30"),
        (lambda x: filters.threshold_local(x, 3, param=1e308), r"got .* deviation 1e\+308"),
        (lambda x: filters.threshold_local(x, 10**12 + 1, "mean"), "block_size must span at most"),
        (lambda x: filters.threshold_local(x, 65537, "median"), r"got \(65537, 65537\)"),
        (lambda x: filters.laplace(x, 10**9), r"ksize .* got \(1000000000, 1000000000\)"),
        (lambda x: ndfilters.gaussian_laplace(x, (1, 1e30)), r"got .* deviation 1e\+30"),
        (lambda x: ndfilters.median_filter(x, 10**12), "size must span at most 2147483648 pixels"),
        (lambda x: segmentation.split_touching(x > 0.5, sigma=1e30), r"got .* deviation 1e\+30"),
    ],
)
def test_windows_that_no_memory_holds_are_refused_at_once(call, message, container):
    with pytest.raises(ValueError, match=message):
        call(container(image_of((5, 6))))


@pytest.mark.parametrize("mode", MODES)
def test_gaussians_may_be_wider_than_the_image(mode, container):
    image = image_of((9, 12))
    found = to_numpy(filters.gaussian(container(image), 300, mode=mode, cval=0.3))
    expected = ndimage.gaussian_filter(image, 300, mode=mode, cval=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_unknown_chunks_are_refused():
    image = da.from_array(image_of())
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        filters.gaussian(image[image[:, 0] > 0.5], 1)


def test_two_tasks_a_chunk():
    """dask.array.overlap makes 26 of a chunk in space; and names follow what is computed."""
    image = da.zeros((40, 40, 40), chunks=8)
    smooth = filters.gaussian(image, 1)
    assert len(dict(smooth.__dask_graph__())) <= 3 * 125
    assert smooth.name == filters.gaussian(image, 1).name
    assert smooth.name != filters.gaussian(image, 1.5).name
    frames = filters.gaussian(da.zeros((9, 40, 40), chunks=(1, 40, 40)), (0, 1, 1))
    assert len(dict(frames.__dask_graph__())) <= 2 * 9
