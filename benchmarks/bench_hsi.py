"""Positive pixels of an image in memory against HistomicsTK, and sweeps over a histogram."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._harness import Row, compare
from benchmarks._slide import BLOCK, block
from gpuseg import positive_pixel_count as ppc

PARAMS = ppc.Parameters(hue_value=0.05)
# Every intensity threshold of Aperio's is a sum of three bytes: as many ties as there can be.
APERIO = ppc.Parameters(0.1, 0.5, 0.04, 220 / 255, 175 / 255, 100 / 255, 0.0)
THREADS = "2"

# Peak of resident memory over what the image itself takes, after a warm-up.
_MEMORY = """
import sys, numpy as np
from gpuseg import positive_pixel_count as ppc
def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
image = np.load(sys.argv[1])
params = ppc.Parameters(hue_value=0.05)
ppc.count_image(image[:1200], params)
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
ppc.count_image(image, params)
print((status("VmHWM") - before) / (image.size // 3))
"""


def mosaic(side: int, seed: int = 1) -> np.ndarray:
    """Tissue (side, side, 3) in which no two blocks are equal."""
    blocks = range(side // BLOCK)
    return np.concatenate(
        [np.concatenate([block(row, column, seed) for column in blocks], axis=1) for row in blocks]
    )


def run(quick: bool) -> list[Row]:
    side, repeats = (512, 1) if quick else (4096, 5)
    image = mosaic(side)
    before = os.environ.get("GPUSEG_NUM_THREADS")
    os.environ["GPUSEG_NUM_THREADS"] = THREADS
    try:
        return [
            _count(image, PARAMS, "count_image", 250, repeats),
            _count(image, APERIO, "count_image, Aperio's thresholds (ties)", None, repeats),
            _sweep(image, 20 if quick else 1000, repeats),
        ]
    finally:
        if before is None:
            del os.environ["GPUSEG_NUM_THREADS"]
        else:
            os.environ["GPUSEG_NUM_THREADS"] = before


def _count(
    image: np.ndarray, params: ppc.Parameters, name: str, goal: float | None, repeats: int
) -> Row:
    contestants: dict[str, Any] = {"gpuseg": lambda: ppc.count_image(image, params)}
    if theirs := _histomicstk():
        contestants["HistomicsTK"] = lambda: theirs.count_image(image, theirs.Parameters(*params))

    def check(answers: Mapping[str, Any]) -> None:
        for output, labels in answers.values():
            np.testing.assert_array_equal(labels, answers["gpuseg"][1])
            np.testing.assert_allclose(answers["gpuseg"][0][:13], output[:13], rtol=1e-12)

    result = compare(
        name,
        contestants,
        size=f"{image.shape[0]}² uint8, counts, sums and labels",
        unit_count=image.size / 3,
        repeats=repeats,
        check=check if theirs else None,
        goal=goal,
    )
    if Path("/proc/self/clear_refs").exists():
        result["extra_bytes_per_pixel"] = _extra_memory(image)
    return result


def _extra_memory(image: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image)
        found = subprocess.run(
            [sys.executable, "-c", _MEMORY, str(path)], capture_output=True, text=True, check=True
        )
    return round(float(found.stdout), 3)


def _sweep(image: np.ndarray, count: int, repeats: int) -> Row:
    rng = np.random.default_rng(0)
    settings = [
        PARAMS._replace(hue_value=float(value), hue_width=float(width))
        for value, width in rng.random((count, 2))
    ]
    histogram = ppc.colour_histogram(image)
    contestants: dict[str, Any] = {"gpuseg": lambda: ppc.sweep(histogram, settings)}
    if theirs := _histomicstk():
        one = theirs.Parameters(*settings[0])
        contestants["HistomicsTK, one setting"] = lambda: theirs.count_image(image, one)

    def check(answers: Mapping[str, Any]) -> None:
        for params, row in list(zip(settings, answers["gpuseg"], strict=True))[:: count // 10]:
            assert row == {**params._asdict(), **ppc.count(image, params)._asdict()}

    return compare(
        f"sweep of {count} settings over a colour histogram",
        contestants,
        size=f"{len(histogram.colours)} colours",
        unit_count=count,
        unit="settings",
        repeats=repeats,
        check=check,
    )


def _histomicstk() -> Any:
    if importlib.util.find_spec("histomicstk") is None:
        return None
    from histomicstk.segmentation import positive_pixel_count

    return positive_pixel_count
