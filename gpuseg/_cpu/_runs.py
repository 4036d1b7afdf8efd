"""Connected components by runs: the passes of the labeling engine, in numba.

An image is rows of pixels along its last axis. A run is a stretch of one row that belongs to one
object; runs, in raster order, are the nodes of the union-find, so the smallest node of a component
holds its first pixel, and the labels of `scipy.ndimage.label` are the ranks of the roots.

Rows are cut into strips, one task each. What a strip needs lies in two words per 64 pixels (`bits`:
foreground, `starts`: first pixels of runs) and one number (`base`: node of the next run to start).
A node is a position in one flat array, `parent`, in which strip t owns the last positions before
its end: as many as it has runs. The output serves as that array: there are no more runs than
pixels left, so expanding runs to pixels from the front never overtakes the nodes it reads.
"""

from typing import Any

import numba
import numpy as np

from gpuseg._cpu._bits import (
    LAST,
    ONE,
    RANKS,
    WORD,
    ZERO,
    differs,
    equals,
    equals_left,
    popcount,
    put_eight,
)

jit = numba.njit(nogil=True, cache=True)
inline = numba.njit(nogil=True, inline="always")

BYTE, EIGHT = np.uint64(255), np.uint64(8)


@jit
def pack(
    image: Any,
    background: Any,
    everything: bool,
    valued: bool,
    linked: bool,
    bits: Any,
    starts: Any,
    base: Any,
    first: int,
    last: int,
) -> int:
    """Bits, starts and the number of runs before each word, of rows `first` to `last`.

    `everything`: there is no background. `valued`: pixels connect where they are equal, not
    wherever both are foreground. `linked`: pixels connect along the row at all.
    """
    runs = 0
    for row in range(first, last):
        carry = ZERO
        for word in range(bits.shape[1]):
            here = differs(image, row, word, background)
            if everything:
                left = image.shape[1] - word * WORD
                here = ~ZERO if left >= WORD else (ONE << np.uint64(left)) - ONE
            start = here
            if linked and valued:
                start = here & ~equals_left(image, row, row, word)
            elif linked:
                start = here & ~((here << ONE) | carry)
                carry = here >> LAST
            bits[row, word] = here
            starts[row, word] = start
            base[row, word] = runs
            runs += popcount(start)
    return runs


@inline
def _join(parent: Any, a: int, b: int) -> None:
    """Rem's union with splicing: one loop for nodes that are fresh, joined or apart."""
    up, vp = parent[a], parent[b]
    while up != vp:
        if up > vp:
            parent[a] = vp
            if a == up:
                return
            a = up
            up = parent[a]
        else:
            parent[b] = up
            if b == vp:
                return
            b = vp
            vp = parent[b]


@inline
def _join_all(parent: Any, where: Any, a: int, starts_a: Any, b: int, starts_b: Any) -> None:
    """Union, for each bit of `where`, the runs that two rows have there."""
    while where:
        upto = where ^ (where - ONE)
        where &= where - ONE
        _join(parent, a + popcount(starts_a & upto), b + popcount(starts_b & upto))


@inline
def _grown(bits: Any, row: int, word: int) -> Any:
    """Pixels of a word, each with its right neighbour."""
    here = bits[row, word]
    grown = here | (here << ONE)
    return grown | (bits[row, word - 1] >> LAST) if word > 0 else grown


@inline
def _join_masks(
    parent: Any, bits: Any, starts: Any, base: Any, i: int, j: int, diagonal: bool, via: Any
) -> None:
    """Union the runs of rows i and j that touch.

    Two intervals overlap at one first position, which is where one of the two starts. Where
    diagonals count, runs grow by one pixel to the right: [s, e] and [s', e'] touch by a corner or
    more exactly when [s, e + 1] and [s', e' + 1] overlap. Runs of a row do not collide: there is a
    gap between them. `via` are rows between i and j: a pixel there, at the place of contact,
    connects the two already (in 3-D, 26-connected, this leaves out most of the unions).
    """
    for word in range(bits.shape[1]):
        a, b = bits[i, word], bits[j, word]
        if a == ZERO and b == ZERO:
            continue
        start_a, start_b = starts[i, word], starts[j, word]
        if diagonal:
            a, b = _grown(bits, i, word), _grown(bits, j, word)
        where = a & b & (start_a | start_b)
        for k in range(via.size):
            if where != ZERO:
                where &= ~(_grown(bits, via[k], word) if diagonal else bits[via[k], word])
        _join_all(
            parent,
            where,
            np.int64(base[i, word]) - 1,
            start_a,
            np.int64(base[j, word]) - 1,
            start_b,
        )


@inline
def _join_values(
    parent: Any, image: Any, bits: Any, starts: Any, base: Any, i: int, j: int, diagonal: bool
) -> None:
    """Union the runs of rows i and j that touch and are of one value."""
    for word in range(bits.shape[1]):
        start_a, start_b = starts[i, word], starts[j, word]
        a, b = np.int64(base[i, word]) - 1, np.int64(base[j, word]) - 1
        same = equals(image, i, j, word) & bits[i, word]
        _join_all(parent, same & (start_a | start_b), a, start_a, b, start_b)
        if diagonal:
            # A run that starts, and the pixel up left of it; then the same seen from row j.
            left = equals_left(image, i, j, word) & start_a & ~same
            right = equals_left(image, j, i, word) & start_b & ~same
            _join_all(parent, left, a, start_a, b, start_b << ONE)
            _join_all(parent, right, a, start_a << ONE, b, start_b)


@inline
def _other_row(at: Any, step: Any, shape: Any, wrap: Any) -> int:
    """Row that lies `step` from the row at coordinates `at`, or -1 outside."""
    other = 0
    for axis in range(at.size):
        x = at[axis] + step[axis]
        if x < 0 or x >= shape[axis]:
            if not wrap[axis]:
                return -1
            x = x + shape[axis] if x < 0 else x - shape[axis]
        other = other * shape[axis] + x
    return other


@jit
def connect(
    image: Any,
    valued: bool,
    bits: Any,
    starts: Any,
    base: Any,
    parent: Any,
    shape: Any,
    wrap: Any,
    steps: Any,
    diagonal: Any,
    vias: Any,
    between: Any,
    first: int,
    last: int,
    begin: int,
    stop: int,
    seam: bool,
) -> None:
    """Union the runs of rows `first` to `last` with those of the rows `steps` away.

    A strip (rows `begin` to `stop`) connects its own rows; afterwards, with `seam`, one thread
    connects what lies in different strips.
    """
    at = np.empty(shape.size, np.int64)
    via = np.empty(between.shape[1], np.int64)
    rest = first
    for axis in range(shape.size - 1, -1, -1):
        at[axis] = rest % shape[axis]
        rest //= shape[axis]
    for row in range(first, last):
        for k in range(steps.shape[0]):
            other = _other_row(at, steps[k], shape, wrap)
            if other < 0 or (begin <= other < stop) == seam:
                continue
            if valued:
                _join_values(parent, image, bits, starts, base, row, other, diagonal[k])
            else:
                for v in range(vias[k]):
                    via[v] = _other_row(at, between[k, v], shape, wrap)
                _join_masks(parent, bits, starts, base, row, other, diagonal[k], via[: vias[k]])
        for axis in range(shape.size - 1, -1, -1):
            at[axis] += 1
            if at[axis] < shape[axis]:
                break
            at[axis] = 0


@jit
def make_nodes(base: Any, parent: Any, first: int, last: int, begin: int, end: int) -> None:
    """Give the runs of rows `first` to `last` the nodes `begin` to `end`, each its own parent."""
    for row in range(first, last):
        for word in range(base.shape[1]):
            base[row, word] += begin
    for node in range(begin, end):
        parent[node] = node


@jit
def count_roots(parent: Any, begin: int, end: int) -> int:
    roots = 0
    for node in range(begin, end):
        roots += parent[node] == node
    return roots


@jit
def number(parent: Any, begin: int, end: int, label: int) -> None:
    """Replace the nodes of one strip by labels, negated; `label` is the last one given before.

    A parent is never above its child, so one pass in order suffices. What hangs on a node of an
    earlier strip keeps pointing there.
    """
    for node in range(begin, end):
        up = parent[node]
        above = parent[up]
        label += up == node
        if up == node:
            above = -label
        if up < begin:
            above = up
        parent[node] = above


@jit
def resolve(parent: Any, begin: int, end: int) -> None:
    """Follow what still points to an earlier strip."""
    for node in range(begin, end):
        value = parent[node]
        if value >= 0:
            while value >= 0:
                value = parent[value]
            parent[node] = value


@jit
def expand(
    bits: Any, starts: Any, base: Any, parent: Any, out: Any, width: int, first: int, last: int
) -> None:
    """Write the labels of rows `first` to `last` to the flat `out`, which may be `parent`."""
    at = 0
    for row in range(first, last):
        for word in range(bits.shape[1]):
            here, start = bits[row, word], starts[row, word]
            node = np.int64(base[row, word]) - 1
            x, stop = word * WORD, min(word * WORD + WORD, width)
            while x + 8 <= stop:
                byte = np.int64(start & BYTE)
                put_eight(out, at, parent, node, RANKS, byte, np.int64(here & BYTE))
                node += np.int64(RANKS[byte, 7])
                here, start = here >> EIGHT, start >> EIGHT
                x, at = x + 8, at + 8
            while x < stop:
                node += np.int64(start & ONE)
                out[at] = -parent[node] if here & ONE else 0
                here, start = here >> ONE, start >> ONE
                x, at = x + 1, at + 1


@jit
def join_ends(
    image: Any,
    valued: bool,
    bits: Any,
    starts: Any,
    base: Any,
    parent: Any,
    shape: Any,
    wrap: Any,
    steps: Any,
    diagonal: Any,
) -> None:
    """Union what touches across the ends of the rows, where the last axis wraps around."""
    at = np.zeros(shape.size, np.int64)
    end = image.shape[1] - 1
    for row in range(bits.shape[0]):
        _join_pixels(image, valued, bits, starts, base, parent, row, row, end)
        for k in range(steps.shape[0]):
            if diagonal[k]:
                other = _other_row(at, steps[k], shape, wrap)
                if other >= 0:
                    _join_pixels(image, valued, bits, starts, base, parent, row, other, end)
                    _join_pixels(image, valued, bits, starts, base, parent, other, row, end)
        for axis in range(shape.size - 1, -1, -1):
            at[axis] += 1
            if at[axis] < shape[axis]:
                break
            at[axis] = 0


@inline
def _join_pixels(
    image: Any,
    valued: bool,
    bits: Any,
    starts: Any,
    base: Any,
    parent: Any,
    row: int,
    other: int,
    end: int,
) -> None:
    """Union the first run of `row` and the last run of `other`, if they reach the ends."""
    word = end // WORD
    if not bits[row, 0] & ONE or not (bits[other, word] >> np.uint64(end % WORD)) & ONE:
        return
    if valued and image[row, 0] != image[other, end]:
        return
    _join(
        parent,
        np.int64(base[row, 0]),
        np.int64(base[other, word]) - 1 + popcount(starts[other, word]),
    )


@jit
def renumber(parent: Any, begin: int, end: int, numbers: Any) -> None:
    """Replace label k by numbers[k - 1]."""
    for node in range(begin, end):
        parent[node] = -numbers[-parent[node] - 1]


@jit
def first_pixels(bits: Any, starts: Any, base: Any, parent: Any, width: int, out: Any) -> None:
    """Raster index of the first pixel of each label, in their order."""
    found = 0
    for row in range(bits.shape[0]):
        for word in range(bits.shape[1]):
            start, node = starts[row, word], np.int64(base[row, word])
            while start:
                if -parent[node] == found + 1:
                    out[found] = (
                        row * width + word * WORD + popcount((start ^ (start - ONE)) >> ONE)
                    )
                    found += 1
                start &= start - ONE
                node += 1


@jit
def expand_rows(
    bits: Any, starts: Any, base: Any, parent: Any, out: Any, width: int, rows: Any
) -> None:
    """Labels of some rows."""
    for i in range(rows.size):
        part = out[i * width : (i + 1) * width]
        expand(bits, starts, base, parent, part, width, rows[i], rows[i] + 1)


@jit
def column(bits: Any, starts: Any, base: Any, parent: Any, x: int, out: Any) -> None:
    """Labels of the pixels at `x` of all rows."""
    word, bit = x // WORD, np.uint64(x % WORD)
    upto = (np.uint64(2) << bit) - ONE
    for row in range(bits.shape[0]):
        out[row] = 0
        if (bits[row, word] >> bit) & ONE:
            out[row] = -parent[np.int64(base[row, word]) - 1 + popcount(starts[row, word] & upto)]
