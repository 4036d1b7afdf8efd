"""The command line as a whole: help, versions, wrong arguments, `info`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import gpuseg
from gpuseg.cli import main
from gpuseg.cli._parser import UsageError
from gpuseg.cli.sweep import grid, parse_vary

COMMANDS = ("count", "sweep", "info", "demo", "PositivePixelCount")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Pyramid of two levels with a pixel size."""
    path = tmp_path / "made.tif"
    image = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    tile = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, subifds=0, resolution=(20000, 20000), **tile)
        tiff.write(image[::2, ::2], subfiletype=1, resolution=(10000, 10000), **tile)
    return path


def test_without_arguments_it_explains_itself(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: gpuseg")


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpuseg {gpuseg.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cuont", "a.svs"], "gpuseg: error: unknown choice 'cuont'; did you mean count?"),
        (["--quiet"], "gpuseg: error: a command is needed, one of count, sweep"),
        (
            ["count", "a.svs", "--hue-with", "0.2"],
            "gpuseg count: error: unknown option --hue-with; did you mean --hue-width",
        ),
        (
            ["count", "a.svs", "--hue-width", "wide"],
            "gpuseg count: error: argument --hue-width: invalid float value: 'wide'",
        ),
        (["info"], "gpuseg info: error: the following arguments are required: SLIDE"),
        (["info", "*.nothing"], "gpuseg info: error: no file matches the pattern '*.nothing'"),
    ],
)
def test_wrong_arguments_are_one_error_and_a_hint(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert len(err.splitlines()) <= 2


def imported_by(*words: str) -> set[str]:
    """Modules that a command loads, in a process of its own."""
    code = f"import sys, gpuseg.cli; gpuseg.cli.main({list(words)}); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in run.stdout.splitlines()[-1].split()}


def test_help_loads_next_to_nothing():
    heavy = {"numpy", "rich", "numba", "dask", "distributed", "tifffile", "zarr", "skimage", "PIL"}
    assert imported_by("--help") & heavy == set()
    assert imported_by("count", "--help") & heavy <= {"numpy"}


def test_info_says_what_is_in_a_slide(slide: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["info", str(slide)]) == 0
    out = capsys.readouterr().out
    assert "900 × 700 × 3 uint8" in out
    assert "0.5 µm/px" in out
    assert "level 1: 450 × 350" in out


def test_info_as_json(slide: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["info", "--json", str(slide)]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["mpp"]) == (900, 700, pytest.approx(0.5))
    assert [level["width"] for level in facts["levels"]] == [900, 450]
    assert facts["levels"][1]["downsample"] == 2
    assert facts["properties"]["tiff.TileWidth"] == "256"


def test_info_goes_on_after_a_slide_that_is_none(slide: Path, capsys: pytest.CaptureFixture[str]):
    broken = slide.with_name("broken.svs")
    broken.write_bytes(b"no image")
    assert main(["info", str(broken), "gone.svs", str(slide)]) == 1
    out, err = capsys.readouterr()
    assert "900 × 700" in out
    assert [line.startswith("gpuseg info: error: ") for line in err.splitlines()] == [True, True]
    assert err.count(str(broken)) == 1


def shell(words: str, slide: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = f"{shlex.quote(sys.executable)} -m gpuseg {words}"
    return subprocess.run(
        ["sh", "-c", command], cwd=slide.parent, capture_output=True, env=os.environ | environment
    )


def test_a_closed_stream_is_no_error(slide: Path):
    ran = shell(f"info {slide.name} >&-", slide)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert shell("info gone.svs 2>&-", slide).returncode == 1


def test_letters_that_a_stream_lacks_are_escaped(slide: Path):
    slide = slide.rename(slide.with_name("ünï.tif"))
    ran = shell(f"info {slide.name}", slide, PYTHONIOENCODING="ascii")
    assert ran.returncode == 0, ran.stderr
    assert rb"<Slide '\xfcn\xef.tif'" in ran.stdout
    odd = slide.rename(os.fsdecode(os.fsencode(slide.parent) + b"/\xff.tif"))
    ran = shell("info --json *.tif", odd)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)[0]["path"] == os.fsdecode(b"\xff.tif")


def test_an_error_of_the_system_names_the_file_and_no_number(capsys: pytest.CaptureFixture[str]):
    assert main(["sweep", "gone.npz", "--vary", "hue_width=0.1"]) == 1
    err = capsys.readouterr().err
    assert err == "gpuseg sweep: error: gone.npz: No such file or directory\n"


def test_info_of_a_real_slide(test_data: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["info", "--json", str(test_data / "wsi" / "CMU-1-Small-Region.svs")]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["mpp"], facts["magnification"]) == (
        *(2220, 2967),
        pytest.approx(0.499),
        20,
    )


def test_a_closed_pipe_is_no_traceback(slide: Path):
    """As in `gpuseg info … | head -0`."""
    command = [sys.executable, "-m", "gpuseg", "info", *[str(slide)] * 200]
    nobody, pipe = os.pipe()
    os.close(nobody)
    try:
        run = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(pipe)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "Exception ignored" not in run.stderr


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("hue_width=0.05:0.3:0.05", "hue_width", [0.05, 0.1, 0.15, 0.2, 0.25, 0.3]),
        ("hue_width=0.1:0.29:0.1", "hue_width", [0.1, 0.2]),
        ("hue-value=0.5", "hue_value", [0.5]),
        ("hue_value=0.7:0.7:1", "hue_value", [0.7]),
        ("saturation_minimum=1e-2,0.5", "saturation_minimum", [0.01, 0.5]),
    ],
)
def test_vary(text: str, name: str, values: list[float]):
    assert parse_vary(text) == (name, values)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hue=1"], "with NAME one of hue_value, hue_width"),
        (["hue_width"], "--vary must be NAME=START:STOP:STEP or NAME=VALUE,…"),
        (["hue_width=a:b:c"], "got 'hue_width=a:b:c'"),
        (["hue_width=0:1"], "got 'hue_width=0:1'"),
        (["hue_width=0:1:0"], "STEP above 0, got 'hue_width=0:1:0'"),
        (["hue_width=1:0:0.1"], "STOP of at least START"),
        (["hue_width=0:inf:0.1"], "STOP of at least START"),
        (["hue_width=0:1:1e-9"], "makes 1,000,000,001 values, more than 1,000,000"),
        (["hue_width=0.1", "hue-width=0.2"], "names hue_width twice"),
        (["hue_width=0:1:1e-4", "hue_value=0:1:1e-3"], "makes 10,011,001 settings"),
    ],
)
def test_vary_refuses_what_it_cannot_mean(words: list[str], message: str):
    with pytest.raises(UsageError) as caught:
        grid(words)
    assert message in str(caught.value)
