"""Console sessions of docs/cli.md: what is typed is run, and what is shown is what happens."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile

from gpuseg.cli import main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
SCRIPT = re.findall(r"```python\n(# study.py\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
SESSIONS = re.findall(r"```console\n\$ gpuseg (.*)\n((?:.*\n)*?)```", PAGE.read_text("utf-8"))
TOLD = re.compile(r"\d\d:\d\d:\d\d  ")


def discs(count: int) -> np.ndarray:
    """Bright discs on a grid, every fifth of them small."""
    y, x = np.mgrid[:160, :160]
    image = np.full(y.shape, 100, np.uint16)
    for number in range(count):
        cy, cx = 20 + 40 * (number // 4), 20 + 40 * (number % 4)
        radius = 10 if number % 5 == 4 else 13
        image[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = 1000 + 50 * number
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's commands work on; they follow each other."""
    folder = tmp_path_factory.mktemp("page")
    assert main(["demo", "--out", str(folder / "gpuseg-demo")]) == 0
    (folder / "slides").mkdir()
    (folder / "annotations").mkdir()
    image = skimage.data.immunohistochemistry()
    for number in (1, 2):
        tifffile.imwrite(
            folder / "slides" / f"{number}.tif",
            np.rot90(image, number - 1),
            tile=(256, 256),
            photometric="rgb",
            resolution=(20000, 20000),
            resolutionunit="CENTIMETER",
        )
    (folder / "slides" / "3-broken.tif").write_bytes(b"no slide")
    (folder / "nuclei").mkdir()
    for number, count in enumerate((9, 16)):
        tifffile.imwrite(folder / "nuclei" / f"{number}.tif", discs(count))
    ring = [[300, 60], [420, 80], [440, 250], [330, 290], [280, 180], [300, 60]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": "gland", "classification": {"name": "Tumor"}},
    }
    (folder / "annotations" / "1.geojson").write_text(json.dumps(feature))
    (folder / "study.py").write_text(SCRIPT)
    return folder


def test_sessions(folder: Path, capsys, monkeypatch):
    """In one test: a session goes on with what those before it wrote."""
    monkeypatch.chdir(folder)
    # As on a terminal of 80 columns, but without colours.
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    capsys.readouterr()
    for command, shown in SESSIONS:
        main(shlex.split(command))
        out, err = capsys.readouterr()
        # On a machine that is busy, how far it is is told as well.
        lines = [line.rstrip() for line in (out + err).splitlines()]
        got = "\n".join(line for line in lines if not TOLD.match(line)) + "\n"
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        checker = doctest.OutputChecker()
        assert checker.check_output(shown, got, flags), f"{command}:\n{shown}\ngot:\n{got}"


def test_the_page_has_sessions():
    assert len(SESSIONS) >= 7
