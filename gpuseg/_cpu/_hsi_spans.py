"""numba: tallies of many regions of one image, each row of which is classified once.

Rows are cut into pieces between the first and the last span of any region; pieces of up to 1024
pixels share a block. A region's spans that touch within a block are added up as one, and a region
that has the whole block gets the sums that classifying it gave anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._hsi_codes import add_codes, block_codes, in_range
from gpuseg._cpu._hsi_kernels import BLOCK, scratch, split, stain, write
from gpuseg._cpu._jit import jit
from gpuseg._cpu._pointer import row_at
from gpuseg._shared.hsi import WORDS


@jit
def spans_state(spans: Any, n_regions: int, height: int, width: int) -> int:
    """0 if spans are sorted by row and start, 1 if not, 2 if one lies outside."""
    state, before, last = 0, 0, 0
    for k in range(len(spans)):
        region, row, start, stop = spans[k, 0], spans[k, 1], spans[k, 2], spans[k, 3]
        if not (0 <= region < n_regions and 0 <= row < height):
            return 2
        if not (0 <= start <= width and 0 <= stop <= width):
            return 2
        state = 1 if row < before or (row == before and start < last) else state
        before, last = row, start
    return state


@jit
def pieces_of(spans: Any, height: int, width: int) -> Any:
    """Pieces of rows: row, left, right, place in a block (0: the first there), first and last span.

    Spans are sorted by row and start; without any the pieces are those of whole rows.
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
def region_scratch(n_regions: int, n_spans: int) -> Any:
    """A block's words, and what `_ranges` works with."""
    block, latest = np.zeros(WORDS, np.int64), np.full(n_regions, -1)
    return block, latest, np.empty((n_spans, 3), np.int64)


@jit
def _clear_gaps(pieces: Any, begin: int, end: int, spans: Any, codes: Any) -> int:
    """Clear codes of a block's pixels that are in no region; their number."""
    total = 0
    for p in range(begin, end):
        left, right = pieces[p, 1], pieces[p, 2]
        to_place, seen = pieces[p, 3] - left, left
        for k in range(pieces[p, 4], pieces[p, 5] + 1):
            # Behind the last span there may be a gap up to the piece's end.
            start = min(spans[k, 2], right) if k < pieces[p, 5] else right
            for i in range(to_place + seen, to_place + start):
                codes[np.uint64(i)] = 0
            total += max(0, start - seen)
            if k < pieces[p, 5]:
                seen = max(seen, min(spans[k, 3], right))
    return total


@jit
def _ranges(pieces: Any, begin: int, end: int, spans: Any, ranges: Any, latest: Any) -> int:
    """Write each region's ranges (region, begin, end) of a block; their number.

    `latest` has the number of a region's last range, or -1, as it is afterwards.
    """
    count = 0
    for p in range(begin, end):
        left, right = pieces[p, 1], pieces[p, 2]
        to_place = pieces[p, 3] - left
        for k in range(pieces[p, 4], pieces[p, 5]):
            region, start, stop = spans[k, 0], max(spans[k, 2], left), min(spans[k, 3], right)
            if start >= stop:
                continue
            one = latest[region]
            if one < 0 or ranges[one, 2] != to_place + start:
                one, latest[region] = count, count
                ranges[one, 0], ranges[one, 1] = region, to_place + start
                count += 1
            ranges[one, 2] = to_place + stop
    for k in range(count):
        latest[ranges[k, 0]] = -1
    return count


@jit
def add_block(
    pieces: Any, begin: int, end: int, spans: Any, n: int, r: Any, g: Any, b: Any, codes: Any,
    fixed: Any, known: bool, work: Any, words: Any,
) -> None:  # fmt: skip
    """Add classified pixels to the rows of their regions and, each once, to the last row.

    The block has the pieces from `begin` to `end`; codes outside all regions become 0. `known`
    says that `work`, of `region_scratch`, has the words of all its pixels.
    """
    block, latest, ranges = work
    block[4] = n
    if len(spans):
        block[4] -= _clear_gaps(pieces, begin, end, spans, codes)
    if block[4] < n or not known:
        block[:4], block[5:] = 0, 0
        add_codes(codes, r, g, b, fixed, 0, n, block)
    words[-1] += block
    for k in range(_ranges(pieces, begin, end, spans, ranges, latest)):
        mine, size = words[ranges[k, 0]], ranges[k, 2] - ranges[k, 1]
        if size == n:
            mine += block
        else:
            mine[4] += size
            add_codes(codes, r, g, b, fixed, ranges[k, 1], size, mine)


@jit
def tally_spans(job: Any, spans: Any, lattice: Any, floats: Any, words: Any, sample: Any) -> bool:
    """Add spans (region, row, start, stop), sorted by row and start, to the regions' `words`.

    Its last row gets the pixels of any region. `job` holds address and row stride of the image,
    rows, width, channels, and address (0 for none) and row stride of the labels, which are written
    between the first and the last span of a row. False if a value there is out of range.
    """
    address, stride, channels = job[0], job[1], job[4]
    form, f, form2, f2, two = lattice[0], floats[0], lattice[-1], floats[-1], len(lattice) == 2
    r, g, b, codes, second, fixed, spare = scratch(sample)
    work = region_scratch(len(words) - 1, len(spans))
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
        work[0][:] = 0
        block_codes(r, g, b, n, form, f, codes, fixed, work[0])
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
