"""Directories of small TIFF files that only differ in where their pixels are.

tifffile takes 0.4 to 1 ms for a file, in the interpreter: twice what the pixels of a frame of
520×696 take, and threads wait for each other. Of the files of a folder all but the first are
usually its like, tag by tag; then their strips are read as the first one's.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

# What decides on shape, type and decoding, with its values.
_STRUCTURE = {
    254, 255, 256, 257, 258, 259, 262, 266, 274, 277, 278, 284, 292, 293, 305, 317, 320, 322, 323,
    338, 339, 530, 532,
}  # fmt: skip
_OFFSETS, _LENGTHS = (273, 324), (279, 325)
_DESCRIPTION = 270
# Text and resolution, and MetaMorph's tags, of which the counts decide on the number of planes.
_IDLE = {269, 271, 272, 282, 283, 285, 286, 287, 296, 306, 315, 316, 700, 33432, 34675}
_METAMORPH = {33628, 33629, 33630, 33631}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
# Descriptions in which writers say what a file's axes are.
_TELLING = (b"<", b"{", b"shape=", b"ImageJ=", b"SI.")


class Directory(NamedTuple):
    """The only directory of a file: what it says, and where the segments are."""

    signature: tuple[Any, ...]
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]


def read_directory(data: bytes) -> Directory | None:
    """Directory of a classic TIFF of one page; None if there is more to it than is known here."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    try:
        return _parse(data, order)
    except struct.error:  # it is not all in `data`
        return None


def _parse(data: bytes, order: str) -> Directory | None:
    (where,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, where)
    if struct.unpack_from(f"{order}I", data, where + 2 + 12 * count) != (0,):
        return None
    signature: list[Any] = [order]
    segments: dict[int, tuple[int, ...]] = {}
    for number in range(count):
        entry = where + 2 + 12 * number
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, entry)
        if kind not in _SIZES:
            return None
        start, size = entry + 8, length * _SIZES[kind]
        if size > 4:
            (start,) = struct.unpack_from(f"{order}I", data, start)
        value = data[start : start + size]
        if tag in _OFFSETS or tag in _LENGTHS:
            if kind not in (3, 4):
                return None
            segments[tag] = struct.unpack(f"{order}{length}{'H' if kind == 3 else 'I'}", value)
            signature.append((tag, length))
        elif tag in _STRUCTURE:
            signature.append((tag, kind, length, value))
        elif tag == _DESCRIPTION:
            signature.append((tag, value if any(mark in value for mark in _TELLING) else None))
        elif tag in _METAMORPH:
            signature.append((tag, kind, length))
        elif tag not in _IDLE:
            return None
    offsets, lengths = (
        next((segments[tag] for tag in tags if tag in segments), ())
        for tags in (_OFFSETS, _LENGTHS)
    )
    return Directory(tuple(signature), offsets, lengths)
