"""What only a kernel can get wrong of positive pixels: each found by a mistake planted in it."""

from __future__ import annotations

from types import ModuleType

import _htk
import numpy as np
import pytest

from conftest import to_numpy
from gpuseg import positive_pixel_count as ppc
from gpuseg._backend import implementation
from gpuseg._shared.hsi import Parameters, rule_for

PARAMS = Parameters(0.05, 0.4, 0.05, 0.95, 0.65, 0.35, 0.05)


@pytest.fixture
def colours(rng: np.random.Generator) -> np.ndarray:
    return rng.random((24, 3)) * [0.9, 0.6, 0.3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "limit", ["intensity_upper_limit", "intensity_lower_limit", "saturation_minimum"]
)
def test_a_limit_that_a_float_pixel_meets_exactly(
    xp: ModuleType, colours: np.ndarray, dtype: str, limit: str
):
    image = colours.astype(dtype)
    _, saturation, intensity = _htk.hsi(image, 1.0)
    for pixel in range(0, len(image), 5):
        value = saturation[pixel] if limit == "saturation_minimum" else intensity[pixel]
        params = PARAMS._replace(**{limit: float(value)})
        expected, tie = _htk.labels(image, params, 1.0)
        found = to_numpy(ppc.classify(xp.asarray(image), params))
        np.testing.assert_array_equal(found[~tie], expected[~tie])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_threshold_that_a_float_pixel_meets_exactly(
    xp: ModuleType, colours: np.ndarray, dtype: str
):
    image = colours.astype(dtype)
    intensity = np.sort(_htk.hsi(image, 1.0)[2])
    strong, weak = float(intensity[8]), float(intensity[16])
    params = PARAMS._replace(
        intensity_weak_threshold=weak, intensity_strong_threshold=strong, hue_width=1.0
    )
    expected, tie = _htk.labels(image, params, 1.0)
    assert set(expected) == {1, 2, 3}
    found = to_numpy(ppc.classify(xp.asarray(image), params))
    np.testing.assert_array_equal(found[~tie], expected[~tie])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("hue", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("width", [0.1, 0.9])
def test_grey_has_the_hue_of_red(xp: ModuleType, dtype: str, hue: float, width: float):
    full = 1.0 if "float" in dtype else float(np.iinfo(dtype).max)
    image = (np.repeat([[0.2], [0.4], [0.8]], 3, axis=1) * full).astype(dtype)
    params = Parameters(hue, width, 0.0, 0.95, 0.65, 0.35, 0.0)
    expected, _ = _htk.labels(image, params, full)
    np.testing.assert_array_equal(to_numpy(ppc.classify(xp.asarray(image), params)), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("start", [0, 1])
def test_a_bad_value_is_found_wherever_it_is(xp: ModuleType, dtype: str, start: int):
    """In the pixels before the first aligned one, in groups, and after them."""
    image = np.full((40, 3), 0.5, dtype)
    for pixel in (start, 7, 39):
        bad = image.copy()
        bad[pixel, 1] = np.nan
        with pytest.raises(ValueError, match="got nan"):
            ppc.count(xp.asarray(bad)[start:], PARAMS)
    assert ppc.count(xp.asarray(image)[start:], PARAMS).NumberTotalPixels == 40 - start


@pytest.mark.parametrize("channel", range(3))
def test_an_integer_above_full_scale_is_found_in_any_channel(xp: ModuleType, channel: int):
    image = np.full((40, 3), 4095, np.uint16)
    image[::3] = 17
    assert ppc.count(xp.asarray(image), PARAMS, max_value=4095).NumberTotalPixels == 40
    image[21, channel] = 4096
    with pytest.raises(ValueError, match="max_value=4095, got 4096"):
        ppc.count(xp.asarray(image), PARAMS, max_value=4095)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_unaligned_images_and_labels(
    xp: ModuleType, rng: np.random.Generator, channels: int, dtype: str
):
    full = 1.0 if "float" in dtype else float(np.iinfo(dtype).max)
    values = (rng.random(300 * channels + 40) * full).astype(dtype)
    device, labels, mask = xp.asarray(values), xp.zeros(400, np.uint8), rng.random(400) < 0.7
    inside, rule = xp.asarray(mask), rule_for(dtype, PARAMS)
    hsi = implementation(device, "hsi")
    # Some starts are at no multiple of 16 bytes within the first pixels, whatever one skips.
    for start in range(18):
        part = slice(start, start + 250 * channels)
        image = values[part].reshape(250, channels)
        out = labels[start % 7 : start % 7 + 250]
        shown = mask[start % 5 : start % 5 + 250]
        tally = hsi.tally(
            device[part].reshape(250, channels), rule, inside[start % 5 : start % 5 + 250], out
        )
        expected, found = implementation(image, "hsi").tally_and_labels(image, rule, shown)
        assert tally == expected
        np.testing.assert_array_equal(to_numpy(out), found)
