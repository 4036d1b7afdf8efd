"""Filters, morphology, thresholds and colours of device arrays against those of the CPU."""

from __future__ import annotations

import _delegates
import dask.array as da
import numpy as np
import pytest

from conftest import HAS_DEVICE, to_numpy
from gpuseg import color, filters, morphology


@pytest.fixture(params=[pytest.param("cupy", marks=pytest.mark.gpu), "delegates"])
def device(request, monkeypatch):
    """`cupy.asarray`, of a device or of its stand-in."""
    if request.param == "cupy":
        import cupy

        return cupy.asarray
    if HAS_DEVICE:
        pytest.skip("cupyx is there itself")
    _delegates.install(monkeypatch)
    from emulator import standin

    return standin.asarray


def image_of(dtype=np.uint8, shape=(40, 53)):
    values = np.random.default_rng(0).random(shape)
    return (values * 255).astype(dtype) if np.dtype(dtype).kind in "iu" else values.astype(dtype)


CROOKED = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 0]])

FILTERS = {
    "gaussian": lambda x: filters.gaussian(x, (1.5, 0)),
    "gaussian of nothing": lambda x: filters.gaussian(x, 0),
    "wide gaussian": lambda x: filters.gaussian(x, 12, mode="reflect", preserve_range=True),
    "difference_of_gaussians": lambda x: filters.difference_of_gaussians(x, 1, 3),
    "median": lambda x: filters.median(x, CROOKED, mode="mirror"),
    "sobel": filters.sobel,
    "prewitt": lambda x: filters.prewitt(x, axis=0),
    "laplace": filters.laplace,
    "local gaussian": lambda x: filters.threshold_local(x, 9, offset=0.1),
    "local mean": lambda x: filters.threshold_local(x, (3, 7), "mean", mode="nearest"),
    "local median": lambda x: filters.threshold_local(x, 5, "median"),
}


@pytest.mark.parametrize("call", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_filters(call, dtype, device, request):
    if any(name in request.node.callspec.id for name in ("sobel", "prewitt", "laplace")):
        pytest.importorskip("cucim")
    image = image_of(dtype)
    expected = call(image)
    for wrapped in (device(image), da.from_array(device(image), chunks=19, asarray=False)):
        found = call(wrapped)
        assert found.dtype == expected.dtype
        assert isinstance(getattr(found, "_meta", found), type(device(image)))
        scale = 1e-5 if dtype == np.float32 else 1e-11
        np.testing.assert_allclose(
            to_numpy(found), expected, atol=scale * expected.max(), rtol=scale
        )


@pytest.mark.parametrize("name", morphology.footprints.__all__)
@pytest.mark.parametrize(
    ("mode", "footprint"), [("ignore", CROOKED), ("min", None), ("max", CROOKED)]
)
def test_morphology(name, mode, footprint, device):
    function = getattr(morphology, name)
    mask = image_of(shape=(20, 31)) > 90
    images = [mask] if name.startswith("binary") else [mask, image_of(), image_of(np.float32)]
    for image in images:
        expected = function(image, footprint, mode=mode)
        found = function(device(image), footprint, mode=mode)
        np.testing.assert_array_equal(to_numpy(found), expected)
        lazy = function(
            da.from_array(device(image), chunks=15, asarray=False), footprint, mode=mode
        )
        np.testing.assert_array_equal(to_numpy(lazy), expected)


@pytest.mark.parametrize("method", ["otsu", "yen", "triangle", "li", "multiotsu"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_global_thresholds(method, dtype, device):
    function = getattr(filters, f"threshold_{method}")
    image = image_of(dtype) - np.asarray(0.25 if dtype == np.float32 else 0, dtype)
    if method == "li" and dtype == np.float32:
        with pytest.raises(TypeError, match=r"array\.get"):
            function(device(image))
        return
    np.testing.assert_array_equal(function(device(image)), function(image))
    cut = da.from_array(device(image), chunks=17, asarray=False)
    np.testing.assert_array_equal(function(cut).compute(), function(image))


@pytest.mark.parametrize("method", ["otsu", "multiotsu"])
def test_thresholds_of_frames(method, device):
    find = getattr(filters, f"threshold_{method}")
    stack = image_of(shape=(3, 20, 31))
    expected = find(stack, axes=(1, 2))
    for wrapped in (device(stack), da.from_array(device(stack), chunks=(1, 15, 31), asarray=False)):
        found = find(wrapped, axes=(1, 2))
        np.testing.assert_array_equal(to_numpy(found), expected, strict=True)
        assert to_numpy(wrapped > found).shape == expected.shape[:-3] + stack.shape


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colours(dtype, device):
    image = image_of(dtype, (13, 14, 3))
    for function in (color.rgb2gray, color.rgb2hed):
        expected = function(image)
        for wrapped in (device(image), da.from_array(device(image), chunks=5, asarray=False)):
            found = function(wrapped)
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(to_numpy(found), expected, rtol=2e-5, atol=1e-6)


def test_what_a_device_lacks_names_the_conversion(device):
    with pytest.raises(TypeError, match=r"array\.get\(\)"):
        filters.threshold_local(device(image_of()), 3, "generic", param=np.ptp)


@pytest.mark.emulator
def test_hysteresis(device):
    image = image_of()
    expected = filters.apply_hysteresis_threshold(image, 120, 250)
    np.testing.assert_array_equal(
        to_numpy(filters.apply_hysteresis_threshold(device(image), 120, 250)), expected
    )
