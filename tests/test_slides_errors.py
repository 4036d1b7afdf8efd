"""Damaged, incomplete and impossible files: one clear error each, and nothing else."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from _slides import smooth_image, whole, write_pyramid
from PIL import Image

from gpuseg.io import SlideError, open_slide
from gpuseg.io._bytes import merge_ranges


@pytest.fixture
def slide_path(tmp_path):
    """JPEG pyramid of 5 × 7 tiles at level 0."""
    return write_pyramid(tmp_path / "a.tif", smooth_image(300, 421), compression="jpeg")


def tile_range(path, row, column, level=0):
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level]
        index = row * -(-page.imagewidth // page.tilewidth) + column
        return page.dataoffsets[index], page.databytecounts[index]


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_paths_that_are_no_slides(tmp_path):
    with pytest.raises(SlideError, match=r"missing\.svs: there is no such file"):
        open_slide(tmp_path / "missing.svs")
    with pytest.raises(SlideError, match="this is a directory without an OME-Zarr image"):
        open_slide(tmp_path)
    (tmp_path / "empty.svs").touch()
    with pytest.raises(SlideError, match=r"empty\.svs: the file is empty"):
        open_slide(tmp_path / "empty.svs")
    (tmp_path / "notes.svs").write_text("these are notes")
    with pytest.raises(SlideError, match="not an image of a known kind"):
        open_slide(tmp_path / "notes.svs")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SlideError, match="this is no regular file"):
        open_slide(tmp_path / "pipe")
    assert issubclass(SlideError, OSError)


@pytest.mark.parametrize("damage", ["noise", "start", "end", "other"])
def test_damaged_tile_is_named_or_skipped(slide_path, damage):
    offset, length = tile_range(slide_path, 2, 3)
    other = tile_range(slide_path, 0, 0)
    rng = np.random.default_rng(0)
    expected = tifffile.imread(slide_path, key=0)
    if damage == "noise":
        overwrite(slide_path, offset + length // 2, rng.bytes(length // 3))
    elif damage == "start":
        overwrite(slide_path, offset, b"no JPEG!")
    elif damage == "end":
        overwrite(slide_path, offset + length - 100, bytes(100))
    else:
        large = imagecodecs.jpeg8_encode(np.zeros((4000, 4000, 3), np.uint8))
        overwrite(slide_path, offset, large[: min(length, other[1])])
    slide = open_slide(slide_path)
    with pytest.raises(SlideError, match=r"a\.tif: level 0, tile row 2, column 3 \(top 128, left"):
        slide.read_region(0, 0, 300, 421)
    tiles = list(slide.read_tiles(0, 0, 300, 421, on_error="skip"))
    assert len(tiles) == 35
    assert [(t.top, t.left, t.height, t.width) for t in tiles if t.pixels is None] == [
        (128, 192, 64, 64)
    ]
    for tile in tiles:
        if tile.pixels is not None:
            area = np.s_[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
            assert np.array_equal(tile.pixels, expected[area])


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "webp", "jpeg2000", None])
def test_damage_in_other_codecs(tmp_path, compression):
    path = write_pyramid(tmp_path / "a.tif", smooth_image(300, 421), compression=compression)
    offset, length = tile_range(path, 1, 1)
    if compression is None:
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            counts = list(tiff.pages[0].databytecounts)
            counts[8] = 100
            tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    else:
        overwrite(path, offset, bytes(length // 2))
    with pytest.raises(SlideError, match=r"a\.tif: level 0, tile row 1, column 1"):
        whole(path)


def test_slide_that_is_still_being_copied(slide_path):
    with tifffile.TiffFile(slide_path) as tiff:
        first = tiff.pages[0].dataoffsets
    # tifffile writes directories in front of their tiles, most others behind them.
    os.truncate(slide_path, first[20])
    with pytest.raises(
        SlideError, match=r"15 of 35 tiles of level 0 lie beyond the end .* still being copied"
    ):
        open_slide(slide_path)
    slide = open_slide(slide_path, on_error="skip")
    tiles = list(slide.read_tiles(0, 0, 300, 421))
    assert sum(tile.pixels is None for tile in tiles) == 15
    with pytest.raises(SlideError, match=r"tile row 2, column 6 .* not all in the file"):
        slide.read_region(0, 0, 300, 421)


def test_directory_beyond_the_end(slide_path):
    data = bytearray(slide_path.read_bytes())
    data[4:8] = (len(data) + 100).to_bytes(4, "little")
    slide_path.write_bytes(data)
    with pytest.raises(SlideError, match=r"its directory is at \d+: it is truncated, or still"):
        open_slide(slide_path)


def test_any_truncation_and_any_damage_gives_one_kind_of_error(slide_path, tmp_path, caplog):
    data = slide_path.read_bytes()
    rng = np.random.default_rng(1)
    copy = tmp_path / "copy.tif"
    opened = 0
    with caplog.at_level(logging.DEBUG):
        for trial in range(150):
            damaged = bytearray(data)
            if trial % 3 == 0:
                damaged = damaged[: rng.integers(0, len(data))]
            else:
                for position in rng.integers(0, 1500, 1 + trial % 5):
                    damaged[position] = rng.integers(256)
            copy.write_bytes(damaged)
            try:
                with open_slide(copy, on_error="skip") as slide:
                    height, width, _ = slide.shape
                    for _ in slide.read_tiles(0, 0, min(height, 2000), min(width, 2000)):
                        pass
                    repr(slide)
                    opened += 1
            except SlideError as error:
                assert str(copy) in str(error)  # noqa: PT017
    assert 20 < opened < 150
    assert not [record for record in caplog.records if record.name in ("tifffile", "imagecodecs")]


def test_no_descriptors_are_left_open(slide_path, tmp_path):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    # Of this folder alone: what earlier tests left open is closed at any time.
    broken = shutil.copy(slide_path, tmp_path / "broken.tif")
    os.truncate(broken, 400)
    slide = open_slide(slide_path)
    assert open_files(tmp_path) == {slide_path.resolve()}
    slide.close()
    for _ in range(5):
        with open_slide(slide_path) as slide:
            slide.read_region(0, 0, 10, 10)
        with pytest.raises(SlideError):
            open_slide(broken)
        open_slide(slide_path)
    assert not open_files(tmp_path)


def open_files(folder):
    links = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    return {path for path in links if path.is_relative_to(folder.resolve())}


def test_claims_of_terabytes_are_refused_by_the_header(tmp_path):
    Image.fromarray(smooth_image(60, 50)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = (2_000_000_000).to_bytes(4, "big") + (600).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(SlideError, match=r"claims an image of 600 × 2000000000 × 3 .* at most"):
        open_slide(tmp_path / "a.png")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, smooth_image(60, 50), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages[0].tags[name].overwrite(1_000_000, dtype="I")
    with pytest.raises(SlideError, match=r"a strip of 1000000 × 1000000 × 3 .* 2794\.0 GiB"):
        open_slide(path)


def test_directory_with_too_few_offsets(slide_path):
    with tifffile.TiffFile(slide_path, mode="r+b") as tiff:
        tiff.pages[0].tags["ImageWidth"].overwrite(4210)
    with pytest.raises(SlideError, match="330 tiles, but the directory lists 35 offsets"):
        open_slide(slide_path)


def test_a_damaged_level_is_ignored_with_its_reason(slide_path):
    with tifffile.TiffFile(slide_path, mode="r+b") as tiff:
        tiff.pages[1].tags["TileWidth"].overwrite(16)
    slide = open_slide(slide_path)
    assert [level.shape for level in slide.levels] == [(300, 421), (75, 106)]
    assert "but the directory lists" in slide.properties["ignored.level 1"]


def test_damaged_plain_images_are_errors(tmp_path):
    Image.fromarray(smooth_image(60, 50)).save(tmp_path / "a.jpg")
    for suffix in ("png", "jpg", "webp", "bmp", "jp2"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(smooth_image(60, 50)).save(path)
        os.truncate(path, path.stat().st_size - 40)
        slide = open_slide(path)
        with pytest.raises(SlideError, match=rf"a\.{suffix}: level 0, tile row 0, column 0"):
            slide.read_region(0, 0, 60, 50)
        (tile,) = slide.read_tiles(0, 0, 60, 50, on_error="skip")
        assert tile.pixels is None
        os.truncate(path, 20)
        with pytest.raises(SlideError, match=rf"a\.{suffix}: "):
            open_slide(path)


def test_png_checksums_are_compared(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(smooth_image(60, 50)).save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 900] ^= 1
    path.write_bytes(data)
    with pytest.raises(SlideError, match="the checksum of its IDAT chunk is wrong"):
        whole(path)


def test_headers_that_contradict_their_tiles(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", smooth_image(64, 64), compression="webp", levels=1)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["BitsPerSample"].overwrite((16, 16, 16))
    with pytest.raises(
        SlideError, match=r"it holds .* of uint8, but the header claims 3 of uint16"
    ):
        whole(path)


def test_ranges_merge():
    rng = np.random.default_rng(0)
    ranges = [(int(rng.integers(900)), int(rng.integers(1, 9))) for _ in range(50)]
    covered = np.zeros(1000, bool)
    for offset, length in ranges:
        covered[offset : offset + length] = True
    merged = merge_ranges(ranges, gap=0)
    again = np.zeros(1000, bool)
    for start, stop in merged:
        assert not again[start:stop].any()
        again[start:stop] = True
    assert np.array_equal(covered, again)
