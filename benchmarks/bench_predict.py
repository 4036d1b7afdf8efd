"""Tiled prediction beside the usual loop: add tiles and weights, divide at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
from scipy import ndimage

from benchmarks._harness import Row, compare
from gpuseg.segmentation import predict

TILE, OVERLAP, BATCH = 256, 64, 4


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    side = 512 if quick else 4096
    image = np.random.default_rng(0).random((side, side), np.float32)
    chunked = da.from_array(image, chunks=side // 4)
    options: dict[str, Any] = {"tile": TILE, "overlap": OVERLAP, "batch": BATCH}
    rows = []
    # What tiling costs shows with a model that costs nothing; what it saves, with one that sees
    # its neighbours and would else want the whole image.
    for name, model in (("x²", np.square), ("mean of 5 × 5", _mean)):
        rows.append(
            compare(
                f"predict: {name}",
                {
                    "gpuseg": lambda model=model: predict(image, model, **options),
                    "gpuseg, Dask": lambda model=model: predict(
                        chunked, model, **options
                    ).compute(),
                    "loop, weights added and divided": lambda model=model: _loop(image, model),
                },
                size=f"{side}², tiles of {TILE}², overlap {OVERLAP}",
                unit_count=image.size,
                repeats=repeats,
                check=_equal,
            )
        )
    return rows


def _mean(tiles: np.ndarray) -> np.ndarray:
    return ndimage.uniform_filter(tiles, 5, axes=(1, 2))


def _loop(image: np.ndarray, model: Any) -> np.ndarray:
    """As MONAI's `sliding_window_inference` goes about it, on the same tiles."""
    side, step = image.shape[0], TILE - OVERLAP
    starts = [*range(0, side - TILE, step), side - TILE]
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(OVERLAP) + 0.5) / OVERLAP)
    along = np.concatenate([ramp, np.ones(TILE - 2 * OVERLAP), ramp[::-1]]).astype(np.float32)
    weights = np.outer(along, along)
    total, mass = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32)
    places = [(y, x) for y in starts for x in starts]
    for first in range(0, len(places), BATCH):
        some = places[first : first + BATCH]
        tiles = np.stack([image[y : y + TILE, x : x + TILE] for y, x in some])
        for (y, x), output in zip(some, model(tiles), strict=True):
            total[y : y + TILE, x : x + TILE] += output * weights
            mass[y : y + TILE, x : x + TILE] += weights
    return total / mass


def _equal(answers: Mapping[str, Any]) -> None:
    ours, chunked, loop = answers.values()
    np.testing.assert_array_equal(ours, chunked)
    inner = slice(OVERLAP, -OVERLAP)
    # Where the last tile is moved inwards the loop mixes over more than the overlap.
    np.testing.assert_allclose(ours[inner, inner], loop[inner, inner], atol=0.3)
