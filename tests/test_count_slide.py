"""Whole slides: the same bits as the array's count, whatever cuts, computes or interrupts them."""

from __future__ import annotations

import math
import os
import shutil

import numpy as np
import pytest
import tifffile
import zarr
from _slides import smooth_image, write_pyramid
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg import positive_pixel_count as ppc
from gpuseg._cpu.regions import pack
from gpuseg._jobs import count_slide as _count_slide
from gpuseg._jobs.count_box import Job
from gpuseg._shared.hsi import Tally, rule_for
from gpuseg.cluster import Threads, connect
from gpuseg.io import SlideError, open_slide
from gpuseg.io._levels import Level
from gpuseg.io.regions import as_regions
from gpuseg.io.slides import Slide

PARAMS = ppc.Parameters(hue_value=0.05, hue_width=0.4)
HEIGHT, WIDTH = 700, 900


@pytest.fixture(scope="module")
def image():
    return smooth_image(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def slide(tmp_path_factory, image):
    """Lossless pyramid with padded edge tiles and a pixel size of 0.5 µm."""
    return write_pyramid(
        tmp_path_factory.mktemp("slides") / "slide.tif",
        image,
        compression="deflate",
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )


@pytest.fixture
def small_boxes(monkeypatch):
    """Boxes of 256² also where labels are written."""
    monkeypatch.setattr(_count_slide, "_BOX", 256)


@pytest.fixture
def decoded(monkeypatch):
    """Tiles read so far, by their corner."""
    found = []
    read_tiles = Slide.read_tiles

    def spy(self, *box, **options):
        for tile in read_tiles(self, *box, **options):
            found.append((tile.top, tile.left))
            yield tile

    monkeypatch.setattr(Slide, "read_tiles", spy)
    return found


def damage(path, tile):
    """Make one tile of a deflated TIFF unreadable."""
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[tile]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 16)


def inside(ring, height=HEIGHT, width=WIDTH):
    """Pixels whose centre is within a ring, by crossings to the left of it."""
    y, x = np.mgrid[:height, :width] + 0.5
    odd = np.zeros((height, width), bool)
    for (ax, ay), (bx, by) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if ay != by:
            odd ^= ((ay <= y) != (by <= y)) & (ax + (y - ay) * (bx - ax) / (by - ay) < x)
    return odd


def expected(image, mask=None, **options):
    return ppc.count(image, PARAMS, mask, mpp=0.5, **options)


# The whole slide


@pytest.mark.parametrize("tile_grouping", [1, 4, 256, 10**6])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_slide_counts_like_its_array(slide, image, tile_grouping, workers):
    (stats,) = ppc.count_slide(slide, PARAMS, None, tile_grouping, workers=workers)
    assert stats == expected(image)
    assert stats.AreaTotal == HEIGHT * WIDTH * 0.25e-6


@pytest.mark.parametrize("tile", [(16, 16), (240, 240), (256, 128), None])
def test_the_layout_of_the_file_does_not_matter(tmp_path, image, tile):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, image, tile=tile, rowsperstrip=None if tile else 7, photometric="rgb")
    (stats,) = ppc.count_slide(path, PARAMS, None, 1)
    assert stats == ppc.count(image, PARAMS)
    assert stats.AreaTotal is None


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.sampled_from([(64, 64), (240, 240), (256, 512), (16, 9000)]),
    st.integers(1, 40),
    st.sampled_from([256, 1024, 4096]),
)
def test_boxes_partition_a_slide_and_get_smaller(shape, tile, workers, size):
    slide = object.__new__(Slide)
    slide.level, slide.levels = 0, (Level(shape, 1.0, None, tile),)
    boxes = _count_slide._boxes(Job(slide, None), size, Threads(None, workers))
    seen = np.zeros([-(-length // step) for length, step in zip(shape, tile, strict=True)], int)
    left, longest = shape[0] * shape[1], max(size, *tile)
    for top, x, height, width in boxes:
        assert top % tile[0] == x % tile[1] == 0
        assert (top + height) % tile[0] == 0 or top + height == shape[0]
        assert (x + width) % tile[1] == 0 or x + width == shape[1]
        one_tile = height <= tile[0] and width <= tile[1]
        assert height * width <= max(left / workers, 512**2) or one_tile
        assert height * width <= longest**2
        seen[
            top // tile[0] : -(-(top + height) // tile[0]),
            x // tile[1] : -(-(x + width) // tile[1]),
        ] += 1
        left -= height * width
    assert (seen == 1).all()
    assert left == 0


def test_processes_and_a_cluster_that_is_open_give_the_same_bits(slide, image, tmp_path):
    with connect("processes", workers=2) as cluster:
        counted = ppc.count_regions(
            slide,
            PARAMS,
            [(10, 20, 300, 400), (200, 100, 600, 500)],
            labels=tmp_path / "labels.zarr",
            label_image=True,
            tile_grouping=1,
            scheduler=cluster,
        )
        (whole,) = ppc.count_slide(slide, PARAMS, scheduler=cluster)
    assert whole == expected(image)
    alone = ppc.count_regions(slide, PARAMS, [(10, 20, 300, 400), (200, 100, 600, 500)])
    assert counted.total == alone.total
    assert [stats for _, stats in counted.regions] == [stats for _, stats in alone.regions]
    written = zarr.open(counted.labels, mode="r")["0"][:]
    np.testing.assert_array_equal(written, counted.label_image)


@pytest.mark.parametrize("where", [{"level": 1}, {"mpp": 1.0}])
def test_a_coarser_level(slide, image, where):
    counted = ppc.count_regions(slide, PARAMS, (100, 200, 400, 300), **where)
    half = np.ascontiguousarray(image[::2, ::2])
    mask = np.zeros(half.shape[:2], bool)
    mask[100:250, 50:250] = True
    assert counted.total == ppc.count(half, PARAMS, mask, mpp=1.0)


def test_a_slide_that_is_open_is_counted_at_its_level_and_left_open(slide, image):
    with open_slide(slide, level=1) as opened:
        (stats,) = ppc.count_slide(opened, PARAMS)
        assert stats.NumberTotalPixels == math.prod(opened.shape[:2])
        assert opened.read_region(0, 0, 1, 1).shape == (1, 1, 3)
        with pytest.raises(ValueError, match=r"at the level it was opened at, got {'mpp': 1.0}"):
            ppc.count_slide(opened, PARAMS, mpp=1.0)


def test_regions_in_micrometres_where_the_axes_differ(tmp_path, image):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(
        path, image, tile=(64, 64), photometric="rgb", resolution=(20000, 10000),
        resolutionunit="CENTIMETER",
    )  # fmt: skip
    region = {"left": 50, "top": 100, "width": 200, "height": 300, "units": "um"}
    (stats,) = ppc.count_slide(path, PARAMS, region)
    part = np.ascontiguousarray(image[100:400, 100:500])
    assert stats == ppc.count(part, PARAMS)._replace(
        AreaTotal=stats.AreaTotal, AreaPositive=stats.AreaPositive
    )
    assert stats.AreaTotal == pytest.approx(0.2 * 0.3)


def test_counterstain_is_counted_too(slide, image):
    negative = ppc.Parameters(hue_width=1.0, saturation_minimum=0.0)
    (stats,) = ppc.count_slide(slide, PARAMS, negative=negative)
    assert stats == expected(image, negative=negative)
    assert stats.NumberNegative > 0


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_rgba_and_deep_slides(tmp_path, channels, dtype):
    image = smooth_image(300, 200, channels, dtype)
    path = tmp_path / "slide.tif"
    photometric = "minisblack" if channels == 1 else "rgb"
    extra = {"extrasamples": ("unassalpha",)} if channels == 4 else {}
    data = image[..., 0] if channels == 1 else image
    tifffile.imwrite(path, data, tile=(64, 64), photometric=photometric, **extra)
    params = PARAMS._replace(saturation_minimum=0.0, hue_width=1.0)
    (stats,) = ppc.count_slide(path, params)
    rgb = np.repeat(image, 3, axis=-1) if channels == 1 else image
    assert stats == ppc.count(rgb, params)
    assert stats.NumberPositive > 0


def test_max_value_of_twelve_bits(tmp_path):
    image = smooth_image(200, 100, 3, np.uint16) >> 4
    tifffile.imwrite(tmp_path / "slide.tif", image, tile=(64, 64), photometric="rgb")
    (stats,) = ppc.count_slide(tmp_path / "slide.tif", PARAMS, max_value=4095)
    assert stats == ppc.count(image, PARAMS, max_value=4095)
    with pytest.raises(ValueError, match="max_value"):
        ppc.count_slide(tmp_path / "slide.tif", PARAMS, max_value=255)


# Regions


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([1, 256]))
def test_each_region_counts_like_its_mask(slide, image, seed, count, tile_grouping):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, (WIDTH, HEIGHT), (count, 1, 2))
    rings = centres + rng.normal(0, rng.choice([20, 200]), (count, 7, 2))
    rings[:, 0] = centres[:, 0]  # one that lies outside the slide is refused
    masks = [inside(ring.tolist()) for ring in rings]
    counted = ppc.count_regions(slide, PARAMS, list(rings), tile_grouping=tile_grouping)
    assert [stats for _, stats in counted.regions] == [expected(image, mask) for mask in masks]
    assert counted.total == expected(image, np.any(masks, axis=0))
    assert [region.name for region, _ in counted.regions] == [
        f"region {number + 1}" for number in range(count)
    ]


def test_histomicstks_dictionary(slide, image):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[100:500, -300:] = True
    region = {"left": -300, "top": 100, "height": 400}
    (stats,) = ppc.count_slide(slide, PARAMS, region)
    assert stats == expected(image, mask)
    mm = {"left": 0.3, "top": 0.05, "right": 0.45, "bottom": 0.25, "units": "mm"}
    assert ppc.count_slide(slide, PARAMS, mm) == (stats,)


def test_what_no_region_meets_is_not_decoded(slide, decoded):
    regions = [(100, 100, 20, 20), (700, 600, 10, 10), [(300, 10), (310, 10), (300, 20)]]
    ppc.count_regions(slide, PARAMS, regions, tile_grouping=1)
    assert sorted(decoded) == [(0, 256), (64, 64), (576, 640), (576, 704)]
    decoded.clear()
    ppc.count_regions(slide, PARAMS, regions)
    assert sorted(decoded) == [(0, 256), (64, 64), (576, 640), (576, 704)], "nor within a box"


def test_a_region_without_a_pixel_centre_counts_nothing(slide, decoded):
    counted = ppc.count_regions(slide, PARAMS, [[(3.6, 3.6), (4.4, 3.6), (4, 4.4)]])
    assert counted.total.NumberTotalPixels == 0
    assert counted.total.RatioTotalToPixels == 0
    assert decoded == []


@pytest.mark.parametrize("regions", [None, [(10, 5, 90, 70), (60, 40, 100, 60), (3, 3, 4, 5)]])
@pytest.mark.parametrize("where", ["intact", "damaged"])
def test_boxes_count_alike_on_the_cpu_and_the_gpu(tmp_path, xp, regions, where):
    path = tmp_path / "slide.tif"
    image = smooth_image(120, 170)
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", compression="deflate")
    readable = np.ones(image.shape[:2], bool)
    if where == "damaged":
        damage(path, 1)
        readable[:64, 64:128] = False
    masks = []
    for left, top, width, height in regions or ():
        masks.append(np.zeros_like(readable))
        masks[-1][top : top + height, left : left + width] = True
    masks.append(np.any(masks, axis=0) if regions else np.ones_like(readable))
    rings = None
    if regions:
        rings = pack([region.rings for region in as_regions(regions, slide_shape=(120, 170))])
    with open_slide(path) as slide:
        job = Job(
            slide, rule_for(slide.dtype, PARAMS), rings, keep_labels=True, on_error="skip",
            on_gpu=xp is not np,
        )  # fmt: skip
        part = job((0, 0, 120, 170))
    for words, mask in zip(part.words, masks, strict=True):
        stats = Tally.from_ints(words.tolist()).to_output(job.rule)
        lost = np.count_nonzero(mask & ~readable)
        assert stats == ppc.count(image, PARAMS, mask & readable)._replace(PixelsUnreadable=lost)
    expected_labels = ppc.classify(image, PARAMS, masks[-1] & readable)
    np.testing.assert_array_equal(part.labels, expected_labels)


# Labels


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_labels_of_the_slide(slide, image, tmp_path, small_boxes, suffix):
    counted = ppc.count_regions(slide, PARAMS, labels=tmp_path / f"labels{suffix}")
    assert counted.total == expected(image)
    assert counted.labels == tmp_path / f"labels{suffix}"
    if suffix == ".zarr":
        written = zarr.open(counted.labels, mode="r")["0"][:]
    else:
        written = tifffile.imread(counted.labels, level=0)
    np.testing.assert_array_equal(written, ppc.classify(image, PARAMS))
    assert [path.name for path in tmp_path.iterdir()] == [f"labels{suffix}"]


@pytest.mark.parametrize("crop", [False, True])
def test_labels_of_regions(slide, image, tmp_path, small_boxes, crop):
    ring = [(300.2, 40.1), (820.7, 350.3), (410.9, 610.8)]
    other = [(350, 100), (700, 100), (700, 500), (350, 500)]
    counted = ppc.count_regions(
        slide, PARAMS, [ring, other], labels=tmp_path / "labels.zarr", label_image=True,
        crop_labels=crop,
    )  # fmt: skip
    mask = inside(ring) | inside(other)
    labels = ppc.classify(image, PARAMS, mask)
    if crop:
        # Pixels whose centre is within the corners' rectangle.
        assert counted.corner == (40, 300)
        labels = labels[40:611, 300:821]
    np.testing.assert_array_equal(counted.label_image, labels)
    np.testing.assert_array_equal(zarr.open(counted.labels, mode="r")["0"][:], labels)
    assert counted.total == expected(image, mask)


def test_label_image_of_histomicstks_region(slide, image):
    region = {"left": 33, "top": 77, "width": 555, "height": 400}
    stats, labels = ppc.count_slide(slide, PARAMS, region, 1, True)
    part = np.ascontiguousarray(image[77:477, 33:588])
    np.testing.assert_array_equal(labels, ppc.classify(part, PARAMS))
    assert stats == expected(part)


def test_a_label_image_beyond_the_memory_is_refused_first(slide, monkeypatch, decoded):
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 600_000)
    with pytest.raises(MemoryError, match=r"needs 630,000 bytes, and there are 600,000.*\.zarr"):
        ppc.count_slide(slide, PARAMS, make_label_image=True)
    assert decoded == []


# Crashes and going on


class Crash(Exception):
    pass


def crash_after(boxes):
    def progress(done, *_):
        if done == boxes:
            raise Crash

    return progress


@pytest.mark.parametrize("regions", [None, [(0, 0, 500, 600), (300, 300, 500, 300)]])
def test_a_run_that_died_is_gone_on_with(slide, tmp_path, small_boxes, decoded, regions):
    labels = tmp_path / "labels.tif"
    whole = ppc.count_regions(slide, PARAMS, regions, label_image=True)
    with pytest.raises(Crash):
        ppc.count_regions(slide, PARAMS, regions, labels=labels, workers=1, progress=crash_after(3))
    assert not labels.exists()
    decoded.clear()
    counted = ppc.count_regions(slide, PARAMS, regions, labels=labels)
    assert 3 <= counted.boxes_resumed <= 5
    assert len(decoded) == len(set(decoded))
    assert counted.total == whole.total
    assert [stats for _, stats in counted.regions] == [stats for _, stats in whole.regions]
    np.testing.assert_array_equal(tifffile.imread(labels, level=0), whole.label_image)


@pytest.mark.parametrize("change", ["params", "regions", "slide", "on_error"])
def test_a_run_of_something_else_is_not_gone_on_with(slide, tmp_path, small_boxes, change):
    path = shutil.copy(slide, tmp_path / "slide.tif")
    labels = tmp_path / "labels.tif"
    with pytest.raises(Crash):
        ppc.count_regions(path, PARAMS, labels=labels, progress=crash_after(3))
    arguments = {
        "params": {"params": PARAMS._replace(hue_value=0.3)},
        "regions": {"params": PARAMS, "regions": (0, 0, WIDTH, HEIGHT)},
        "on_error": {"params": PARAMS, "on_error": "skip"},
    }.get(change, {"params": PARAMS})
    if change == "slide":
        os.utime(path, ns=(1, 1))
    assert ppc.count_regions(path, labels=labels, **arguments).boxes_resumed == 0


def test_progress_reaches_the_end(slide):
    calls = []
    ppc.count_slide(slide, PARAMS, tile_grouping=1, progress=lambda *call: calls.append(call))
    assert calls[0] == (0, 12, 0, HEIGHT * WIDTH)
    assert calls[-1] == (12, 12, HEIGHT * WIDTH, HEIGHT * WIDTH)
    assert [call[0] for call in calls] == list(range(13))
    assert [call[2] for call in calls] == sorted(call[2] for call in calls)


# Bad input


@pytest.fixture
def damaged(tmp_path, image):
    """Tile (2, 3) of 64² cannot be decoded."""
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", compression="deflate")
    damage(path, 2 * math.ceil(WIDTH / 64) + 3)
    return path


def test_an_unreadable_tile_is_an_error_or_counted_apart(damaged, image, tmp_path):
    with pytest.raises(SlideError, match=r"damaged\.tif: level 0, tile row 2, column 3"):
        ppc.count_slide(damaged, PARAMS)
    readable = np.ones((HEIGHT, WIDTH), bool)
    readable[128:192, 192:256] = False
    counted = ppc.count_regions(
        damaged, PARAMS, on_error="skip", labels=tmp_path / "labels.tif", label_image=True
    )
    assert counted.total == ppc.count(image, PARAMS, readable)._replace(PixelsUnreadable=4096)
    np.testing.assert_array_equal(counted.label_image, ppc.classify(image, PARAMS, readable))


def test_regions_with_an_unreadable_tile(damaged, image):
    readable = np.ones((HEIGHT, WIDTH), bool)
    readable[128:192, 192:256] = False
    rings = [
        [(100.1, 100.2), (300.3, 140.9), (210.2, 300.7)],
        [(230, 150), (400, 150), (400, 250), (230, 250)],
    ]
    counted = ppc.count_regions(damaged, PARAMS, [*rings, (0, 0, 64, 64)], on_error="skip")
    masks = [inside(ring) for ring in rings]
    for (_, stats), mask in zip(counted.regions, masks, strict=False):
        lost = np.count_nonzero(mask & ~readable)
        assert stats == ppc.count(image, PARAMS, mask & readable)._replace(PixelsUnreadable=lost)
        assert lost > 0
    assert counted.regions[2][1].PixelsUnreadable == 0
    union = masks[0] | masks[1]
    assert counted.total.PixelsUnreadable == np.count_nonzero(union & ~readable)


def test_a_slide_that_is_still_being_copied(slide, tmp_path, decoded):
    path = tmp_path / "partial.tif"
    path.write_bytes(slide.read_bytes()[: slide.stat().st_size * 3 // 5])
    with pytest.raises(SlideError, match=r"partial\.tif"):
        ppc.count_slide(path, PARAMS)
    assert decoded == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tile_grouping": -1}, ValueError, "tile_grouping must be a positive integer, got -1"),
        ({"tile_grouping": 0}, ValueError, "tile_grouping must be a positive integer, got 0"),
        ({"region": (2000, 2000, 10, 10)}, ValueError, "outside the slide"),
        ({"region": {"left": 5000}}, ValueError, "has no pixel in the slide"),
        ({"region": [[(1, 1), (5, 5), (9, 9)]]}, ValueError, "is empty"),
        ({"region": 7}, TypeError, "got 7"),
        ({"on_error": "ignore"}, ValueError, 'on_error must be "raise" or "skip", got \'ignore\''),
        ({"level": 9}, ValueError, "level must be one of 0 to 2 .* got 9"),
        ({"mpp": 0.1}, ValueError, "no level of .* has mpp 0.1"),
        ({"labels": "labels.png"}, ValueError, "labels.png"),
        ({"scheduler": "many"}, ValueError, "scheduler must be .* got 'many'"),
        ({"workers": 0}, ValueError, "workers must be a positive integer, got 0"),
        (
            {"params": PARAMS._replace(intensity_weak_threshold=0.1)},
            ValueError,
            "intensity_weak_threshold must be at least intensity_strong_threshold, got 0.1 < 0.35",
        ),
    ],
)
def test_arguments_are_checked_before_any_work(slide, decoded, arguments, error, message):
    with pytest.raises(error, match=message):
        ppc.count_slide(**{"path": slide, "params": PARAMS, **arguments})
    assert decoded == []


def test_what_is_no_slide(tmp_path):
    (tmp_path / "text.svs").write_text("no image")
    for path in (tmp_path / "missing.svs", tmp_path / "text.svs", tmp_path):
        with pytest.raises(SlideError, match=path.name):
            ppc.count_slide(path, PARAMS)


def test_pixels_of_a_dtype_that_has_no_scale(tmp_path):
    tifffile.imwrite(tmp_path / "slide.tif", np.zeros((64, 64, 3), np.int16), photometric="rgb")
    with pytest.raises(TypeError, match="int16"):
        ppc.count_slide(tmp_path / "slide.tif", PARAMS)
