"""numba: whole JPEG tiles, to pixels or straight to a tally of positive pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu import _hsi_kernels as hsi
from gpuseg._cpu._jit import jit
from gpuseg._cpu._jpeg_colour import BLOCK, as_rgb, chroma_row, to_rgb
from gpuseg._cpu._jpeg_scan import PADDING, planes, unstuffed
from gpuseg._cpu._pointer import row_at

_U = np.uint64


@jit
def _samples(address: int, size: int, frame: Any, scan: Any, out: Any) -> bool:
    """Planes of one stream; False if its header is another, or its scan odd."""
    head = frame[0]
    if size < len(head):
        return False
    start = row_at(address, len(head), np.uint8)
    differ = np.uint8(0)
    for i in range(len(head)):
        differ |= start[i] ^ head[i]
    if differ != 0:
        return False
    length = unstuffed(address + len(head), size - len(head), scan)
    if length < 0:
        return False
    scan[length : length + PADDING] = 0
    _, shape, lookup, limits, values, quant, place = frame
    return planes(scan, length, shape, lookup, limits, values, quant, place, out)


@jit
def _scratch(shape: Any, longest: int) -> Any:
    """Bytes of a scan, samples, chroma of a row and what it is made with, and colours."""
    wide, tall = -(-shape[1] // (8 * shape[2])), -(-shape[0] // (8 * shape[3]))
    return (
        np.empty(longest + PADDING, np.uint8),
        np.empty(8 * wide * tall * (shape[2] * shape[3] + 2), np.int64),
        np.empty(16 * wide * shape[2], np.uint16),
        np.empty(8 * wide + 2, np.uint16),
        np.zeros(3 * BLOCK, np.uint8),
    )


@jit
def _colours(
    y: int, x: int, n: int, shape: Any, samples: Any, chroma: Any, rgb: Any, offset: Any
) -> None:
    """The first n pixels from (y, x) on, of a row whose chroma is there."""
    wide = -(-shape[1] // (8 * shape[2])) * 8 * shape[2]
    luma = row_at(samples.ctypes.data + y * wide + x, n, np.uint8)
    pair = row_at(chroma.ctypes.data + x, n, np.uint8)
    second = _U(len(chroma))
    if shape[4]:
        to_rgb(luma, pair, second, n, rgb, offset)
    else:
        as_rgb(luma, pair, second, n, rgb, offset)


@jit
def pixels(address: int, size: int, frame: Any, out: Any) -> bool:
    """Decode a stream to `out` (its height * width * 3,); False if it is not an ordinary one."""
    shape = frame[1]
    scan, samples, chroma, sums, rgb = _scratch(shape, size)
    if not _samples(address, size, frame, scan, samples):
        return False
    height, width = shape[0], shape[1]
    for y in range(height):
        chroma_row(samples.ctypes.data, y, shape, sums, chroma)
        for x in range(0, width, BLOCK):
            n = min(BLOCK, width - x)
            _colours(y, x, n, shape, samples, chroma, rgb, _U(0))
            row = out[3 * (y * width + x) : 3 * (y * width + x + n)]
            for i in range(n):
                row[3 * i] = rgb[i]
                row[3 * i + 1] = rgb[_U(BLOCK) + _U(i)]
                row[3 * i + 2] = rgb[_U(2 * BLOCK) + _U(i)]
    return True


@jit
def tally(tiles: Any, frame: Any, lattice: Any, floats: Any, words: Any) -> int:
    """Add parts of tiles to `words` and write their labels, as `_hsi_kernels.tally` does.

    `tiles` has rows of a stream's address and size; top, left, height and width of the part that
    counts; address and row stride of the labels (address 0 for none).

    Returns the number of tiles done before one that is not an ordinary stream, or -1 - that number
    if a value is out of range.
    """
    shape = frame[1]
    scan, samples, chroma, sums, rgb = _scratch(shape, tiles[:, 1].max())
    r, g, b = rgb[:BLOCK], rgb[BLOCK : 2 * BLOCK], rgb[2 * BLOCK :]
    codes, second, spare = hsi.block_scratch(r)
    for number in range(len(tiles)):
        address, size, top, left, height, width, out, stride = tiles[number]
        if not _samples(address, size, frame, scan, samples):
            return number
        # Short rows share a block.
        together = max(1, BLOCK // width)
        for y in range(top, top + height, together):
            lines = min(together, top + height - y)
            for x in range(0, width, BLOCK):
                part = min(BLOCK, width - x)
                for k in range(lines):
                    if x == 0:
                        chroma_row(samples.ctypes.data, y + k, shape, sums, chroma)
                    at = _U(k * part)
                    _colours(y + k, left + x, part, shape, samples, chroma, rgb, at)
                n = part * lines
                if not hsi.add_block(r, g, b, n, lattice, floats, codes, second, spare, words):
                    return -1 - number
                if out:
                    for k in range(lines):
                        row = row_at(out + (y + k - top) * stride + x, part, np.uint8)
                        hsi.write(codes, _U(k * part), part, row)
    return len(tiles)
