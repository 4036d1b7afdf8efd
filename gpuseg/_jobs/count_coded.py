"""Positive pixels of JPEG tiles, decoded and counted in one go, many at a time.

A tile that is decoded, returned to Python and counted there costs 35 µs more than its pixels'
time, because two threads take turns at the interpreter; and its colours leave the first cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from gpuseg._cpu import jpeg
from gpuseg._shared.hsi import Rule
from gpuseg.io._jpeg import Streams
from gpuseg.io._reader import CodedTile
from gpuseg.io.label_pyramid import Box
from gpuseg.io.slides import Slide
from gpuseg.typing import NumpyArray

# What is counted at a time: enough that Python's part doesn't matter, and no memory to speak of.
_TILES, _BYTES = 32, 1 << 20


def count_coded(
    slide: Slide, box: Box, rule: Rule, words: NumpyArray, labels: NumpyArray | None
) -> list[Box]:
    """Add a box's tiles to `words` and write their labels, as far as that is possible here.

    Returns
    -------
    list of (top, left, height, width)
        What `Slide.read_tiles` has to decode: tiles that are no ordinary JPEG, damaged or missing.
    """
    found = slide.coded_tiles(*box)
    if found is None:
        return [box]
    streams, tiles = found
    left: list[CodedTile] = []
    for batch in _batches(tiles):
        ready = [tile for tile in batch if tile.data is not None]
        left += [tile for tile in batch if tile.data is None]
        rows = _rows(ready, box, labels)
        while ready:
            done = _count(slide, streams, ready[0], rows, rule, words)
            if not done:
                left.append(ready[0])
            ready, rows = ready[max(done, 1) :], rows[max(done, 1) :]
    return [tile[:4] for tile in left]


def _batches(tiles: Iterable[CodedTile]) -> Iterator[list[CodedTile]]:
    batch: list[CodedTile] = []
    held = 0
    for tile in tiles:
        batch.append(tile)
        held += len(tile.data or b"")
        if len(batch) == _TILES or held >= _BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _rows(tiles: list[CodedTile], box: Box, labels: NumpyArray | None) -> NumpyArray:
    """What `gpuseg._cpu.jpeg.tally` asks for; the tiles keep the bytes alive."""
    rows = np.zeros((len(tiles), 8), np.int64)
    for row, tile in zip(rows, tiles, strict=True):
        data = np.frombuffer(tile.data, np.uint8)  # type: ignore[arg-type]
        row[:6] = data.ctypes.data, len(data), tile.y, tile.x, tile.height, tile.width
        if labels is not None:
            part = labels[tile.top - box[0] :, tile.left - box[1] :]
            row[6:] = part.ctypes.data, part.strides[0]
    return rows


def _count(
    slide: Slide,
    streams: Streams,
    first: CodedTile,
    rows: NumpyArray,
    rule: Rule,
    words: NumpyArray,
) -> int:
    """Number of tiles that were counted with the header of the first one."""
    frame = streams.frame(first.data)  # type: ignore[arg-type]
    if frame is None or tuple(frame.shape[:2]) != slide.levels[slide.level].tile:
        return 0
    return jpeg.tally(rows, frame, rule, words)
