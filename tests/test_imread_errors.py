"""What is wrong with one of many images is said with its name."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tifffile
from _image_files import fill, grey, write
from _slides import smooth_image
from PIL import Image
from skimage.io import imread as skimage_imread

from gpuseg.io import SlideError, imread


@pytest.fixture
def folder(tmp_path):
    """Function that writes images `t0`, `t1`, … of a kind."""
    return partial(fill, tmp_path)


def test_differing_files_are_named(folder):
    place = folder([grey(0), grey(1), grey(2, 41), grey(3).astype(np.uint16)], ".png")
    read = imread(place / "*.png", nframes=1)
    with pytest.raises(
        ValueError, match=r"t2\.png is 41 × 52 uint8, but .*t0\.png is 40 × 52 uint8"
    ):
        read[2].compute()
    with pytest.raises(ValueError, match=r"t3\.png is 40 × 52 uint16"):
        read[3].compute()
    with pytest.raises(ValueError, match=r"2 of 4 files do not fit: .*t2\.png.*t3\.png"):
        imread(place / "*.png", check=True)
    assert imread(place / "t[01].png", check=True).shape[0] == 2


def test_grey_among_colour_is_named(folder, tmp_path):
    place = folder([smooth_image(40, 52)] * 2, ".jpg")
    write(place / "t2.jpg", grey(0))
    with pytest.raises(ValueError, match=r"t2\.jpg is 40 × 52 uint8, but .*t0\.jpg is 40 × 52 × 3"):
        imread(place / "*.jpg").compute()
    with pytest.raises(ValueError, match=r"t2\.jpg"):
        imread(place / "*.jpg", skimage_imread).compute()


def test_unreadable_files_name_themselves(folder, tmp_path):
    place = folder([smooth_image(40, 52, seed=seed) for seed in range(3)], ".jpg")
    data = (place / "t1.jpg").read_bytes()
    (place / "t1.jpg").write_bytes(data[: len(data) // 2])
    (place / "t2.jpg").unlink()
    (place / "t2.jpg").mkdir()
    read = imread(sorted(place.glob("*.jpg")), nframes=1)
    with pytest.raises(OSError, match=r"t1\.jpg: corrupted JPEG stream"):
        read[1].compute()
    with pytest.raises(OSError, match=r"t2\.jpg"):
        read[2].compute()
    with pytest.raises(ValueError, match=r"t2\.jpg"):
        imread(sorted(place.glob("*.jpg")), check=True)
    tifffile.imwrite(tmp_path / "a.tif", grey(0), compression="deflate")
    whole = (tmp_path / "a.tif").read_bytes()
    for name, content in {
        "empty.tif": b"",
        "text.tif": b"not an image",
        "cut.tif": whole[: len(whole) // 2],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OSError, match=name):
            imread(tmp_path / name).compute()
    Image.new("CMYK", (4, 4)).save(tmp_path / "cmyk.jpg")
    with pytest.raises(OSError, match=r"cmyk\.jpg: a CMYK JPEG"):
        imread(tmp_path / "cmyk.jpg")
    with pytest.raises(OSError, match=r"pattern such as .*\*\.tif"):
        imread(tmp_path)


def test_damaged_page_is_named(tmp_path, rng):
    stack = rng.integers(0, 255, (4, 50, 60)).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", stack, compression="deflate", photometric="minisblack", metadata=None
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        offset, length = tiff.pages[2].dataoffsets[0], tiff.pages[2].databytecounts[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[offset : offset + length] = bytes(length)
    (tmp_path / "a.tif").write_bytes(data)
    read = imread(tmp_path / "a.tif", nframes=1)
    np.testing.assert_array_equal(read[3].compute(), stack[3])
    with pytest.raises(OSError, match=r"a\.tif: frame 2: "):
        read[2].compute()


def test_bad_arguments(folder, tmp_path):
    name = folder([grey(0)]) / "t0.tif"
    with pytest.raises(FileNotFoundError, match=r"no file matches '.*\*\.png'$"):
        imread(tmp_path / "*.png")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        imread(tmp_path / "none" / "*.png")
    with pytest.raises(FileNotFoundError, match=r"none\.png: there is no such file"):
        imread(tmp_path / "none.png")
    with pytest.raises(ValueError, match="at least one file, got an empty list"):
        imread([])
    with pytest.raises(TypeError, match="a path, a pattern or several paths, got 3"):
        imread(3)
    with pytest.raises(TypeError, match="hold paths, got one of ndarray"):
        imread(np.ones((3, 4)))
    with pytest.raises(ValueError, match='"numpy" or "cupy", got \'torch\''):
        imread(name, arraytype="torch")
    with pytest.raises(TypeError, match=r"imread must be a function, got 2 \(nframes=2\)"):
        imread(name, 2)
    with pytest.raises(ValueError, match="level must be an integer from 0 on, got -1"):
        imread(name, level=-1)
    with pytest.raises(ValueError, match="with imread it must be 0, got 1"):
        imread(name, skimage_imread, level=1)
    with pytest.raises(TypeError, match="sequence must be a regular expression, got 5"):
        imread(name, sequence=5)
    with pytest.raises(SlideError, match="there is no level 1"):
        imread(name, level=1)
