"""Every compression, sample type and colour model of TIFF, against tifffile and OpenSlide."""

from __future__ import annotations

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from _slides import smooth_image, whole
from PIL import Image

from gpuseg._cpu.ycbcr import to_rgb
from gpuseg.io import SlideError, open_slide

HEIGHT, WIDTH = 150, 205


def check(path, reference=None):
    """Our pixels, which must be tifffile's."""
    pixels = whole(path)
    expected = tifffile.imread(path) if reference is None else reference
    assert pixels.dtype == expected.dtype
    assert np.array_equal(pixels, expected)
    return pixels


def write(path, image, **options):
    arguments = {"photometric": "rgb", "metadata": None} | options
    tifffile.imwrite(path, image, **arguments)
    return path


@pytest.mark.parametrize("layout", [{"tile": (64, 48)}, {"rowsperstrip": 17}, {}])
@pytest.mark.parametrize(
    ("compression", "options"),
    [
        (None, {}),
        ("lzw", {"predictor": 2}),
        ("lzw", {}),
        ("zlib", {"predictor": 2}),
        ("zlib", {}),
        ("zstd", {}),
        ("lzma", {}),
        ("packbits", {}),
        ("png", {}),
        ("webp", {"compressionargs": {"lossless": True}}),
        ("jpeg2000", {}),
        ("jpegxl", {}),
        ("jpeg", {"compressionargs": {"level": 90}}),
    ],
)
def test_compressions_equal_tifffile(tmp_path, compression, options, layout):
    image = smooth_image(HEIGHT, WIDTH)
    path = write(tmp_path / "a.tif", image, compression=compression, **options, **layout)
    pixels = check(path)
    if compression != "jpeg":
        assert np.array_equal(pixels, image)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_jpeg_subsampling_equals_tifffile_and_openslide(tmp_path, subsampling):
    path = write(
        tmp_path / "a.tif",
        smooth_image(HEIGHT, WIDTH),
        tile=(64, 64),
        compression="jpeg",
        subsampling=subsampling,
    )
    pixels = check(path)
    with openslide.OpenSlide(path) as slide:
        rgba = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
    assert np.array_equal(pixels, rgba[..., :3])


def abbreviated(path, image, photometric, tile=64):
    """JPEG TIFF with its tables in the directory, as Aperio and libtiff write it.

    The colour space stands in Photometric alone: no JFIF and no Adobe marker.
    """
    colour = "rgb" if photometric == "rgb" else "ycbcr"
    streams = []
    for top in range(0, image.shape[0], tile):
        for left in range(0, image.shape[1], tile):
            block = np.full((tile, tile, 3), 7, np.uint8)
            part = image[top : top + tile, left : left + tile]
            block[: part.shape[0], : part.shape[1]] = part
            stream = imagecodecs.jpeg8_encode(
                block, level=85, colorspace="rgb", outcolorspace=colour, subsampling="444"
            )
            streams.append(_segments(stream))
    tables = b"".join(body for kind, body in streams[0] if kind in (0xDB, 0xC4))
    kept = [
        b"\xff\xd8" + b"".join(b for kind, b in stream if kind not in (0xDB, 0xC4, 0xE0, 0xEE))
        for stream in streams
    ]
    tifffile.imwrite(
        path,
        iter(kept),
        shape=image.shape,
        dtype=np.uint8,
        tile=(tile, tile),
        photometric=photometric,
        compression="jpeg",
        jpegtables=b"\xff\xd8" + tables + b"\xff\xd9",
        subsampling=(1, 1),
        metadata=None,
    )
    # tifffile writes YCbCr whatever it is told.
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags[262].overwrite({"rgb": 2, "ycbcr": 6}[photometric])
    return path


def _segments(stream):
    """(marker, bytes) of a JPEG stream; the scan to the end is one."""
    position, parts = 2, []
    while stream[position + 1] != 0xDA:
        length = int.from_bytes(stream[position + 2 : position + 4], "big") + 2
        parts.append((stream[position + 1], stream[position : position + length]))
        position += length
    return [*parts, (0xDA, stream[position:])]


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_abbreviated_tables_and_colour_space_from_photometric(tmp_path, photometric):
    image = smooth_image(HEIGHT, WIDTH)
    path = abbreviated(tmp_path / "a.tif", image, photometric)
    pixels = check(path)
    assert np.abs(pixels.astype(int) - image).mean() < 3
    with openslide.OpenSlide(path) as slide:
        rgba = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
    assert np.array_equal(pixels, rgba[..., :3])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "f2", "f4", "f8", "u1"])
def test_sample_types_and_byte_orders(tmp_path, dtype, order, bigtiff):
    image = smooth_image(90, 70, dtype=np.dtype(dtype) if dtype != "i2" else np.uint8)
    image = image.astype(dtype)
    path = write(tmp_path / "a.tif", image, tile=(32, 32), byteorder=order, bigtiff=bigtiff)
    check(path, image)
    path = write(tmp_path / "b.tif", image, byteorder=order, bigtiff=bigtiff)
    check(path, image)


def test_planes_are_interleaved(tmp_path):
    image = smooth_image(HEIGHT, WIDTH, dtype=np.uint16)
    for layout in ({"tile": (64, 64)}, {"rowsperstrip": 13}, {}):
        path = write(
            tmp_path / "a.tif", image.transpose(2, 0, 1), planarconfig="separate", **layout
        )
        check(path, image)


@pytest.mark.parametrize("compression", [None, "zlib", "webp", "jpeg2000", "zstd"])
def test_alpha_stays_the_fourth_channel(tmp_path, compression):
    image = smooth_image(HEIGHT, WIDTH, channels=4)
    path = write(
        tmp_path / "a.tif",
        image,
        tile=(64, 64),
        extrasamples=["unassalpha"],
        compression=compression,
        compressionargs={"lossless": True} if compression == "webp" else None,
    )
    check(path)


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 17}])
@pytest.mark.parametrize("compression", [None, "jpeg", "lzw"])
def test_grey_becomes_three_equal_channels(tmp_path, compression, layout):
    grey = smooth_image(HEIGHT, WIDTH, channels=1)[..., 0]
    path = write(
        tmp_path / "a.tif", grey, photometric="minisblack", compression=compression, **layout
    )
    check(path, np.repeat(tifffile.imread(path)[..., None], 3, axis=2))


def test_grey_with_alpha_has_four_channels(tmp_path):
    image = smooth_image(80, 70, channels=2)
    path = write(tmp_path / "a.tif", image, photometric="minisblack", extrasamples=["unassalpha"])
    check(path, image[..., [0, 0, 0, 1]])


def test_zero_is_black_whatever_the_file_says(tmp_path):
    grey = smooth_image(80, 70, channels=1)[..., 0]
    path = write(tmp_path / "a.tif", grey, photometric="miniswhite")
    check(path, np.repeat(255 - grey[..., None], 3, axis=2))
    assert np.array_equal(whole(path)[..., 0], np.asarray(Image.open(path)))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("compression", [None, "packbits"])
def test_bilevel_is_0_and_255(tmp_path, photometric, compression):
    bits = smooth_image(80, 72, channels=1)[..., 0] > 100
    path = write(tmp_path / "a.tif", bits, photometric=photometric, compression=compression)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("L"))
    check(path, np.repeat(expected[..., None], 3, axis=2))


def test_palette_is_looked_up(tmp_path):
    index = smooth_image(80, 70, channels=1)[..., 0]
    colours = np.random.default_rng(1).integers(0, 65536, (3, 256), dtype=np.uint16)
    path = write(tmp_path / "a.tif", index, photometric="palette", colormap=colours)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    check(path, expected)


def test_several_channels_stay_as_they_are(tmp_path):
    image = smooth_image(80, 70, channels=5, dtype=np.uint16)
    path = write(tmp_path / "a.tif", image, photometric="minisblack", planarconfig="contig")
    check(path, image)


def test_missing_tiles_are_white(tmp_path):
    image = smooth_image(HEIGHT, WIDTH)
    path = write(tmp_path / "a.tif", image, tile=(64, 64), compression="jpeg")
    expected = tifffile.imread(path)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        counts = list(tiff.pages[0].databytecounts)
        counts[0] = counts[6] = 0
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    expected[:64, :64] = expected[64:128, 128:192] = 255
    check(path, expected)
    for dtype, white in ((np.uint16, 65535), (np.float32, 1.0)):
        write(path, image.astype(dtype), tile=(64, 64))
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            offsets = list(tiff.pages[0].dataoffsets)
            offsets[1] = 0
            tiff.pages[0].tags["TileOffsets"].overwrite(offsets)
        assert (whole(path)[:64, 64:128] == white).all()


def test_aperio_jpeg2000_of_ycbcr(tmp_path):
    image = smooth_image(HEIGHT, WIDTH)
    ycbcr = np.asarray(Image.fromarray(image).convert("YCbCr"))
    blocks = []
    for top in range(0, HEIGHT, 64):
        for left in range(0, WIDTH, 64):
            block = np.zeros((64, 64, 3), np.uint8)
            part = ycbcr[top : top + 64, left : left + 64]
            block[: part.shape[0], : part.shape[1]] = part
            blocks.append(
                imagecodecs.jpeg2k_encode(block, codecformat="j2k", reversible=True, mct=False)
            )
    tifffile.imwrite(
        tmp_path / "a.svs",
        iter(blocks),
        shape=image.shape,
        dtype=np.uint8,
        tile=(64, 64),
        photometric="rgb",
        compression=33003,
        description="Aperio Image Library v10|AppMag = 20|MPP = 0.5",
        metadata=None,
    )
    pixels = whole(tmp_path / "a.svs")
    assert np.abs(pixels.astype(int) - image).max() <= 3
    with openslide.OpenSlide(tmp_path / "a.svs") as slide:
        rgba = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
    assert np.array_equal(pixels, rgba[..., :3])


def test_ycbcr_without_jpeg(tmp_path):
    image = smooth_image(80, 70)
    with Image.fromarray(image) as source:
        ycbcr = np.asarray(source.convert("YCbCr"))
    path = write(tmp_path / "a.tif", ycbcr, photometric="ycbcr", compression="lzw")
    assert np.abs(whole(path).astype(int) - image).max() <= 3
    assert np.array_equal(whole(path), to_rgb(ycbcr))


def test_odd_sampling_factors_are_decoded(tmp_path):
    grey = np.full((64, 64, 3), 128, np.uint8)
    stream = bytearray(
        imagecodecs.jpeg8_encode(grey, colorspace="rgb", outcolorspace="rgb", subsampling="444")
    )
    frame = stream.index(b"\xff\xc0")
    # The first component three times as wide as the others: TurboJPEG has no name for that.
    stream[frame + 11] = 0x31
    tifffile.imwrite(
        tmp_path / "a.tif",
        iter([bytes(stream)]),
        shape=grey.shape,
        dtype=np.uint8,
        tile=(64, 64),
        photometric="rgb",
        compression="jpeg",
    )
    assert np.array_equal(whole(tmp_path / "a.tif"), grey)


@pytest.mark.parametrize("photometric", ["separated", "cielab"])
def test_colours_that_need_a_profile_are_refused(tmp_path, photometric):
    image = smooth_image(80, 70, channels=4 if photometric == "separated" else 3)
    path = write(tmp_path / "a.tif", image, photometric=photometric)
    with pytest.raises(SlideError, match=rf"a.tif: .* photometric {photometric.upper()}"):
        open_slide(path)


def test_a_large_uncompressed_strip_is_read_in_pieces(tmp_path):
    image = smooth_image(1100, 800)
    path = write(tmp_path / "a.tif", image)
    slide = open_slide(path)
    assert slide.levels[0].tile == (436, 800)
    check(path, image)
    path = write(tmp_path / "b.tif", image, rowsperstrip=500)
    assert open_slide(path).levels[0].tile == (250, 800)
    check(path, image)


def test_colour_conversion_equals_pillow():
    values = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3), axis=-1).astype(np.uint8)
    ycbcr = values.reshape(52, -1, 3)
    exact = ycbcr.astype(float) - [0, 128, 128]
    expected = np.stack(
        [
            exact[..., 0] + 1.402 * exact[..., 2],
            exact[..., 0] - 0.344136 * exact[..., 1] - 0.714136 * exact[..., 2],
            exact[..., 0] + 1.772 * exact[..., 1],
        ],
        axis=-1,
    )
    assert np.abs(np.clip(expected, 0, 255) - to_rgb(ycbcr)).max() <= 0.51


def test_jfif_is_ycbcr_whatever_photometric_says(tmp_path):
    path = write(tmp_path / "a.tif", smooth_image(80, 70), tile=(64, 64), compression="jpeg")
    expected = tifffile.imread(path)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags[262].overwrite(2)
    check(path, expected)
