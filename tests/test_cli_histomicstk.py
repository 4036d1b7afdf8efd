"""`gpuseg PositivePixelCount` beside HistomicsTK's own command, its golden numbers and formulas."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.io
import tifffile
import zarr

from gpuseg import positive_pixel_count as ppc
from gpuseg.cli import main

SEED = ["0.05", "0.15", "0.05", "0.95", "0.65", "0.35", "0.05"]
PARAMS = ppc.Parameters(*map(float, SEED))
COLOURS = np.array([(255, 255, 255), (60, 78, 194), (221, 220, 220), (180, 4, 38)], np.uint8)


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(5)
    pixels = random.normal((150, 100, 60), 60, (500, 700, 3)).clip(0, 255).astype(np.uint8)
    tifffile.imwrite("a.tif", pixels, tile=(256, 256), photometric="rgb")
    return pixels


def stats(out: str) -> dict[str, float]:
    """Statistics, printed as a Python dictionary as HistomicsTK prints them."""
    values = ast.literal_eval(out[out.index("{'Area") :])
    return {name: values[name] for name in ppc.Output._fields}


def test_order_of_the_parameters_is_histomicstks(image, capsys):
    assert main(["PositivePixelCount", "a.tif", *SEED]) == 0
    assert stats(capsys.readouterr().out) == ppc.count(image, PARAMS)._asdict()


@pytest.mark.parametrize(
    ("region", "window"),
    [
        ("-1,-1,-1,-1", (0, 0, 500, 700)),
        ("-1.0, -1.0, -1.0, -1.0", (0, 0, 500, 700)),
        ("100,50,300,200", (50, 100, 250, 400)),
        ("100.6,50.6,300.6,200.6", (50, 100, 250, 400)),
        ("600,450,300,200", (450, 600, 500, 700)),
        ("-10,-20,110,120", (0, 0, 100, 100)),
        ("250,150,0,150,100,0", (50, 100, 250, 400)),
        ("100,50,400,50,400,250,100,250", (50, 100, 250, 400)),
    ],
)
def test_regions_are_histomicstks(image, region: str, window, capsys):
    command = ["PositivePixelCount", "a.tif", *SEED, "--region", region]
    assert main([*command, "--outputLabelImage", "l.png", "--output_form", "pixelmap"]) == 0
    top, left, bottom, right = window
    expected, labels = ppc.count_image(image[top:bottom, left:right], PARAMS)
    assert stats(capsys.readouterr().out) == expected._asdict()
    assert np.array_equal(skimage.io.imread("l.png"), labels)


def test_holes_and_several_polygons(image, capsys):
    outer = "100,50,400,50,400,250,100,250"
    hole = "150,100,200,100,200,150,150,150"
    other = "500,300,600,300,600,400,500,400"
    region = f"{outer},-1,-1,{hole},-1,-1,{other}"
    assert main(["PositivePixelCount", "a.tif", *SEED, f"--region={region}"]) == 0
    mask = np.zeros(image.shape[:2], bool)
    mask[50:250, 100:400] = mask[300:400, 500:600] = True
    mask[100:150, 150:200] = False
    assert stats(capsys.readouterr().out) == ppc.count(image, PARAMS, mask)._asdict()


def test_region_outside_is_an_error(image, capsys):
    assert main(["PositivePixelCount", "a.tif", *SEED, "--region", "900,0,10,10"]) == 1
    assert "outside the slide" in capsys.readouterr().err


def test_returnparameterfile_has_a_line_for_each_number(image):
    command = ["PositivePixelCount", "a.tif", *SEED, "--returnparameterfile", "stats.txt"]
    assert main(command) == 0
    lines = [line.split(" = ") for line in Path("stats.txt").read_text().splitlines()]
    assert [name for name, _ in lines][:13] == list(ppc.Output._fields[:13])
    expected = ppc.count(image, PARAMS)._asdict()
    assert {name: float(value) for name, value in lines} == {
        name: value for name, value in expected.items() if value is not None
    }


@pytest.mark.parametrize("suffix", ["tif", "tiff", "zarr", "png"])
def test_label_image_of_a_region_has_its_colours(image, suffix: str):
    command = ["PositivePixelCount", "a.tif", *SEED, "--region", "100,50,300,200"]
    assert main([*command, "--outputLabelImage", f"l.{suffix}"]) == 0
    labels = ppc.classify(image[50:250, 100:400], PARAMS)
    if suffix == "png":
        assert np.array_equal(skimage.io.imread("l.png")[..., :3], COLOURS[labels])
    elif suffix == "zarr":
        assert np.array_equal(zarr.open_array("l.zarr/0", mode="r")[:], labels)
    else:
        with tifffile.TiffFile(f"l.{suffix}") as tiff:
            assert np.array_equal(tiff.pages[0].asarray(), labels)
            assert np.array_equal(tiff.pages[0].colormap.T[:4] // 257, COLOURS)


def test_annotation_places_the_label_image(image):
    command = ["PositivePixelCount", "a.tif", *SEED, "--region", "100,50,300,200"]
    assert main([*command, "--image_annotation", "a.anot", "--outputLabelImage", "l.zarr"]) == 0
    annotation = json.loads(Path("a.anot").read_text())
    (element,) = annotation["elements"]
    assert annotation["name"] == "Positive Pixel Count"
    assert element["type"] == "image"
    assert element["transform"] == {"xoffset": 100, "yoffset": 50}
    attributes = annotation["attributes"]
    expected = ppc.count(image[50:250, 100:400], PARAMS)
    assert attributes["stats"] == expected._asdict()
    assert attributes["params"]["hue_value"] == 0.05
    assert attributes["params"]["region"] == [100, 50, 300, 200]
    assert attributes["cli"] == "PositivePixelCount"


@pytest.mark.parametrize(
    "words",
    [
        ["--scheduler", "none"],
        ["--scheduler", "multithreading", "--num_threads_per_worker", "3"],
        ["--num_workers", "2", "--num_threads_per_worker", "2"],
        ["--num_workers", "-100"],
        ["--frame", "0", "--style", "{}"],
        ["--frame", "{#control:#current_image_frame#}", "--style", "{#control:#style#}"],
    ],
)
def test_what_has_a_meaning_is_taken(image, words, capsys):
    assert main(["PositivePixelCount", "a.tif", *SEED, *words]) == 0
    assert stats(capsys.readouterr().out) == ppc.count(image, PARAMS)._asdict()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--scheduler", "none"], {"workers": 1}),
        (["--scheduler", "multithreading"], {}),
        (["--num_workers", "3"], {"workers": 3}),
        (["--num_threads_per_worker", "4"], {"workers": 4}),
        (["--num_workers", "3", "--num_threads_per_worker", "4"], {"workers": 12}),
        (
            ["--scheduler", "multiprocessing", "--num_workers", "3"],
            {"scheduler": "processes", "workers": 3, "threads_per_worker": None},
        ),
        (["--scheduler", "127.0.0.1:8786"], {"scheduler": "tcp://127.0.0.1:8786"}),
        (["--scheduler", "tls://h:1"], {"scheduler": "tls://h:1"}),
    ],
)
def test_schedulers_and_counts(words, expected):
    from gpuseg.cli._parser import Parser
    from gpuseg.cli.histomicstk import _running, add_arguments

    parser = Parser(prog="t")
    add_arguments(parser)
    assert _running(parser.parse_args(["a.tif", *SEED, *words])) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frame", "2"], "--frame must be 0"),
        (["--style", '{"bands": []}'], "--style must be empty"),
        (["--xml"], "--xml is not supported"),
        (["--num_threads_per_worker", "0"], "--num_threads_per_worker must be at least 1, got 0"),
        (["--scheduler", "h:1", "--num_workers", "2"], "--num_workers and --num_threads_per"),
        (["--outputLabelImage", "l.jpg"], "--outputLabelImage must end in .tif, .tiff, .zarr or"),
        (["--output_form", "pretty"], "unknown choice 'pretty'"),
        (["--region", "1,2,a,b"], "--region must be numbers"),
        (["--region", "1,2"], "--region: a region as a list has 4 numbers, 6, or"),
        (["--regions", "r.json"], "unknown option --regions; did you mean --region?"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(image, words, message: str, capsys):
    assert main(["PositivePixelCount", "a.tif", *SEED, *words]) == 2
    assert message in capsys.readouterr().err


def test_label_images_replace_only_label_images(image, capsys):
    command = ["PositivePixelCount", "a.tif", *SEED, "--outputLabelImage"]
    assert main([*command, "a.tif"]) == 2
    assert "would write over the image 'a.tif'" in capsys.readouterr().err
    tifffile.imwrite("b.tif", image)
    assert main([*command, "b.tif"]) == 2
    assert "'b.tif' exists and is no label image of gpuseg" in capsys.readouterr().err
    assert main([*command, "l.tif"]) == main([*command, "l.tif"]) == 0


def test_swapped_thresholds_are_refused(image, capsys):
    swapped = [*SEED[:4], "0.35", "0.65", "0.05"]
    assert main(["PositivePixelCount", "a.tif", *swapped]) == 2
    assert "intensity_weak_threshold must be at least intensity_strong" in capsys.readouterr().err


def test_parameters_are_all_needed_as_there(image, capsys):
    assert main(["PositivePixelCount", "a.tif", *SEED[:6]]) == 2
    assert "intensity_lower_limit" in capsys.readouterr().err


def test_missing_folders_are_known_before_the_work(image, capsys):
    command = ["PositivePixelCount", "a.tif", *SEED]
    for flag in ("--returnparameterfile", "--image_annotation", "--outputLabelImage"):
        assert main([*command, flag, "no/where.png"]) == 2
        assert f"{flag}: the folder of 'no/where.png' does not exist" in capsys.readouterr().err


@pytest.mark.skipif(
    importlib.util.find_spec("histomicstk") is None, reason="HistomicsTK is not installed"
)
def test_equals_histomicstks_own_command(image, capsys):
    arguments = ["a.tif", *SEED, "--region", "100,50,300,200", "--outputLabelImage"]
    module = "histomicstk.cli.PositivePixelCount.PositivePixelCount"
    code = (
        f"import sys, runpy, importlib.util; spec = importlib.util.find_spec({module!r});"
        "sys.argv[0] = spec.origin; runpy.run_path(spec.origin, run_name='__main__')"
    )
    theirs = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments, "theirs.tiff"],
        capture_output=True,
        text=True,
    )
    if "NumberTotalPixels" not in theirs.stdout:
        pytest.skip(f"HistomicsTK's command does not run here: {theirs.stderr[-300:]}")
    printed = theirs.stdout[theirs.stdout.rindex("{'IntensityAverage'") :]
    for name in ("int64", "float64"):
        printed = printed.replace(f"np.{name}", "")
    assert main(["PositivePixelCount", *arguments, "ours.png"]) == 0
    ours = stats(capsys.readouterr().out)
    for name, value in ast.literal_eval(printed).items():
        assert ours[name] == pytest.approx(value, rel=1e-13), name
    if Path("theirs.tiff").exists():
        picture = tifffile.imread("theirs.tiff")[..., :3]
        assert np.array_equal(skimage.io.imread("ours.png")[..., :3], picture)


def test_region_of_a_real_slide_has_the_golden_labels(test_data: Path, tmp_path: Path, capsys):
    reference = test_data.parent / "reference" / "histomicstk" / "stats.json"
    if not reference.exists():
        pytest.skip("no reference numbers beside the images")
    slide = test_data / "wsi" / "CMU-1-Small-Region.svs"
    for golden in json.loads(reference.read_text())[slide.name].values():
        sides = ("left", "top", "width", "height")
        region = ",".join(str(golden["region"][side]) for side in sides)
        labels = tmp_path / "labels.png"
        command = ["PositivePixelCount", str(slide), *map(str, golden["params"])]
        command += ["--region", region, "--outputLabelImage", str(labels)]
        assert main([*command, "--output_form", "pixelmap"]) == 0
        counted = stats(capsys.readouterr().out)
        for name, value in golden["region_stats"].items():
            assert counted[name] == pytest.approx(value, rel=1e-12)
        read = skimage.io.imread(labels)
        assert hashlib.sha256(read.tobytes()).hexdigest() == golden["region_label_sha256"]
