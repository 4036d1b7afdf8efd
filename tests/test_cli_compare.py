"""`gpuseg compare`: pairs of files, groups, methods held out, and what goes wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from gpuseg.cli import compare_batch, main
from gpuseg.compare import compare_counts, compare_labels, leave_one_group_out, pool
from gpuseg.io._lock import locked

NAMES = [f"{plate}_{well}" for plate in ("p1", "p2", "p3") for well in ("a1", "a2", "a10")]


def objects(seed: int) -> np.ndarray:
    """Squares of 8 by 8 pixels with gaps, numbered with gaps."""
    rng = np.random.default_rng(seed)
    numbers = 3 * np.arange(1, 26).reshape(5, 5) * (rng.random((5, 5)) > 0.2)
    return np.kron(numbers, np.pad(np.ones((8, 8), int), ((1, 2), (1, 2)))).astype(np.uint16)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Two methods and a gold standard: one shifts by one pixel, one loses objects."""
    monkeypatch.chdir(tmp_path)
    for folder in ("shifted", "lossy", "gold"):
        Path(folder).mkdir()
    gold = {}
    for k, name in enumerate(NAMES):
        labels = gold[name] = objects(k)
        tifffile.imwrite(f"gold/{name}.tif", labels)
        moved = np.roll(labels, 1 + (name[:2] == "p3"), axis=1)
        Image.fromarray(moved).save(f"shifted/{name}.png")
        np.save(f"lossy/{name}.npy", np.where(labels % (4 + k % 3) == 0, 0, labels))
    return gold


def read(path: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(Path(path).read_text())
    return rows


def test_folders(folders, capsys):
    assert main(["compare", "shifted", "gold", "--table", "t.json", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    rows = read("t.json")
    assert [row["image"] for row in rows] == [
        "p1_a1", "p1_a2", "p1_a10", "p2_a1", "p2_a2", "p2_a10", "p3_a1", "p3_a2", "p3_a10",
    ]  # fmt: skip
    for row in rows:
        labels = folders[row["image"]]
        moved = np.roll(labels, 1 + (row["image"][:2] == "p3"), axis=1)
        expected = compare_labels(labels, moved).to_dict()
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert row["pred"] == f"shifted/{row['image']}.png"


def test_methods_groups_and_summaries(folders, capsys):
    words = ["compare", "shifted", "lossy", "gold", "--group", r"p\d", "--score", "ap_75"]
    outputs = ["--table", "t.json", "--summary", "s.json", "--held-out", "h.json"]
    assert main([*words, *outputs]) == 0
    assert "18 pairs: 18 compared" in capsys.readouterr().err
    rows, groups = read("t.json"), read("s.json")
    assert {row["method"] for row in rows} == {"shifted", "lossy"}
    assert [(row["method"], row["group"], row["images"]) for row in groups] == [
        (method, group, 9 if group == "(all)" else 3)
        for method in ("shifted", "lossy") for group in ("p1", "p2", "p3", "(all)")
    ]  # fmt: skip
    lossy = [
        compare_labels(labels, np.where(labels % (4 + k % 3) == 0, 0, labels))
        for k, labels in enumerate(folders.values())
    ]
    expected = pool(lossy).to_dict()
    assert {name: groups[-1][name] for name in expected} == pytest.approx(expected)
    mine = [row for row in rows if row["method"] == "lossy"]
    counts = compare_counts(
        [row["n_true"] for row in mine],
        [row["n_test"] for row in mine],
        [row["group"] for row in mine],
    )
    assert groups[-1]["count_q2"] == pytest.approx(counts.q2)
    columns = zip(*((row["ap_75"], row["group"], row["method"]) for row in rows), strict=True)
    for row, expected in zip(read("h.json"), leave_one_group_out(*columns), strict=True):
        assert list(row) == ["held_out", "images", "method", "ap_75_others", "ap_75"]
        assert list(row.values())[:3] == list(expected)[:3]
        assert list(row.values())[3:] == pytest.approx(expected[3:])


def test_an_error_is_good_where_it_is_small(folders):
    words = ["compare", "shifted", "lossy", "gold", "--group", r"p\d", "--score", "missing"]
    assert main([*words, "--held-out", "h.json", "--quiet"]) == 0
    assert {row["method"] for row in read("h.json")} == {"shifted"}


def test_groups_from_a_table(folders):
    with Path("groups.csv").open("w") as file:
        file.write("image,day\n" + "".join(f"{name},{name[-1]}\n" for name in NAMES[:-1]))
    words = ["compare", "lossy", "gold", "--group-table", "groups.csv", "--table", "t.json"]
    assert main([*words, "--group-column", "day", "--quiet"]) == 1  # one image is not listed
    assert [row["group"] for row in read("t.json")] == list("12012012")
    assert main([*words, "--quiet"]) == 2  # no column "group"


def test_formats_of_the_table(folders):
    for name in ("t.csv", "t.parquet"):
        assert main(["compare", "lossy", "gold", "--table", name, "--quiet"]) == 0
    with Path("t.csv").open() as file:
        rows = list(csv.DictReader(file))
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet("t.parquet")
    assert [float(row["ap"]) for row in rows] == frame["ap"].tolist()


def test_a_pipe_gets_the_table(folders, capsys):
    assert main(["compare", "lossy/p1_a1.npy", "gold"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("method,image,group,pred,gold,pixels,n_true")
    assert len(out) == 2


def test_a_terminal_gets_the_telling_columns(folders, capsys, monkeypatch):
    import sys

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["compare", "shifted", "lossy", "gold", "--group", r"p\d"]) == 0
    out = capsys.readouterr().out
    assert "held out" in out
    assert "mean AP" in out
    assert "(all)" in out
    assert "voi_split" not in out


def test_a_narrow_terminal_gets_all_columns(folders, capsys, monkeypatch):
    import sys

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["compare", "shifted", "gold", "--group", r"p\d"]) == 0
    out = capsys.readouterr().out
    assert out.count("mean AP    SEG   Dice") == 2
    assert "Q²" in out


def test_files_of_other_names_are_a_pair(folders, capsys):
    assert main(["compare", "lossy/p1_a1.npy", "gold/p2_a2.tif", "--table", "t.json"]) == 0
    assert "1 pair: 1 compared" in capsys.readouterr().err


@pytest.fixture
def read_files(monkeypatch) -> list[str]:
    """Names of the files that are read from here on."""
    read: list[str] = []
    whole = compare_batch.read_labels

    def noted(path: str, *, regions: bool):
        read.append(path)
        return whole(path, regions=regions)

    monkeypatch.setattr(compare_batch, "read_labels", noted)
    return read


ALL_TABLES = ["--table", "t.csv", "--summary", "s.csv", "--held-out", "h.csv", "--group", r"p\d"]


def test_a_rerun_compares_what_has_changed(folders, read_files, capsys):
    command = ["compare", "shifted", "lossy", "gold", *ALL_TABLES]
    assert main(command) == 0
    assert len(read_files) == 36
    before = [Path(name).read_bytes() for name in ("t.csv", "s.csv", "h.csv")]
    read_files.clear()
    capsys.readouterr()
    for name in ("t.csv", "s.csv", "h.csv"):
        Path(name).unlink()
    assert main(command) == 0
    assert "18 pairs: 0 compared, 18 already compared\n" in capsys.readouterr().err
    assert read_files == []
    assert [Path(name).read_bytes() for name in ("t.csv", "s.csv", "h.csv")] == before
    np.save("lossy/p2_a1.npy", folders["p2_a1"])
    assert main(command) == 0
    assert read_files == ["gold/p2_a1.tif", "lossy/p2_a1.npy"]
    assert "18 pairs: 1 compared, 17 already compared\n" in capsys.readouterr().err
    read_files.clear()
    assert main([*command, "--sizes", "10,20"]) == 0
    assert len(read_files) == 36


def test_pairs_are_called_as_they_are_called_now(folders, read_files):
    assert main(["compare", "lossy", "gold", "--table", "t.json", "--quiet"]) == 0
    read_files.clear()
    words = ["--table", "t.json", "--group", r"p\d", "--match", r"p(\d_a\d+)", "--quiet"]
    assert main(["compare", "lossy", "gold", *words]) == 0
    assert read_files == []
    assert [(row["image"], row["group"]) for row in read("t.json")][:2] == [
        ("1_a1", "p1"),
        ("1_a2", "p1"),
    ]


def test_pairs_that_are_not_named_stay_in_the_table(folders):
    for method in ("shifted", "lossy"):
        assert main(["compare", method, "gold", "--table", "t.json", "--quiet"]) == 0
    assert [row["method"] for row in read("t.json")] == ["lossy"] * 9 + ["shifted"] * 9


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_overlaps_that_are_lost_are_found_again(folders, read_files, damage):
    command = ["compare", "lossy", "gold", "--table", "t.csv", "--quiet"]
    assert main(command) == 0
    read_files.clear()
    damage(sorted(Path("t.csv.gpuseg.overlaps").iterdir())[3])
    assert main(command) == 0
    assert len(read_files) == 2


def test_a_pair_that_fails_now_leaves_the_table(folders, capsys):
    command = ["compare", "lossy", "gold", "--table", "t.json"]
    assert main(command) == 0
    Path("lossy/p1_a2.npy").write_bytes(b"no array")
    assert main(command) == 1
    assert "9 pairs: 0 compared, 8 already compared, 1 failed" in capsys.readouterr().err
    assert "p1_a2" not in [row["image"] for row in read("t.json")]


def test_what_was_interrupted_goes_on(folders, capsys, monkeypatch):
    command = ["compare", "lossy", "gold", "--table", "t.json", "--summary", "s.json"]
    whole, left = compare_batch.read_labels, [4]

    def interrupted(path: str, *, regions: bool):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return whole(path, regions=regions)

    with monkeypatch.context() as patch:
        patch.setattr(compare_batch, "read_labels", interrupted)
        assert main(command) == 130
    assert capsys.readouterr().err.endswith(
        "gpuseg compare: stopped. 9 pairs: 2 compared. Run the same command again to go on.\n"
    )
    assert len(read("t.json")) == 2
    assert not Path("s.json").exists()
    assert main(command) == 0
    assert "9 pairs: 7 compared, 2 already compared\n" in capsys.readouterr().err
    expected = pool([
        compare_labels(labels, np.where(labels % (4 + k % 3) == 0, 0, labels))
        for k, labels in enumerate(folders.values())
    ])  # fmt: skip
    (row,) = read("s.json")
    assert row["seg"] == pytest.approx(expected.seg)


def test_one_run_at_a_time_writes_a_table_and_only_its_own(folders, capsys):
    command = ["compare", "lossy", "gold", "--table", "t.csv"]
    with locked(Path("t.csv")):
        assert main(command) == 1
    assert "t.csv is being written by another run" in capsys.readouterr().err
    Path("t.csv").write_text("mine")
    assert main(command) == 2
    assert "was not written by gpuseg" in capsys.readouterr().err


def test_one_experiment_holds_none_out(folders, capsys):
    words = ["--group", "p", "--held-out", "h.csv", "--quiet"]
    assert main(["compare", "lossy", "gold", *words]) == 1
    err = capsys.readouterr().err
    assert err == "gpuseg compare: error: --held-out needs two experiments, found only 'p'\n"
    assert not Path("h.csv").exists()


def test_what_is_no_number_is_missing(folders):
    for name in ("empty1", "empty2"):
        tifffile.imwrite(f"{name}.tif", np.zeros((9, 9), np.uint8))
    words = ["--surfaces", "--table", "t.csv", "--quiet"]
    assert main(["compare", "empty1.tif", "empty2.tif", *words]) == 0
    with Path("t.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["hausdorff"], row["seg"]) == ("", "")


def test_what_names_have_in_common(folders):
    for path in list(Path("lossy").iterdir()):
        path.rename(path.with_name(f"result-{path.stem}_labels.npy"))
    words = ["--match", r"p\d_a\d+", "--table", "t.json", "--quiet"]
    assert main(["compare", "lossy/*.npy", "gold", *words]) == 0
    assert len(read("t.json")) == 9
    assert main(["compare", "lossy", "gold", "--quiet"]) == 1


def test_missing_partners_are_named_and_the_others_go_on(folders, capsys):
    Path("lossy/p1_a2.npy").unlink()
    Path("gold/p3_a1.tif").unlink()
    assert main(["compare", "lossy", "gold", "--table", "t.json"]) == 1
    err = capsys.readouterr().err
    assert "gold/p1_a2.tif: lossy has no 'p1_a2' to compare with it" in err
    assert "lossy/p3_a1.npy: the gold standard gold has no 'p3_a1'" in err
    assert "9 pairs: 7 compared, 2 failed" in err
    assert len(read("t.json")) == 7


def test_bad_pairs_are_reported_and_the_others_go_on(folders, capsys):
    Path("gold/p1_a1.tif").write_bytes(b"no image")
    tifffile.imwrite("gold/p1_a2.tif", np.zeros((7, 9), np.uint8))
    tifffile.imwrite("gold/p2_a1.tif", np.zeros((50, 55), np.float32))
    np.save("lossy/p2_a2.npy", np.full((55, 55), -1))
    assert main(["compare", "lossy", "gold", "--table", "t.json"]) == 1
    err = capsys.readouterr().err
    assert "p1_a1.tif" in err
    assert "lossy/p1_a2.npy has shape (55, 55), gold/p1_a2.tif (7, 9)" in err
    assert "gold/p2_a1.tif holds float32, not labels" in err
    assert "lossy/p2_a2.npy: labels must not be negative, got -1" in err
    assert "defect" not in err
    assert "9 pairs: 5 compared, 4 failed" in err


def test_colours_and_masks(folders):
    """Objects of equal colour that don't touch are several; one value in a mask is one object."""
    palette = np.random.default_rng(0).integers(1, 255, (3, 4), dtype=np.uint8)
    labels = folders["p1_a1"]
    colours = palette[labels % 3] * (labels > 0)[..., None].astype(np.uint8)
    colours[..., 3] = 255
    Image.fromarray(colours).save("gold.png")
    Image.fromarray(((labels > 0) * 255).astype(np.uint8)).save("mask.png")
    both = ["--table", "t.json", "--quiet"]
    assert main(["compare", "mask.png", "gold.png", "--regions", "both", *both]) == 0
    (row,) = read("t.json")
    assert row["n_true"] == row["n_test"] == np.unique(labels).size - 1
    assert row["ap"] == 1
    assert main(["compare", "gold/p1_a1.tif", "gold.png", "--regions", "gold", *both]) == 0
    assert read("t.json")[0]["f1_95"] == 1


def test_colours_without_saying_so(folders, capsys):
    Image.fromarray(np.zeros((55, 55, 3), np.uint8)).save("gold.png")
    assert main(["compare", "gold/p1_a1.tif", "gold.png"]) == 1
    assert "if colours tell objects apart, say --regions" in capsys.readouterr().err


def ome_labels(group, name: str, labels: np.ndarray) -> None:
    """A label image of one level, as OME-Zarr 0.5 has it, and its entry in the list of labels."""
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    made = group.require_group(f"labels/{name}")
    made.attrs["ome"] = {"version": "0.5", "multiscales": [image], "image-label": {}}
    made.create_array("0", data=labels, chunks=(20, 20))
    listed = group["labels"].attrs.get("ome", {}).get("labels", [])
    group["labels"].attrs["ome"] = {"version": "0.5", "labels": [*listed, name]}


def test_zarr(folders, capsys):
    import zarr

    labels = folders["p1_a1"]
    group = zarr.open_group("image.zarr", mode="w")
    ome_labels(group, "cells", labels)
    zarr.create_array("plain.zarr", data=labels, chunks=(16, 16))
    words = ["--table", "t.json", "--quiet"]
    assert main(["compare", "plain.zarr", "image.zarr/labels/cells", *words]) == 0
    assert read("t.json")[0]["aggregated_jaccard"] == 1
    assert main(["compare", "image.zarr", "plain.zarr", *words]) == 0
    ome_labels(group, "nuclei", labels)
    assert main(["compare", "image.zarr", "plain.zarr", *words]) == 1
    assert "holds 2 label images; name one: image.zarr/labels/cells or" in capsys.readouterr().err


def test_volumes_stay_chunked(folders, monkeypatch):
    import zarr

    from gpuseg.cli import compare_files

    volume = np.stack([folders[name] for name in NAMES])
    for name in ("a.zarr", "b.zarr"):
        zarr.create_array(name, data=volume, chunks=(2, 30, 30))
    monkeypatch.setattr(compare_files, "_WHOLE_BYTES", 0)
    words = ["--surfaces", "--spacing", "2,1,1", "--sizes", "50,100", "--thresholds", "0.3,0.9"]
    assert main(["compare", "a.zarr", "b.zarr", *words, "--table", "t.json", "--quiet"]) == 0
    (row,) = read("t.json")
    assert row["hausdorff"] == row["average_surface_distance"] == 0
    assert [row[name] for name in ("missed_0_50", "missed_50_100", "missed_100_inf")] == [0] * 3
    assert row["n_true_100_inf"] == row["n_true"] == row["tp_30"] == row["tp_90"]


BAD = [
    (["lossy"], "a prediction and a gold standard are needed, got 'lossy'"),
    (["lossy", "nowhere"], "there is no file or folder 'nowhere'"),
    (["lossy/*.tif", "gold"], "no file matches the pattern 'lossy/*.tif'"),
    (["empty", "gold"], "the folder 'empty' holds no label images"),
    (["lossy", "lossy", "gold"], "'lossy' is given twice"),
    (["lossy", "gold", "--match", "("], "--match is no regular expression"),
    (["lossy", "gold", "--match", "x(.)"], "--match 'x(.)' does not match"),
    (["lossy", "gold", "--match", "p1|p2|p3"], "are both 'p1'; tell them apart with --match"),
    (["lossy", "gold", "--group", "*"], "--group is no regular expression"),
    (["lossy", "gold", "--group", "p", "--group-table", "x"], "exclude each other"),
    (["lossy", "gold", "--group-table", "nowhere.csv"], "--group-table: nowhere.csv"),
    (["lossy", "gold", "--score", "app"], "--score must be a column such as ap"),
    (["lossy", "gold", "--thresholds", "0"], "above 0 and at most 1, got '0'"),
    (["lossy", "gold", "--thresholds", "a"], "must be numbers with commas, got 'a'"),
    (["lossy", "gold", "--sizes", "9,5"], "--sizes must increase, got '9,5'"),
    (["lossy", "gold", "--spacing", "0,1"], "--spacing must be above 0, got '0,1'"),
    (["lossy", "gold", "--spacing", "2"], "--spacing needs --surfaces, got '2'"),
    (["lossy", "gold", "--group-column", "day"], "--group-column needs --group-table, got 'day'"),
    (["lossy", "gold", "--held-out", "h.csv"], "--held-out needs --group or --group-table"),
    (["lossy", "gold", "--table", "t.xlsx"], "--table: a table's name must end in"),
    (["lossy", "gold", "--held-out", "nowhere/t.csv"], "--held-out: the folder"),
    (["lossy", "gold", "--regions", "golden"], "unknown choice 'golden'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), BAD)
def test_wrong_arguments(words, message, folders, capsys):
    Path("empty").mkdir()
    assert main(["compare", *words]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_a_group_that_does_not_match(folders, capsys):
    assert main(["compare", "lossy", "gold", "--group", "(p[12])", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert "--group '(p[12])' matches neither its name nor gold/p3_a1.tif" in err


def test_bbbc039(test_data, tmp_path):
    """The published masks: regions of equal colour, counted by others as 110, 71 and 156."""
    folder = str(test_data / "nuclei/bbbc039/masks")
    names = sorted(path.name for path in Path(folder).glob("*.png"))[:3]
    preds = tmp_path / "preds"
    preds.mkdir()
    for name in names:
        channel = np.asarray(Image.open(f"{folder}/{name}"))[..., 0]
        tifffile.imwrite(preds / f"{Path(name).stem}.tif", channel)
    words = ["--regions", "both", "--table", str(tmp_path / "t.json"), "--quiet"]
    assert main(["compare", str(preds), folder, *words]) == 1  # the other masks have no partner
    rows = json.loads((tmp_path / "t.json").read_text())
    assert [row["n_true"] for row in rows] == [110, 71, 156]
    assert [row["ap"] for row in rows] == [1, 1, 1]
