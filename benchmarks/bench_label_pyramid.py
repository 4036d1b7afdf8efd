"""Label pyramid of a slide: all levels written, against zarr-python writing the same arrays."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import zarr

from benchmarks._harness import Row, compare
from benchmarks._slide import block
from gpuseg import positive_pixel_count as ppc
from gpuseg.io.label_pyramid import Box, LabelPyramid

BOX = 4096
THREADS = 2


def labels_of(side: int) -> Iterator[tuple[Box, np.ndarray]]:
    """Labels of stained tissue for each box; boxes share parts, rolled by amounts of their own."""
    params = ppc.Parameters(0.05, 0.15, 0.05, 0.95, 0.65, 0.35, 0.05)
    size = min(side, BOX)
    tissue = [ppc.classify(block(0, number, seed=0), params) for number in range(64)]
    rng = np.random.default_rng(0)
    for top in range(0, side, size):
        for left in range(0, side, size):
            picks = rng.permutation(64)
            rows = [
                np.concatenate([tissue[n] for n in picks[8 * y : 8 * y + 8]], axis=1)
                for y in range(8)
            ]
            yield (
                (top, left, size, size),
                np.concatenate(rows)[:size, :size],
            )


def ours(side: int, path: Path, boxes: dict[Box, np.ndarray]) -> Path:
    pyramid = LabelPyramid(
        path, (side, side), mpp=0.25, fingerprint="benchmark", box=min(side, BOX)
    )
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda item: pyramid.write(*item, {}), boxes.items()))
    return pyramid.finish()


def theirs(side: int, path: Path, boxes: dict[Box, np.ndarray], levels: int) -> Path:
    """The same shards and chunks, levels by slicing: what a plain loop would do."""
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.create_group(path)
    arrays = [
        group.create_array(
            str(number),
            shape=(side >> number,) * 2,
            dtype="uint8",
            chunks=(512, 512),
            shards=(max(512, BOX >> number),) * 2,
            compressors=zarr.codecs.ZstdCodec(level=1),
            fill_value=0,
        )
        for number in range(levels)
    ]

    def write(item: tuple[Box, np.ndarray]) -> None:
        (top, left, _, _), labels = item
        for number, array in enumerate(arrays):
            part = labels[:: 2**number, :: 2**number]
            y, x = top >> number, left >> number
            array[y : y + part.shape[0], x : x + part.shape[1]] = part

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, boxes.items()))
    return path


def encoded(boxes: dict[Box, np.ndarray], levels: int) -> int:
    """zstd alone of as many pixels, on as many threads: the floor of both."""

    def encode(labels: np.ndarray) -> int:
        total = 0
        for number in range(levels):
            part = labels[:: 2**number, :: 2**number]
            for y in range(0, len(part), 512):
                for x in range(0, len(part), 512):
                    chunk = np.ascontiguousarray(part[y : y + 512, x : x + 512])
                    total += len(imagecodecs.zstd_encode(chunk, level=1))
        return total

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(encode, boxes.values()))


def check(side: int, boxes: dict[Box, np.ndarray], answers: Any) -> None:
    for who in ("gpuseg", "zarr-python"):
        level = zarr.open_group(answers[who], mode="r")["0"]
        for (top, left, height, width), labels in boxes.items():
            if not np.array_equal(level[top : top + height, left : left + width], labels):
                raise AssertionError(f"{who} wrote other labels")
    with tifffile.TiffFile(answers["gpuseg .tif"]) as tiff:
        top, left, height, width = list(boxes)[-1]
        page = zarr.open(tiff.pages[0].aszarr(), mode="r")
        if not np.array_equal(page[top:, left:], boxes[top, left, height, width]):
            raise AssertionError("the TIFF holds other labels")


def run(quick: bool) -> list[Row]:
    side = 1024 if quick else 20480
    levels = 2 if quick else 4
    boxes = dict(labels_of(side))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            compare(
                "label pyramid, all levels",
                {
                    "gpuseg": lambda: ours(side, folder / "a.zarr", boxes),
                    "gpuseg .tif": lambda: ours(side, folder / "a.tif", boxes),
                    "zarr-python": lambda: theirs(side, folder / "b.zarr", boxes, levels),
                    "zstd alone": lambda: encoded(boxes, levels),
                },
                size=f"{side}² uint8, {THREADS} threads",
                unit_count=side * side,
                repeats=1 if quick else 5,
                check=lambda answers: check(side, boxes, answers),
            )
        ]
