"""The example that counts cells in volumes, on the volume it makes up and on real ones."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "docs" / "examples" / "count_cells_in_volumes.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("count_cells_in_volumes", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COUNTS = {
    "threshold": 60,
    "model": 60,
    "watershed": 60,
    "upper": 29,
    "lower": 31,
    "outside": 0,
}


def test_made_up(example, capsys):
    assert example.main() == {"made up": COUNTS}
    assert capsys.readouterr().out.startswith("made up · threshold: 60, model: 60")


def test_other_chunks(example):
    volume = example.made_up()
    rechunked = replace(volume, array=volume.array.rechunk((48, 33, 112)))
    assert example.count_made_up(rechunked) == COUNTS


def test_brain(example, test_data):
    assert example.count_brain(test_data) == {
        "cells": 168,
        "marked by hand": 56,
        "found in their planes": 48,
        "marked and found": 44,
        "left": 13,
        "right": 155,
        "outside": 0,
    }


def test_nuclei(example, test_data):
    counts = example.count_nuclei(test_data)
    assert counts == {"cells": 62, "annotated": 61, "annotated with one": 47, "outside": 1}
