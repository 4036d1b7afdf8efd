"""Decoding slides tile by tile, against the readers people use and against the decoder alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import large_image
import numpy as np
import openslide
import simplejpeg
import tifffile

from benchmarks._harness import Row, compare
from benchmarks._slide import cached_slide
from gpuseg.io import open_slide

THREADS = 2


def _in_threads(function: Callable[[Any], int], items: list[Any]) -> int:
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(function, items))


def ours(path: Path, box: int = 2048) -> int:
    """Pixels decoded by `read_tiles`, box by box."""
    with open_slide(path) as slide:

        def read(place: tuple[int, int, int, int]) -> int:
            return sum(tile.pixels[..., 0].size for tile in slide.read_tiles(*place))

        return _in_threads(read, slide.boxes(box))


def decoder_alone(path: Path) -> int:
    """Pixels of a bare loop over the tiles' bytes: nothing can be faster with this decoder."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        jpeg = page.compression == 7
    descriptor = os.open(path, os.O_RDONLY)

    def read(part: list[tuple[int, int]]) -> int:
        total = 0
        for offset, length in part:
            data = os.pread(descriptor, length, offset)
            pixels = (
                simplejpeg.decode_jpeg(data, "RGB") if jpeg else imagecodecs.jpeg2k_decode(data)
            )
            total += pixels[..., 0].size
        return total

    try:
        return _in_threads(read, [places[i : i + 64] for i in range(0, len(places), 64)])
    finally:
        os.close(descriptor)


def by_tifffile(path: Path) -> int:
    with tifffile.TiffFile(path) as file:
        segments = file.pages[0].segments(maxworkers=THREADS)
        return sum(data[..., 0].size for data, _, _ in segments)


def by_openslide(path: Path, size: int = 1024) -> int:
    with openslide.OpenSlide(path) as slide:
        width, height = slide.dimensions

        def read(place: tuple[int, int]) -> int:
            return np.asarray(slide.read_region(place, 0, (size, size)))[..., 0].size

        corners = [(x, y) for y in range(0, height, size) for x in range(0, width, size)]
        return _in_threads(read, corners)


def by_large_image(path: Path) -> int:
    """Its iterator gives one tile after the other; the tiles' arrays are made in the threads."""
    source = large_image.open(path, noCache=True)  # else repeats read its cache
    size = {"width": 2048, "height": 2048}
    tiles = source.tileIterator(tile_size=size, format=large_image.constants.TILE_FORMAT_NUMPY)
    return _in_threads(lambda tile: tile["tile"][..., 0].size, list(tiles))


def check_pixels(path: Path, side: int, codec: str) -> None:
    """The same middle of the slide by every reader; OpenSlide reads JPEG 2000 of Aperio's only."""
    top, size = side // 2 - 300, 600
    with open_slide(path) as slide:
        mine = slide.read_region(top, top, size, size)
    place = np.s_[top : top + size, top : top + size]
    others = [tifffile.imread(path, key=0)[place]]
    if codec == "jpeg":
        with openslide.OpenSlide(path) as slide:
            others.append(np.asarray(slide.read_region((top, top), 0, (size, size)))[..., :3])
    if not all(np.array_equal(mine, other) for other in others):
        raise AssertionError(f"readers give different pixels of {path}")


def check(answers: Any) -> None:
    if len(set(answers.values())) != 1:
        raise AssertionError(f"readers give different numbers of pixels: {answers}")


def run(quick: bool) -> list[Row]:
    rows = []
    for codec, side in (("jpeg", 1024 if quick else 10240), ("jpeg2000", 1024 if quick else 4096)):
        path = cached_slide(side, codec=codec)
        check_pixels(path, side, codec)
        contestants = {
            "gpuseg": lambda path=path: ours(path),
            "decoder alone": lambda path=path: decoder_alone(path),
            "tifffile": lambda path=path: by_tifffile(path),
        }
        if codec == "jpeg":
            contestants["openslide-python"] = lambda path=path: by_openslide(path)
            contestants["large_image"] = lambda path=path: by_large_image(path)
        rows.append(
            compare(
                f"decode a slide, {codec}",
                contestants,
                size=f"{side}², 256² tiles, {THREADS} threads",
                unit_count=float(side) ** 2,
                repeats=2 if quick else 5,
                check=check,
            )
        )
    return rows
