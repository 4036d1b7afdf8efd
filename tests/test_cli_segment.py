"""`gpuseg segment` and `gpuseg recipes`."""

from __future__ import annotations

import csv
import importlib.util
import json

import numpy as np
import pytest
import tifffile
from skimage import measure as sk_measure

from gpuseg import recipes
from gpuseg.cli import main


def image_of(rng, count=5, side=96) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side), 100, np.uint16)
    for row, column in np.ndindex(3, 3):
        if row * 3 + column < count:
            cy, cx = 16 + 32 * row, 16 + 32 * column
            image[(y - cy) ** 2 + (x - cx) ** 2 <= 81] = 1000 + 200 * column
    return image + rng.integers(0, 20, image.shape, dtype=np.uint16)


@pytest.fixture
def folder(tmp_path, rng):
    (tmp_path / "images").mkdir()
    for number, count in enumerate((3, 5, 9)):
        tifffile.imwrite(tmp_path / "images" / f"t{number}.tif", image_of(rng, count))
    return tmp_path


def run(folder, *words, recipe="nuclei") -> int:
    return main(
        ["segment", str(folder / "images" / "*.tif"), "--recipe", recipe, "--out",
         str(folder / "run"), *words]
    )  # fmt: skip


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_labels_tables_and_pictures(folder, capsys):
    assert run(folder) == 0
    out = folder / "run"
    assert [row["objects"] for row in rows(out / "summary.csv")] == ["3", "5", "9"]
    objects = rows(out / "objects.csv")
    assert [row["image"] for row in objects] == ["t0.tif"] * 3 + ["t1.tif"] * 5 + ["t2.tif"] * 9
    labels = tifffile.imread(out / "labels" / "t2.tif")
    assert labels.dtype == np.uint16
    image = tifffile.imread(folder / "images" / "t2.tif")
    expected = sk_measure.regionprops_table(
        labels, image, properties=("area", "centroid", "intensity_mean")
    )
    for name, column in expected.items():
        np.testing.assert_allclose([float(row[name]) for row in objects[8:]], column, rtol=1e-12)
    assert (out / "pictures" / "t1.jpg").stat().st_size > 1000
    assert (out / "recipe.toml").read_text() == recipes.load("nuclei").source
    assert "3 segmented; 17 objects" in capsys.readouterr().err


def test_a_rerun_does_what_has_changed(folder, rng, capsys):
    run(folder)
    before = (folder / "run" / "objects.csv").read_bytes()
    assert run(folder) == 0
    assert "0 segmented, 3 already there" in capsys.readouterr().err
    assert (folder / "run" / "objects.csv").read_bytes() == before
    tifffile.imwrite(folder / "images" / "t1.tif", image_of(rng, 7))
    (folder / "run" / "labels" / "t0.tif").unlink()
    assert run(folder) == 0
    assert "2 segmented, 1 already there; 19 objects" in capsys.readouterr().err
    assert run(folder, "--set", "remove_small_objects.max_size=1000") == 0
    assert "3 segmented; 0 objects" in capsys.readouterr().err


def test_one_bad_image_does_not_stop_the_others(folder, capsys):
    (folder / "images" / "t1.tif").write_bytes(b"no image")
    assert run(folder) == 1
    said = capsys.readouterr().err
    assert "t1.tif" in said
    assert "2 segmented, 1 failed; 12 objects" in said
    assert [row["objects"] for row in rows(folder / "run" / "summary.csv")] == ["3", "9"]


def test_parquet(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run(folder, "--table", "parquet", "--workers", "1", "--quiet") == 0
    table = parquet.read_table(folder / "run" / "objects.parquet")
    assert table.num_rows == 17
    assert table.column("image").to_pylist()[3] == "t1.tif"


def test_parquet_without_its_package_is_refused_before_the_work(folder, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(folder, "--table", "parquet") == 2
    assert "--table parquet needs pyarrow: `pip install gpuseg[parquet]`" in capsys.readouterr().err
    assert not (folder / "run").exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_stacks_and_single_images_are_in_one_table(folder, rng, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    frames = np.stack([image_of(rng, 2), image_of(rng, 4)])
    tifffile.imwrite(folder / "images" / "t1.tif", frames, photometric="minisblack")
    assert run(folder, "--table", kind) == 0
    table = folder / "run" / f"objects.{kind}"
    pandas = pytest.importorskip("pandas")
    found = pandas.read_csv(table) if kind == "csv" else pandas.read_parquet(table)
    assert found["image"].tolist() == ["t0.tif"] * 3 + ["t1.tif"] * 6 + ["t2.tif"] * 9
    assert found["frame"][3:9].tolist() == [0, 0, 1, 1, 1, 1]
    assert found["frame"].isna().sum() == 12
    assert (found["area"] > 200).all()


def test_images_that_are_not_named_stay_in_both_tables(folder, capsys):
    run(folder)
    before = (folder / "run" / "objects.csv").read_bytes()
    words = ["--recipe", "nuclei", "--out", str(folder / "run")]
    assert main(["segment", str(folder / "images" / "t0.tif"), *words]) == 0
    assert "1 image: 0 segmented, 1 already there; 17 objects" in capsys.readouterr().err
    assert (folder / "run" / "objects.csv").read_bytes() == before
    (folder / "images" / "t1.tif").unlink()
    gone, left = (str(folder / "images" / name) for name in ("t1.tif", "t2.tif"))
    assert main(["segment", gone, left, *words]) == 1
    said = capsys.readouterr().err
    assert said.count("t1.tif: No such file or directory") == 1
    assert "2 images: 0 segmented, 1 already there, 1 failed; 17 objects" in said
    assert len(rows(folder / "run" / "objects.csv")) == 17


def test_rows_of_an_image_that_fails_now_are_gone(folder, capsys):
    run(folder)
    (folder / "images" / "t1.tif").write_bytes(b"no image")
    assert run(folder) == 1
    assert "2 already there, 1 failed; 12 objects" in capsys.readouterr().err
    assert len(rows(folder / "run" / "objects.csv")) == 12


def test_the_recipe_in_the_folder_is_the_one_that_was_used(folder):
    assert run(folder, "--set", "split.depth=1.5", "--set", "threshold.method=li") == 0
    first = (folder / "run" / "objects.csv").read_bytes()
    used = recipes.load(folder / "run" / "recipe.toml")
    assert dict(used.steps[7].parameters) == {"sigma": 1.5, "depth": 1.5, "brightness": 0.5}
    out = folder / "again"
    words = ["--recipe", str(folder / "run" / "recipe.toml"), "--out", str(out)]
    assert main(["segment", str(folder / "images" / "*.tif"), *words]) == 0
    assert (out / "objects.csv").read_bytes() == first


def test_one_run_at_a_time_writes_a_folder(folder, capsys):
    from gpuseg.io._lock import locked

    (folder / "run").mkdir()
    with locked(folder / "run" / "summary.csv"):
        assert run(folder) == 1
    assert "summary.csv is being written by another run (process" in capsys.readouterr().err


def test_images_of_one_name_are_refused(folder, capsys):
    (folder / "other").mkdir()
    (folder / "other" / "t0.tif").touch()
    names = [str(folder / where / "t0.tif") for where in ("images", "other")]
    assert main(["segment", *names, "--recipe", "nuclei", "--out", str(folder / "run")]) == 2
    assert "rename one, or give them a run of their own" in capsys.readouterr().err


def test_a_stack_is_segmented_frame_by_frame(tmp_path, rng):
    (tmp_path / "images").mkdir()
    frames = np.stack([image_of(rng, 2), image_of(rng, 4)])
    tifffile.imwrite(tmp_path / "images" / "stack.tif", frames, photometric="minisblack")
    assert run(tmp_path) == 0
    labels = tifffile.imread(tmp_path / "run" / "labels" / "stack.tif")
    assert labels.shape == frames.shape
    assert labels.max(axis=(1, 2)).tolist() == [2, 4]
    found = rows(tmp_path / "run" / "objects.csv")
    assert [row["frame"] for row in found] == ["0", "0", "1", "1", "1", "1"]


def test_a_channel_of_colour_images(tmp_path, rng):
    (tmp_path / "images").mkdir()
    image = np.zeros((96, 96, 3), np.uint8)
    image[..., 2] = image_of(rng, 4) // 8
    tifffile.imwrite(tmp_path / "images" / "rgb.tif", image, photometric="rgb")
    assert run(tmp_path) == 1
    assert run(tmp_path, "--channel", "2") == 0
    assert run(tmp_path, "--channel", "3") == 1
    assert rows(tmp_path / "run" / "summary.csv")[0]["objects"] == "4"


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_a_channel_is_the_files_own_and_no_frame(tmp_path, rng, capsys, kind):
    (tmp_path / "images").mkdir()
    name = "a.ome.tif" if kind == "ome" else "a.tif"
    frames = np.stack([[image_of(rng, n), image_of(rng, n + 4)] for n in (1, 2, 3)])
    about = {"imagej": True} if kind == "imagej" else {}
    tifffile.imwrite(tmp_path / "images" / name, frames, metadata={"axes": "TCYX"}, **about)
    assert run(tmp_path) == 1
    assert f"{name}: it has 2 channels: choose one by --channel" in capsys.readouterr().err
    assert run(tmp_path, "--channel", "2") == 1
    assert "--channel must be below 2, got 2" in capsys.readouterr().err
    for channel, expected in (("0", 1 + 2 + 3), ("1", 5 + 6 + 7)):
        assert run(tmp_path, "--channel", channel) == 0
        (row,) = rows(tmp_path / "run" / "summary.csv")
        assert (row["frames"], row["objects"], row["shape"]) == ("3", str(expected), "96 x 96")


@pytest.mark.parametrize(
    ("axes", "shape", "frames"), [("tczyx", (1, 1, 1), "1"), ("tczyx", (3, 1, 1), "3")]
)
def test_axes_of_one_entry_are_none(tmp_path, rng, axes, shape, frames):
    zarr = pytest.importorskip("zarr")
    (tmp_path / "images").mkdir()
    group = zarr.open_group(tmp_path / "images" / "a.zarr", mode="w")
    image = np.broadcast_to(image_of(rng, 4), (*shape, 96, 96))
    group.create_array("0", data=np.ascontiguousarray(image))
    kinds = {"t": "time", "c": "channel"}
    about = [{"name": name, "type": kinds.get(name, "space")} for name in axes]
    scale = [{"type": "scale", "scale": [1.0] * len(axes)}]
    dataset = {"path": "0", "coordinateTransformations": scale}
    multiscales = [{"axes": about, "datasets": [dataset]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    words = ["--recipe", "nuclei", "--out", str(tmp_path / "run")]
    assert main(["segment", str(tmp_path / "images" / "a.zarr"), *words]) == 0
    (row,) = rows(tmp_path / "run" / "summary.csv")
    assert (row["frames"], row["objects"]) == (frames, str(4 * int(frames)))


def test_columns_of_a_grey_image_are_no_channels(folder, capsys):
    tifffile.imwrite(folder / "images" / "stack.tif", np.ones((5, 40, 50), np.uint8))
    assert run(folder, "--channel", "3") == 1
    said = capsys.readouterr().err
    assert said.count("it has no channels, got --channel 3") == 4
    assert "4 images: 0 segmented, 4 failed" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "nucleus"], "--recipe: recipe must be a TOML file or one of"),
        (["--set", "split.dept=1"], "unknown parameter 'dept'; did you mean 'depth'"),
        (["--set", "split.depth=-1"], "step 8 (split): depth must be at least 0, got -1"),
        (["--set", "gaussian.sigma=[1,-2]"], "(gaussian): sigma must be at least 0, got [1, -2]"),
        (["--set", "gaussian.sigma=nan"], "(gaussian): sigma must be at least 0, got nan"),
        (["--set", "split=1"], "--set must be STEP.PARAMETER=VALUE, got 'split=1'"),
        (["--spacing", "1,2,3"], "--spacing must be one number above 0 or 2 of them"),
        (["--level", "-1"], "--level must be at least 0, got -1"),
        (["--channel", "-1"], "--channel must be at least 0, got -1"),
        (["--workers", "0"], "--workers must be at least 1, got 0"),
        (["--tabel", "csv"], "unknown option --tabel; did you mean --table"),
    ],
)
def test_mistakes_come_before_the_work(folder, capsys, words, message):
    assert run(folder, *words) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "run" / "labels").exists()


def test_a_pattern_without_files(tmp_path, capsys):
    words = ["segment", str(tmp_path / "*.tif"), "--recipe", "nuclei", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "no file matches the pattern" in capsys.readouterr().err


def test_a_summary_of_somebody_else_is_kept(folder, capsys):
    (folder / "run").mkdir()
    (folder / "run" / "summary.csv").write_text("mine\n")
    assert run(folder) == 2
    assert "was not written by" in capsys.readouterr().err
    assert (folder / "run" / "summary.csv").read_text() == "mine\n"


def test_ledger_says_what_an_image_was_made_from(folder):
    run(folder)
    lines = (folder / "run" / "summary.csv.gpuseg.jsonl").read_text().splitlines()
    entry = next(json.loads(line) for line in lines if "t0.tif" in line)
    assert entry["made_from"]["recipe"][1] == "nuclei"
    assert len(entry["outputs"]) == 3


def test_recipes_are_listed_and_printed(capsys, tmp_path):
    assert main(["recipes"]) == 0
    assert "nuclei       Nuclei in fluorescence" in capsys.readouterr().out
    assert main(["recipes", "nuclei"]) == 0
    text = capsys.readouterr().out
    assert text == recipes.load("nuclei").source
    file = tmp_path / "mine.toml"
    file.write_text(text.replace("threshold", "treshold"))
    assert main(["recipes", str(file)]) == 2
    assert "did you mean 'threshold'" in capsys.readouterr().err


@pytest.fixture
def volume(tmp_path):
    """Four balls of 24 µm, one in the upper and three in the lower half."""
    z, y, x = np.ogrid[:16, :60, :64]
    image = np.full((16, 60, 64), 50, np.uint16)
    for cz, cy, cx in ((3, 30, 30), (11, 14, 14), (11, 44, 16), (12, 30, 50)):
        inside = (5 * (z - cz)) ** 2 + (2 * (y - cy)) ** 2 + (2 * (x - cx)) ** 2 <= 12**2
        image[inside] = 4000
    (tmp_path / "images").mkdir()
    for number, plane in enumerate(image):
        tifffile.imwrite(tmp_path / "images" / f"z{number}.tif", plane)
    return tmp_path


def test_planes_are_one_volume_with_cells_in_an_atlas(volume, capsys):
    annotation = np.full((4, 6, 7), 20, np.uint16)
    annotation[:2] = 10
    tifffile.imwrite(volume / "annotation.tif", annotation, photometric="minisblack")
    table = [
        {"id": 1, "acronym": "root", "structure_id_path": [1]},
        {"id": 10, "acronym": "upper", "structure_id_path": [1, 10]},
        {"id": 20, "acronym": "lower", "structure_id_path": [1, 20]},
    ]
    (volume / "structures.json").write_text(json.dumps(table))
    words = ["--planes", "--spacing", "5,2,2", "--atlas", str(volume / "annotation.tif"),
             "--structures", str(volume / "structures.json"), "--atlas-spacing", "20"]  # fmt: skip
    assert run(volume, *words, recipe="cells_3d") == 0
    out = volume / "run"
    assert [row["objects"] for row in rows(out / "summary.csv")] == ["4"]
    counted = {row["acronym"]: row["count"] for row in rows(out / "regions" / "images.csv")}
    assert (counted["root"], counted["upper"], counted["lower"]) == ("4", "1", "3")
    objects = rows(out / "objects.csv")
    assert sorted(row["structure"] for row in objects) == ["10", "20", "20", "20"]
    assert {row["image"] for row in objects} == {"images"}
    first = next(row for row in objects if row["structure"] == "10")
    where = [float(first[f"centroid-{n}"]) for n in range(3)]
    np.testing.assert_allclose(where, (15, 60, 60), atol=1)
    zarr = pytest.importorskip("zarr")
    labels = zarr.open_group(out / "labels" / "images.ome.zarr", mode="r")["0"]
    assert labels.shape == (16, 60, 64)
    assert int(labels[3, 30, 30]) == int(first["label"])
    assert run(volume, *words, recipe="cells_3d") == 0
    assert "0 segmented, 1 already there; 4 objects" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--atlas", "."], "--atlas '.' is no BrainGlobe atlas: add --structures"),
        (["--structures", "s.json"], "--structures needs --atlas"),
        (["--atlas", "a.tif", "--structures", "s.json"], "there is no 'a.tif'"),
        (["--spacing", "5,0,2"], "--spacing must be one number above 0 or 3 of them"),
    ],
)
def test_mistakes_about_volumes(volume, capsys, words, message):
    assert run(volume, "--planes", *words, recipe="cells_3d") == 2
    assert message in capsys.readouterr().err


def test_planes_that_the_shell_expanded_are_refused(volume, capsys):
    names = sorted(map(str, (volume / "images").iterdir()))
    words = ["--planes", "--recipe", "cells_3d", "--out", str(volume / "run")]
    assert main(["segment", *names, *words]) == 2
    assert "--planes takes a pattern in quotes" in capsys.readouterr().err


def test_channels_of_a_volume_are_chosen(volume, capsys):
    stack = np.zeros((16, 2, 60, 64), np.uint16)
    for number in range(16):
        stack[number, 1] = tifffile.imread(volume / "images" / f"z{number}.tif")
    path = volume / "stack.ome.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "ZCYX"})
    words = ["segment", str(path), "--recipe", "cells_3d", "--spacing", "5,2,2"]
    words += ["--out", str(volume / "run")]
    assert main(words) == 1
    assert "it has 2 channels: choose one by --channel" in capsys.readouterr().err
    assert main([*words, "--channel", "1"]) == 0
    assert [row["objects"] for row in rows(volume / "run" / "summary.csv")] == ["4"]


def test_what_is_for_volumes_only(folder, capsys):
    assert run(folder, "--planes") == 2
    assert "--planes is for recipes of volumes, nuclei is 2-D" in capsys.readouterr().err
    assert run(folder, "--atlas", "x") == 2
    assert "--atlas is for recipes of volumes" in capsys.readouterr().err


def test_a_volume_of_unknown_voxels_is_refused(volume, capsys):
    assert run(volume, "--planes", recipe="cells_3d") == 1
    assert "the pixel size must be known" in capsys.readouterr().err
