"""Positive pixels of JPEG tiles, decoded and counted in one go, many at a time.

A tile that is decoded, returned to Python and counted there costs 35 µs more than its pixels'
time, because two threads take turns at the interpreter; and its colours leave the first cache.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from gpuseg._cpu import jpeg
from gpuseg._cpu.spans import met
from gpuseg._shared.hsi import Rule
from gpuseg.io._jpeg import Streams
from gpuseg.io.label_pyramid import Box
from gpuseg.io.slides import Slide
from gpuseg.typing import NumpyArray


def count_coded(
    slide: Slide,
    box: Box,
    rule: Rule,
    rows: tuple[NumpyArray, NumpyArray] | None,
    words: NumpyArray,
    labels: NumpyArray | None,
) -> list[Box]:
    """Add a box's tiles, or the spans in them, to `words` and write labels, as far as possible.

    Returns
    -------
    list of (top, left, height, width)
        What `Slide.read_tiles` has to decode: tiles that are no ordinary JPEG, damaged or missing.
    """
    meets = None if rows is None else partial(_meets, rows, box)
    found = slide.coded_tiles(*box, meets)
    if found is None:
        return [box]
    tile = slide.levels[slide.level].tile
    left = np.ones(len(found.parts), np.bool_)
    table = _table(found.parts, tile, box, labels)
    for numbers, data, starts, sizes in found.runs:
        own = table[numbers]
        own[:, 0] = np.frombuffer(data, np.uint8).ctypes.data + starts
        own[:, 1] = sizes
        left[numbers] = _odd(own, data, starts, found.streams, tile, rule, rows, words)
    return [(top, x, height, width) for top, x, height, width in found.parts[left].tolist()]


def _meets(rows: tuple[NumpyArray, NumpyArray], box: Box, parts: NumpyArray) -> NumpyArray:
    found: NumpyArray = met(*rows, parts - (*box[:2], 0, 0))
    return found


def _table(
    parts: NumpyArray, tile: tuple[int, int], box: Box, labels: NumpyArray | None
) -> NumpyArray:
    """What `gpuseg._cpu.jpeg.tally` asks for, but for the streams."""
    table = np.zeros((len(parts), 10), np.int64)
    table[:, 2:4] = parts[:, :2] % tile
    table[:, 4:6] = parts[:, 2:]
    table[:, 8:] = parts[:, :2] - box[:2]
    if labels is not None:
        table[:, 6] = labels.ctypes.data + table[:, 8:] @ labels.strides
        table[:, 7] = labels.strides[0]
    return table


def _odd(
    table: NumpyArray,
    data: bytes,
    starts: NumpyArray,
    streams: Streams,
    tile: tuple[int, int],
    rule: Rule,
    rows: tuple[NumpyArray, NumpyArray] | None,
    words: NumpyArray,
) -> NumpyArray:
    """Count what can be counted; which tiles could not."""
    odd = np.zeros(len(table), np.bool_)
    next_one = 0
    while next_one < len(table):
        start = int(starts[next_one])
        frame = streams.frame(data[start : start + int(table[next_one, 1])])
        done = 0
        if frame is not None and tuple(frame.shape[:2]) == tile:
            done = jpeg.tally(table[next_one:], frame, rule, words, rows)
        odd[next_one] = not done
        next_one += max(done, 1)
    return odd
