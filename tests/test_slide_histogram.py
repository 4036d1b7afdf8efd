"""Colour histograms of slides and regions answer as counting the slide does."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from gpuseg import positive_pixel_count as ppc
from gpuseg.io import open_slide

PARAMS = [
    ppc.Parameters(hue_value=0.05),
    ppc.Parameters(0.6, 0.4, 0.0, 1.5, 0.5, 0.4, 0.0),
    ppc.Parameters(0.1, 1.0, 0.2, 0.9, 0.7, 0.2, 0.1),
]


@pytest.fixture
def image(tmp_path, monkeypatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(3)
    pixels = random.normal((150, 100, 60), 60, (700, 900, 3)).clip(0, 255).astype(np.uint8)
    tile = {"tile": (128, 128), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter("s.tif") as tiff:
        tiff.write(pixels, subifds=0, resolution=(20000, 20000), **tile)
        tiff.write(pixels[::2, ::2], subfiletype=1, resolution=(10000, 10000), **tile)
    return pixels


def test_histogram_of_a_slide_is_that_of_its_array(image):
    histogram = ppc.colour_histogram("s.tif")
    plain = ppc.colour_histogram(image)
    assert np.array_equal(histogram.colours, plain.colours)
    assert np.array_equal(histogram.counts, plain.counts)
    assert histogram.pixel_area_mm2 == pytest.approx(0.0005**2)
    for params in PARAMS:
        assert ppc.count(histogram, params) == ppc.count_slide("s.tif", params)[0]


def test_a_level_and_an_open_slide(image):
    half = ppc.colour_histogram(np.ascontiguousarray(image[::2, ::2]))
    for histogram in (
        ppc.colour_histogram("s.tif", mpp=1.0),
        ppc.colour_histogram(open_slide("s.tif", level=1)),
    ):
        assert np.array_equal(histogram.counts, half.counts)
        assert histogram.pixel_area_mm2 == pytest.approx(0.001**2)


def test_regions_have_a_histogram_each(image):
    regions = [
        {"left": 10, "top": 20, "width": 300, "height": 200, "name": "a"},
        [(100, 100), (500, 140), (450, 600), (120, 400)],
        (0, 0, 900, 700),
        (880, 690, 100, 100),
    ]
    counted = ppc.count_regions("s.tif", PARAMS[0], regions, negative=PARAMS[1])
    found = ppc.colour_histogram("s.tif", regions=regions)
    assert [region.name for region, _ in found] == ["a", "region 2", "region 3", "region 4"]
    for (_, histogram), (_, expected) in zip(found, counted.regions, strict=True):
        assert ppc.count(histogram, PARAMS[0], negative=PARAMS[1]) == expected


def test_any_boxes_workers_and_schedulers_give_the_same(image, monkeypatch):
    import gpuseg.io.slides as slides

    expected = ppc.colour_histogram("s.tif")
    in_regions = ppc.colour_histogram("s.tif", regions=[(90, 90, 200, 300)])
    monkeypatch.setattr(slides.Slide.boxes, "__defaults__", (128,))
    assert ppc.colour_histogram("s.tif", workers=3) == expected
    (_, histogram), *_ = ppc.colour_histogram("s.tif", regions=[(90, 90, 200, 300)])
    assert histogram == in_regions[0][1]


def test_unreadable_tiles_are_counted_apart(tmp_path):
    pixels = np.full((256, 256, 3), (120, 80, 40), np.uint8)
    path = tmp_path / "c.tif"
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="ycbcr", compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        offset, size = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    with path.open("rb+") as file:
        file.seek(offset)
        file.write(b"\0" * size)
    with pytest.raises(OSError, match="level 0, tile row 0, column 1"):
        ppc.colour_histogram(path)
    histogram = ppc.colour_histogram(path, on_error="skip")
    assert (histogram.pixels, histogram.unreadable) == (3 * 128**2, 128**2)
    params = PARAMS[0]
    assert ppc.count(histogram, params) == ppc.count_slide(path, params, on_error="skip")[0]
    ((_, half),) = ppc.colour_histogram(path, on_error="skip", regions=[(100, 0, 100, 10)])
    assert (half.pixels, half.unreadable) == (28 * 10, 72 * 10)


def test_progress_is_told(image):
    said: list[tuple[int, int, int, int]] = []
    ppc.colour_histogram("s.tif", progress=lambda *numbers: said.append(numbers))
    assert said[0] == (0, 1, 0, 630000)
    assert said[-1] == (1, 1, 630000, 630000)


def test_arguments_of_the_other_kind_are_refused(image):
    with pytest.raises(TypeError, match="mask is for arrays"):
        ppc.colour_histogram("s.tif", np.ones((700, 900), bool))
    with pytest.raises(TypeError, match="regions are of slides"):
        ppc.colour_histogram(image, regions=[(0, 0, 3, 3)])
    tifffile.imwrite("u16.tif", image.astype(np.uint16), tile=(128, 128), photometric="rgb")
    with pytest.raises(TypeError, match="is of a uint8 image, got uint16"):
        ppc.colour_histogram("u16.tif")
