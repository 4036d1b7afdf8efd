"""Rasterising regions: spans of a slide's boxes, against HistomicsTK's masks (Pillow)."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks._harness import Row, compare
from gpuseg._cpu.regions import Packed, pack, spans

BOX = 4096


def outlines(count: int, side: int) -> list[list[np.ndarray]]:
    """Ragged blobs of 200 points, of up to a tenth of the slide."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    regions = []
    for _ in range(count):
        radius = rng.uniform(0.005, 0.02) * side * (1 + 0.1 * rng.standard_normal(200))
        x, y = rng.uniform(0, side, 2)
        regions.append([np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1)])
    return regions


def boxes(side: int) -> list[tuple[int, int, int, int]]:
    size = min(BOX, side)
    return [
        (top, left, size, size) for top in range(0, side, size) for left in range(0, side, size)
    ]


def ours(packed: Packed, side: int) -> int:
    """Pixels in regions: the sum over spans, those of packing included."""
    total = 0
    for box in boxes(side):
        found = spans(packed, *box)
        total += int((found[:, 3] - found[:, 2]).sum(dtype=np.int64))
    return total


def pillow(regions: list[list[np.ndarray]], side: int) -> int:
    """A mask for each region and box that meet, as HistomicsTK's command line paints them."""
    total = 0
    for top, left, height, width in boxes(side):
        for (ring,) in regions:
            low, high = ring.min(axis=0) - (left, top), ring.max(axis=0) - (left, top)
            if (high < 0).any() or low[0] >= width or low[1] >= height:
                continue
            # Only the part of the box that the region may cover; HistomicsTK paints all of it.
            x, y = (int(max(0, value)) for value in low)
            size = int(min(width, high[0] + 1)) - x, int(min(height, high[1] + 1)) - y
            if min(size) < 1:
                continue
            mask = Image.new("1", size, 0)
            points = [(int(px - left - x), int(py - top - y)) for px, py in ring]
            ImageDraw.Draw(mask).polygon(points, outline=None, fill=1)
            total += int(np.count_nonzero(np.asarray(mask)))
    return total


def check(answers: Any) -> None:
    # Pillow's polygons hold the outline's pixels too.
    if not 0.9 < answers["gpuseg"] / answers["Pillow masks"] <= 1:
        raise AssertionError(f"areas differ: {answers}")


def run(quick: bool) -> list[Row]:
    side, count = (2048, 20) if quick else (20480, 1000)
    regions = outlines(count, side)
    return [
        compare(
            "regions to pixels",
            {
                "gpuseg": lambda: ours(pack(regions), side),
                "Pillow masks": lambda: pillow(regions, side),
            },
            size=f"{count} outlines of 200 points in {side}²",
            unit_count=count,
            unit="regions",
            repeats=1 if quick else 5,
            check=check,
        )
    ]
