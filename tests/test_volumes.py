"""Volumes from OME-Zarr and TIFF, against zarr and tifffile; voxel sizes as files tell them."""

from __future__ import annotations

import json
import os
import pickle
import zipfile

import fsspec
import numpy as np
import pytest
import tifffile
import zarr
from _slides import write_ome_zarr

from gpuseg.atlas import find_cells
from gpuseg.io import SlideError, open_volume

SIZES = {"t": 2, "c": 3, "z": 5, "y": 12, "x": 16}


def pixels(axes: str, dtype="u2") -> np.ndarray:
    shape = [SIZES[axis] for axis in axes]
    return np.random.default_rng(len(axes)).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["zyx", "czyx", "tczyx", "tzyx", "zcyx"])
def test_ome_zarr(tmp_path, axes, version):
    data = pixels(axes)
    scale = [{"z": 2500, "y": 400, "x": 500}.get(axis, 1) for axis in axes]
    path = write_ome_zarr(
        tmp_path / "a.zarr",
        [data, data[..., ::2, ::2]],
        axes,
        version=version,
        scale=scale,
        unit="nanometer",
    )
    chosen = {"time": 1} if "t" in axes else {}
    volume = open_volume(path, **chosen)
    whole = data[1] if "t" in axes else data
    if axes == "zcyx":
        whole = whole.transpose(1, 0, 2, 3)
    assert volume.axes == ("czyx" if "c" in axes else "zyx")
    assert (volume.spacing, volume.origin) == ((2.5, 0.4, 0.5), (0.0, 0.0, 0.0))
    assert np.array_equal(volume.array.compute(), whole)
    assert [level.shape for level in volume.levels] == [(5, 12, 16), (5, 6, 8)]
    assert [level.spacing for level in volume.levels] == [(2.5, 0.4, 0.5), (2.5, 0.8, 1.0)]
    if "c" in axes:
        coarse = open_volume(path, 1, channel=2, **chosen)
        assert np.array_equal(coarse.array.compute(), whole[2, :, ::2, ::2])
        assert (coarse.axes, coarse.shape, coarse.level) == ("zyx", (5, 6, 8), 1)


def transformed(path, own, common, unit="micrometer"):
    group = zarr.open_group(path, mode="r+")
    ome = group.attrs["ome"]
    image = ome["multiscales"][0]
    image["datasets"][0]["coordinateTransformations"] = own
    image["coordinateTransformations"] = common
    for axis in image["axes"]:
        axis["unit"] = unit
    group.attrs["ome"] = ome


def test_origin_and_scale_of_the_whole(tmp_path):
    path = write_ome_zarr(tmp_path / "a.zarr", [pixels("zyx")], "zyx", version="0.5")
    own = [
        {"type": "scale", "scale": [4.0, 2.0, 2.0]},
        {"type": "translation", "translation": [1.5, 0.5, 0.0]},
    ]
    transformed(path, own, [{"type": "scale", "scale": [1.0, 1.0, 10.0]}], "millimeter")
    volume = open_volume(path)
    assert volume.spacing == (4000.0, 2000.0, 20000.0)
    assert volume.origin == (1500.0, 500.0, 0.0)
    cells = find_cells(volume.array >= 0, spacing=volume.spacing, origin=volume.origin)
    assert cells["z"] == 1500 + 2 * 4000


def test_without_units_there_is_no_spacing(tmp_path):
    path = write_ome_zarr(tmp_path / "a.zarr", [pixels("zyx")], "zyx", version="0.5", unit=None)
    assert open_volume(path).spacing is None
    assert "voxel size unknown" in repr(open_volume(path))
    assert open_volume(path, spacing=(5, 2, 2)).spacing == (5.0, 2.0, 2.0)


def test_names_of_channels(tmp_path):
    data = pixels("czyx")
    path = write_ome_zarr(tmp_path / "a.zarr", [data], "czyx", version="0.5")
    group = zarr.open_group(path, mode="r+")
    labels = [{"label": "LaminB1"}, {"label": "Dapi"}, {}]
    group.attrs["ome"] = {**group.attrs["ome"], "omero": {"channels": labels}}
    volume = open_volume(path, channel="Dapi")
    assert volume.channels == ("LaminB1", "Dapi", "2")
    assert np.array_equal(volume.array.compute(), data[1])
    with pytest.raises(ValueError, match="no channel 'GFP'; there are: LaminB1, Dapi, 2"):
        open_volume(path, channel="GFP")


def test_zipped_and_shipped_to_a_worker(tmp_path):
    data = pixels("zyx")
    path = write_ome_zarr(tmp_path / "a.zarr", [data], "zyx", version="0.5", scale=[5, 2, 2])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in path.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(path))
    volume = open_volume(tmp_path / "a.zip")
    assert volume.spacing == (5.0, 2.0, 2.0)
    assert np.array_equal(volume.array.compute(), data)
    again = pickle.loads(pickle.dumps(open_volume(path)))
    assert np.array_equal(again.array.compute(scheduler="sync"), data)
    # A run of hours that died is taken up by the array's name.
    assert again.array.name == open_volume(path).array.name


def test_chunks_are_compact(monkeypatch, tmp_path):
    monkeypatch.setattr("gpuseg.io.volumes._CHUNK_VOXELS", 2 * 8 * 8)
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, [pixels("czyx")], "czyx", version="0.5", chunks=(1, 1, 4, 4))
    assert open_volume(path, channel=0).array.chunksize == (5, 4, 4)
    for z, plane in enumerate(pixels("zyx")):
        tifffile.imwrite(tmp_path / f"z{z + 8}.tif", plane[:4])
    planes = open_volume(str(tmp_path / "*.tif"))
    assert planes.array.chunks[0] == (2, 2, 1)
    tifffile.imwrite(tmp_path / "z8.tif", np.zeros((4, 16), np.uint16))
    os.utime(tmp_path / "z8.tif", ns=(1, 1))  # some clocks tick a hundred times a second
    assert open_volume(str(tmp_path / "*.tif")).array.name != planes.array.name


@pytest.mark.parametrize("axes", ["ZYX", "ZCYX", "TZCYX"])
def test_imagej(tmp_path, axes):
    data = pixels(axes.lower())
    tifffile.imwrite(
        tmp_path / "a.tif",
        data,
        imagej=True,
        resolution=(4, 2),
        metadata={"axes": axes, "spacing": 5.0, "unit": "\\u00B5m"},
    )
    volume = open_volume(tmp_path / "a.tif", time=1 if "T" in axes else None)
    whole = data[1] if "T" in axes else data
    assert np.array_equal(volume.array.compute(), whole.swapaxes(0, 1) if "C" in axes else whole)
    assert (volume.spacing, volume.axes) == ((5.0, 0.5, 0.25), "czyx" if "C" in axes else "zyx")


def test_ome_tiff_with_levels(tmp_path):
    data = pixels("czyx")
    path = tmp_path / "a.ome.tif"
    about = {
        "axes": "CZYX",
        "PhysicalSizeX": 500.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeZ": 2.0,
        "Channel": {"Name": ["Dapi", "GFP", "RFP"]},
    }
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(data, subifds=1, metadata=about, photometric="minisblack")
        writer.write(data[..., ::2, ::2], subfiletype=1, metadata=None, photometric="minisblack")
    volume = open_volume(path, 1, channel="GFP")
    assert np.array_equal(volume.array.compute(), data[1, :, ::2, ::2])
    assert volume.spacing == (2.0, 1.0, 1.0)
    assert volume.levels[0].spacing == (2.0, 0.5, 0.5)


@pytest.mark.parametrize("names", ["pattern", "list", "one"])
def test_planes(tmp_path, names):
    data = pixels("zyx")
    for z, plane in enumerate(data):
        tifffile.imwrite(tmp_path / f"z{z + 8}.tif", plane)
    tifffile.imwrite(tmp_path / "pages.tiff", data, photometric="minisblack")
    path = {
        "pattern": str(tmp_path / "*.tif"),
        "list": [tmp_path / f"z{z}.tif" for z in range(8, 13)],
        "one": tmp_path / "pages.tiff",
    }[names]
    volume = open_volume(path, spacing=(5, 2, 2))
    assert np.array_equal(volume.array.compute(), data)
    assert (volume.axes, volume.array.npartitions, volume.spacing) == ("zyx", 1, (5.0, 2.0, 2.0))


def test_a_single_page_is_flat(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels("yx"))
    with pytest.raises(ValueError, match="a volume needs axes z, y and x, got y, x"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "has 2 points in time; choose one with time="),
        ({"time": 2}, "time must be from 0 to 1, got 2"),
        ({"time": 0, "channel": 3}, "channel must be from 0 to 2, got 3"),
        ({"time": 0, "channel": "a"}, "no channel 'a'; there are: the file names none"),
        ({"level": 1}, "level must be from 0 to 0, got 1"),
        ({"time": 0, "spacing": (1, 0, 1)}, r"spacing must be a positive .* got \(1, 0, 1\)"),
    ],
)
def test_what_is_refused(tmp_path, arguments, message):
    write_ome_zarr(tmp_path / "a.zarr", [pixels("tczyx")], "tczyx", version="0.5")
    with pytest.raises(ValueError, match=message):
        open_volume(tmp_path / "a.zarr", **arguments)


def test_files_that_are_no_volumes(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_volume(tmp_path / "a.zarr")
    (tmp_path / "b.tif").write_bytes(b"II*\0not a tiff")
    with pytest.raises(OSError, match=r"b.tif: not a readable TIFF"):
        open_volume(tmp_path / "b.tif")
    path = write_ome_zarr(tmp_path / "c.zarr", [pixels("zyx")], "zyx", version="0.5")
    file = path / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["ome"]["multiscales"][0]["axes"][0]["name"] = "angle"
    file.write_text(json.dumps(document))
    with pytest.raises(SlideError, match="axes of a volume are t, c, z, y and x, got angle, y, x"):
        open_volume(path)
    tifffile.imwrite(tmp_path / "d0.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match="grey images of two axes"):
        open_volume([tmp_path / "d0.tif"])


def test_real_volumes(test_data):
    nuclei = test_data / "zarr/ez_zarr/example_data_zarr3/6001240_labels_v0.5.zarr"
    volume = open_volume(nuclei, channel="Dapi")
    assert (volume.shape, volume.array.dtype) == ((236, 68, 67), np.uint16)
    assert volume.spacing == pytest.approx((0.5002, 1.4416, 1.4416), abs=1e-4)
    zyx = "xyz_8bit__mitotic_plate_calibrated"
    stack = open_volume(test_data / f"volumes/galaxy/bioformats2raw/{zyx}.tiff")
    group = open_volume(test_data / f"zarr/galaxy/bioformats2raw/{zyx}.ome.zarr")
    assert stack.spacing == pytest.approx(group.spacing)
    assert np.array_equal(stack.array.compute(), group.array.compute())
    planes = open_volume(str(test_data / "volumes/cellfinder/crop_planes/ch0/*.tif"))
    assert planes.shape == (30, 510, 667)
    assert planes.array.dtype == np.uint16


def test_urls(tmp_path):
    data = pixels("zyx")
    memory = fsspec.filesystem("memory")
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata={"axes": "ZYX"})
    memory.pipe("/volumes/a.tif", (tmp_path / "a.tif").read_bytes())
    write_ome_zarr(tmp_path / "a.zarr", [data], "zyx", version="0.5", scale=[5, 2, 2])
    memory.put(str(tmp_path / "a.zarr"), "/volumes/a.zarr", recursive=True)
    memory.put(str(tmp_path / "a.zarr"), "/volumes/series", recursive=True)
    try:
        stack, group = open_volume("memory://volumes/a.tif"), open_volume("memory://volumes/a.zarr")
        assert np.array_equal(stack.array.compute(), data)
        assert np.array_equal(group.array.compute(), data)
        assert open_volume("memory://volumes/series").shape == data.shape
        assert (stack.spacing, group.spacing) == (None, (5.0, 2.0, 2.0))
    finally:
        memory.rm("/volumes", recursive=True)
