"""A small picture of a slide by averaging areas, in bands of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpuseg.typing import NumpyArray

_BAND_PIXELS = 1 << 23


def thumbnail(
    levels: Sequence[Any], read: Callable[[int, int, int, int, int], NumpyArray], max_size: int
) -> NumpyArray:
    """See `Slide.thumbnail`; `read(level, top, left, height, width)` returns pixels."""
    height, width = levels[0].shape
    scale = min(1.0, max_size / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # Twice the size at least: averages over one or two pixels in turn look jagged.
    fine = [
        index
        for index, each in enumerate(levels)
        if each.shape[0] >= 2 * size[0] and each.shape[1] >= 2 * size[1]
    ]
    level = fine[-1] if fine else 0
    (tall, wide), tile = levels[level].shape, levels[level].tile
    rows, columns = (
        np.arange(size[0] + 1) * tall // size[0],
        np.arange(size[1] + 1) * wide // size[1],
    )
    out = np.empty((*size, 3), np.uint8)
    first = 0
    while first < size[0]:
        # Bands end at a row of tiles where they can, so that few tiles are decoded twice.
        target = rows[first] + max(_BAND_PIXELS // wide, tile[0])
        last = max(first + 1, int(np.searchsorted(rows, target, side="right")) - 1)
        band = read(level, int(rows[first]), 0, int(rows[last] - rows[first]), wide)
        out[first:last] = _averages(_to_rgb8(band), rows[first : last + 1] - rows[first], columns)
        first = last
    return out


def _averages(band: NumpyArray, rows: NumpyArray, columns: NumpyArray) -> NumpyArray:
    sums = np.add.reduceat(band, rows[:-1], axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, columns[:-1], axis=1, dtype=np.uint64)
    area = (np.diff(rows)[:, None] * np.diff(columns)[None, :])[..., None].astype(np.uint64)
    means: NumpyArray = ((sums + area // 2) // area).astype(np.uint8)
    return means


def _to_rgb8(pixels: NumpyArray) -> NumpyArray:
    channels = pixels.shape[2]
    if channels < 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    pixels = pixels[..., :3]
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    return np.nan_to_num(np.clip(pixels / top, 0, 1) * 255 + 0.5).astype(np.uint8)
