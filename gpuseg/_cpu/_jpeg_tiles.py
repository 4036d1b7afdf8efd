"""numba: whole JPEG tiles, to pixels or straight to a tally of positive pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu import _hsi_kernels as hsi
from gpuseg._cpu._hsi_codes import block_codes, in_range
from gpuseg._cpu._hsi_spans import add_block, pieces_of, region_scratch, write_pieces
from gpuseg._cpu._jit import jit
from gpuseg._cpu._jpeg_colour import BLOCK, as_rgb, chroma_row, geometry, to_rgb
from gpuseg._cpu._jpeg_scan import PADDING, planes, unstuffed
from gpuseg._cpu._pointer import row_at
from gpuseg._cpu.spans import clip

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
def tally(
    tiles: Any, frame: Any, lattice: Any, floats: Any, all_spans: Any, first: Any, words: Any
) -> int:
    """Add parts of tiles to the rows of `words` and write their labels, as `jpeg.tally` says.

    Returns the number of tiles done before one that is not an ordinary stream, or -1 - that number
    if a value is out of range.
    """
    shape = frame[1]
    scan, samples, chroma, sums, rgb = _scratch(shape, tiles[:, 1].max())
    block = hsi.scratch(rgb)
    work = region_scratch(len(words) - 1, len(all_spans))
    for number in range(len(tiles)):
        tile = tiles[number]
        spans = all_spans
        if len(first):
            spans = clip(all_spans, first, tile[8], tile[9], tile[4], tile[5])
        if not _samples(tile[0], tile[1], frame, scan, samples):
            return number
        if not _add(
            tile, shape, samples, chroma, sums, rgb, lattice, floats, spans, block, work, words
        ):
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
    spans: Any,
    block: Any,
    work: Any,
    words: Any,
) -> bool:
    """Add a tile whose samples are there; False if a value is out of range."""
    places, ycc, half = geometry(shape), shape[4] != 0, len(chroma) // 2
    luma, pair, out = samples.ctypes.data, chroma.ctypes.data, tile[6]
    r, g, b = rgb[:BLOCK], rgb[BLOCK : 2 * BLOCK], rgb[2 * BLOCK :]
    # Slices, or a function around the block's loops, would cost half their time once more, in
    # reference counts.
    form, f, two, total = lattice[0], floats[0], len(lattice) == 2, words[-1]
    _, _, _, codes, second, _, spare = block
    narrow, simple, own = f[11] < 255, not two and len(spans) == 0, work[0]
    pieces = pieces_of(spans, tile[4], tile[5])
    begin, before = 0, -1
    for p in range(len(pieces)):
        row, x, place = tile[2] + pieces[p, 0], tile[3] + pieces[p, 1], pieces[p, 3]
        n = pieces[p, 2] - pieces[p, 1]
        if row != before:
            chroma_row(luma, row, shape, places, sums, pair, half)
            before = row
        _colours(luma + row * places[0] + x, pair + x, half, n, ycc, rgb, _U(place))
        if p + 1 < len(pieces) and pieces[p + 1, 3]:
            continue
        n += place
        if narrow and not in_range(r, g, b, n, f[11]):
            return False
        if simple:
            block_codes(r, g, b, n, form, f, codes, spare, total)
            total[4] += n
        else:
            own[:] = 0
            block_codes(r, g, b, n, form, f, codes, spare, own)
            if two:
                block_codes(r, g, b, n, lattice[1], floats[1], second, spare, spare)
                hsi.stain(codes, second, n)
            add_block(pieces, begin, p + 1, spans, n, r, g, b, codes, spare, not two, work, words)
        if out:
            write_pieces(pieces, begin, p + 1, codes, out, tile[7])
        begin = p + 1
    return True
