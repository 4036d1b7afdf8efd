"""numba: tallies of many regions of one image, each row of which is classified once.

Rows are cut into pieces between the first and the last span of any region; pieces of up to 1024
pixels share a block. A region's spans that touch within a block are added up as one, and a region
that has the whole block gets the sums that classifying it gave anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._hsi_codes import add_codes, block_codes, in_range
from gpuseg._cpu._hsi_kernels import BLOCK, apply_mask, scratch, split, stain, write
from gpuseg._cpu._jit import jit
from gpuseg._cpu._pointer import row_at
from gpuseg._shared.hsi import WORDS


@jit
def spans_state(spans: Any, n_regions: int, height: int, width: int) -> int:
    """0 if spans (region, row, start, stop) are sorted by row, 1 if not, 2 if one lies outside."""
    state, before = 0, 0
    for k in range(len(spans)):
        region, row, start, stop = spans[k, 0], spans[k, 1], spans[k, 2], spans[k, 3]
        if not (0 <= region < n_regions and 0 <= row < height):
            return 2
        if not (0 <= start <= width and 0 <= stop <= width):
            return 2
        state = 1 if row < before else state
        before = row
    return state


@jit
def pieces_of(spans: Any, height: int, width: int) -> Any:
    """Pieces of rows: row, left, right, place in a block (0: the first there), first and last span.

    Spans are sorted by row; without any the pieces are those of whole rows.
    """
    found = np.empty((height * (width // BLOCK + 1), 6), np.int64)
    count, filled, last = 0, 0, 0
    for row in range(height):
        first, left, right = last, width, 0
        if len(spans) == 0:
            left, right = 0, width
        while last < len(spans) and spans[last, 1] == row:
            left, right = min(left, spans[last, 2]), max(right, spans[last, 3])
            last += 1
        while left < right:
            n = min(BLOCK, right - left)
            if filled + n > BLOCK:
                filled = 0
            found[count, 0], found[count, 1], found[count, 2] = row, left, left + n
            found[count, 3], found[count, 4], found[count, 5] = filled, first, last
            count, filled, left = count + 1, filled + n, left + n
    return found[:count]


@jit
def region_scratch(n_regions: int) -> Any:
    """A block's mask and words; where regions' open ranges begin and end, and which are open."""
    return (
        np.empty(BLOCK, np.uint8),
        np.zeros(WORDS, np.int64),
        np.zeros(n_regions, np.int64),
        np.full(n_regions, -1),
        np.empty(n_regions, np.int64),
    )


@jit
def _mark(pieces: Any, begin: int, end: int, spans: Any, n: int, inside: Any) -> None:
    """Mark the pixels of a block that are in any region."""
    for i in range(n):
        inside[i] = 0
    for p in range(begin, end):
        left, right = pieces[p, 1], pieces[p, 2]
        for k in range(pieces[p, 4], pieces[p, 5]):
            start, stop = max(spans[k, 2], left), min(spans[k, 3], right)
            for i in range(pieces[p, 3] + start - left, pieces[p, 3] + stop - left):
                inside[np.uint64(i)] = 1


@jit
def _add_range(
    begin: int, end: int, n: int, r: Any, g: Any, b: Any, codes: Any, fixed: Any, block: Any,
    words: Any,
) -> None:  # fmt: skip
    """Add a range of a block of n pixels, whose own words are known, to a region's words."""
    if end - begin < n:
        add_codes(codes, r, g, b, fixed, begin, end - begin, words)
        words[4] += end - begin
    else:
        for k in range(WORDS):
            words[k] += block[k]


@jit
def add_block(
    pieces: Any, begin: int, end: int, spans: Any, n: int, r: Any, g: Any, b: Any, codes: Any,
    fixed: Any, known: bool, work: Any, words: Any,
) -> None:  # fmt: skip
    """Add classified pixels to the rows of their regions and, each once, to the last row.

    The block has the pieces from `begin` to `end`; codes outside all regions become 0. `known`
    says that `work`, of `region_scratch`, has the words of all its pixels.
    """
    inside, block, begins, ends, opened = work
    covered = n
    if len(spans):
        _mark(pieces, begin, end, spans, n, inside)
        covered = apply_mask(codes, inside, n)
    if covered < n or not known:
        block[:] = 0
        add_codes(codes, r, g, b, fixed, 0, n, block)
    block[4] = covered
    _add_range(0, n, n, r, g, b, codes, fixed, block, words[-1])
    count = 0
    for p in range(begin, end):
        place, left, right = pieces[p, 3], pieces[p, 1], pieces[p, 2]
        for k in range(pieces[p, 4], pieces[p, 5]):
            region, start, stop = spans[k, 0], max(spans[k, 2], left), min(spans[k, 3], right)
            if start >= stop:
                continue
            start, stop = place + start - left, place + stop - left
            if ends[region] < 0:
                opened[count] = region
                count += 1
            if ends[region] != start:
                if ends[region] > 0:
                    _add_range(
                        begins[region], ends[region], n, r, g, b, codes, fixed, block, words[region]
                    )
                begins[region] = start
            ends[region] = stop
    for k in range(count):
        region = opened[k]
        _add_range(begins[region], ends[region], n, r, g, b, codes, fixed, block, words[region])
        ends[region] = -1


@jit
def tally_spans(job: Any, spans: Any, lattice: Any, floats: Any, words: Any, sample: Any) -> bool:
    """Add spans (region, row, start, stop), sorted by row, to the regions' rows of `words`.

    Its last row gets the pixels of any region. `job` holds address and row stride of the image,
    rows, width, channels, and address (0 for none) and row stride of the labels, which are written
    between the first and the last span of a row. False if a value there is out of range.
    """
    address, stride, channels = job[0], job[1], job[4]
    form, f, form2, f2, two = lattice[0], floats[0], lattice[-1], floats[-1], len(lattice) == 2
    r, g, b, codes, second, fixed, spare = scratch(sample)
    work = region_scratch(len(words) - 1)
    pieces = pieces_of(spans, job[2], job[3])
    begin = 0
    for p in range(len(pieces)):
        row, left, right, place = pieces[p, 0], pieces[p, 1], pieces[p, 2], pieces[p, 3]
        at, n = address + row * stride + left * channels * sample.itemsize, right - left
        split(row_at(at, n * channels, sample.dtype), channels, n, r, g, b, np.uint64(place))
        n += place
        if p + 1 < len(pieces) and pieces[p + 1, 3]:
            continue
        if not in_range(r, g, b, n, f[11]):
            return False
        work[1][:] = 0
        block_codes(r, g, b, n, form, f, codes, fixed, work[1])
        if two:
            block_codes(r, g, b, n, form2, f2, second, fixed, spare)
            stain(codes, second, n)
        add_block(pieces, begin, p + 1, spans, n, r, g, b, codes, fixed, not two, work, words)
        if job[5]:
            write_pieces(pieces, begin, p + 1, codes, job[5], job[6])
        begin = p + 1
    return True


@jit
def write_pieces(pieces: Any, begin: int, end: int, codes: Any, out: int, stride: int) -> None:
    """Write the labels of a block's pieces to an image at address `out`."""
    for p in range(begin, end):
        n = pieces[p, 2] - pieces[p, 1]
        row = row_at(out + pieces[p, 0] * stride + pieces[p, 1], n, np.uint8)
        write(codes, np.uint64(pieces[p, 3]), n, row)
