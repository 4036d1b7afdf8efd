"""Slides: pixels of every level, boxes, tiles, scale, pickling, Dask."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openslide
import pytest
import tifffile
from _slides import halved, smooth_image, write_pyramid
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg.io import SlideError, open_slide

HEIGHT, WIDTH = 300, 421

APERIO = (
    "Aperio Image Library v12.0.15\r\n421x300 [0,0 421x300] (64x64) JPEG/RGB Q=80"
    "|AppMag = 40|MPP = 0.2520|Left = 1,5|User = a=b"
)


@pytest.fixture(scope="module")
def image():
    return smooth_image(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory, image):
    """A JPEG pyramid, 4:2:0, with a resolution of 0.5 µm."""
    path = tmp_path_factory.mktemp("slides") / "pyramid.tif"
    return write_pyramid(
        path,
        image,
        compression="jpeg",
        compressionargs={"level": 90},
        subsampling=(2, 2),
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )


@pytest.fixture(scope="module")
def aperio(tmp_path_factory, image):
    """Aperio's layout: image, thumbnail in strips, coarser levels, label and macro."""
    path = tmp_path_factory.mktemp("slides") / "aperio.svs"
    rgb = {"photometric": "rgb", "metadata": None}
    jpeg = {"compression": "jpeg", "compressionargs": {"level": 80}, "tile": (64, 64)}
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, description=APERIO, **rgb, **jpeg)
        writer.write(halved(image), rowsperstrip=16, description=APERIO, **rgb)
        writer.write(halved(image), description=APERIO, **rgb, **jpeg)
        writer.write(smooth_image(60, 40), subfiletype=1, description="label", **rgb)
        writer.write(smooth_image(50, 150), subfiletype=9, description="macro", **rgb)
    return path


def openslide_level(path, level):
    """RGB pixels of a whole level as OpenSlide reads them."""
    with openslide.OpenSlide(path) as slide:
        rgba = np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))
    assert (rgba[..., 3] == 255).all()
    return rgba[..., :3]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_level_equals_openslide_and_tifffile(pyramid, level):
    with open_slide(pyramid, level=level) as slide:
        pixels = slide.read_region(0, 0, *slide.shape[:2])
    assert np.array_equal(pixels, tifffile.imread(pyramid, key=level))
    assert np.array_equal(pixels, openslide_level(pyramid, level))


def test_real_slide_equals_openslide_at_every_level(test_data):
    path = test_data / "wsi" / "CMU-1-Small-Region.svs"
    with openslide.OpenSlide(path) as reference:
        dimensions = reference.level_dimensions
        mpp = float(reference.properties["openslide.mpp-x"])
    slide = open_slide(path)
    assert [level.shape[::-1] for level in slide.levels] == list(dimensions)
    assert (slide.mpp, slide.magnification) == (mpp, 20.0)
    assert (slide.format, slide.codec) == ("Aperio", "JPEG")
    for level in range(len(dimensions)):
        with open_slide(path, level=level) as chosen:
            assert np.array_equal(
                chosen.read_region(0, 0, *chosen.shape[:2]), openslide_level(path, level)
            )


def test_other_real_pyramids_equal_openslide(test_data):
    path = test_data / "wsi" / "large_image" / "yb10kx5k.zstd.tiff"
    for level in (1, 2, 3, 4):
        with open_slide(path, level=level) as slide:
            pixels = slide.read_region(0, 0, *slide.shape[:2])
        assert np.array_equal(pixels, tifffile.imread(path, key=level))
        assert np.array_equal(pixels, openslide_level(path, level))


def test_aperio_takes_tiled_pages_alone(aperio, image):
    with open_slide(aperio) as slide:
        assert [level.shape for level in slide.levels] == [(300, 421), (150, 211)]
        assert (slide.mpp, slide.magnification) == (0.252, 40.0)
        assert slide.properties["aperio.User"] == "a=b"
        assert slide.properties["ignored.page 1"].startswith("not tiled")
        assert slide.levels[1].mpp == pytest.approx(0.252 * 2, rel=0.01)
    for level in (0, 1):
        with open_slide(aperio, level=level) as slide:
            pixels = slide.read_region(0, 0, *slide.shape[:2])
        assert np.array_equal(pixels, openslide_level(aperio, level))


def test_levels_are_chosen_by_scale(aperio):
    assert open_slide(aperio, mpp=0.25).level == 0
    assert open_slide(aperio, mpp=0.51).level == 1
    assert open_slide(aperio, magnification=20).level == 1
    assert open_slide(aperio, magnification=20).magnification == pytest.approx(20, rel=0.01)
    assert open_slide(aperio, level=-1).level == 1
    with pytest.raises(ValueError, match=r"mpp 0.3 \(within 5 %\); it has 0.252, 0.50"):
        open_slide(aperio, mpp=0.3)
    with pytest.raises(ValueError, match=r"magnification 10 .* it has 40, 20"):
        open_slide(aperio, magnification=10)
    with pytest.raises(ValueError, match=r"level must be one of 0 to 1 .* got 2"):
        open_slide(aperio, level=2)
    with pytest.raises(ValueError, match="one of level, mpp and magnification"):
        open_slide(aperio, mpp=0.25, magnification=40)
    with pytest.raises(ValueError, match="mpp must be a positive number, got -1"):
        open_slide(aperio, mpp=-1)
    with pytest.raises(ValueError, match="on_error must be"):
        open_slide(aperio, on_error="ignore")


def test_scale_that_is_not_known_cannot_choose(tmp_path, image):
    path = write_pyramid(tmp_path / "a.tif", image, resolution=(72, 72), resolutionunit="INCH")
    slide = open_slide(path)
    assert [slide.mpp, slide.mpp_yx, slide.magnification] == [None] * 3
    with pytest.raises(ValueError, match="tells no mpp; choose one of its 3 levels"):
        open_slide(path, mpp=0.5)


def test_anisotropic_pixels_keep_their_area(tmp_path, image):
    path = write_pyramid(
        tmp_path / "a.tif", image, resolution=(40000, 10000), resolutionunit="CENTIMETER"
    )
    slide = open_slide(path)
    assert slide.mpp_yx == (1.0, 0.25)
    assert slide.mpp == 0.5
    assert slide.mpp**2 == slide.mpp_yx[0] * slide.mpp_yx[1]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_tiles_partition_any_box(pyramid, data):
    slide = open_slide(pyramid)
    top = data.draw(st.integers(-70, HEIGHT + 5))
    left = data.draw(st.integers(-70, WIDTH + 5))
    height = data.draw(st.integers(1, HEIGHT + 80))
    width = data.draw(st.integers(1, WIDTH + 80))
    whole = tifffile.imread(pyramid, key=0)
    seen = np.zeros((HEIGHT, WIDTH), int)
    for tile in slide.read_tiles(top, left, height, width):
        area = np.s_[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        assert np.array_equal(tile.pixels, whole[area])
        seen[area] += 1
    expected = np.zeros_like(seen)
    expected[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = 1
    assert np.array_equal(seen, expected)


@pytest.mark.parametrize("size", [1, 64, 100, 256, 4096])
def test_boxes_are_aligned_to_tiles_and_partition_the_level(pyramid, size):
    slide = open_slide(pyramid)
    seen = np.zeros((HEIGHT, WIDTH), int)
    for top, left, height, width in slide.boxes(size):
        assert (top % 64, left % 64) == (0, 0)
        assert max(height, width) <= max(size, 64)
        seen[top : top + height, left : left + width] += 1
    assert (seen == 1).all()


def test_boxes_of_strips_are_as_wide_as_the_image(tmp_path):
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, smooth_image(200, 1000), rowsperstrip=10, photometric="rgb")
    boxes = open_slide(path).boxes(100)
    assert all(left == 0 and width == 1000 for _, left, _, width in boxes)
    assert {height for _, _, height, _ in boxes} == {10}


def test_array_is_lazy_aligned_small_and_equal(tmp_path):
    image = smooth_image(500, 9000)
    path = write_pyramid(tmp_path / "wide.tif", image, levels=1, tile=(128, 240))
    slide = open_slide(path)
    array = slide.array
    assert array.chunks == ((500,), (4080, 4080, 840), (3,))
    assert array.dtype == np.uint8
    assert len(pickle.dumps(array)) < 5000
    assert np.array_equal(array[100:300, 4000:4200].compute(), image[100:300, 4000:4200])
    assert np.array_equal(array.compute(scheduler="threads"), image)
    assert np.array_equal(array.map_blocks(lambda block: 255 - block).compute(), 255 - image)


def test_array_names_tell_levels_and_files_apart(pyramid, aperio):
    names = {open_slide(p, level=i).array.name for p in (pyramid, aperio) for i in (0, 1)}
    assert len(names) == 4
    assert open_slide(pyramid).array.name in names


def test_slide_survives_pickling_and_threads(pyramid):
    slide = pickle.loads(pickle.dumps(open_slide(pyramid, level=1)))
    assert slide.level == 1
    expected = tifffile.imread(pyramid, key=1)
    boxes = [(y, x, 40, 40) for y in range(0, 110, 7) for x in range(0, 170, 13)]
    with ThreadPoolExecutor(8) as pool:
        for (top, left, height, width), pixels in zip(
            boxes, pool.map(lambda box: slide.read_region(*box), boxes), strict=True
        ):
            assert np.array_equal(pixels, expected[top : top + height, left : left + width])


def test_pickled_slide_notices_that_its_file_was_replaced(tmp_path, image):
    path = write_pyramid(tmp_path / "a.tif", image)
    kept = pickle.dumps(open_slide(path))
    write_pyramid(path, image[:100])
    with pytest.raises(SlideError, match="has changed since it was opened"):
        pickle.loads(kept)


def test_distributed_workers_read_the_array(pyramid):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            memory_limit=0,
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster),
    ):
        pixels = open_slide(pyramid).array.rechunk((100, 100, 3)).compute()
    assert np.array_equal(pixels, tifffile.imread(pyramid, key=0))


def test_regions_must_lie_within(pyramid):
    slide = open_slide(pyramid)
    for box in ((-1, 0, 5, 5), (0, 0, 301, 5), (0, 420, 5, 2), (0, 0, 0, 5)):
        with pytest.raises(ValueError, match=rf"within 300 × 421 .* top {box[0]}, left {box[1]}"):
            slide.read_region(*box)


def test_closed_slide_says_so(pyramid):
    slide = open_slide(pyramid)
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read_region(0, 0, 5, 5)


def test_thumbnail_averages_areas(pyramid, image):
    slide = open_slide(pyramid)
    small = slide.thumbnail(100)
    assert (small.shape, small.dtype) == ((71, 100, 3), np.uint8)
    rows = -(-np.arange(72) * 150 // 71)
    columns = -(-np.arange(101) * 211 // 100)
    level = tifffile.imread(pyramid, key=1)
    for y, x in ((0, 0), (30, 50), (70, 99)):
        part = level[rows[y] : rows[y + 1], columns[x] : columns[x + 1]]
        assert np.abs(part.mean((0, 1)) - small[y, x]).max() <= 0.5
    assert np.array_equal(slide.thumbnail(10**6), tifffile.imread(pyramid, key=0))
    with pytest.raises(ValueError, match="max_size must be positive, got 0"):
        slide.thumbnail(0)


def test_thumbnail_of_other_types_and_shapes(tmp_path):
    for dtype, top in ((np.uint16, 65535), (np.float32, 1)):
        image = smooth_image(300, 200, dtype=dtype)
        path = write_pyramid(tmp_path / "a.tif", image, levels=1, tile=(48, 80))
        expected = (image.reshape(30, 10, 20, 10, 3) / top * 255).mean((1, 3))
        assert np.abs(open_slide(path).thumbnail(30) - expected).max() <= 1
    write_pyramid(path, smooth_image(3, 900), levels=1)
    assert open_slide(path).thumbnail(30).shape == (1, 30, 3)


def test_repr_tells_what_one_asks_first(aperio):
    text = repr(open_slide(aperio, level=1))
    for part in ("aperio.svs", "211 × 150 × 3 uint8", "Aperio, JPEG", "tiles 64 × 64", "*level 1"):
        assert part in text
    assert "0.5034 µm/px, 20.02×" in text


def test_sparse_giant_opens_fast_and_reads_white(tmp_path):
    path = tmp_path / "sparse.tif"
    side = 200_000
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            (b"" for _ in range((side // 1024 + 1) ** 2)),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(1024, 1024),
            photometric="rgb",
            compression="jpeg",
        )
    slide = open_slide(path)
    assert slide.shape == (side, side, 3)
    assert len(slide.boxes()) == 49**2
    assert (slide.read_region(side - 1500, side - 1500, 1500, 1500) == 255).all()
    assert slide.array.shape == (side, side, 3)
