"""Watershed on the GPU floor equals that on the CPU, bit for bit.

The launcher runs on a device where there is one, else on the emulator, under several schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from emulator import Schedule, scheduled, standin
from watershed_cases import CASES, by_definition, plateaus, seeds, smooth, snake

from conftest import HAS_DEVICE
from gpuseg._cuda import watershed as launcher
from gpuseg.segmentation import watershed

pytestmark = pytest.mark.gpu if HAS_DEVICE else pytest.mark.emulator

SCHEDULES = [Schedule(), Schedule(11, 4, 4), *map(Schedule.drawn, range(2))]


@pytest.fixture(params=SCHEDULES[:1] if HAS_DEVICE else SCHEDULES, ids=str)
def cp(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """CuPy, or what stands in for it."""
    if HAS_DEVICE:
        import cupy

        yield cupy
    else:
        with scheduled(request.param):
            yield standin


def check(cp, image, markers, connectivity, mask=None):
    """Equal to the CPU's answer, which other tests compare with the definition."""
    expected = watershed(image, markers, mask=mask, connectivity=connectivity)
    found = watershed(
        cp.asarray(image),
        cp.asarray(markers),
        mask=None if mask is None else cp.asarray(mask),
        connectivity=connectivity,
    )
    assert type(found) is cp.ndarray
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.get(), expected)


@pytest.mark.parametrize("name", list(CASES)[1::9])
def test_cases(cp, name):
    image, markers, mask = CASES[name]
    for connectivity in range(1, image.ndim + 1):
        check(cp, image, markers, connectivity, mask)


@pytest.mark.parametrize("connectivity", [1, 2])
def test_flats_and_noise(cp, connectivity):
    rng = np.random.default_rng(connectivity)
    for image in (
        snake(17),
        plateaus(24, 30),
        np.zeros((20, 21), np.uint8),
        rng.random((30, 33)),
        rng.integers(0, 3, (25, 30)),
        smooth(30, 40),
    ):
        mask = rng.random(image.shape) < 0.9
        for count in (1, 8):
            markers = seeds(image.shape, count, rng)
            check(cp, image, markers, connectivity)
            check(cp, image, markers, connectivity, mask)


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_volumes(cp, connectivity):
    rng = np.random.default_rng(connectivity)
    for image in (rng.integers(0, 3, (5, 7, 9)), smooth(6, 8, 10, sigma=1)):
        markers = seeds(image.shape, 4, rng)
        check(cp, image, markers, connectivity, rng.random(image.shape) < 0.9)


def test_the_definition_itself(cp):
    image, markers = plateaus(20, 24), seeds((20, 24), 5, np.random.default_rng(0))
    found = watershed(cp.asarray(image), cp.asarray(markers), connectivity=2)
    np.testing.assert_array_equal(found.get(), by_definition(image, markers, 2))


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "float16", "float32", "int32", "uint64", "float64"]
)
def test_any_real_dtype(cp, dtype):
    image = (smooth(14, 19, sigma=1) * 40).astype(int)
    image = (image.clip(0) if np.dtype(dtype).kind in "bu" else image).astype(dtype)
    check(cp, image, seeds(image.shape, 6, np.random.default_rng(0)), 1)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64"])
def test_labels_are_of_the_markers_dtype(cp, dtype):
    markers = np.zeros((12, 14), dtype)
    markers[1, 1], markers[9, 9] = 3, np.iinfo(dtype).max
    check(cp, smooth(12, 14), markers, 2)


def test_wide_indices(cp, monkeypatch):
    """As for 2^31 pixels and more."""
    monkeypatch.setattr(launcher, "_NARROW", 0)
    rng = np.random.default_rng(0)
    for image in (rng.random((20, 23)), rng.integers(0, 3, (4, 6, 7)).astype(np.uint8)):
        check(cp, image, seeds(image.shape, 3, rng), image.ndim)


def test_layouts_and_points(cp):
    image, markers = smooth(20, 30), seeds((20, 30), 5, np.random.default_rng(0))
    device, given = cp.asarray(image), cp.asarray(markers)
    expected = watershed(image[::2, 1:], markers[::2, 1:])
    np.testing.assert_array_equal(watershed(device[::2, 1:], given[::2, 1:]).get(), expected)
    np.testing.assert_array_equal(
        watershed(device, [(3, 4), (17, 25)]).get(), watershed(image, [(3, 4), (17, 25)])
    )
    assert watershed(device[:0], given[:0]).shape == (0, 30)


def test_what_is_refused(cp):
    image = cp.asarray(np.zeros((4, 4)))
    with pytest.raises(TypeError, match="markers must be given for a CuPy image"):
        watershed(image)
    with pytest.raises(TypeError, match="markers must live where the image lives"):
        watershed(image, np.zeros((4, 4), int))
    with pytest.raises(ValueError, match="got 16 of 16"):
        watershed(image * np.nan, [(0, 0)])
    with pytest.raises(ValueError, match="negative, got -2"):
        watershed(image, cp.asarray(np.full((4, 4), -2)))
    da = pytest.importorskip("dask.array")
    with pytest.raises(TypeError, match="not for Dask arrays of CuPy chunks"):
        watershed(da.from_array(image, chunks=2, asarray=False), [(0, 0)])
