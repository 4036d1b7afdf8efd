"""What the README and the guides show is what happens."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from gpuseg.cli import main

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs" / "guides").glob("*.md"))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sessions_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(
        str(page), module_relative=False, optionflags=FLAGS, encoding="utf-8"
    )
    assert results.failed == 0


def test_first_command_prints_what_the_readme_shows(tmp_path, monkeypatch, capsys):
    shown = re.search(
        r"\$ pip install \. && gpuseg demo\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["demo"]) == 0
    captured = capsys.readouterr()
    printed = {" ".join(line.split()) for line in (captured.out + captured.err).splitlines()}
    assert {" ".join(line.split()) for line in shown[1].splitlines()} <= printed | {""}
    assert (tmp_path / "gpuseg-demo" / "overlay.png").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
