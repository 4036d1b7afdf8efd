"""What napari is handed: layers of arrays, tables, files, slides, results and runs."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from gpuseg import viewer
from gpuseg.measure import label, regionprops_table


def only(source, **options):
    ((data, shown, kind),) = viewer.layers(source, **options)
    return data, shown, kind


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("u1", "image"), ("u2", "image"), ("f4", "image"), ("i4", "labels"), ("u8", "labels"),
     (bool, "labels")],
)  # fmt: skip
@pytest.mark.parametrize("lazy", [True, False])
def test_arrays(dtype, kind, lazy):
    array = np.ones((5, 6), dtype)
    data, options, found = only(da.from_array(array) if lazy else array)
    assert (found, options) == (kind, {})
    assert isinstance(data, da.Array) is lazy
    assert data.dtype == (np.uint8 if dtype is bool else dtype)


def test_kinds_names_and_scales():
    array = np.ones((4, 5, 6), np.uint8)
    assert only(array, kind="labels", name="cells", scale=(3, 1, 1))[1:] == (
        {"name": "cells", "scale": (3, 1, 1)}, "labels",
    )  # fmt: skip
    colours = np.ones((5, 6, 3), np.uint8)
    assert only(colours, scale=0.5)[1] == {"rgb": True, "scale": (0.5, 0.5)}
    assert only(np.ones((9, 3)), kind="points", scale=2)[1:] == ({"scale": (2.0,) * 3}, "points")


def test_pyramids():
    levels = [da.zeros((64 >> k, 40 >> k), dtype=np.int32) for k in range(3)]
    data, options, kind = only(levels, scale=2)
    assert (data, options, kind) == (levels, {"multiscale": True, "scale": (2.0, 2.0)}, "labels")


def test_tables_of_objects():
    labels, _ = label(np.kron(np.eye(3, dtype=int), np.ones((4, 4), int)), connectivity=1)
    table = regionprops_table(labels, properties=("label", "centroid", "area"), spacing=0.5)
    data, options, kind = only(table, name="cells")
    np.testing.assert_allclose(data, np.stack([table["centroid-0"], table["centroid-1"]], 1))
    assert (kind, options["name"]) == ("points", "cells")
    assert {name: column.tolist() for name, column in options["features"].items()} == {
        "label": [1, 2, 3], "area": [4, 4, 4],
    }  # fmt: skip


BAD = [
    (np.ones(3), {}, ValueError, r"two axes, got shape \(3,\)"),
    ([], {}, ValueError, "got none"),
    ([np.ones((2, 2)), np.ones((4, 4))], {}, ValueError, "coarser than the one before"),
    (["a", "b"], {}, TypeError, "must be an array, got str"),
    (7, {}, TypeError, "got int"),
    ({"area": [1]}, {}, TypeError, r"centroid-0.*got \['area'\]"),
    (np.ones((2, 2)), {"kind": "shapes"}, ValueError, "got 'shapes'"),
    (np.ones((2, 2)), {"kind": "labels"}, TypeError, "got float64"),
    (np.ones((2, 2)), {"scale": (1, 2, 3)}, ValueError, "a number or 2 of them"),
    (np.ones((2, 2, 2)), {"kind": "points"}, ValueError, r"got \(2, 2, 2\)"),
    ({"centroid-0": [1], "centroid-1": [1]}, {"kind": "image"}, TypeError, "cannot be shown as im"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "options", "error", "message"), BAD)
def test_bad_sources(source, options, error, message):
    with pytest.raises(error, match=message):
        viewer.layers(source, **options)


def test_arrays_of_a_device(xp):
    if xp is np:
        pytest.skip("for devices")
    with pytest.raises(TypeError, match=r"array\.get\(\)"):
        viewer.layers(xp.asarray(np.ones((3, 3))))


def ome(path, arrays, axes, *, attributes=None, scale=None, **image):
    """Write an OME-Zarr 0.5 group by hand."""
    group = zarr.open_group(path, mode="w")
    datasets = []
    for k, array in enumerate(arrays):
        group.create_array(str(k), data=array, chunks=tuple(min(16, n) for n in array.shape))
        steps = [s * (2**k if a in "yx" else 1) for s, a in
                 zip(scale or [1.0] * len(axes), axes, strict=True)]  # fmt: skip
        transform = [{"type": "scale", "scale": steps}]
        datasets.append({"path": str(k), "coordinateTransformations": transform})
    kinds = {"c": "channel", "t": "time"}
    named = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    multiscales = [{"axes": named, "datasets": datasets, **image}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales, **(attributes or {})}
    return group


def test_ome_zarr_with_channels(tmp_path):
    stack = np.arange(2 * 3 * 40 * 50, dtype=np.uint16).reshape(1, 2, 3, 40, 50)
    channels = [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 3, "end": 900}},
        {"label": "actin", "active": False},
    ]
    ome(
        tmp_path / "a.zarr",
        [stack, stack[..., ::2, ::2]],
        "tczyx",
        scale=[1, 1, 5.0, 0.5, 0.5],
        attributes={"omero": {"channels": channels}},
        coordinateTransformations=[{"type": "translation", "translation": [0, 0, 10, 0, 0]}],
    )
    first, second = viewer.layers(tmp_path / "a.zarr")
    data, options, kind = first
    assert (kind, options["name"], options["multiscale"]) == ("image", "a DAPI", True)
    assert (options["scale"], options["translate"]) == ((5.0, 0.5, 0.5), (10, 0, 0))
    assert options["colormap"] == ["#000000", "#0000FF"]
    assert options["contrast_limits"] == (3, 900)
    assert "units" not in options
    assert [level.shape for level in data] == [(3, 40, 50), (3, 20, 25)]
    assert all(isinstance(level, da.Array) for level in data)
    np.testing.assert_array_equal(second[0][0], stack[0, 1])
    assert second[1]["visible"] is False


def test_ome_zarr_labels_in_an_image(tmp_path):
    image = np.zeros((3, 40, 50), np.uint8)
    group = ome(tmp_path / "slide.ome.zarr", [image], "cyx")
    cells = np.kron(np.eye(4, dtype=np.int32), np.ones((10, 12), np.int32))[:, :50]
    colours = [{"label-value": k, "rgba": [255 * k, 0, 0, 255]} for k in range(2)]
    about = {"image-label": {"colors": colours}}
    ome(tmp_path / "slide.ome.zarr/labels/cells", [cells], "yx", attributes=about)
    group.require_group("labels").attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    (image_data, shown, kind), (labels, options, labels_kind) = viewer.layers(
        tmp_path / "slide.ome.zarr"
    )
    assert (kind, shown["rgb"], shown["name"], image_data.shape) == (
        "image", True, "slide", (40, 50, 3),
    )  # fmt: skip
    assert (labels_kind, options["name"]) == ("labels", "cells")
    assert options["colormap"] == {None: "transparent", 0: "transparent", 1: [1, 0, 0, 1]}
    np.testing.assert_array_equal(labels, cells)
    # The labels' own path shows them alone.
    assert only(tmp_path / "slide.ome.zarr/labels/cells")[2] == "labels"


def test_small_chunks_are_read_together(tmp_path):
    zarr.create_array(
        tmp_path / "a.zarr", data=np.zeros((3, 600, 700), np.uint8), chunks=(1, 64, 64)
    )
    data, options, _ = only(tmp_path / "a.zarr")
    assert data.chunksize == (1, 512, 512)
    assert options == {"name": "a"}


def test_bioformats_and_plain_groups(tmp_path):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(ValueError, match="without an OME-Zarr image"):
        viewer.layers(tmp_path / "a.zarr")
    root.attrs["bioformats2raw.layout"] = 3
    ome(tmp_path / "a.zarr/0", [np.ones((8, 9))], "yx")
    assert only(tmp_path / "a.zarr")[0].shape == (8, 9)


def test_groups_that_are_not_whole(tmp_path):
    group = ome(tmp_path / "a.zarr", [np.ones((8, 9)), np.ones((4, 5))], "yx")
    del group["1"]
    with pytest.raises(ValueError, match=r"a\.zarr lists 1, which is not in it"):
        viewer.layers(tmp_path / "a.zarr")
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w")
    plate.attrs["ome"] = {"version": "0.5", "plate": {}}
    with pytest.raises(ValueError, match="open one of its images"):
        viewer.layers(tmp_path / "plate.zarr")


def test_units_that_napari_does_not_know(tmp_path):
    group = ome(tmp_path / "a.zarr", [np.ones((2, 8, 9))], "tyx")
    about = group.attrs["ome"]
    for unit, expected in (
        ("furlong", None),
        ("micrometer", ("pixel", "micrometer", "micrometer")),
    ):
        for axis in about["multiscales"][0]["axes"][1:]:
            axis["unit"] = unit
        group.attrs["ome"] = about
        assert only(tmp_path / "a.zarr")[1].get("units") == expected


def test_labels_that_do_not_say_so(tmp_path):
    group = ome(tmp_path / "a.zarr", [np.ones((8, 9), np.uint8)], "yx")
    ome(tmp_path / "a.zarr/labels/b", [np.ones((8, 9), np.uint8)], "yx")
    group.require_group("labels").attrs["ome"] = {"version": "0.5", "labels": ["b"]}
    assert [kind for *_, kind in viewer.layers(tmp_path / "a.zarr")] == ["image", "labels"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ez_zarr/example_data_zarr3/6001240_labels_v0.5.zarr", ["image", "image", "labels"]),
        ("ez_zarr/example_data_5d/tubhiswt4D_sub.zarr", ["image", "labels"]),
        ("galaxy/bioformats2raw/coins.ome.zarr", ["image"]),
        ("ome-zarr-fiji-java/5d_testing/5d_dataset_v4.ome.zarr", ["image"]),
        ("viv/bioformats-zarr/data.zarr", ["image"] * 3),
    ],
)
def test_real_ome_zarr(test_data, path, expected):
    shown = viewer.layers(test_data / "zarr" / path)
    assert [kind for *_, kind in shown] == expected
    for data, options, _ in shown:
        first = data[0] if options.get("multiscale") else data
        axes = first.ndim - bool(options.get("rgb"))
        assert len(options["scale"]) == len(options["translate"]) == axes
        assert first[(0,) * (axes - 2)].compute().shape[:2] == first.shape[axes - 2 : axes]


def test_label_pyramid(tmp_path):
    from gpuseg.measure import label_to_zarr

    label_to_zarr(np.eye(40, dtype=int), tmp_path / "cells.zarr", scale=(0.5, 0.5),
                  unit="micrometer", chunks=16)  # fmt: skip
    data, options, kind = only(tmp_path / "cells.zarr")
    assert (kind, options["scale"], options["multiscale"]) == ("labels", (0.5, 0.5), True)
    assert options["units"] == ("micrometer", "micrometer")
    assert len(data) > 1


def test_files_that_imread_reads(tmp_path):
    tifffile.imwrite(
        tmp_path / "stack [1].tif", np.zeros((4, 20, 30), np.uint16), photometric="minisblack"
    )
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    data, options, kind = only(tmp_path / "stack [1].tif")
    assert (data.shape, options, kind) == ((4, 20, 30), {"name": "stack [1]"}, "image")
    data, options, _ = only(tmp_path / "rgb.tif")
    assert (data.shape, options) == ((20, 30, 3), {"name": "rgb", "rgb": True})
    with pytest.raises(OSError):
        viewer.layers(tmp_path / "nothing.tif")


def test_volumes():
    from gpuseg.io.volumes import Volume

    voxels = da.zeros((2, 3, 40, 50), dtype=np.uint16, chunks=(1, 1, 40, 50))
    volume = Volume("a/brain.zarr", voxels, "czyx", (5.0, 2.0, 2.0), (0.0, 1.0, 1.0),
                    channels=("signal", "background"))  # fmt: skip
    shown = viewer.layers(volume)
    assert [options["name"] for _, options, _ in shown] == ["brain signal", "brain background"]
    data, options, kind = shown[1]
    assert (data.shape, kind) == ((3, 40, 50), "image")
    assert (options["scale"], options["translate"]) == ((5.0, 2.0, 2.0), (0.0, 1.0, 1.0))
    assert options["units"] == ("micrometer",) * 3
    labels = Volume("cells.zarr", voxels[0].astype(np.int32), "zyx", None)
    assert only(labels)[1:] == ({"name": "cells"}, "labels")


def test_results_and_runs(tmp_path):
    from gpuseg.pipeline import Run, Storage, step

    made = []

    @step(version="1", storage=Storage(scale=(0.5, 0.5), levels=2))
    def smooth(image):
        made.append("smooth")
        return image // 2

    @step(version="1")
    def find(image):
        labels = (image > 20).astype(np.int32)
        table = {"label": np.arange(2), "centroid-0": np.zeros(2), "centroid-1": np.ones(2)}
        return {"labels": labels, "table": table, "count": 3}

    run = Run(tmp_path / "run")
    image = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)
    smoothed = run(smooth, image)
    data, options, kind = only(smoothed)  # computes it
    assert made == ["smooth"]
    assert (kind, options["scale"], len(data)) == ("image", (0.5, 0.5), 2)
    assert options["name"].startswith("smooth ") or "smooth" in options["name"]
    np.testing.assert_array_equal(data[0], image // 2)
    found = run(find, smoothed)
    shown = viewer.layers(found)
    assert [kind for *_, kind in shown] == ["labels", "points"]
    assert [options["name"].split()[-1] for _, options, _ in shown] == ["labels", "table"]
    assert [kind for *_, kind in viewer.layers(found["labels"])] == ["labels"]
    with pytest.raises(TypeError, match="holds no arrays"):
        viewer.layers(found["count"])
    for earlier in (tmp_path / "run").glob("*smooth/*/result.json"):
        os.utime(earlier, (0, 0))  # some clocks tick a hundred times a second
    whole = viewer.layers(tmp_path / "run")
    assert [kind for *_, kind in whole] == ["image", "labels", "points"]
    (folder,) = [path.parent for path in Path(tmp_path / "run").glob("*find*/*/result.json")]
    assert [kind for *_, kind in viewer.layers(folder)] == ["labels", "points"]
    assert made == ["smooth"]


def test_a_run_shows_what_it_computes(tmp_path):
    from gpuseg.pipeline import Run, step

    @step(version="1")
    def halves(image):
        return image[:8], image[8:], int(image.sum())

    @step(version="1")
    def number(part):
        return int(part.sum())

    shown = []
    window = SimpleNamespace(
        layers={}, add_image=lambda data, name, **_: shown.append((name.split()[0], data.shape))
    )
    run = Run(tmp_path, viewer=window)
    parts = run(halves, np.ones((16, 4), np.uint8))
    total = run(number, parts[1])
    assert shown == []
    assert total.get() == 32
    assert shown == []  # a number; what it was made from has not been asked for
    run.execute([parts])
    assert shown == [("halves", (8, 4)), ("halves", (8, 4))]
    parts.get()
    parts.lazy()
    assert len(shown) == 2
    assert parts[0].get().shape == (8, 4)
    assert len(shown) == 3
    assert Run(tmp_path).viewer is None


def test_an_empty_run(tmp_path):
    (tmp_path / ".gpuseg").mkdir()
    (tmp_path / ".gpuseg/run.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no arrays"):
        viewer.layers(tmp_path)


def test_slides(tmp_path, monkeypatch):
    from gpuseg.viewer import _files

    image = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        shape = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
        file.write(image, subifds=0, resolution=(20000, 20000), **shape)
        file.write(image[::2, ::2], subfiletype=1, resolution=(10000, 10000), **shape)
    monkeypatch.setattr(_files, "SLIDES", (".tif",))
    data, options, kind = only(tmp_path / "a.tif")
    assert [level.shape for level in data] == [(600, 800, 3), (300, 400, 3)]
    assert (kind, options["rgb"], options["multiscale"]) == ("image", True, True)
    assert options["scale"] == pytest.approx((0.5, 0.5))
    assert options["units"] == ("micrometer", "micrometer")
    np.testing.assert_array_equal(data[1], image[::2, ::2])
    from gpuseg.io import open_slide

    with open_slide(tmp_path / "a.tif") as slide:
        assert only(slide)[1] == options


def test_add_replaces_what_has_the_same_name():
    class Layers(dict):
        def remove(self, name):
            del self[name]

    window = SimpleNamespace(layers=Layers())

    def add_image(data, name, **options):
        assert name not in window.layers
        window.layers[name] = data.shape
        return name

    window.add_image = add_image
    assert viewer.add(window, np.ones((3, 4)), name="a") == ["a"]
    assert viewer.add(window, np.ones((5, 6)), name="a") == ["a"]
    assert window.layers == {"a": (5, 6)}


def test_the_manifest_names_functions_that_exist():
    import importlib
    import tomllib

    import yaml

    root = Path(__file__).resolve().parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    package, _, file = project["entry-points"]["napari.manifest"]["gpuseg"].partition(":")
    manifest = yaml.safe_load((root / package / file).read_text("utf-8"))
    for command in manifest["contributions"]["commands"]:
        module, _, name = command["python_name"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))
