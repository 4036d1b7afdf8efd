"""Synthetic slides for benchmarks: stained tissue in which no two tiles are equal.

A slide made by repeating one image has byte-identical tiles, which flatters every cache. Here each
512² block is the same stained tissue (scikit-image's), turned, mirrored, rolled and tinted by a
seed of its own, so blocks can be made in any order and a slide of any size in little memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from skimage import data

BLOCK = 512
FOLDER = Path(__file__).parent / "data"
Pixels = np.ndarray


@cache
def _tissue() -> Pixels:
    return data.immunohistochemistry()


def block(row: int, column: int, seed: int, white: bool = False) -> Pixels:
    """Block (512, 512, 3) at this place of the slide; `white`: background, with camera noise."""
    rng = np.random.default_rng((seed, row, column))
    if white:
        noise = rng.normal(242, 1.2, (BLOCK, BLOCK, 1)) + rng.normal(0, 0.5, (BLOCK, BLOCK, 3))
        return np.clip(noise, 0, 255).astype(np.uint8)
    turned = np.rot90(_tissue(), rng.integers(4))[:, :: (-1) ** int(rng.integers(2))]
    rolled = np.roll(turned, rng.integers(BLOCK, size=2), (0, 1))
    return np.clip(rolled * rng.uniform(0.94, 1.03, 3) + 0.5, 0, 255).astype(np.uint8)


def write_slide(
    path: Path,
    side: int,
    *,
    background: float = 0.0,
    seed: int = 0,
    tile: int = 256,
    codec: str = "jpeg",
) -> None:
    """Write a pyramidal TIFF of `side`² pixels, its levels halving down to 1024.

    `background` is the share of white: the corners around a disc of tissue. JPEG is 4:2:0 with
    quality 80, as scanners write it; JPEG 2000 is lossy at about 1:10.
    """
    radius = (1 - background) * 4 / np.pi
    middle = side / BLOCK / 2 - 0.5

    def at(row: int, column: int) -> Pixels:
        distance = ((row - middle) ** 2 + (column - middle) ** 2) / (side / BLOCK / 2) ** 2
        return block(row, column, seed, white=background > 0 and distance > radius)

    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    with tifffile.TiffWriter(partial, bigtiff=True) as file:
        _write_levels(file, at, side, tile, codec)
    partial.rename(path)


def _write_levels(
    file: tifffile.TiffWriter,
    at: Callable[[int, int], Pixels],
    side: int,
    tile: int,
    codec: str,
) -> None:
    half = np.empty((side // 2, side // 2, 3), np.uint8)

    def tiles() -> Iterator[Pixels]:
        for row in range(side // BLOCK):
            band = np.concatenate([at(row, column) for column in range(side // BLOCK)], axis=1)
            half[row * BLOCK // 2 :][: BLOCK // 2] = _halved(band)
            yield from _tiles(band, tile)

    options = {
        "jpeg": {
            "compression": "jpeg",
            "compressionargs": {"level": 80, "subsampling": "420"},
            "subsampling": (2, 2),
        },
        "jpeg2000": {"compression": "jpeg2000", "compressionargs": {"level": 38}},
    }[codec]
    common = {
        "photometric": "rgb",
        "tile": (tile, tile),
        "dtype": np.uint8,
        "metadata": None,
        "resolution": (40000, 40000),
        "resolutionunit": "CENTIMETER",
        "maxworkers": 2,
        **options,
    }
    file.write(tiles(), shape=(side, side, 3), **common)
    while True:
        file.write(_tiles(half, tile), shape=half.shape, subfiletype=1, **common)
        if len(half) <= 1024:
            return
        half = _halved(half)


def _halved(image: Pixels) -> Pixels:
    quarters = [image[y::2, x::2].astype(np.uint16) for y in (0, 1) for x in (0, 1)]
    return ((sum(quarters) + 2) >> 2).astype(np.uint8)


def _tiles(image: Pixels, tile: int) -> Iterator[Pixels]:
    for top in range(0, len(image), tile):
        for left in range(0, image.shape[1], tile):
            yield np.ascontiguousarray(image[top : top + tile, left : left + tile])


def cached_slide(side: int, *, background: float = 0.0, codec: str = "jpeg", seed: int = 2) -> Path:
    """Path of such a slide in `benchmarks/data`, written there on first use."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{codec}-{side}-{round(background * 100)}-{seed}.tif"
    if not path.exists():
        write_slide(path, side, background=background, seed=seed, codec=codec)
    return path
