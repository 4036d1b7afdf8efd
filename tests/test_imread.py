"""Many images as one Dask array: what peers read, natural order, axes in names."""

from __future__ import annotations

import inspect
import pickle
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dask
import dask.array as da
import dask.array.image
import fsspec
import numpy as np
import pytest
import tifffile
from _image_files import fill, grey, write
from _slides import smooth_image, write_ome_zarr
from hypothesis import given
from hypothesis import strategies as st
from skimage.io import imread as skimage_imread

import gpuseg.imread
from gpuseg.io import SlideError, imread
from gpuseg.io._image_names import natural_sorted
from gpuseg.io._image_stack import ImageStack
from gpuseg.io._image_tiff import TiffImage


@pytest.fixture
def folder(tmp_path):
    """Function that writes images `t0`, `t1`, … of a kind."""
    return partial(fill, tmp_path)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".jp2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pattern_equals_what_scikit_image_reads(folder, suffix, channels):
    images = [smooth_image(40, 52, channels, seed=seed) for seed in range(12)]
    images = [image[..., 0] if channels == 1 else image for image in images]
    place = folder(images, suffix)
    read = imread(place / f"t*{suffix}")
    expected = np.stack([skimage_imread(place / f"t{number}{suffix}") for number in range(12)])
    assert read.dtype == expected.dtype
    assert isinstance(read._meta, np.ndarray)
    np.testing.assert_array_equal(read.compute(), expected)
    if suffix != ".jpg":
        np.testing.assert_array_equal(expected, images)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, bool])
@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (16, 16)}])
def test_tiff_stacks(tmp_path, rng, dtype, options):
    stack = rng.integers(0, 2 if dtype is bool else 200, (5, 33, 47)).astype(dtype)
    if dtype is bool and "tile" in options:
        pytest.skip("tifffile writes no tiled bits")
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    read = imread(tmp_path / "a.tif", nframes=2)
    assert read.chunks == ((2, 2, 1), (33,), (47,))
    assert read.dtype == stack.dtype
    np.testing.assert_array_equal(read.compute(), stack)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "deflate", "predictor": 2},
        {"compression": "lzw", "rowsperstrip": 7},
        {"compression": "zstd", "tile": (32, 16)},
        {"imagej": True, "metadata": {"axes": "TZCYX"}},
        {"ome": True, "metadata": {"axes": "TZCYX"}},
        {"ome": True, "metadata": {"axes": "TZCYX"}, "compression": "deflate"},
    ],
)
def test_hyperstacks(tmp_path, rng, options):
    stack = rng.integers(0, 2000, (2, 3, 2, 45, 38)).astype(np.uint16)
    if "metadata" not in options:
        options = options | {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)
    read = imread(str(tmp_path / "a.tif"))
    np.testing.assert_array_equal(read.compute(), stack)
    np.testing.assert_array_equal(
        read[1, :, 1, 8:40:3, 5:30].compute(), stack[1, :, 1, 8:40:3, 5:30]
    )
    two = imread([tmp_path / "a.tif", tmp_path / "a.tif"], nframes=1)
    assert two.numblocks[0] == 2
    np.testing.assert_array_equal(two.compute(), [stack, stack])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "deflate", "jpeg"])
def test_colour_tiffs(tmp_path, planar, compression):
    image = smooth_image(70, 90, 3)
    pixels = image if planar == "contig" else image.transpose(2, 0, 1)
    if compression == "jpeg" and planar == "separate":
        pytest.skip("not written by tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels, photometric="rgb", planarconfig=planar, compression=compression, tile=(32, 48)
    )
    read = imread(path)
    expected = tifffile.imread(path)
    assert read.shape == (1, *expected.shape)
    np.testing.assert_array_equal(read[0].compute(), expected)
    np.testing.assert_array_equal(read[0, 1:, 20:60:2, :2].compute(), expected[1:, 20:60:2, :2])


WAYS = [
    {},
    {"rowsperstrip": 4},
    {"byteorder": ">"},
    {"bigtiff": True},
    {"compression": "deflate"},
    {"compression": "deflate", "predictor": 2},
    {"compression": "lzw"},
    {"tile": (16, 32)},
    {"description": "a stage and a wavelength", "metadata": None},
    {"description": "shape=(40, 52)", "metadata": None},
    {"imagej": True},
    {"ome": True},
    {"photometric": "miniswhite"},
    {"extratags": [(65000, 4, 1, 7, True)]},
]


@pytest.mark.parametrize("first", WAYS, ids=str)
def test_files_written_otherwise_than_the_first_one(tmp_path, first, monkeypatch):
    alike = {}
    original = TiffImage.alike

    def recorded(self, source, data):
        found = original(self, source, data)
        alike[Path(source.name).stem] = found is not None
        return found

    monkeypatch.setattr(TiffImage, "alike", recorded)
    images = [grey(seed, dtype=np.uint16) for seed in range(len(WAYS) + 2)]
    for number, (image, way) in enumerate(zip(images, [first, first, *WAYS], strict=True)):
        tifffile.imwrite(tmp_path / f"{number}.tif", image, **{"photometric": "minisblack"} | way)
    read = imread(tmp_path / "*.tif", nframes=1)
    np.testing.assert_array_equal(read.compute(scheduler="sync"), images)
    # What tifffile finds out of the first file holds for its like, and only for them.
    quick = not {"bigtiff", "extratags", "ome"} & first.keys()
    assert alike["1"] == quick
    assert sum(alike.values()) >= 3 * quick
    tifffile.imwrite(
        tmp_path / "99.tif", np.stack(images[:2]), **{"photometric": "minisblack"} | first
    )
    with pytest.raises(ValueError, match=r"99\.tif is 2 × 40 × 52 uint16"):
        imread(tmp_path / "*.tif")[-1].compute()


def test_cut_off_like_of_the_first_file(folder):
    place = folder([grey(0), grey(1)])
    (place / "t1.tif").write_bytes((place / "t1.tif").read_bytes()[:-100])
    with pytest.raises(OSError, match=r"t1\.tif: its 2080 bytes at .* are not all in the file"):
        imread(place / "*.tif").compute()


def test_ome_tiff_set_is_read_whole_where_it_is_named(tmp_path, rng):
    stack = rng.integers(0, 255, (2, 30, 40)).astype(np.uint8)
    names = ["a.ome.tif", "b.ome.tif"]
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">'
        f"urn:uuid:{z}</UUID></TiffData>"
        for z, name in enumerate(names)
    )
    for z, name in enumerate(names):
        text = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint8" SizeX="40" SizeY="30" SizeZ="2" SizeC="1" '
            f'SizeT="1"><Channel ID="Channel:0" SamplesPerPixel="1"/>{planes}</Pixels>'
            "</Image></OME>"
        )
        tifffile.imwrite(
            tmp_path / name, stack[z], description=text, metadata=None, compression="deflate"
        )
    np.testing.assert_array_equal(imread(tmp_path / "a.ome.tif").compute(), stack)
    np.testing.assert_array_equal(imread(tmp_path / "*.ome.tif").compute(), stack)


def test_pyramid_levels(tmp_path):
    image = grey(0, 64, 96)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(image, subifds=1, tile=(32, 32))
        writer.write(image[::2, ::2], subfiletype=1, tile=(32, 32))
    np.testing.assert_array_equal(imread(tmp_path / "a.ome.tif", level=1)[0], image[::2, ::2])
    with pytest.raises(SlideError, match=r"a\.ome\.tif: there is no level 2; it has 2"):
        imread(tmp_path / "a.ome.tif", level=2)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, version):
    volume = smooth_image(50, 60, 6, np.uint16).transpose(2, 0, 1).reshape(2, 3, 50, 60)
    for name in ("t2", "t10"):
        write_ome_zarr(
            tmp_path / f"{name}.zarr",
            [volume, volume[..., ::2, ::2]],
            "czyx",
            version=version,
            chunks=(1, 2, 20, 20),
        )
    one = imread(tmp_path / "t2.zarr")
    assert one.shape == volume.shape
    np.testing.assert_array_equal(one.compute(), volume)
    assert imread(tmp_path / "t2.zarr", nframes=1).chunks[0] == (1, 1)
    both = imread(tmp_path / "*.zarr", level=1)
    assert both.shape == (2, 2, 3, 25, 30)
    np.testing.assert_array_equal(both[1, 1, ::2].compute(), volume[1, ::2, ::2, ::2])
    with pytest.raises(SlideError, match="there is no level 5; it has 2"):
        imread(tmp_path / "t2.zarr", level=5)


def test_urls(tmp_path, folder):
    images = [grey(seed) for seed in range(3)]
    place = folder(images, ".png")
    archive = tmp_path / "all.zip"
    memory = fsspec.filesystem("memory")
    with zipfile.ZipFile(archive, "w") as writer:
        for path in sorted(place.glob("*.png")):
            writer.write(path, path.name)
            memory.pipe(f"/imread/{path.name}", path.read_bytes())
    tifffile.imwrite(
        tmp_path / "stack.tif", np.stack(images), compression="deflate", photometric="minisblack"
    )
    memory.pipe("/imread/stack.tif", (tmp_path / "stack.tif").read_bytes())
    try:
        for pattern in ("memory://imread/t*.png", f"zip://t*.png::{archive}"):
            np.testing.assert_array_equal(imread(pattern).compute(scheduler="sync"), images)
        named = imread(["memory://imread/t1.png", place / "t2.png"], nframes=1)
        np.testing.assert_array_equal(named.compute(), images[1:])
        np.testing.assert_array_equal(imread("memory://imread/stack.tif").compute(), images)
        with pytest.raises(FileNotFoundError, match="no file matches 'memory://imread/"):
            imread("memory://imread/*.tiff")
        with pytest.raises(OSError, match=r"memory://imread/none\.png"):
            imread("memory://imread/none.png")
    finally:
        memory.rm("/imread", recursive=True)


class _Quiet(SimpleHTTPRequestHandler):
    """Lists folders and serves whole files; ranges are ignored."""

    def log_message(self, *_):
        pass


def test_a_server_without_ranges(folder):
    images = [grey(seed) for seed in range(3)]
    place = folder(images)
    for seed, image in enumerate(images):
        write(place / f"p{seed}.png", image)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=place)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            for pattern in (f"{url}/*.tif", f"{url}/p[0-9].png"):
                np.testing.assert_array_equal(imread(pattern).compute(), images)
            with pytest.raises(FileNotFoundError, match=r"no file matches 'http.*\*\.jp2'"):
                imread(f"{url}/*.jp2")
            with pytest.raises(OSError, match=r"/none\.png"):
                imread(f"{url}/none.png")
        finally:
            server.shutdown()


def test_natural_order(tmp_path):
    for number in (10, 9, 100, 1):
        tifffile.imwrite(tmp_path / f"t{number}.tif", np.full((3, 4), number, np.uint8))
    read = imread(tmp_path / "t*.tif")
    assert read[:, 0, 0].compute().tolist() == [1, 9, 10, 100]
    listed = imread([tmp_path / "t10.tif", tmp_path / "t1.tif"])
    assert listed[:, 0, 0].compute().tolist() == [10, 1]


@given(st.lists(st.from_regex(r"[ab]{0,2}[0-9]{0,3}[ab]?[0-9]{0,2}\.tif", fullmatch=True)))
def test_natural_order_is_that_of_tifffile(names):
    assert natural_sorted(names) == tifffile.natural_sorted(sorted(names))


def test_hidden_and_nested_files(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("x.png", ".x.png", "a/y.png", "a/b/z.png", "w[1].png"):
        write(tmp_path / name, grey(0))
    monkeypatch.chdir(tmp_path)
    assert len(imread("*.png")) == 2
    assert len(imread("*/*.png")) == 1
    assert len(imread("**/*.png")) == 4
    assert imread("w[1].png").shape == (1, 40, 52)
    assert len(imread(".*.png")) == 1


def test_axes_in_names(tmp_path):
    for channel in (1, 2):
        for time in range(3):
            image = np.full((5, 6), 10 * channel + time, np.uint8)
            tifffile.imwrite(tmp_path / f"well_C{channel}_T{time:02d}.tif", image)
    pattern = str(tmp_path / "*.tif")
    sequence = r"_(C)(\d+)_(T)(\d+)"
    read = imread(pattern, sequence=sequence)
    np.testing.assert_array_equal(
        read.compute(), tifffile.TiffSequence(pattern, pattern=sequence).asarray()
    )
    assert imread(pattern, sequence=sequence, nframes=1).chunks[:2] == ((1, 1), (3,))
    assert read[1, ::2, 0, 0].compute().tolist() == [20, 22]
    (tmp_path / "well_C2_T01.tif").unlink()
    with pytest.raises(ValueError, match=r"axes C, T of 2 × 3 places in 5 names; .* \(1, 1\)"):
        imread(pattern, sequence=sequence)
    with pytest.raises(ValueError, match="does not fit the file names"):
        imread(pattern, sequence=r"_(Z)(\d+)")
    with pytest.raises(ValueError, match="one place"):
        imread(pattern, sequence=r"_(T)(\d+)")


# dask-image's reader asks scikit-image for a plugin.
@pytest.mark.filterwarnings("ignore:The plugin infrastructure:FutureWarning")
def test_replaces_dask_image(folder):
    dask_image_imread = pytest.importorskip("dask_image.imread").imread
    images = [grey(seed, dtype=np.uint16) for seed in range(4)]
    place = folder(images)
    ours, theirs = inspect.signature(gpuseg.imread.imread), inspect.signature(dask_image_imread)
    assert [(p.name, p.default, p.kind) for p in ours.parameters.values()] == [
        (p.name, p.default, p.kind) for p in theirs.parameters.values()
    ]
    for name in (place / "t*.tif", place / "t1.tif"):
        mine, peer = gpuseg.imread.imread(str(name)), dask_image_imread(str(name))
        assert (mine.shape, mine.chunks, mine.dtype) == (peer.shape, peer.chunks, peer.dtype)
        np.testing.assert_array_equal(mine.compute(), peer.compute())
    tifffile.imwrite(place / "stack.tif", np.stack(images), photometric="minisblack")
    mine = gpuseg.imread.imread(place / "stack.tif", nframes=2)
    peer = dask_image_imread(place / "stack.tif", nframes=2)
    assert mine.chunks == peer.chunks
    np.testing.assert_array_equal(mine.compute(), peer.compute())
    # Where dask-image drops files, or raises:
    paired = gpuseg.imread.imread(place / "t?.tif", nframes=2)
    assert paired.chunks[0] == (2, 2)
    np.testing.assert_array_equal(paired.compute(), images)
    assert gpuseg.imread.imread(place / "t1*.tif").shape == (1, 40, 52)
    assert gpuseg.imread.imread(place / "t?.tif", nframes=-1).chunks[0] == (4,)
    assert gpuseg.imread.imread(place / "t?.tif", nframes=9).chunks[0] == (4,)
    with pytest.raises(ValueError, match="nframes must be a positive integer or -1, got 0"):
        gpuseg.imread.imread(place / "t?.tif", nframes=0)


def _doubled(image):
    return image.astype(np.uint16) * 2


def test_replaces_dask_array_image(folder):
    place = folder([grey(seed) for seed in range(3)], ".png")
    ours = list(inspect.signature(imread).parameters.values())[:3]
    theirs = list(inspect.signature(dask.array.image.imread).parameters.values())
    assert [(p.name, p.default, p.kind) for p in ours] == [
        (p.name, p.default, p.kind) for p in theirs
    ]
    pattern = str(place / "*.png")
    for arguments in [(), (skimage_imread,), (skimage_imread, _doubled), (None, _doubled)]:
        mine, peer = imread(pattern, *arguments), dask.array.image.imread(pattern, *arguments)
        assert (mine.shape, mine.dtype) == (peer.shape, peer.dtype)
        np.testing.assert_array_equal(mine.compute(), peer.compute())
    np.testing.assert_array_equal(
        imread(pattern, preprocess=lambda image: image[::2])[1, 3:5].compute(),
        grey(1)[::2][3:5],
    )
    one = imread(str(place / "t1.png"), skimage_imread)
    assert one.shape == dask.array.image.imread(str(place / "t1.png"), skimage_imread).shape


def test_only_the_first_file_is_opened(folder):
    place = folder([grey(seed) for seed in range(3)], ".jpg")
    (place / "t2.jpg").write_bytes(b"no image")
    read = imread(place / "*.jpg", nframes=1)
    assert read.shape == (3, 40, 52)
    assert read[:2].compute().shape == (2, 40, 52)


def test_slices_read_only_what_they_need(folder, monkeypatch):
    place = folder([grey(seed) for seed in range(20)])
    opened = []
    original = ImageStack.__getitem__

    def recorded(self, index):
        opened.append(original(self, index).size)
        return original(self, index)

    read = imread(place / "*.tif")
    assert read.numblocks == (1, 1, 1)
    monkeypatch.setattr(ImageStack, "__getitem__", recorded)
    expected = grey(3)[5:9]
    np.testing.assert_array_equal(read[3, 5:9].compute(scheduler="sync"), expected)
    assert opened == [expected.size]


@pytest.mark.parametrize(
    "index",
    [
        np.s_[None, 2],
        np.s_[[0, 4, 1]],
        np.s_[::-2, 3],
        np.s_[-1, ::-1, 5:1:-2],
        np.s_[1:1],
        np.s_[..., 7],
        np.s_[2, [1, 5], :3],
    ],
)
def test_any_index(folder, index):
    images = np.stack([grey(seed) for seed in range(5)])
    read = imread(folder(images) / "*.tif", nframes=2)
    np.testing.assert_array_equal(read[index].compute(), images[index])


def test_chunks_are_frames_or_groups_of_small_ones(folder, tmp_path):
    small = imread(folder([np.zeros((256, 256), np.uint8)] * 40) / "*.tif")
    assert small.chunks[0] == (20, 20)
    tifffile.imwrite(
        tmp_path / "big.tif", np.zeros((3, 520, 696), np.uint16), photometric="minisblack"
    )
    assert imread(tmp_path / "big.tif").chunksize == (1, 520, 696)
    tifffile.imwrite(
        tmp_path / "deep.tif", np.zeros((3, 10, 256, 512), np.uint8), photometric="minisblack"
    )
    assert imread(tmp_path / "deep.tif").chunks[:2] == ((1, 1, 1), (10,))


def test_device_chunks(folder, xp):
    if xp is np:
        pytest.skip("NumPy chunks are tested everywhere else")
    images = [grey(seed) for seed in range(3)]
    read = imread(folder(images) / "*.tif", arraytype="cupy")
    assert isinstance(read._meta, xp.ndarray)
    part = read[1:].compute()
    assert isinstance(part, xp.ndarray)
    np.testing.assert_array_equal(part.get(), images[1:])


def test_pickled_array_is_read_elsewhere(folder):
    images = [grey(seed) for seed in range(3)]
    read = imread(folder(images, ".jpg") / "*.jpg", preprocess=_doubled)
    again = pickle.loads(pickle.dumps(read))
    np.testing.assert_array_equal(again.compute(scheduler="sync"), read.compute())


def test_few_tasks_for_many_files(folder):
    read = imread(folder([np.zeros((192, 256, 3), np.uint8)] * 100, ".png") / "*.png")
    assert len(read.dask) <= 10
    with dask.config.set(scheduler="sync"):
        assert int((read.astype(np.int64) + 1).sum().compute()) == read.size
    assert isinstance(read, da.Array)


def test_real_images(test_data):
    smears = test_data / "blood_smear" / "bccd" / "JPEGImages"
    names = sorted(smears.glob("*.jpg"))[:5]
    read = imread(names, check=True)
    np.testing.assert_array_equal(read.compute(), [skimage_imread(name) for name in names])
    nuclei = imread(test_data / "nuclei" / "bbbc039" / "images" / "*.tif")
    assert nuclei.chunksize == (1, 520, 696)
    for frame, name in zip(
        nuclei, sorted((test_data / "nuclei/bbbc039/images").glob("*.tif")), strict=True
    ):
        np.testing.assert_array_equal(frame.compute(), tifffile.imread(name))
    planes = imread(test_data / "volumes" / "cellfinder" / "crop_planes" / "ch0" / "*.tif")
    assert (planes.shape, planes.dtype) == ((30, 510, 667), np.uint16)
    np.testing.assert_array_equal(
        planes[7].compute(),
        tifffile.imread(
            sorted((test_data / "volumes/cellfinder/crop_planes/ch0").glob("*.tif"))[7]
        ),
    )
