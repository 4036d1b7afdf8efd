"""LZW as TIFF stores it: codes from the highest bit, or, before 1988, from the lowest."""

from __future__ import annotations

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg.typing import NumpyArray

_CLEAR, _END, _FIRST, _LIMIT = 256, 257, 258, 4096

# What `_decode` returns instead of a number of bytes.
_BAD_CODE = -1


@jit
def _decode(data: NumpyArray, out: NumpyArray, old: bool) -> int:
    # A table entry is a stretch of what was written already: the string of the code before, and
    # the byte after it. So nothing is followed backwards, and nothing lies outside of `out`.
    starts = np.empty(_LIMIT, np.int64)
    lengths = np.empty(_LIMIT, np.int64)
    count, width = _FIRST, 9
    before = -1  # where the string of the code before starts
    length_before = 0
    written = 0
    bits = np.uint32(0)
    held = 0
    for position in range(len(data)):
        # A code has more bits than a byte: each byte completes one at most.
        if old:
            bits |= np.uint32(data[position]) << np.uint32(held)
        else:
            bits = np.uint32(bits << np.uint32(8)) | np.uint32(data[position])
        held += 8
        if held < width:
            continue
        held -= width
        if old:
            code = np.int64(bits) & ((1 << width) - 1)
            bits = bits >> np.uint32(width)
        else:
            code = np.int64(bits >> np.uint32(held)) & ((1 << width) - 1)
        if code == _END:
            return written
        if code == _CLEAR:
            count, width, before = _FIRST, 9, -1
            continue
        if before >= 0 and count < _LIMIT:
            starts[count] = before
            lengths[count] = length_before + 1
            count += 1
        # The first code is a byte, whatever an unfinished table would say.
        if code >= count or code == _END or (code > 255 and before < 0):
            return _BAD_CODE
        start, length = written, 1
        if code < 256:
            out[written] = code
        else:
            length = min(lengths[code], len(out) - written)
            source = starts[code]
            for step in range(length):
                out[written + step] = out[source + step]
        before, length_before = start, length
        written += length
        if written == len(out):
            return written
        # The width grows one code before the table needs it, but for the old kind.
        if count >= (1 << width) - (0 if old else 1) and width < 12:
            width += 1
    return written


def decode(data: bytes, size: int) -> bytes:
    """First `size` bytes that `data` decodes to.

    Written because imagecodecs' decoder reads beyond its table, and so kills the process, where
    some damaged streams lead it; it is also faster.

    Raises
    ------
    ValueError
        If a code stands for nothing, or the stream ends before `size` bytes.

    Examples
    --------
    >>> import imagecodecs
    >>> decode(imagecodecs.lzw_encode(b"banana banana"), 13)
    b'banana banana'
    """
    out = np.empty(size, np.uint8)
    # The first code clears the table: 256 of nine bits, from either end.
    old = data[:1] == b"\0" and bool(data[1:2]) and data[1] & 1 == 1
    written = _decode(np.frombuffer(data, np.uint8), out, old) if size else 0
    if written == _BAD_CODE:
        raise ValueError("corrupted LZW stream: a code stands for nothing")
    if written < size:
        raise ValueError(f"LZW stream ends after {written} of {size} bytes")
    return out.tobytes()
