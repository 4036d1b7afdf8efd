"""numba: whole JPEG tiles, to pixels or straight to a tally of positive pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu import _hsi_kernels as hsi
from gpuseg._cpu._hsi_codes import block_codes, in_range
from gpuseg._cpu._jit import jit
from gpuseg._cpu._jpeg_colour import BLOCK, as_rgb, chroma_row, geometry, to_rgb
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
    stride, narrow, luma_size, size, _, _ = geometry(shape)
    return (
        np.empty(longest + PADDING, np.uint8),
        np.empty((luma_size + 2 * size) // 8, np.int64),
        np.empty(2 * stride, np.uint8),
        np.empty(narrow + 2, np.uint16),
        np.zeros(3 * BLOCK, np.uint8),
    )


@jit
def _colours(luma: int, chroma: int, half: int, n: int, ycc: bool, rgb: Any, offset: Any) -> None:
    """Colours of n pixels at these addresses; chroma's red is `half` behind its blue."""
    first, pair = row_at(luma, n, np.uint8), row_at(chroma, n, np.uint8)
    if ycc:
        to_rgb(first, pair, _U(half), n, rgb, offset)
    else:
        as_rgb(first, pair, _U(half), n, rgb, offset)


@jit
def pixels(address: int, size: int, frame: Any, out: Any) -> bool:
    """Decode a stream to `out` (its height * width * 3,); False if it is not an ordinary one."""
    shape = frame[1]
    places, ycc = geometry(shape), shape[4] != 0
    scan, samples, chroma, sums, rgb = _scratch(shape, size)
    if not _samples(address, size, frame, scan, samples):
        return False
    height, width, half = shape[0], shape[1], len(chroma) // 2
    luma, pair = samples.ctypes.data, chroma.ctypes.data
    for y in range(height):
        chroma_row(luma, y, shape, places, sums, pair, half)
        for x in range(0, width, BLOCK):
            n = min(BLOCK, width - x)
            _colours(luma + y * places[0] + x, pair + x, half, n, ycc, rgb, _U(0))
            row = row_at(out.ctypes.data + 3 * (y * width + x), 3 * n, np.uint8)
            for i in range(n):
                row[3 * i] = rgb[i]
                row[3 * i + 1] = rgb[_U(BLOCK) + _U(i)]
                row[3 * i + 2] = rgb[_U(2 * BLOCK) + _U(i)]
    # What only its address stands for above must still be there.
    return len(samples) + len(chroma) > 0


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
    work = hsi.block_scratch(rgb)
    for number in range(len(tiles)):
        if not _samples(tiles[number, 0], tiles[number, 1], frame, scan, samples):
            return number
        if not _add(tiles[number], shape, samples, chroma, sums, rgb, lattice, floats, work, words):
            return -1 - number
    return len(tiles)


@jit
def _add(
    tile: Any,
    shape: Any,
    samples: Any,
    chroma: Any,
    sums: Any,
    rgb: Any,
    lattice: Any,
    floats: Any,
    work: Any,
    words: Any,
) -> bool:
    """Add a tile whose samples are there; False if a value is out of range."""
    places, ycc, half = geometry(shape), shape[4] != 0, len(chroma) // 2
    luma, pair = samples.ctypes.data, chroma.ctypes.data
    top, left, height, width, out, stride = tile[2], tile[3], tile[4], tile[5], tile[6], tile[7]
    r, g, b = rgb[:BLOCK], rgb[BLOCK : 2 * BLOCK], rgb[2 * BLOCK :]
    # Slices, or a function around the block's loops, would cost half their time once more, in
    # reference counts.
    form, f, two, (codes, _, spare) = lattice[0], floats[0], len(lattice) == 2, work
    narrow = f[11] < 255
    # Short rows share a block.
    together = max(1, BLOCK // width)
    for y in range(top, top + height, together):
        lines = min(together, top + height - y)
        for x in range(left, left + width, BLOCK):
            part = min(BLOCK, left + width - x)
            for k in range(lines):
                if x == left:
                    chroma_row(luma, y + k, shape, places, sums, pair, half)
                at = luma + (y + k) * places[0] + x
                _colours(at, pair + x, half, part, ycc, rgb, _U(k * part))
            n = part * lines
            if narrow and not in_range(r, g, b, n, f[11]):
                return False
            if two:
                hsi.add_by_two(r, g, b, n, lattice, floats, work, words)
            else:
                block_codes(r, g, b, n, form, f, codes, spare, words)
            words[4] += n
            if out:
                for k in range(lines):
                    row = row_at(out + (y + k - top) * stride + x - left, part, np.uint8)
                    hsi.write(codes, _U(k * part), part, row)
    return True
