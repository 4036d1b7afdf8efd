"""Thresholds against scikit-image's of the whole image, however it is cut."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import filters as skimage_filters

from conftest import to_numpy
from gpuseg import filters
from gpuseg._backend import limit_threads
from gpuseg._cpu import filters as engine

GLOBAL = ["otsu", "yen", "triangle", "li"]


def image_of(shape=(60, 71), dtype=np.uint8, seed=0):
    """Two populations, in the middle of the type's range."""
    generator = np.random.default_rng(seed)
    low, high = generator.normal(0.3, 0.05, shape), generator.normal(0.7, 0.08, shape)
    values = np.where(generator.random(shape) < 0.3, high, low).clip(0, 1)
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    if np.dtype(dtype).kind == "i":
        values -= 0.5
    return (values * min(5000, np.iinfo(dtype).max)).astype(dtype)


@pytest.mark.parametrize("method", GLOBAL)
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64]
)
def test_global_thresholds_of_integers(method, dtype, container):
    image = image_of(dtype=dtype)
    expected = getattr(skimage_filters, f"threshold_{method}")(image)
    found = getattr(filters, f"threshold_{method}")(container(image))
    assert found == expected
    assert np.ndim(found) == 0


@pytest.mark.parametrize("method", ["otsu", "yen", "triangle"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("nbins", [256, 17])
def test_global_thresholds_of_floats(method, dtype, nbins, container):
    image = image_of(dtype=dtype) * 37 - 3
    expected = getattr(skimage_filters, f"threshold_{method}")(image, nbins)
    found = getattr(filters, f"threshold_{method}")(container(image), nbins)
    assert found == expected
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_multiotsu(classes, dtype, container):
    image = image_of(dtype=dtype)
    found = filters.threshold_multiotsu(container(image), classes, nbins=64)
    expected = skimage_filters.threshold_multiotsu(image, classes, nbins=64)
    assert found.shape == (classes - 1,)
    np.testing.assert_array_equal(to_numpy(found), expected)


@pytest.mark.parametrize("method", [*GLOBAL, "multiotsu"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_frames_have_thresholds_of_their_own(method, dtype):
    stack = np.stack([image_of((30, 41), dtype, seed=k) // (k + 1) for k in range(6)])
    stack = stack if np.dtype(dtype).kind != "f" else image_of((6, 30, 41), dtype)
    stack = stack.reshape(3, 2, 30, 41).swapaxes(1, 2)
    find = getattr(filters, f"threshold_{method}")
    found = find(stack, axes=(1, -1))
    assert found.shape == (*[2] * (method == "multiotsu"), 3, 1, 2, 1)
    expected = getattr(skimage_filters, f"threshold_{method}")
    for i, k in np.ndindex(3, 2):
        np.testing.assert_array_equal(found[..., i, 0, k, 0], expected(stack[i, :, k]))
    for chunks in (20, (1, 30, 2, 41), (2, 7, 1, 41)):
        lazy = find(da.from_array(stack, chunks=chunks), axes=(1, 3))
        assert lazy.dtype == found.dtype
        np.testing.assert_array_equal(lazy.compute(), found, strict=True)


def test_frames_are_compared_with_their_thresholds(container):
    stack = image_of((4, 20, 21), np.uint16)
    image = container(stack)
    found = to_numpy(image > filters.threshold_otsu(image, axes=(1, 2)))
    for frame, mask in zip(stack, found, strict=True):
        np.testing.assert_array_equal(mask, frame > skimage_filters.threshold_otsu(frame))
    with pytest.raises(ValueError, match="axes"):
        filters.threshold_otsu(image, axes=(1, 3))
    with pytest.raises(ValueError, match="at least one axis"):
        filters.threshold_otsu(image, axes=())


def test_multiotsu_refuses_too_few_values(container):
    with pytest.raises(ValueError, match="cannot be thresholded"):
        to_numpy(filters.threshold_multiotsu(container(np.array([[1, 2], [2, 1]]))))


def test_li_of_floats_and_options():
    image = image_of(dtype=np.float64)
    assert filters.threshold_li(image) == skimage_filters.threshold_li(image)
    image = image_of(dtype=np.uint16) + np.uint16(300)
    for options in ({"tolerance": 9}, {"initial_guess": 2000.0}, {"initial_guess": 1111.5}):
        expected = skimage_filters.threshold_li(image, **options)
        assert filters.threshold_li(image, **options) == expected
        assert filters.threshold_li(da.from_array(image, chunks=20), **options) == expected


@pytest.mark.parametrize("method", GLOBAL)
@pytest.mark.parametrize("value", [0, 7, 255, 0.25, -3.5])
def test_constant_images(method, value, container):
    image = np.full((8, 9), value, np.uint8 if isinstance(value, int) else np.float32)
    wrapped = image if method == "li" and image.dtype.kind == "f" else container(image)
    assert getattr(filters, f"threshold_{method}")(wrapped) == value


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
    st.lists(st.integers(1, 20), min_size=1, max_size=2),
    st.integers(1, 50),
    st.integers(4, 20),
)
def test_chunks_do_not_change_the_histogram(seed, dtype, shape, levels, chunk):
    """Few levels and small images leave gaps and single values in the histogram."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, levels, (*shape, 2)).astype(dtype) * dtype(
        0.37 if dtype(0.5) else 3
    )
    image -= image.mean().astype(dtype)
    cut = da.from_array(image, chunks=chunk)
    for method in ("otsu", "triangle", "li"):
        if method == "li" and image.dtype.kind == "f":
            continue
        function = getattr(filters, f"threshold_{method}")
        np.testing.assert_array_equal(function(cut).compute(), function(image))
    assert filters.threshold_otsu(image) == skimage_filters.threshold_otsu(image)


def test_large_images_are_counted_in_threads(monkeypatch):
    from gpuseg._cpu import thresholds

    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
    monkeypatch.setattr(thresholds, "_THREAD_PIXELS", 100)
    image = image_of((101, 33), np.uint16)
    assert filters.threshold_otsu(image) == skimage_filters.threshold_otsu(image)
    for view in (image.T, image[::-1, ::2], image.astype(">u2")):
        assert filters.threshold_otsu(view) == skimage_filters.threshold_otsu(view)


def test_blocks_are_not_held_for_the_comparison():
    """The threshold reads a copy of the graph: every block is made once more for the mask."""
    made = []

    def block(block_info=None):
        made.append(block_info[None]["chunk-location"])
        return np.arange(16.0).reshape(4, 4) * (1 + made[-1][0])

    image = da.map_blocks(block, chunks=((4,) * 3, (4,)), dtype=float, meta=np.empty((0, 0)))
    mask = image > filters.threshold_otsu(image)
    with dask.config.set(scheduler="synchronous"):
        mask = mask.compute()
    assert sorted(made) == [(i, 0) for i in range(3) for _ in range(3)]
    whole = np.concatenate([np.arange(16.0).reshape(4, 4) * k for k in (1, 2, 3)])
    np.testing.assert_array_equal(mask, whole > skimage_filters.threshold_otsu(whole))


@pytest.mark.parametrize("mode", ["reflect", "constant", "nearest", "mirror", "wrap"])
@pytest.mark.parametrize("method", ["gaussian", "mean", "median"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_threshold_local(method, mode, dtype, container):
    image = image_of((21, 24), dtype)
    for block_size in (5, (1, 9), (11, 3)):
        found = filters.threshold_local(container(image), block_size, method, 0.25, mode, cval=2.5)
        expected = skimage_filters.threshold_local(image, block_size, method, 0.25, mode, cval=2.5)
        assert found.dtype == expected.dtype
        rtol = 1e-12 if dtype == np.uint8 else 3e-6
        np.testing.assert_allclose(to_numpy(found), expected, rtol=rtol, atol=rtol)


def test_threshold_local_of_whole_frames(container):
    """Windows as large as the frames, of even size too, as the deviation alone counts."""
    stack = image_of((3, 40, 52), np.uint16)
    expected = np.stack([ndimage.gaussian_filter(f.astype(float), (39 / 6, 51 / 6)) for f in stack])
    found = to_numpy(filters.threshold_local(container(stack, 3), (1, 40, 52)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (to_numpy(filters.threshold_local(container(stack, 3), (1, 301, 401))) > 0).all()


def test_threshold_local_by_param_and_function(container):
    image = image_of((15, 18), np.uint8)
    for param in (2.5, (0, 3)):
        found = to_numpy(filters.threshold_local(container(image), 3, param=param))
        expected = skimage_filters.threshold_local(image, 3, param=param)
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    found = to_numpy(filters.threshold_local(container(image), 3, "generic", param=np.ptp))
    expected = skimage_filters.threshold_local(image, 3, "generic", param=np.ptp)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.integers(0, 20),
    st.sampled_from(["reflect", "nearest", "mirror", "wrap", "constant"]),
    st.integers(3, 9),
    st.booleans(),
)
def test_local_means_do_not_depend_on_chunks(shape, half, mode, chunk, floating):
    image = np.random.default_rng(half).random((*shape, 2)) * 1000
    image = image if floating else image.astype(np.uint16)
    options = {"block_size": (2 * half + 1,) * (len(shape)) + (1,), "method": "mean", "mode": mode}
    whole = filters.threshold_local(image, **options)
    expected = skimage_filters.threshold_local(image, **options)
    np.testing.assert_allclose(whole, expected, rtol=1e-9, atol=1e-9)
    cut = filters.threshold_local(da.from_array(image, chunks=chunk), **options)
    np.testing.assert_array_equal(cut.compute(), whole)


@pytest.mark.parametrize("shape", [(50, 300), (7, 20, 70), (900,)])
def test_wide_local_means_do_not_depend_on_threads(shape, monkeypatch):
    monkeypatch.setattr(engine, "_PART_PIXELS", 1)
    image = image_of(shape, np.float64)
    with limit_threads(1):
        one = filters.threshold_local(image, 101, "mean")
    with limit_threads(5):
        np.testing.assert_array_equal(filters.threshold_local(image, 101, "mean"), one)
    expected = skimage_filters.threshold_local(image, 101, "mean")
    np.testing.assert_allclose(one, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_hysteresis(dtype, container):
    for shape in ((40, 53), (9, 14, 17)):
        image = ndimage.gaussian_filter(image_of(shape, np.float64), 1)
        image = (image * 255).astype(dtype)
        low, high = np.quantile(image, [0.6, 0.95])
        high_map = np.full(shape, high)
        high_map[:4] = low - 9
        for thresholds in ((low, high), (high, low), (low, high_map)):
            found = filters.apply_hysteresis_threshold(container(image), *thresholds)
            expected = skimage_filters.apply_hysteresis_threshold(image, *thresholds)
            np.testing.assert_array_equal(to_numpy(found), expected, strict=True)


def test_lazy_thresholds_for_hysteresis():
    image = image_of()
    cut = da.from_array(image, chunks=20)
    low, high = filters.threshold_triangle(cut), filters.threshold_otsu(cut)
    found = filters.apply_hysteresis_threshold(cut, low, high).compute()
    expected = skimage_filters.apply_hysteresis_threshold(image, low.compute(), high.compute())
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: filters.threshold_otsu(x > 0), TypeError, "bool"),
        (lambda x: filters.threshold_otsu(x[:0]), ValueError, r"shape \(0, 71\)"),
        (lambda x: filters.threshold_otsu(np.zeros((9, 9, 3))), ValueError, "rgb2gray"),
        (lambda x: filters.threshold_local(np.zeros((9, 9, 4)), 3), ValueError, "rgb2gray"),
        (lambda x: filters.threshold_yen(x, 0), ValueError, "nbins must be at least 1, got 0"),
        (lambda x: filters.threshold_multiotsu(x, 1), ValueError, "classes must be at least 2"),
        (lambda x: filters.threshold_li(x, initial_guess=300), ValueError, "got 300 for"),
        (lambda x: filters.threshold_otsu(x.astype(np.int64) << 40), ValueError, "integers, got"),
        (lambda x: filters.threshold_otsu(np.array([1.0, np.nan])), ValueError, "finite"),
        (lambda x: filters.threshold_otsu(np.array([1.0, np.inf])), ValueError, "finite"),
        (lambda x: filters.threshold_local(x, 4, "mean"), ValueError, "odd, got 4"),
        (lambda x: filters.threshold_local(x, 0), ValueError, "positive and odd, got 0"),
        (lambda x: filters.threshold_local(x, 3, "mode"), ValueError, "got 'mode'"),
        (lambda x: filters.threshold_local(x, 3, "generic"), TypeError, "got None"),
        (lambda x: filters.threshold_local(x, 3, param=-1), ValueError, "got -1"),
        (lambda x: filters.threshold_local(x, 3, mode="odd"), ValueError, "got 'odd'"),
        (lambda x: filters.apply_hysteresis_threshold(x > 0, 0, 1), TypeError, "bool"),
        (
            lambda x: filters.apply_hysteresis_threshold(x, x[:4], 1),
            ValueError,
            r"low must be a nu",
        ),
        (lambda x: filters.apply_hysteresis_threshold(x, 0, x[None]), ValueError, r"high .* \(1, "),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call(image_of())


def test_what_chunks_cannot_do_exactly_is_refused():
    image = da.from_array(image_of(dtype=np.float32), chunks=20)
    with pytest.raises(TypeError, match="sorted values"):
        filters.threshold_li(image)
    image = da.from_array(np.array([1.0, np.nan, 3.0]), chunks=1)
    with pytest.raises(ValueError, match="finite"):
        filters.threshold_otsu(image).compute()


@pytest.mark.parametrize("tolerance", [0, -1, np.nan])
def test_an_iteration_that_would_not_end(container, tolerance):
    for dtype in (np.uint8, float):
        with pytest.raises(ValueError, match="tolerance must be above 0"):
            filters.threshold_li(
                container(np.arange(9.0).reshape(3, 3).astype(dtype)), tolerance=tolerance
            )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: filters.threshold_otsu(x, 2.5), TypeError, "nbins must be an integer, got 2.5"),
        (lambda x: filters.threshold_otsu(x, 0), ValueError, "nbins must be at least 1, got 0"),
        (lambda x: filters.threshold_multiotsu(x, "3"), TypeError, "classes .* got '3'"),
        (lambda x: filters.threshold_local(x, 3.0), TypeError, "block_size .* got 3.0"),
        (lambda x: filters.threshold_local(x, param=np.inf), ValueError, "param .* got inf"),
        (lambda x: filters.apply_hysteresis_threshold(x, "1", 2), TypeError, "low .* got '1'"),
    ],
)
def test_options_of_other_types(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((4, 5)))


def test_an_image_at_hand_of_thresholds_in_chunks():
    with pytest.raises(TypeError, match="low must be no Dask array unless the image is"):
        filters.apply_hysteresis_threshold(np.ones((4, 4)), da.ones((4, 4)), 2)
    found = filters.apply_hysteresis_threshold(np.eye(3) * 4, np.float64(1), np.array(2))
    np.testing.assert_array_equal(found, np.eye(3) > 0)
