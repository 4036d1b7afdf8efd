"""Grey values and stains against scikit-image, however the array is cut."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from skimage import color as skimage_color
from skimage import io as skimage_io

from conftest import to_numpy
from gpuseg import color
from gpuseg._cpu import color as eager

TYPES = [np.uint8, np.uint16, np.int16, np.float16, np.float32, np.float64, bool]


def image_of(shape=(20, 23, 3), dtype=np.uint8, seed=0):
    values = np.random.default_rng(seed).random(shape)
    if np.dtype(dtype).kind in "iu":
        return (values * np.iinfo(dtype).max).astype(dtype)
    return (values < 0.5) if dtype is bool else values.astype(dtype)


CALLS = {
    "rgb2gray": lambda module, image, **options: module.rgb2gray(image, **options),
    "rgb2hed": lambda module, image, **options: module.rgb2hed(image, **options),
    "separate_stains": lambda module, image, **options: module.separate_stains(
        image, skimage_color.hdx_from_rgb, **options
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dtype", TYPES)
def test_as_scikit_image(call, dtype, container):
    image = image_of(dtype=dtype)
    found = call(color, container(image, 3))
    expected = call(skimage_color, image)
    assert found.dtype == expected.dtype
    tolerance = 2e-6 if found.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(to_numpy(found), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_size_and_chunks_do_not_change_the_answer(call, dtype, monkeypatch):
    monkeypatch.setattr(eager, "_STRIP_PIXELS", 100)
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
    image = image_of((40, 31, 3), dtype)
    whole = call(color, image)
    for chunks in (7, (40, 5, 1), (3, 31, 2)):
        cut = call(color, da.from_array(image, chunks=chunks))
        np.testing.assert_array_equal(cut.compute(), whole)
    np.testing.assert_array_equal(call(color, image[3:7, 2:3]), whole[3:7, 2:3])
    np.testing.assert_array_equal(call(color, image[::-1, ::2]), whole[::-1, ::2])


@pytest.mark.parametrize("channel_axis", [0, 1, -1])
def test_channels_in_any_axis(channel_axis, container):
    image = np.moveaxis(image_of(), -1, channel_axis)
    for call in CALLS.values():
        found = call(color, container(image, 3), channel_axis=channel_axis)
        expected = call(skimage_color, image, channel_axis=channel_axis)
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-13)


def test_black_white_and_stacks(container):
    black = np.zeros((4, 5, 3), np.uint8)
    for image in (black, ~black, image_of((2, 5, 6, 3))):
        found = to_numpy(color.rgb2hed(container(image)))
        np.testing.assert_allclose(found, skimage_color.rgb2hed(image), rtol=1e-13, atol=1e-15)
    image = image_of()
    image.flags.writeable = False
    kept = image.copy()
    color.rgb2hed(image)
    np.testing.assert_array_equal(image, kept)
    assert color.rgb2gray(np.empty((0, 4, 3), np.uint8)).shape == (0, 4)


def test_custom_stains_are_found_again():
    """Mixtures of two stains come apart in the amounts in which they were mixed."""
    first, second = np.array([0.65, 0.70, 0.29]), np.array([0.27, 0.57, 0.78])
    amounts = np.random.default_rng(0).random((10, 11, 2)) * 0.3
    unit = [stain / np.linalg.norm(stain) for stain in (first, second)]
    densities = amounts[..., :1] * unit[0] + amounts[..., 1:] * unit[1]
    rgb = np.exp(densities * np.log(1e-6))
    found = color.separate_stains(rgb, color.stain_matrix(first * 7, second))
    np.testing.assert_allclose(found[..., :2], amounts, atol=1e-12)
    np.testing.assert_allclose(found[..., 2], 0, atol=1e-12)
    of_three = color.stain_matrix(*np.linalg.inv(skimage_color.hed_from_rgb))
    directions = of_three / np.linalg.norm(of_three, axis=0)
    theirs = skimage_color.hed_from_rgb / np.linalg.norm(skimage_color.hed_from_rgb, axis=0)
    np.testing.assert_allclose(directions, theirs)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: color.rgb2gray(np.zeros((5, 6))), ValueError, r"shape \(5, 6\)"),
        (lambda: color.rgb2hed(np.zeros((5, 6, 4))), ValueError, r"rgb\[..., :3\]"),
        (lambda: color.rgb2gray(np.zeros((5, 3)), channel_axis=2), ValueError, "axis 2"),
        (lambda: color.rgb2gray(np.zeros((5, 3), complex)), TypeError, "complex"),
        (lambda: color.rgb2gray([[1, 2, 3]]), TypeError, "list"),
        (lambda: color.separate_stains(np.zeros((5, 3)), np.eye(2)), ValueError, "3×3"),
        (
            lambda: color.separate_stains(np.zeros((5, 3)), np.full((3, 3), np.nan)),
            ValueError,
            "finite",
        ),
        (lambda: color.stain_matrix([1, 2, 3]), ValueError, "two or three"),
        (lambda: color.stain_matrix([1, 2, 3], [0, 0, 0]), ValueError, "three densities"),
        (lambda: color.stain_matrix([1, 2, 3], [2, 4, 6]), ValueError, "differ in colour"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_real_stains(test_data):
    """histolab's expected images of haematoxylin, eosin and DAB, within a grey level."""
    folder = test_data / "brightfield/histolab"
    rgb = skimage_io.imread(folder / "pil-images-rgb/tcga-lung-rgb.png")[..., :3]
    hed = color.rgb2hed(rgb)
    np.testing.assert_allclose(hed, skimage_color.rgb2hed(rgb), rtol=1e-12, atol=1e-15)
    for k, name in enumerate(("hematoxylin", "eosin", "dab")):
        alone = np.zeros_like(hed)
        alone[..., k] = hed[..., k]
        shown = np.round(skimage_color.hed2rgb(alone) * 255)
        path = folder / f"expectations/pil-images-rgb/tcga-lung-rgb-{name}-channel.png"
        expected = skimage_io.imread(path)[..., :3]
        assert np.abs(shown - expected).max() <= 1


def test_stains_of_nothing_finite():
    with pytest.raises(ValueError, match="all finite"):
        color.stain_matrix([np.nan, 1, 2], [1, 2, 3])
