"""Baseline JPEG tiles, decoded as libjpeg-turbo decodes them, or counted without leaving the cache.

Ordinary streams only: three components of 8 bits in one scan, 4:4:4, 4:2:2 or 4:2:0, without
restart markers. Everything else, and whatever libjpeg warns of, is left to libjpeg: both functions
say that they did not do it, and the caller does it with another decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gpuseg._cpu._jpeg_scan import PLACE, PLACES
from gpuseg._cpu._jpeg_tables import TABLE_WORDS, fill
from gpuseg._shared.hsi import Rule
from gpuseg.typing import NumpyArray

_TABLES, _STARTS = {0xDB, 0xC4}, {0xC0, 0xC1}
_SAMPLING = {(1, 1), (2, 1), (2, 2)}
_WHOLE = np.empty((0, 4), np.int32), np.empty(0, np.int64)


class Frame(NamedTuple):
    """All that decodes streams with the header `head`.

    `shape` is height, width, luma samples across and down for one of chroma, whether colours are
    YCbCr, and for each component the numbers of its DC and of its AC table.
    """

    head: NumpyArray
    shape: NumpyArray
    lookup: NumpyArray
    limits: NumpyArray
    values: NumpyArray
    steps: NumpyArray
    place: NumpyArray


@lru_cache(maxsize=16)
def frame(head: bytes, tables: bytes, rgb: bool) -> Frame | None:
    """What a header says, or None if streams of this kind are left to libjpeg.

    Parameters
    ----------
    head : bytes
        A stream up to its entropy-coded data.
    tables : bytes
        Segments that belong in front (a TIFF's JPEGTables without their SOI and EOI).
    rgb : bool
        Components are red, green and blue; JFIF streams are YCbCr whatever this says.
    """
    try:
        return _frame(head, tables, rgb)
    except (IndexError, KeyError, ValueError):
        return None


def _frame(head: bytes, tables: bytes, rgb: bool) -> Frame | None:
    counts, values = np.zeros((8, 16), np.int64), np.zeros((8, 256), np.uint8)
    steps: dict[int, bytes] = {}
    found: dict[int, bytes] = {}
    early = {marker for marker, _ in _segments(tables)}
    for marker, content in (*_segments(tables), *_segments(head[2:])):
        if marker == 0xDB:
            _read_steps(content, steps)
        elif marker == 0xC4:
            _read_codes(content, counts, values)
        elif marker in found and marker != 0xE0:
            return None
        elif marker in _STARTS | {0xDA, 0xE0}:
            found[0xC0 if marker in _STARTS else marker] = content
        elif not 0xE1 <= marker <= 0xEF and marker != 0xFE:
            return None
    start, scan, jfif = found[0xC0], found[0xDA], found.get(0xE0, b"")
    # Colour is libjpeg's to decide where it isn't clear.
    clear = jfif[:4] != b"JFIF" or (jfif[:6] == b"JFIF\0\1" and len(jfif) >= 14)
    if not (clear and early <= _TABLES | {0xFE}):
        return None
    components = [start[6 + 3 * k : 9 + 3 * k] for k in range(3)]
    across, down = divmod(components[0][1], 16)
    if (
        start[0] != 8
        or (len(start), start[5], len(scan), scan[0]) != (15, 3, 10, 3)
        or scan[7:] != b"\0\x3f\0"
        or [scan[1 + 2 * k] for k in range(3)] != [each[0] for each in components]
        or (across, down) not in _SAMPLING
        or any(each[1] != 0x11 for each in components[1:])
    ):
        return None
    height, width = start[1] << 8 | start[2], start[3] << 8 | start[4]
    # libjpeg widens narrow chroma in another way.
    if height == 0 or -(-width // across) < 3:
        return None
    numbers = [scan[2 + 2 * k] for k in range(3)]
    dc, ac = [number >> 4 for number in numbers], [number & 15 for number in numbers]
    lookup = np.zeros(4 * TABLE_WORDS, np.uint64)
    limits = np.zeros((8, 2, 17), np.int64)
    for number in {*dc, *(4 + number for number in ac)}:
        if not counts[number].any():
            return None
        fill(number % 4, number >= 4, counts[number], values[number], lookup, limits)
    quant = np.zeros((3, PLACES), np.int32)
    for row, each in zip(quant, components, strict=True):
        row[:64] = np.frombuffer(steps[each[2]], np.uint8)
    converted = jfif[:4] == b"JFIF" or not rgb
    shape = np.array([height, width, across, down, converted, *dc, *ac], np.int64)
    bare = np.frombuffer(head, np.uint8)
    return Frame(bare, shape, lookup, limits, values, quant.ravel(), PLACE)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        if data[position] != 0xFF:
            raise ValueError(f"no marker at byte {position}")
        length = data[position + 2] << 8 | data[position + 3]
        content = data[position + 4 : position + 2 + length]
        if length < 2 or len(content) != length - 2:
            raise ValueError(f"a segment of {length} bytes at {position} is not all there")
        yield data[position + 1], content
        position += 2 + length


def _read_steps(content: bytes, steps: dict[int, bytes]) -> None:
    while content:
        # The upper four bits are 1 for steps of 16 bits, which are not ordinary.
        if content[0] > 3 or len(content) < 65 or 0 in content[1:65]:
            raise ValueError("unusual quantization")
        steps[content[0]], content = content[1:65], content[65:]


def _read_codes(content: bytes, counts: NumpyArray, values: NumpyArray) -> None:
    while content:
        kind, number = divmod(content[0], 16)
        sizes = content[1:17]
        total, code = sum(sizes), 0
        for length, size in enumerate(sizes, 1):
            code = (code << 1) + size
            if code > 1 << length:
                raise ValueError("more codes than there are")
        symbols = content[17 : 17 + total]
        if kind > 1 or number > 3 or len(symbols) != total or total > 256:
            raise ValueError("unusual Huffman table")
        if kind == 0 and max(symbols) > 11:
            raise ValueError("a difference of more than 11 bits")
        row = 4 * kind + number
        counts[row] = np.frombuffer(sizes, np.uint8)
        values[row, :total] = np.frombuffer(symbols, np.uint8)
        content = content[17 + total :]


def decode(data: bytes, frame: Frame) -> NumpyArray | None:
    """RGB pixels (height, width, 3), or None if libjpeg has to decode the stream."""
    from gpuseg._cpu._jpeg_tiles import pixels

    height, width = frame.shape[:2].tolist()
    out = np.empty((height, width, 3), np.uint8)
    address = np.frombuffer(data, np.uint8).ctypes.data
    return out if pixels(address, len(data), tuple(frame), out.reshape(-1)) else None


def tally(
    tiles: NumpyArray,
    frame: Frame,
    rule: Rule,
    words: NumpyArray,
    rows: tuple[NumpyArray, NumpyArray] | None = None,
) -> int:
    """Count the positive pixels of many tiles on the calling thread, and write their labels.

    Parameters
    ----------
    tiles : int64 array (n, 10)
        Address and size of a stream; top, left, height and width of the part of its pixels that
        counts; address and row stride of its labels (address 0 for none); top and left of this
        part among the spans' rows.
    frame : Frame
    rule : Rule
        Of uint8 images; of full scale where there are spans.
    words : int64 array (n_regions + 1, WORDS)
        Added to: a row for each region, and one for the pixels in any of them.
    rows : tuple of arrays, optional
        Spans of regions, as from `gpuseg._cpu.spans.by_row`; without them all pixels count.

    Returns
    -------
    int
        Tiles done before the first that libjpeg has to decode: its header is another one, or
        something in it is odd.
    """
    from gpuseg._cpu._jpeg_tiles import tally as count

    spans, first = _WHOLE if rows is None else rows
    done = int(count(tiles, tuple(frame), *rule.tables, spans, first, words))
    if done < 0:
        raise ValueError(f"image values must be between 0 and max_value={rule.max_value}")
    return done
