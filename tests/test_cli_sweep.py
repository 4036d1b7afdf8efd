"""`gpuseg sweep`: each row is what `gpuseg count` counts with its parameters."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gpuseg import positive_pixel_count as ppc
from gpuseg.cli import main


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(4)
    pixels = random.normal((150, 100, 60), 60, (300, 400, 3)).clip(0, 255).astype(np.uint8)
    resolution = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite("a.tif", pixels, tile=(128, 128), photometric="rgb", **resolution)
    return pixels


def table(*words: str) -> list[dict[str, object]]:
    assert main(["sweep", *words, "--preset", "dab", "--table", "t.json", "--quiet"]) == 0
    rows: list[dict[str, object]] = json.loads(Path("t.json").read_text())
    return rows


def test_every_setting_is_what_counting_gives(image):
    rows = table("a.tif", "--vary", "hue_width=0.1:0.3:0.1", "--vary", "saturation_minimum=0,0.5")
    settings = [(w, s) for w in (0.1, 0.2, 0.3) for s in (0.0, 0.5)]
    assert [(row["hue_width"], row["saturation_minimum"]) for row in rows] == settings
    for row, (width, saturation) in zip(rows, settings, strict=True):
        params = ppc.Parameters(0.05, width, saturation)
        expected = ppc.count_slide("a.tif", params)[0]._asdict()
        assert {name: row[name] for name in expected} == expected
        assert {name: row[name] for name in params._fields} == params._asdict()


def test_regions_have_their_rows_and_the_counterstain_its_columns(image):
    words = ["--region", "left=0,width=50,name=a", "--region", "100,100,60,70"]
    rows = table("a.tif", "--vary", "hue_value=0.05,0.6", *words, "--negative-hue-width", "1")
    assert [(row["region"], row["hue_value"]) for row in rows] == [
        *(("a", 0.05), ("a", 0.6), ("region 2", 0.05), ("region 2", 0.6))
    ]
    negative = ppc.Parameters(hue_width=1.0)
    expected = ppc.count(image[100:170, 100:160], ppc.Parameters(0.05), negative=negative)
    assert rows[2]["NumberNegative"] == expected.NumberNegative
    assert rows[2]["Positivity"] == expected.Positivity
    assert rows[2]["negative_hue_width"] == 1


def test_a_kept_histogram_answers_without_the_slide(image):
    words = ["--vary", "intensity_weak_threshold=0.5:0.9:0.2"]
    rows = table("a.tif", *words, "--histogram", "h.npz")
    Path("a.tif").unlink()
    again = table("h.npz", *words)
    assert [{**row, "slide": "a.tif"} for row in again] == rows


def test_a_pipe_gets_csv_and_a_terminal_the_varied_columns(image, capsys, monkeypatch):
    import sys

    command = ["sweep", "a.tif", "--vary", "hue_width=0.1,0.2", "--no-progress"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert [row["hue_width"] for row in csv.DictReader(io.StringIO(out))] == ["0.1", "0.2"]
    assert err == ""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(command) == 0
    assert capsys.readouterr().out.split()[:2] == ["hue_width", "pixels"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vary", "hue=0:1:0.1"], "with NAME one of hue_value"),
        (["--vary", "hue_value=0:2:0.5"], "--vary: hue_value must be between 0 and 1, got 1.5"),
        (["--vary", "intensity_weak_threshold=0.1"], "--vary: intensity_weak_threshold must be"),
        (["--vary", "hue_value=0", "--table", "t.txt"], "--table: a table's name must end in"),
        (["--vary", "hue_value=0", "--histogram", "h.csv"], "--histogram must end in .npz"),
        (
            ["--vary", "hue_value=0", "--histogram", "h.npz", "--region", "0,0,5,5"],
            "--histogram keeps the colours of a whole slide, not of regions",
        ),
        (
            ["--vary", "hue_value=0", "--histogram", "no/h.npz"],
            "--histogram: the folder of 'no/h.npz' does not exist",
        ),
        (["--vary", "hue_value=0", "--region", "1,2,3"], "--region: a region as a list has"),
        ([], "the following arguments are required: --vary"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(image, words, message: str, capsys):
    assert main(["sweep", "a.tif", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["20", "60", "200"])
def test_a_narrow_terminal_gets_all_columns(image, capsys, monkeypatch, columns: str):
    import sys

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    region = "left=0,top=0,width=100,height=100,name=a_long_name_of_a_region"
    assert main(["sweep", "a.tif", "--vary", "hue_width=0.15", "--region", region]) == 0
    lines = capsys.readouterr().out.splitlines()
    (titles,) = (line.split() for line in lines if "hue_width" in line)
    (values,) = (line.split() for line in lines if "10,000" in line)
    assert (titles[0], titles[-2:]) == ("region", ["mean", "mm²"])
    assert len(values) == len(titles)
    assert values[-1] == "0.0025"


def test_a_histogram_has_neither_regions_nor_levels(image, capsys):
    table("a.tif", "--vary", "hue_value=0.1", "--histogram", "h.npz")
    for words in (["--region", "0,0,5,5"], ["--level", "1"]):
        assert main(["sweep", "h.npz", "--vary", "hue_value=0", *words]) == 2
        assert "need the slide itself" in capsys.readouterr().err


def test_what_cannot_be_swept_is_said(image, capsys):
    tifffile.imwrite("w.tif", image.astype(np.uint16), tile=(128, 128), photometric="rgb")
    Path("bad.npz").write_bytes(b"no histogram")
    for slide, message in (
        ("w.tif", "w.tif: sweeps are of uint8 slides, got uint16"),
        ("bad.npz", "'bad.npz' is no colour histogram"),
        ("gone.tif", "gone.tif"),
    ):
        assert main(["sweep", slide, "--vary", "hue_value=0.1"]) == 1
        assert message in capsys.readouterr().err


def test_sweep_of_a_real_slide_holds_histomicstks_numbers(test_data: Path, tmp_path, capsys):
    reference = test_data.parent / "reference" / "histomicstk" / "stats.json"
    if not reference.exists():
        pytest.skip("no reference numbers beside the images")
    slide = test_data / "wsi" / "CMU-1-Small-Region.svs"
    golden = json.loads(reference.read_text())[slide.name]
    assert main(["sweep", str(slide), "--vary", "hue_value=0.05,0.83"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for row, name in zip(rows, ("seed", "cli_default"), strict=True):
        for field, value in golden[name]["slide"].items():
            assert float(row[field]) == pytest.approx(value, rel=1e-12)
