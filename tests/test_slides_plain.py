"""Plain images against Pillow, and vendors' formats against OpenSlide."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import fsspec
import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from _slides import smooth_image, whole, write_pyramid
from PIL import Image

from gpuseg.io import SlideError, open_slide
from gpuseg.io._openslide import OpenSlideReader


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(suffix, "RGB") for suffix in ("png", "jpg", "bmp", "webp", "jp2", "j2k")]
    + [("png", "RGBA"), ("webp", "RGBA")],
)
def test_plain_images_equal_pillow(tmp_path, suffix, mode):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(smooth_image(600, 530, channels=len(mode))).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert(mode))
    slide = open_slide(path)
    assert slide.shape == expected.shape
    assert np.array_equal(whole(path), expected)
    assert np.array_equal(slide.array.compute(scheduler="threads"), expected)


@pytest.mark.parametrize(
    ("suffix", "modes"),
    [("png", "L P 1 LA"), ("jpg", "L"), ("bmp", "L P 1"), ("webp", "L LA"), ("jp2", "L LA")],
)
def test_plain_grey_and_palette_images(tmp_path, suffix, modes):
    path = tmp_path / f"a.{suffix}"
    for mode in modes.split():
        Image.fromarray(smooth_image(60, 53)).convert(mode).save(path)
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGBA" if "A" in image.mode else "RGB"))
        assert np.array_equal(whole(path), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_its_bits(tmp_path, channels):
    image = smooth_image(60, 50, channels=channels, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
    pixels = whole(tmp_path / "a.png")
    expected = image if channels > 2 else image[..., [0, 0, 0, 1][: channels + 2]]
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, expected)


def test_png_transparency_and_big_metadata(tmp_path):
    image = Image.fromarray(smooth_image(60, 50))
    image.save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert open_slide(tmp_path / "a.png").shape == (60, 50, 4)
    exif = Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "a.jpg", exif=exif.tobytes() + bytes(60000))
    with Image.open(tmp_path / "a.jpg") as reference:
        assert np.array_equal(whole(tmp_path / "a.jpg"), np.asarray(reference))


def test_cmyk_jpeg_is_refused(tmp_path):
    Image.fromarray(smooth_image(60, 50)).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(SlideError, match="CMYK JPEG has no RGB values"):
        open_slide(tmp_path / "a.jpg")


@pytest.fixture
def vms(tmp_path):
    """A Hamamatsu VMS slide: an index file and JPEGs with restart markers."""
    image = smooth_image(256, 512)
    Image.fromarray(image).save(tmp_path / "a.jpg", subsampling=0, restart_marker_blocks=8)
    Image.fromarray(image[::8, ::8]).save(tmp_path / "m.jpg", restart_marker_blocks=2)
    lines = ["NoLayers=1", "NoJpegColumns=1", "NoJpegRows=1", "ImageFile=a.jpg", "MapFile=m.jpg"]
    lines += ["OptimisationFile=", "SourceLens=20", "PhysicalWidth=256000", "PhysicalHeight=128000"]
    path = tmp_path / "a.vms"
    path.write_text("\n".join(["[Virtual Microscope Specimen]", *lines]))
    return path


def test_vendors_formats_are_read_by_openslide(vms):
    with Image.open(vms.with_name("a.jpg")) as image:
        expected = np.asarray(image)
    slide = open_slide(vms)
    assert slide.format == "OpenSlide hamamatsu"
    assert (slide.mpp, slide.magnification) == (0.5, 20.0)
    assert slide.properties["hamamatsu.SourceLens"] == "20"
    assert np.array_equal(whole(vms), expected)
    boxes = [(y, x, 60, 100) for y in range(0, 190, 30) for x in range(0, 400, 50)]
    with ThreadPoolExecutor(4) as pool:
        for (y, x, h, w), pixels in zip(
            boxes, pool.map(lambda box: slide.read_region(*box), boxes), strict=True
        ):
            assert np.array_equal(pixels, expected[y : y + h, x : x + w])
    with openslide.OpenSlide(vms) as reference:
        rgba = np.asarray(reference.read_region((0, 0), 1, reference.level_dimensions[1]))
    assert np.array_equal(whole(vms, 1), rgba[..., :3])


def test_openslide_recovers_after_an_unreadable_tile(vms):
    slide = open_slide(vms, level=3)
    # The map's restart markers are not where OpenSlide looks for them.
    tiles = list(slide.read_tiles(0, 0, 32, 64, on_error="skip"))
    assert any(tile.pixels is None for tile in tiles)
    with pytest.raises(SlideError, match=r"a.vms: level 3, tile row 0"):
        slide.read_region(0, 0, 32, 64)
    fine = slide._reader.read(0, [(0, 0)])
    assert isinstance(next(fine), np.ndarray)


def test_what_openslide_leaves_transparent_is_background(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", smooth_image(128, 192), levels=1)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        counts = list(tiff.pages[0].databytecounts)
        counts[1] = 0
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    reader = OpenSlideReader(str(path))
    assert np.array_equal(next(reader.read(0, [(0, 0)])), whole(path))
    assert reader._flatten(np.array([[[255, 0, 0, 128]]], np.uint8)).tolist() == [[[255, 127, 127]]]
    reader.close()


def test_vendors_tiffs_are_left_to_openslide(tmp_path):
    path = tmp_path / "a.tiff"
    tifffile.imwrite(
        path,
        smooth_image(64, 64),
        tile=(64, 64),
        photometric="rgb",
        metadata=None,
        software="Philips DP v1.0",
        description='<?xml version="1.0"?><DataObject ObjectType="DPUfsImport"></DataObject>',
    )
    with pytest.raises(SlideError, match=r"a\.tiff: OpenSlide cannot read it"):
        open_slide(path)
    memory = fsspec.filesystem("memory")
    memory.put(str(path), "/gpuseg-philips.tiff")
    try:
        with pytest.raises(SlideError, match="Philips slides are read by OpenSlide, from local"):
            open_slide("memory://gpuseg-philips.tiff")
    finally:
        memory.rm("/gpuseg-philips.tiff")
