"""OME-TIFF and OME-Zarr, against tifffile and zarr."""

from __future__ import annotations

import json
import shutil
import zipfile

import fsspec
import numpy as np
import pytest
import tifffile
import zarr
from _slides import halved, smooth_image, whole, write_ome_zarr

from gpuseg.io import SlideError, open_slide


def test_ome_tiff_with_subifds(tmp_path):
    image = smooth_image(200, 310)
    levels = [image, halved(image), halved(halved(image))]
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "jpeg"}
    path = tmp_path / "a.ome.tif"
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": 250.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.25,
        "PhysicalSizeYUnit": "µm",
    }
    with tifffile.TiffWriter(path) as writer:
        writer.write(levels[0], subifds=2, metadata=metadata, **options)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **options)
    slide = open_slide(path)
    assert slide.format == "OME-TIFF"
    assert [level.shape for level in slide.levels] == [level.shape[:2] for level in levels]
    assert (slide.mpp, slide.mpp_yx) == (0.25, (0.25, 0.25))
    for level in range(3):
        expected = tifffile.imread(path, series=0, level=level)
        assert np.array_equal(whole(path, level), expected)


@pytest.mark.parametrize("axes", ["CYX", "TCZYX", "ZCYX", "CZYX"])
def test_ome_tiff_channels_of_the_first_plane(tmp_path, axes):
    sizes = {"T": 2, "C": 4, "Z": 3, "Y": 70, "X": 90}
    shape = tuple(sizes[axis] for axis in axes)
    data = np.random.default_rng(3).integers(0, 65536, shape, dtype=np.uint16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, data, metadata={"axes": axes}, tile=(32, 32), photometric="minisblack")
    index = tuple(slice(None) if axis in "CYX" else 0 for axis in axes)
    assert np.array_equal(whole(path), data[index].transpose(1, 2, 0))


def test_ome_magnification(tmp_path):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="I:0">'
        '<Objective ID="O:0" NominalMagnification="10"/>'
        '<Objective ID="O:1" NominalMagnification="40.0"/></Instrument>'
        '<Image ID="Image:0"><ObjectiveSettings ID="O:1"/><Pixels ID="P:0" Type="uint8" '
        'DimensionOrder="XYCZT" SizeX="60" SizeY="50" SizeC="3" SizeZ="1" SizeT="1" '
        'PhysicalSizeX="0.5" PhysicalSizeY="0.25"><Channel ID="C:0" SamplesPerPixel="3"/>'
        "<TiffData/></Pixels></Image></OME>"
    )
    path = tmp_path / "a.ome.tif"
    image = smooth_image(50, 60)
    tifffile.imwrite(path, image, photometric="rgb", description=xml, metadata=None)
    slide = open_slide(path)
    assert (slide.magnification, slide.mpp_yx) == (40.0, (0.25, 0.5))
    assert np.array_equal(whole(path), image)


def test_ome_xml_that_is_broken_leaves_the_pixels(tmp_path):
    path = tmp_path / "a.ome.tif"
    image = smooth_image(50, 60)
    xml = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image></OME>'
    tifffile.imwrite(path, image, photometric="rgb", description=xml, metadata=None)
    assert np.array_equal(whole(path), image)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_levels_and_scale(tmp_path, version):
    image = smooth_image(300, 421).transpose(2, 0, 1)
    levels = [image, image[:, ::2, ::2], image[:, ::4, ::4]]
    path = write_ome_zarr(
        tmp_path / "a.zarr",
        levels,
        "cyx",
        version=version,
        scale=[1, 250, 250],
        unit="nanometer",
        chunks=(1, 64, 80),
    )
    slide = open_slide(path)
    assert slide.format == f"OME-Zarr {version}"
    assert [level.shape for level in slide.levels] == [(300, 421), (150, 211), (75, 106)]
    assert (slide.mpp, slide.dtype) == (0.25, np.uint8)
    assert open_slide(path, mpp=0.5).level == 1
    for number, level in enumerate(levels):
        assert np.array_equal(whole(path, number), level.transpose(1, 2, 0))
    assert np.array_equal(slide.array.compute(scheduler="threads"), image.transpose(1, 2, 0))


@pytest.mark.parametrize("axes", ["yx", "tczyx", "yxc", "zyx"])
def test_ome_zarr_axes(tmp_path, axes):
    sizes = {"t": 2, "c": 3, "z": 4, "y": 60, "x": 50}
    data = np.random.default_rng(0).integers(0, 256, [sizes[a] for a in axes], dtype=np.uint8)
    path = write_ome_zarr(tmp_path / "a.zarr", [data], axes, version="0.5", unit=None)
    expected = data[tuple(slice(None) if axis in "cyx" else 0 for axis in axes)]
    kept = [axis for axis in axes if axis in "cyx"]
    if "c" in kept:
        expected = expected.transpose([kept.index(axis) for axis in "yxc"])
    else:
        expected = np.repeat(expected[..., None], 3, axis=2)
    assert np.array_equal(whole(path), expected)
    assert open_slide(path).mpp is None


def test_ome_zarr_sharded_zipped_and_in_memory(tmp_path):
    image = smooth_image(300, 200).transpose(2, 0, 1)
    path = write_ome_zarr(
        tmp_path / "a.zarr", [image], "cyx", version="0.5", chunks=(1, 32, 32), shards=(1, 128, 128)
    )
    expected = image.transpose(1, 2, 0)
    assert np.array_equal(whole(path), expected)
    packed = shutil.make_archive(tmp_path / "packed.zarr", "zip", path)
    assert np.array_equal(whole(packed), expected)
    memory = fsspec.filesystem("memory")
    memory.put(str(path), "/gpuseg-test.zarr", recursive=True)
    try:
        assert np.array_equal(whole("memory://gpuseg-test.zarr"), expected)
    finally:
        memory.rm("/gpuseg-test.zarr", recursive=True)


def test_ome_zarr_of_bioformats2raw_and_masks(tmp_path):
    mask = smooth_image(60, 50, channels=1)[..., 0] > 100
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    write_ome_zarr(tmp_path / "a.zarr" / "0", [mask], "yx", version="0.4")
    assert np.array_equal(whole(tmp_path / "a.zarr")[..., 1], mask * np.uint8(255))


def test_ome_zarr_levels_that_cannot_be_read_are_named(tmp_path):
    image = smooth_image(60, 50, channels=1)[..., 0]
    path = write_ome_zarr(
        tmp_path / "a.zarr", [image, image[::2, ::2], image[::4, ::4]], "yx", version="0.5"
    )
    shutil.rmtree(path / "1")
    slide = open_slide(path)
    assert [level.shape for level in slide.levels] == [(60, 50), (15, 13)]
    assert slide.properties["ignored.1"] == "there is none"


def test_ome_zarr_errors(tmp_path):
    image = smooth_image(60, 50, channels=1)[..., 0]
    path = write_ome_zarr(tmp_path / "a.zarr", [image], "yx", version="0.5", chunks=(16, 16))
    chunk = path / "0" / "c" / "1" / "2"
    chunk.write_bytes(b"damage")
    with pytest.raises(SlideError, match=r"a.zarr: level 0, tile row 0, column 0 .* unreadable"):
        whole(path)
    with pytest.raises(SlideError, match="is part of"):
        open_slide(path / "0")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"] |= {"plate": {}}
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(SlideError, match="plate or a well"):
        open_slide(path)
    del document["attributes"]["ome"]
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(SlideError, match="no multiscales"):
        open_slide(path)
    (path / "zarr.json").write_text("{")
    with pytest.raises(SlideError, match="not readable OME-Zarr"):
        open_slide(path)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(SlideError, match="there is no Zarr group"):
        open_slide(tmp_path / "empty.zip")
