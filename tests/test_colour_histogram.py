"""Histograms answer like the image they were made of."""

import itertools
import os
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg import positive_pixel_count as ppc
from gpuseg._backend import limit_threads
from gpuseg._cpu import colour_histogram as engine

PARAMS = ppc.Parameters(hue_value=0.05)
NEGATIVE = PARAMS._replace(hue_value=0.6, hue_width=0.5)


def small_gamut(rng, shape, channels=3):
    """Without red, so that the device's table can be small; with many pixels of one colour."""
    image = rng.integers(0, 7, (*shape, channels), dtype=np.uint8) * 30
    image[..., 0] = 0
    image[rng.random(shape) < 0.3] = 0
    return image


def reference(image, mask=None):
    pixels = image.reshape(-1, image.shape[-1])[:, :3].astype(int)
    if mask is not None:
        pixels = pixels[mask.ravel() != 0]
    return sorted(Counter((pixels @ (65536, 256, 1)).tolist()).items())


def pairs(histogram):
    histogram = histogram.compute() if hasattr(histogram, "compute") else histogram
    return list(zip(histogram.colours.tolist(), histogram.counts.tolist(), strict=True))


@pytest.fixture
def xp(xp, monkeypatch):
    """Array module, the emulated one with a small table: it takes 15 s to look at 2^24 counters."""
    if getattr(xp, "EMULATED", False):
        from gpuseg._cuda import colour_histogram

        monkeypatch.setattr(colour_histogram, "_ROWS", 256)
    return xp


@pytest.mark.parametrize("channels", [3, 4])
def test_every_array_gives_the_same_histogram(xp, container, rng, channels):
    image = small_gamut(rng, (31, 45), channels)
    mask = rng.integers(0, 2, (31, 45))
    wrapped = container(xp.asarray(image))
    assert pairs(ppc.colour_histogram(wrapped)) == reference(image)
    inside = container(xp.asarray(mask))
    assert pairs(ppc.colour_histogram(wrapped, inside)) == reference(image, mask)


@pytest.mark.parametrize("shape", [(1,), (0, 3), (1, 300), (2, 3, 4)])
def test_any_number_of_axes(xp, rng, shape):
    image = small_gamut(rng, shape)
    assert pairs(ppc.colour_histogram(xp.asarray(image))) == reference(image)


def test_launches_of_few_pixels_are_merged(xp, rng, monkeypatch):
    from gpuseg._backend import implementation

    image = small_gamut(rng, (40, 25))
    mask = rng.random((40, 25)) < 0.5
    monkeypatch.setattr(implementation(xp.asarray(image), "colour_histogram"), "_MOST_PIXELS", 300)
    found = ppc.colour_histogram(xp.asarray(image), xp.asarray(mask))
    assert pairs(found) == reference(image, mask)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    values=st.lists(st.floats(0, 1), min_size=7, max_size=7),
    with_negative=st.booleans(),
)
def test_counting_the_histogram_is_counting_the_image(seed, values, with_negative):
    values[4:6] = sorted(values[4:6], reverse=True)
    values[3], values[6] = sorted((values[3], values[6]), reverse=True)
    params = ppc.Parameters(*values)
    negative = NEGATIVE if with_negative else None
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 12, (30, 30, 3), dtype=np.uint8) * 23
    histogram = ppc.colour_histogram(image)
    assert ppc.count(histogram, params, negative=negative, mpp=0.25) == ppc.count(
        image, params, negative=negative, mpp=0.25
    )


def test_threads_strides_and_parts_do_not_matter(rng):
    image = rng.integers(100, 140, (1500, 900, 3), dtype=np.uint8)
    with limit_threads(1):
        whole = ppc.colour_histogram(image)
    with limit_threads(3):
        assert ppc.colour_histogram(image) == whole
        assert ppc.colour_histogram(image.transpose(1, 0, 2)) == whole
    parts = [ppc.colour_histogram(image[:, k::4]) for k in range(4)]
    assert sum(parts[1:], start=parts[0]) == whole
    assert whole.pixels == 1500 * 900


def test_parts_are_shared_with_threads_that_stay(rng, monkeypatch):
    image = rng.integers(0, 256, (2048, 1024, 3), dtype=np.uint8)
    names, part = set(), engine._part_histogram

    def named(*arguments):
        names.add(threading.current_thread().name.split("_")[0])
        return part(*arguments)

    monkeypatch.setattr(engine, "_part_histogram", named)
    with limit_threads(2):
        assert pairs(ppc.colour_histogram(image)) == reference(image)
    assert names <= {threading.current_thread().name, "strips"}


def test_saved_histograms_come_back(rng, tmp_path):
    found = ppc.colour_histogram(rng.integers(0, 256, (50, 50, 3), dtype=np.uint8))
    for histogram in (
        found,
        ppc.ColourHistogram(found.colours, found.counts, 7, 0.25e-6),
        ppc.ColourHistogram(np.zeros(0, int), np.zeros(0, int)),
    ):
        histogram.save(tmp_path / "colours.npz")
        assert ppc.ColourHistogram.load(tmp_path / "colours.npz") == histogram
    assert os.listdir(tmp_path) == ["colours.npz"]


def test_unreadable_pixels_and_areas_stay_with_the_histogram():
    colours, counts = np.array([0x965A28]), np.array([40])
    histogram = ppc.ColourHistogram(colours, counts, 5, 2e-6)
    output = ppc.count(histogram + histogram, PARAMS)
    assert (output.PixelsUnreadable, output.NumberTotalPixels) == (10, 80)
    assert output.AreaPositive == pytest.approx(160e-6)
    other = ppc.ColourHistogram(colours, counts, 0, 1e-6)
    assert ppc.count(histogram + other, PARAMS).AreaTotal is None


@pytest.mark.parametrize(
    ("colours", "counts", "message"),
    [
        ([1, 2], [1], "of one length"),
        ([[1]], [[1]], "of one length"),
        ([2, 1], [1, 1], "strictly increasing"),
        ([1, 1], [1, 1], "strictly increasing"),
        ([1, 1 << 24], [1, 1], "below 2^24, got 1 to 16777216"),
        ([-1], [1], "below 2^24, got -1"),
        ([1], [0], "counts must be at least 1, got 0"),
        ([1.0], [1], "must be integers, got float64"),
    ],
)
def test_arrays_that_are_no_histogram_are_refused(colours, counts, message):
    with pytest.raises(ValueError, match=message.replace("^", r"\^")):
        ppc.ColourHistogram(np.array(colours), np.array(counts))


def test_files_that_are_no_histogram_are_refused(tmp_path):
    whole = tmp_path / "whole.npz"
    ppc.colour_histogram(np.arange(3000, dtype=np.uint16).astype(np.uint8).reshape(-1, 3)).save(
        whole
    )
    data = whole.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    np.savez(tmp_path / "newer.npz", format=99)
    np.save(tmp_path / "array.npy", np.zeros(3))
    broken = {"cut": data[:-30], "flipped": bytes(flipped), "empty": b"", "text": b"hello" * 9}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    for name in (*broken, "newer.npz", "array.npy"):
        with pytest.raises(ValueError, match=f"{name}' is no colour histogram"):
            ppc.ColourHistogram.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        ppc.ColourHistogram.load(tmp_path / "missing")


def test_only_uint8_has_a_histogram(container):
    with pytest.raises(TypeError, match="of a uint8 image, got uint16"):
        ppc.colour_histogram(container(np.zeros((2, 2, 3), np.uint16)))
    histogram = ppc.colour_histogram(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="no mask and no max_value"):
        ppc.count(histogram, PARAMS, np.ones((2, 2), bool))


def test_a_sweep_is_many_counts(rng):
    image = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    histogram = ppc.colour_histogram(image)
    grid = {"hue_width": [0.1, 0.2, 0.3], "intensity_weak_threshold": [0.5, 0.7]}
    rows = ppc.sweep(histogram, grid, PARAMS, negative=NEGATIVE)
    assert len(rows) == 6
    for row, (width, weak) in zip(rows, itertools.product(*grid.values()), strict=True):
        params = PARAMS._replace(hue_width=width, intensity_weak_threshold=weak)
        expected = ppc.count(image, params, negative=NEGATIVE)
        assert row == {**params._asdict(), **expected._asdict()}
    assert ppc.sweep(histogram, [PARAMS, NEGATIVE])[1]["hue_value"] == 0.6
    assert len(ppc.sweep(histogram, {})) == 1


def test_an_odd_grid_is_refused_before_anything_is_computed():
    histogram = ppc.colour_histogram(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="grid must name fields of Parameters, got 'hue'"):
        ppc.sweep(histogram, {"hue": [0.1]})
    with pytest.raises(ValueError, match=r"hue_width must be at least 0, got -1"):
        ppc.sweep(histogram, {"hue_width": [0.1, -1]})
