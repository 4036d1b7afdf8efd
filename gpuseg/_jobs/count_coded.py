"""Positive pixels of JPEG tiles, decoded and counted in one go, many at a time.

A tile that is decoded, returned to Python and counted there costs 35 µs more than its pixels'
time, because two threads take turns at the interpreter; and its colours leave the first cache.
"""

from __future__ import annotations

import numpy as np

from gpuseg._cpu import jpeg
from gpuseg._shared.hsi import Rule
from gpuseg.io._jpeg import Streams
from gpuseg.io.label_pyramid import Box
from gpuseg.io.slides import Slide
from gpuseg.typing import NumpyArray


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
    tile = slide.levels[slide.level].tile
    left = np.ones(len(found.parts), np.bool_)
    rows = _rows(found.parts, tile, box, labels)
    for numbers, data, starts, sizes in found.runs:
        own = rows[numbers]
        own[:, 0] = np.frombuffer(data, np.uint8).ctypes.data + starts
        own[:, 1] = sizes
        left[numbers] = _odd(own, data, starts, found.streams, tile, rule, words)
    return [(top, x, height, width) for top, x, height, width in found.parts[left].tolist()]


def _rows(
    parts: NumpyArray, tile: tuple[int, int], box: Box, labels: NumpyArray | None
) -> NumpyArray:
    """What `gpuseg._cpu.jpeg.tally` asks for, but for the streams."""
    rows = np.zeros((len(parts), 8), np.int64)
    rows[:, 2:4] = parts[:, :2] % tile
    rows[:, 4:6] = parts[:, 2:]
    if labels is not None:
        place = parts[:, :2] - box[:2]
        rows[:, 6] = labels.ctypes.data + place @ labels.strides
        rows[:, 7] = labels.strides[0]
    return rows


def _odd(
    rows: NumpyArray,
    data: bytes,
    starts: NumpyArray,
    streams: Streams,
    tile: tuple[int, int],
    rule: Rule,
    words: NumpyArray,
) -> NumpyArray:
    """Count what can be counted; which tiles could not."""
    odd = np.zeros(len(rows), np.bool_)
    next_one = 0
    while next_one < len(rows):
        start = int(starts[next_one])
        frame = streams.frame(data[start : start + int(rows[next_one, 1])])
        done = 0
        if frame is not None and tuple(frame.shape[:2]) == tile:
            done = jpeg.tally(rows[next_one:], frame, rule, words)
        odd[next_one] = not done
        next_one += max(done, 1)
    return odd
