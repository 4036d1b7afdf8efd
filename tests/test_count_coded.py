"""JPEG tiles that are decoded and counted in one go: the same bits as with libjpeg's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
import tifffile
from _slides import smooth_image

from gpuseg import positive_pixel_count as ppc
from gpuseg._jobs import count_box, count_coded
from gpuseg._jobs import count_slide as _count_slide
from gpuseg.io import SlideError, _bytes, _jpeg, open_slide

PARAMS = ppc.Parameters(hue_value=0.05, hue_width=0.4)
HEIGHT, WIDTH, TILE = 1000, 1050, 64
COLUMNS = -(-WIDTH // TILE)


def write(path, photometric="ycbcr", tile=TILE):
    """Slide with padded edge tiles, whose tables TIFF stores apart."""
    sampling = {"subsampling": (2, 2)} if photometric == "ycbcr" else {}
    tifffile.imwrite(
        path,
        smooth_image(HEIGHT, WIDTH),
        tile=(tile, tile),
        photometric=photometric,
        compression="jpeg",
        compressionargs={"level": 85},
        **sampling,
    )
    return path


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    return write(tmp_path_factory.mktemp("coded") / "slide.tif")


@pytest.fixture
def batches(monkeypatch):
    """Numbers of tiles that each call counted."""
    found = []
    tally = count_coded.jpeg.tally

    def spy(*arguments):
        found.append(tally(*arguments))
        return found[-1]

    monkeypatch.setattr(count_coded.jpeg, "tally", spy)
    return found


def by_libjpeg(path, monkeypatch, function=ppc.count_slide, **options):
    with monkeypatch.context() as patch:
        for module in (count_box, _jpeg):
            patch.setattr(module, "MANY_TILES", 10**9)
        return function(path, PARAMS, **options)


def ranges(path):
    with tifffile.TiffFile(path) as tiff:
        return list(zip(tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts, strict=True))


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("photometric", ["ycbcr", "rgb"])
def test_equal_to_libjpeg(tmp_path, monkeypatch, batches, photometric):
    path = write(tmp_path / "slide.tif", photometric)
    expected = by_libjpeg(path, monkeypatch, make_label_image=True)
    assert not batches
    stats, labels = ppc.count_slide(path, PARAMS, make_label_image=True)
    assert sum(batches) == 16 * 17
    assert stats == expected[0]
    np.testing.assert_array_equal(labels, expected[1])
    assert stats == ppc.count_slide(path, PARAMS)[0]


def rings(count):
    """Triangles that overlap; and a rectangle of whole tiles, one of half the slide."""
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, (WIDTH, HEIGHT), (count, 1, 2)) + rng.normal(0, 150, (count, 3, 2))
    return [*corners, (128, 64, 256, 320), (0, 300, WIDTH, 420)]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("negative", [None, ppc.Parameters(hue_value=0.6, hue_width=0.5)])
def test_regions_equal_those_of_libjpeg(slide, monkeypatch, batches, labelled, negative):
    options = {"regions": rings(40), "label_image": labelled, "negative": negative}
    expected = by_libjpeg(slide, monkeypatch, ppc.count_regions, **options)
    assert not batches
    counted = ppc.count_regions(slide, PARAMS, **options)
    assert sum(batches) > 100
    for (_, ours), (_, theirs) in zip(counted.regions, expected.regions, strict=True):
        assert ours == theirs
    assert counted.total == expected.total
    if labelled:
        np.testing.assert_array_equal(counted.label_image, expected.label_image)


def test_only_tiles_with_a_region_are_decoded(slide, batches):
    regions = [(TILE - 1, TILE, 2, 10), (5 * TILE, 5 * TILE, TILE, TILE)]
    ppc.count_regions(slide, PARAMS, regions)
    assert sum(batches) == 3


def test_values_outside_the_regions_may_be_above_the_maximum(tmp_path, batches):
    image = np.full((HEIGHT, WIDTH, 3), 250, np.uint8)
    image[:480] = smooth_image(480, WIDTH) // 3
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, image, tile=(TILE, TILE), photometric="rgb", compression="jpeg")
    counted = ppc.count_regions(path, PARAMS, (0, 0, WIDTH, 448), max_value=200)
    assert counted.total.NumberTotalPixels == 448 * WIDTH
    with pytest.raises(ValueError, match="between 0 and max_value=200"):
        ppc.count_regions(path, PARAMS, (0, 0, WIDTH, 600), max_value=200)


def test_boxes_that_cut_tiles(monkeypatch, batches, tmp_path):
    path = write(tmp_path / "slide.tif", tile=96)
    expected = by_libjpeg(path, monkeypatch, make_label_image=True)
    monkeypatch.setattr(count_box, "MANY_TILES", 0)
    monkeypatch.setattr(_count_slide, "_BOX", 128)
    counted = ppc.count_regions(path, PARAMS, labels=tmp_path / "labels.tif")
    assert counted.total == expected[0]
    assert sum(batches) > 2 * 11**2
    np.testing.assert_array_equal(tifffile.imread(counted.labels, level=0), expected[1])


def test_small_batches(slide, monkeypatch, batches):
    monkeypatch.setattr(_bytes, "_RUN_BYTES", 1)
    assert ppc.count_slide(slide, PARAMS)[0] == by_libjpeg(slide, monkeypatch)[0]
    assert set(batches) == {1}


def test_headers_that_change_from_tile_to_tile(tmp_path, monkeypatch, batches):
    """Streams with tables of their own, some in another quality, some progressive or grey."""
    image = smooth_image(HEIGHT, WIDTH)
    padded = np.pad(image, [(0, -HEIGHT % TILE), (0, -WIDTH % TILE), (0, 0)], mode="edge")

    def streams():
        for number in range(16 * COLUMNS):
            top, left = (TILE * place for place in divmod(number, COLUMNS))
            tile = np.ascontiguousarray(padded[top : top + TILE, left : left + TILE])
            sampling = "440" if number % 7 == 0 else "420"
            yield simplejpeg.encode_jpeg(tile, 60 + number // 40, colorsubsampling=sampling)

    path = tmp_path / "slide.tif"
    tifffile.imwrite(
        path,
        streams(),
        shape=image.shape,
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="ycbcr",
        subsampling=(2, 2),
        compression="jpeg",
    )
    stats = ppc.count_slide(path, PARAMS)[0]
    assert sum(batches) == sum(1 for number in range(16 * COLUMNS) if number % 7)
    assert stats == by_libjpeg(path, monkeypatch)[0]


def test_a_damaged_tile_is_named_or_skipped(slide, tmp_path, monkeypatch, batches):
    path = tmp_path / "slide.tif"
    path.write_bytes(slide.read_bytes())
    offset, length = ranges(path)[3 * COLUMNS + 5]
    overwrite(path, offset + length // 2, b"\xff\xd9")
    with pytest.raises(SlideError, match=r"tile row 3, column 5 .* is unreadable: corrupted JPEG"):
        ppc.count_slide(path, PARAMS)
    for regions in (None, rings(9)):
        options = {"regions": regions, "on_error": "skip"}
        skipped = ppc.count_regions(path, PARAMS, **options)
        expected = by_libjpeg(path, monkeypatch, ppc.count_regions, **options)
        assert skipped.total == expected.total
        assert [stats for _, stats in skipped.regions] == [stats for _, stats in expected.regions]
        assert skipped.total.PixelsUnreadable == TILE**2
    assert max(batches) > 0


def test_missing_tiles_are_white(slide, tmp_path, monkeypatch):
    path = tmp_path / "slide.tif"
    path.write_bytes(slide.read_bytes())
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        lengths = list(tiff.pages[0].databytecounts)
        lengths[40:60] = [0] * 20
        tiff.pages[0].tags["TileByteCounts"].overwrite(lengths)
    assert ppc.count_slide(path, PARAMS)[0] == by_libjpeg(path, monkeypatch)[0]


@pytest.mark.parametrize("many", [0, 200])
def test_pixels_of_later_tiles_equal_those_of_libjpeg(slide, monkeypatch, many):
    expected = tifffile.imread(slide)
    monkeypatch.setattr(_jpeg, "MANY_TILES", many)
    with open_slide(slide) as opened:
        np.testing.assert_array_equal(opened.read_region(0, 0, HEIGHT, WIDTH), expected)


def test_any_damage_gives_the_same_answer_as_libjpeg(slide, tmp_path, monkeypatch):
    path = tmp_path / "slide.tif"
    whole = slide.read_bytes()
    places = ranges(slide)
    rng = np.random.default_rng(0)
    for _ in range(8):
        path.write_bytes(whole)
        for number in rng.integers(len(places), size=40):
            offset, length = places[number]
            overwrite(path, offset + int(rng.integers(length)), bytes(rng.bytes(2)))
        answers = [
            ppc.count_regions(path, PARAMS, on_error="skip").total,
            by_libjpeg(path, monkeypatch, ppc.count_regions, on_error="skip").total,
        ]
        assert answers[0] == answers[1]
        assert answers[0].PixelsUnreadable > 0


def test_a_real_slide(test_data, monkeypatch, batches):
    """Aperio's RGB, whose tables are apart."""
    path = test_data / "wsi" / "CMU-1-Small-Region.svs"
    expected = by_libjpeg(path, monkeypatch, make_label_image=True)
    monkeypatch.setattr(count_box, "MANY_TILES", 0)
    stats, labels = ppc.count_slide(path, PARAMS, make_label_image=True)
    assert sum(batches) == 10 * 13
    assert stats == expected[0]
    np.testing.assert_array_equal(labels, expected[1])
