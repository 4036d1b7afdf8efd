"""Console sessions of docs/cli.md: what is typed is run, and what is shown is what happens."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile

from gpuseg.cli import main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
SESSIONS = re.findall(r"```console\n\$ gpuseg (.*)\n((?:.*\n)*?)```", PAGE.read_text("utf-8"))


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
    ring = [[300, 60], [420, 80], [440, 250], [330, 290], [280, 180], [300, 60]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": "gland", "classification": {"name": "Tumor"}},
    }
    (folder / "annotations" / "1.geojson").write_text(json.dumps(feature))
    return folder


@pytest.mark.parametrize(("command", "shown"), SESSIONS, ids=[c[:40] for c, _ in SESSIONS])
def test_session(command: str, shown: str, folder: Path, capsys, monkeypatch):
    import sys

    monkeypatch.chdir(folder)
    # As on a terminal of 80 columns, but without colours.
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main(shlex.split(command))
    out, err = capsys.readouterr()
    got = "\n".join(line.rstrip() for line in (out + err).splitlines()) + "\n"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    checker = doctest.OutputChecker()
    assert checker.check_output(shown, got, flags), f"shown:\n{shown}\ngot:\n{got}"


def test_the_page_has_sessions():
    assert len(SESSIONS) >= 7
