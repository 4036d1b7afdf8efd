"""Whole slides against HistomicsTK and against decoding alone: time, peak memory, schedulers.

Peers are measured where they can be imported: `pip install --no-deps histomicstk large-image
large-image-source-tiff large-image-source-vips …`. large_image prefers its libtiff source for TIFF,
whichever others HistomicsTK's own `pip install` brings; what it used is kept with the results.
HistomicsTK takes half a minute for a pass over 20480² pixels, so a whole
run takes an hour; `GPUSEG_BENCH_REPEATS` sets the number of repeats (5).
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
import tifffile

from benchmarks._first_count import PARAMS as VALUES
from benchmarks._first_count import WORKERS, first_count
from benchmarks._harness import Row, compare, measure_process, row
from benchmarks._slide import cached_slide
from gpuseg import positive_pixel_count as ppc
from gpuseg._cpu import jpeg
from gpuseg.cluster import connect
from gpuseg.io._jpeg import Streams

PARAMS = ppc.Parameters(*VALUES)


def run(quick: bool) -> Iterator[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    side = 2048 if quick else 20480
    for what, background in (("dense", 0.0), ("half background", 0.5)):
        slide = cached_slide(side, background=background)
        yield _against_decoding(slide, what, side, repeats)
        if _has("histomicstk"):
            yield _against_histomicstk(slide, what, side, repeats)
    slide = cached_slide(side)
    yield _regions(slide, side, repeats)
    yield _distributed(slide, side, repeats)
    yield _jpeg2000(1024 if quick else 8192, repeats)
    for each in (1024,) if quick else (10240, 20480, 40960):
        yield _memory(each, repeats)
    # The longest last: HistomicsTK's command takes minutes.
    yield _labels(slide, side, repeats)


def _against_histomicstk(slide: Path, what: str, side: int, repeats: int) -> Row:
    """In processes of their own, by turns; the row says what HistomicsTK read the slide with."""
    small = cached_slide(min(side, 4096))
    answers: dict[str, list[dict[str, Any]]] = {"gpuseg": [], "HistomicsTK": []}
    for _ in range(repeats):
        for who, found in answers.items():
            found.append(first_count(who, slide, small))
    assert answers["gpuseg"][0]["counts"] == answers["HistomicsTK"][0]["counts"]
    measured = row(
        f"count_slide, {what}",
        {who: statistics.median(each["seconds"] for each in found)
         for who, found in answers.items()},
        size=_size(side),
        unit_count=side**2,
        repeats=repeats,
        goal=38 if "half" in what else 30,
    )  # fmt: skip
    return {**measured, "sources": {who: found[0]["source"] for who, found in answers.items()}}


def _against_decoding(slide: Path, what: str, side: int, repeats: int) -> Row:
    return compare(
        f"count_slide, {what}, against decoding alone",
        {
            "gpuseg": _count(slide),
            "imagecodecs": _decode(slide, imagecodecs.jpeg8_decode),
            "simplejpeg": _decode(slide, _simplejpeg),
            "gpuseg's decoder alone": _decode(slide, _compiled()),
        },
        size=_size(side),
        unit_count=side**2,
        repeats=repeats,
        goal=1 / 1.25,
    )


def _jpeg2000(side: int, repeats: int) -> Row:
    slide = cached_slide(side, codec="jpeg2000")
    return compare(
        "count_slide, JPEG 2000, against decoding alone",
        {"gpuseg": _count(slide), "imagecodecs": _decode(slide, imagecodecs.jpeg2k_decode)},
        size=_size(side),
        unit_count=side**2,
        repeats=repeats,
        goal=1 / 1.1,
    )


def _simplejpeg(data: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(data, "RGB")


def _compiled() -> Callable[[bytes], np.ndarray]:
    """Our own decoder, and how it remembers the header of the tile before."""
    streams = Streams(b"", rgb=False)

    def decode(data: bytes) -> np.ndarray:
        frame = streams.frame(data)
        pixels = None if frame is None else jpeg.decode(data, frame)
        assert pixels is not None, "a tile was left to libjpeg"
        return pixels

    return decode


def _decode(slide: Path, decode: Callable[[bytes], Any]) -> Callable[[], None]:
    """Read and decode every tile on `WORKERS` threads, and nothing else."""
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))

    def some(part: list[tuple[int, int]]) -> None:
        with slide.open("rb", buffering=0) as file:
            for offset, length in part:
                decode(os.pread(file.fileno(), length, offset))

    def everything() -> None:
        parts = [places[first : first + 64] for first in range(0, len(places), 64)]
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(some, parts))

    return everything


def _count(slide: Path, **options: Any) -> Callable[[], Any]:
    return lambda: ppc.count_slide(slide, PARAMS, workers=WORKERS, **options)


def _regions(slide: Path, side: int, repeats: int) -> Row:
    """1000 wobbly discs that cover half of the slide."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    wobble = 1 + 0.1 * np.sin(3 * angles + rng.uniform(0, 7, (1000, 1)))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centres = rng.uniform(side / 50, side - side / 50, (1000, 1, 2))
    rings = list(centres + side / 68 * wobble[..., None] * circle)

    def check(answers: Mapping[str, Any]) -> None:
        for number in (0, 1, 999):
            _, stats = answers["gpuseg"].regions[number]
            assert stats == ppc.count_slide(slide, PARAMS, [rings[number]])[0]

    return compare(
        "1000 regions, against one plain pass",
        {
            "gpuseg": lambda: ppc.count_regions(slide, PARAMS, rings, workers=WORKERS),
            "gpuseg without regions": _count(slide),
        },
        size=_size(side),
        unit_count=side**2,
        repeats=repeats,
        check=check,
        goal=1 / 1.5,
    )


def _distributed(slide: Path, side: int, repeats: int) -> Row:
    with connect("processes", workers=WORKERS) as cluster:

        def check(answers: Mapping[str, Any]) -> None:
            assert len(set(answers.values())) == 1

        return compare(
            "count_slide through distributed, against threads",
            {
                "gpuseg": lambda: ppc.count_slide(slide, PARAMS, scheduler=cluster),
                "gpuseg, threads": _count(slide),
            },
            size=_size(side),
            unit_count=side**2,
            repeats=repeats,
            check=check,
            goal=1 / 1.1,
        )


def _labels(slide: Path, side: int, repeats: int) -> Row:
    """Whole command lines with the label image written, start-up included."""
    numbers = [str(value) for value in PARAMS]
    with tempfile.TemporaryDirectory(dir=slide.parent) as folder:
        ours = [*_command(slide), "--labels", f"{folder}/labels.tif"]
        processes = {"gpuseg": measure_process(ours, repeats=repeats)}
        if _has("histomicstk") and _has("large_image_source_vips"):
            import histomicstk

            script = Path(histomicstk.__file__).parent / "cli/PositivePixelCount"
            theirs = [
                *(sys.executable, "-W", "ignore", str(script / "PositivePixelCount.py")),
                *(str(slide), *numbers, "--outputLabelImage", f"{folder}/htk.tiff"),
            ]
            processes["HistomicsTK"] = measure_process(theirs, repeats=repeats)
            labels = tifffile.imread(f"{folder}/labels.tif", level=0)
            coloured = tifffile.imread(f"{folder}/htk.tiff")
            colours = np.array([(255,) * 3, (60, 78, 194), (221, 220, 220), (180, 4, 38)])
            np.testing.assert_array_equal(colours[labels[:1024]], coloured[:1024, :, :3])
    return row(
        "command line with the whole label pyramid",
        {who: measured["wall_s"] for who, measured in processes.items()},
        size=_size(side),
        repeats=repeats,
        unit_count=side**2,
        goal=25,
        peak_mb={who: measured["peak_mb"] for who, measured in processes.items()},
    )


def _memory(side: int, repeats: int) -> Row:
    measured = measure_process(_command(cached_slide(side)), repeats=repeats)
    return row(
        "command line, peak memory",
        {"gpuseg": measured["wall_s"]},
        size=_size(side),
        repeats=repeats,
        unit_count=side**2,
        peak_mb={"gpuseg": measured["peak_mb"]},
    )


def _command(slide: Path) -> list[str]:
    command = [sys.executable, "-m", "gpuseg", "count", str(slide), "--workers", str(WORKERS)]
    return [*command, "--hue-value", str(PARAMS.hue_value), "--quiet"]


def _size(side: int) -> str:
    return f"{side}²"


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
