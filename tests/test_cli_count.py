"""`gpuseg count` from slides to tables, label images and overlays."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from gpuseg import positive_pixel_count as ppc
from gpuseg.cli import main
from gpuseg.cli.ledger import Ledger

DAB = ppc.Parameters(hue_value=0.05)


def make_slide(path: Path, seed: int, shape: tuple[int, int] = (600, 800)) -> np.ndarray:
    """Slide without pyramid, of noise around brown so that every class occurs."""
    random = np.random.default_rng(seed)
    image = random.normal((150, 100, 60), 60, (*shape, 3)).clip(0, 255).astype(np.uint8)
    tifffile.imwrite(
        path,
        image,
        tile=(256, 256),
        photometric="rgb",
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    return image


@pytest.fixture
def slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    monkeypatch.chdir(tmp_path)
    return {name: make_slide(tmp_path / name, n) for n, name in enumerate(("s2.tif", "s10.tif"))}


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_row(row: dict[str, str], image: np.ndarray, mask: np.ndarray | None = None) -> None:
    """Compare with the labels of every pixel, counted by NumPy."""
    labels = ppc.classify(image, DAB, mask)
    intensity = image.astype(np.float64).sum(axis=-1) / 765
    total = labels.size if mask is None else int(mask.sum())
    for name, label in (("WeakPositive", 1), ("Positive", 2), ("StrongPositive", 3)):
        inside = labels == label
        assert int(row[f"Number{name}"]) == inside.sum() > 0
        assert float(row[f"IntensitySum{name}"]) == pytest.approx(intensity[inside].sum())
    assert int(row["NumberTotalPixels"]) == total
    assert float(row["RatioTotalToPixels"]) == pytest.approx((labels > 0).sum() / total)
    assert float(row["AreaTotal"]) == pytest.approx(total * 0.0005**2)


def test_one_row_a_slide_with_everything_that_was_asked(slides, capsys):
    words = ["--preset", "dab", "--table", "t.csv", "--no-progress"]
    assert main(["count", "s*.tif", *words]) == 0
    rows = rows_of("t.csv")
    assert [row["slide"] for row in rows] == ["s2.tif", "s10.tif"]
    for row in rows:
        check_row(row, slides[row["slide"]])
        assert (row["region"], row["level"], row["hue_value"]) == ("", "0", "0.05")
        assert float(row["mpp"]) == pytest.approx(0.5)
        assert row["PixelsUnreadable"] == "0"
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "gpuseg count: 2 slides: 2 counted; 2 rows in t.csv\n"


def test_without_a_table_a_pipe_gets_csv(slides, capsys):
    assert main(["count", "s2.tif", "--preset", "dab", "--quiet"]) == 0
    out, err = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(out))
    check_row(row, slides["s2.tif"])
    assert err == ""


@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_other_tables_hold_the_same_numbers(slides, suffix: str):
    pandas = pytest.importorskip("pandas")
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    assert main(["count", "s2.tif", "--preset", "dab", "--table", f"t.{suffix}"]) == 0
    frame = getattr(pandas, f"read_{suffix}")(f"t.{suffix}")
    check_row(frame.iloc[0].to_dict(), slides["s2.tif"])


def test_aperio_counts_the_counterstain(slides):
    assert main(["count", "s2.tif", "--preset", "aperio", "--table", "t.json"]) == 0
    (row,) = json.loads(Path("t.json").read_text())
    expected = ppc.Parameters(0.1, 0.5, 0.04, 220 / 255, 175 / 255, 100 / 255, 0.0)
    assert row["hue_width"] == 0.5
    assert row["negative_hue_width"] == 1.0
    labels = ppc.classify(slides["s2.tif"], expected)
    positive, stained = (labels > 0).sum(), slides["s2.tif"].sum(axis=-1) < 660
    assert row["NumberNegative"] == (stained & (labels == 0)).sum()
    assert row["Positivity"] == pytest.approx(positive / (positive + row["NumberNegative"]))


def test_a_slide_that_fails_is_reported_and_the_others_go_on(slides, capsys):
    Path("s3.tif").write_bytes(b"II*\0 no image")
    assert main(["count", "s*.tif", "gone.svs", "--table", "t.csv"]) == 1
    assert [row["slide"] for row in rows_of("t.csv")] == ["s2.tif", "s10.tif"]
    err = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in err[:2]] == [["gpuseg count", "error"]] * 2
    assert "gone.svs" in err[0]  # a missing file is known before the first slide is opened
    assert "s3.tif" in err[1]
    assert err[2] == "gpuseg count: 4 slides: 2 counted, 2 failed; 2 rows in t.csv"


def test_a_rerun_counts_only_what_has_changed(slides, capsys):
    command = ["count", "s*.tif", "--preset", "dab", "--table", "t.csv"]
    assert main(command) == 0
    before = Path("t.csv").read_bytes()

    assert main(command) == 0
    assert "2 slides: 0 counted, 2 already counted" in capsys.readouterr().err
    assert Path("t.csv").read_bytes() == before

    changed = make_slide(Path("s2.tif"), 7)
    os.utime("s2.tif", ns=(5, 5))
    assert main(command) == 0
    assert "1 counted, 1 already counted" in capsys.readouterr().err
    check_row(rows_of("t.csv")[0], changed)

    assert main([*command, "--hue-width", "0.2"]) == 0
    assert "2 counted; 2 rows" in capsys.readouterr().err
    assert {row["hue_width"] for row in rows_of("t.csv")} == {"0.2"}

    make_slide(Path("s11.tif"), 8)
    assert main([*command, "--hue-width", "0.2"]) == 0
    assert "1 counted, 2 already counted; 3 rows" in capsys.readouterr().err


def test_a_table_that_others_wrote_is_left_alone(slides, capsys):
    Path("t.csv").write_text("mine\n")
    assert main(["count", "s2.tif", "--table", "t.csv"]) == 2
    assert "was not written by gpuseg" in capsys.readouterr().err
    assert Path("t.csv").read_text() == "mine\n"


@pytest.mark.parametrize("suffix", ["zarr", "tif"])
def test_labels_and_overlays_for_many_slides(slides, suffix: str, capsys):
    words = ["--preset", "dab", "--labels", f"{{stem}}-labels.{suffix}", "--overlay", "pictures/"]
    assert main(["count", "s2.tif", "s10.tif", *words, "--table", "t.csv"]) == 0
    for name, image in slides.items():
        path = Path(f"{Path(name).stem}-labels.{suffix}")
        if suffix == "zarr":
            labels = zarr.open_array(path / "0", mode="r")[:]
        else:
            labels = tifffile.imread(path, level=0)
        assert np.array_equal(labels, ppc.classify(image, DAB))
        with Image.open(Path("pictures", Path(name).stem + ".png")) as picture:
            assert picture.width > 2 * image.shape[1]
    assert sorted(p.name for p in Path("pictures").iterdir()) == ["s10.png", "s2.png"]
    capsys.readouterr()
    command = ["count", "s2.tif", "s10.tif", *words, "--table", "t.csv"]
    assert main(command) == 0
    assert "2 already counted" in capsys.readouterr().err
    Path("pictures", "s2.png").unlink()
    assert main(command) == 0
    assert "1 counted, 1 already counted" in capsys.readouterr().err


def test_what_an_interrupted_overlay_leaves_is_gone_on_with_or_removed(slides, capsys, monkeypatch):
    import gpuseg.cli.batch as module

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    Path("pictures").mkdir()
    partial = Path("pictures", "s2.png.labels.zarr.partial")
    partial.mkdir()
    words = ["s2.tif", "--overlay", "pictures/", "--no-progress"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "state_of", interrupted)
        assert main(["count", *words]) == 130
    assert capsys.readouterr().err == (
        "gpuseg count: stopped. 1 slide: 0 counted. Run the same command again to go on.\n"
    )
    assert main(["count", *words, "--labels", "s2.zarr", "--quiet"]) == 0
    assert [p.name for p in Path("pictures").iterdir()] == ["s2.png"]


def test_overlay_shows_where_the_positive_pixels_are(tmp_path: Path):
    image = np.full((512, 1024, 3), 240, np.uint8)
    image[:, 512:] = (90, 50, 20)
    tifffile.imwrite(tmp_path / "half.tif", image, tile=(256, 256), photometric="rgb")
    words = ["--preset", "dab", "--overlay", str(tmp_path / "o.png"), "--quiet"]
    assert main(["count", str(tmp_path / "half.tif"), *words, "--table", f"{tmp_path}/t.csv"]) == 0
    with Image.open(tmp_path / "o.png") as picture:
        pixels = np.asarray(picture).astype(int)
    red = (pixels[..., 0] > 100) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    # The strong half: in the panel (512² pixels), and half of the legend's bar.
    assert 512 * 512 <= red.sum() <= 512 * 512 * 1.15
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("half.tif", "o.png", "t.csv", "t.csv.gpuseg.jsonl")
    ]


def test_regions_make_a_row_each(slides, capsys):
    square = [[100, 50], [300, 50], [300, 250], [100, 250], [100, 50]]
    hole = [[150, 100], [200, 100], [200, 150], [150, 150], [150, 100]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [square, hole]},
        "properties": {"name": "edge", "classification": {"name": "Tumor"}},
    }
    for name in ("s2", "s10"):
        Path(f"{name}.geojson").write_text(
            json.dumps({"type": "FeatureCollection", "features": [feature]})
        )
    words = ["--regions", "{stem}.geojson", "--region", "left=10,top=20,width=30,height=40"]
    assert main(["count", "s*.tif", "--preset", "dab", *words, "--table", "t.csv"]) == 0
    rows = rows_of("t.csv")
    assert [(row["slide"], row["region"], row["classification"]) for row in rows] == [
        ("s2.tif", "region 1", ""),
        ("s2.tif", "edge", "Tumor"),
        ("s10.tif", "region 1", ""),
        ("s10.tif", "edge", "Tumor"),
    ]
    mask = np.zeros((600, 800), bool)
    mask[20:60, 10:40] = True
    check_row(rows[0], slides["s2.tif"], mask)
    mask = np.zeros((600, 800), bool)
    mask[50:250, 100:300] = True
    mask[100:150, 150:200] = False
    check_row(rows[3], slides["s10.tif"], mask)

    Path("s2.geojson").write_text(json.dumps(feature))
    capsys.readouterr()
    assert main(["count", "s*.tif", "--preset", "dab", *words, "--table", "t.csv"]) == 0
    assert "1 counted, 1 already counted" in capsys.readouterr().err


def test_a_region_outside_fails_its_slide(slides, capsys):
    make_slide(Path("s3.tif"), 5, (2000, 900))
    assert main(["count", "s*.tif", "--region", "0,1000,10,10", "--table", "t.csv"]) == 1
    assert [row["slide"] for row in rows_of("t.csv")] == ["s3.tif"]
    assert capsys.readouterr().err.count("lies outside the slide") == 2


@pytest.mark.parametrize(
    "region",
    [
        "-1,-1,-1,-1",
        "left=-30",
        "left=-30,right=-5",
        "left=0.9,width=0.05,units=fraction",
        "left=0.01,width=0.001,units=mm",
        "left=1,width=1,magnification=20,units=mag_pixels",
        "0,0,9,0,9,9,0,9,-1,-1,2,2,4,2,4,4",
        "100,100,0,20,10,0",
    ],
)
def test_regions_are_left_to_slides_that_may_have_them(region: str):
    from gpuseg.cli.options import check_region, parse_region

    check_region(parse_region(region))


def corrupt(path: Path) -> None:
    """Overwrite one tile of a JPEG slide with zeros."""
    image = np.full((512, 512, 3), (120, 80, 40), np.uint8)
    tifffile.imwrite(path, image, tile=(256, 256), photometric="ycbcr", compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        offset, size = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    with path.open("rb+") as file:
        file.seek(offset)
        file.write(b"\0" * size)


def test_unreadable_tiles_fail_or_are_counted_apart(tmp_path: Path, capsys):
    corrupt(tmp_path / "c.tif")
    command = ["count", str(tmp_path / "c.tif"), "--table", str(tmp_path / "t.csv")]
    assert main([*command, "--overlay", str(tmp_path / "o.png")]) == 1
    assert "c.tif: level 0, tile row 0, column 1" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.tif"]
    assert main([*command, "--on-error", "skip"]) == 0
    (row,) = rows_of(str(tmp_path / "t.csv"))
    assert (row["PixelsUnreadable"], row["NumberTotalPixels"]) == ("65536", "196608")
    assert "65,536 pixels are unreadable and left out" in capsys.readouterr().err


def test_a_slide_that_changes_meanwhile_is_not_remembered(slides, capsys, monkeypatch):
    import gpuseg.cli.batch as module

    counting = module._count

    def and_copy_on(plan, task, cluster, progress):
        rows = counting(plan, task, cluster, progress)
        with open(task.slide, "ab") as file:
            file.write(b"more")
        return rows

    monkeypatch.setattr(module, "_count", and_copy_on)
    assert main(["count", "s2.tif", "--table", "t.csv"]) == 1
    assert "s2.tif changed while it was read; is it still being copied?" in capsys.readouterr().err
    assert not Path("t.csv").exists()


def test_pixels_of_a_type_that_cannot_be_counted_are_named(tmp_path: Path, capsys):
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.int16), tile=(32, 32), photometric="rgb")
    message = f"error: {path}: image must be uint8, uint16, float32 or float64, got int16"
    assert main(["count", str(path)]) == 1
    assert message in capsys.readouterr().err
    assert main(["PositivePixelCount", str(path), *["0.1"] * 7]) == 1
    assert message in capsys.readouterr().err


def test_a_defect_in_one_slide_keeps_its_traceback_and_the_others(slides, capsys, monkeypatch):
    import gpuseg.cli.batch as module

    counting = module._count

    def broken(plan, task, cluster, progress):
        if task.slide == "s2.tif":
            raise KeyError("tile")
        return counting(plan, task, cluster, progress)

    monkeypatch.setattr(module, "_count", broken)
    assert main(["count", "s*.tif", "--table", "t.csv"]) == 1
    assert [row["slide"] for row in rows_of("t.csv")] == ["s10.tif"]
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "s2.tif: 'tile' (a defect)" in err


def test_rows_survive_a_crash_after_each_slide(slides, monkeypatch):
    import gpuseg.cli.batch as module

    counting = module._count

    def dies(plan, task, cluster, progress):
        if task.slide == "s10.tif":
            raise SystemError("power cut")  # stands for what no handler sees
        return counting(plan, task, cluster, progress)

    monkeypatch.setattr(module, "_count", dies)
    monkeypatch.setattr(module.Batch, "_reported", no_handler)
    with pytest.raises(SystemError):
        main(["count", "s*.tif", "--preset", "dab", "--table", "t.csv"])
    assert len(Ledger(Path("t.csv")).all_rows()) == 1
    check_row(rows_of("t.csv")[0], slides["s2.tif"])


def no_handler(self, task, progress):
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--table", "t.xls"], "--table: a table's name must end in .csv, .json or .parquet"),
        (["--table", "no/t.csv"], "--table: the folder of 'no/t.csv' does not exist"),
        (["--labels", "l.npy"], "--labels must end in .zarr, .tif or .tiff, got 'l.npy'"),
        (["--labels", "l.ome.tif"], "--labels writes no OME-TIFF"),
        (["--labels", "s2.tif"], "--labels would write over the slide 's2.tif'"),
        (["--labels", "foreign.tif"], "'foreign.tif' exists and is no label image of gpuseg"),
        (["--overlay", "o.gif"], "--overlay must end in .png, .jpg or .jpeg"),
        (["--level", "-1"], "--level must be at least 0, got -1"),
        (["--mpp", "0"], "--mpp must be above 0, got 0"),
        (["--level", "1", "--mpp", "1"], "not allowed with argument"),
        (["--workers", "0"], "--workers must be at least 1, got 0"),
        (["--scheduler", "gpu"], "--scheduler must be 'processes', 'cuda', an address"),
        (["--scheduler", "tcp://h:1", "--workers", "2"], "cannot be set for a running scheduler"),
        (["--region", "here"], "--region must be numbers"),
        (["--region", "1,2,3"], "--region: a region as a list has 4 numbers, 6, or"),
        (["--region", "0,0,0,9"], "--region: width and height of a region must be positive"),
        (["--region", "left=5,widht=3"], "--region: a region's dictionary has some of left, top"),
        (["--region", "left=5,units=cm"], "--region: units must be one of base_pixels"),
        (["--regions", "no.geojson"], "--regions must be a file, got 'no.geojson'"),
        (["--hue-value", "2"], "--hue-value must be between 0 and 1, got 2.0"),
        (["--on-error", "skp"], "unknown choice 'skp'; did you mean skip?"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(slides, words, message, capsys, monkeypatch):
    import gpuseg.io

    tifffile.imwrite("foreign.tif", np.zeros((3, 3), np.uint8))
    monkeypatch.setattr(gpuseg.io, "open_slide", None, raising=False)
    before = sorted(os.listdir())
    assert main(["count", "s2.tif", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("gpuseg count: error: ")
    assert message in err
    assert sorted(os.listdir()) == before


def test_a_level_is_chosen_by_its_pixel_size(slides, capsys):
    assert main(["count", "s2.tif", "--mpp", "0.5", "--quiet"]) == 0
    assert main(["count", "s2.tif", "--mpp", "2"]) == 1
    assert "no level of s2.tif has mpp 2 (within 5 %); it has 0.5" in capsys.readouterr().err
    assert main(["count", "s2.tif", "--level", "3"]) == 1
    assert "level must be one of 0 to 0" in capsys.readouterr().err


def test_no_gpu_is_said_before_any_slide(slides, capsys):
    from conftest import HAS_DEVICE

    if HAS_DEVICE:
        pytest.skip("there is a GPU")
    assert main(["count", "s2.tif", "--scheduler", "cuda", "--table", "t.csv"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("gpuseg count: error: scheduler 'cuda' needs")
    assert not Path("t.csv").exists()


def test_processes_give_the_same_table(slides):
    assert main(["count", "s*.tif", "--table", "a.json"]) == 0
    command = ["count", "s*.tif", "--table", "b.json", "--scheduler", "processes"]
    run = subprocess.run(
        [sys.executable, "-m", "gpuseg", *command, "--workers", "2", "--labels", "{stem}.zarr"],
        capture_output=True,
        text=True,
        check=True,
    )
    # On a loaded machine lines of progress come before it.
    assert run.stderr.endswith("gpuseg count: 2 slides: 2 counted; 2 rows in b.json\n")
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_stops_soon_and_says_how_to_go_on(tmp_path: Path):
    """A process that counts, and stops itself when a slide is done and the next one has begun."""
    for number in range(4):
        make_slide(tmp_path / f"s{number}.tif", number, (1200, 1200))
    # Tiles are read by threads; until the main one has the signal, each takes its time.
    code = (
        "import os, signal, sys, threading, time, gpuseg.io.slides as slides\n"
        "read, once = slides.Slide.read_tiles, threading.Lock()\n"
        "def stopping(*words, **named):\n"
        "    for tile in read(*words, **named):\n"
        "        yield tile\n"
        "        if os.path.exists('t.csv'):\n"
        "            if once.acquire(blocking=False):\n"
        "                os.kill(os.getpid(), signal.SIGINT)\n"
        "            time.sleep(0.1)\n"
        "slides.Slide.read_tiles = stopping\n"
        # What runs the tests in the background may have had the signal ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from gpuseg.cli import main\n"
        "sys.exit(main(['count', 's*.tif', '--table', 't.csv', '--labels', '{stem}.zarr']))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    err = run.stderr
    assert run.returncode == 130, err
    assert "Traceback" not in err
    assert "gpuseg count: stopped. 4 slides:" in err
    assert "Run the same command again to go on." in err
    counted = len(Ledger(tmp_path / "t.csv").all_rows())
    assert 1 <= counted < 4
    gpuseg = [sys.executable, "-m", "gpuseg"]
    again = subprocess.run(
        [*gpuseg, "count", "s*.tif", "--table", "t.csv", "--labels", "{stem}.zarr"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0
    assert f"{4 - counted} counted, {counted} already counted; 4 rows" in again.stderr


def test_a_real_slide_gives_histomicstks_numbers(test_data: Path, tmp_path: Path):
    reference = test_data.parent / "reference" / "histomicstk" / "stats.json"
    if not reference.exists():
        pytest.skip("no reference numbers beside the images")
    golden = json.loads(reference.read_text())["CMU-1-Small-Region.svs"]["seed"]
    slide = test_data / "wsi" / "CMU-1-Small-Region.svs"
    table = tmp_path / "t.json"
    assert main(["count", str(slide), "--preset", "dab", "--table", str(table)]) == 0
    (row,) = json.loads(table.read_text())
    for name, value in golden["slide"].items():
        assert row[name] == pytest.approx(value, rel=1e-12)
