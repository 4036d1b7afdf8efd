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
    prefetch,
    put_eight,
    put_word,
)
from gpuseg._cpu._jit import jit

inline = jit(forceinline=True)

BYTE, EIGHT = np.uint64(255), np.uint64(8)
# Processors fetch ahead within a page; in a block cut out of a larger image each row is on another
# one. Four million pixels of such a block are packed in 0.2 ms instead of 0.6, of a whole image in
# 0.13 instead of 0.2; two rows and four do as well.
AHEAD = 3
# Runs a label, from which on its first pixel is looked for from root to root.
_FEW = 16


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
    runs: int,
) -> int:
    """Bits, starts and the number of runs before each word of some rows, `runs` before all.

    `everything`: there is no background. `valued`: pixels connect where they are equal, not
    wherever both are foreground. `linked`: pixels connect along the row at all. Returns `runs` and
    those of these rows.
    """
    for row in range(image.shape[0]):
        carry = ZERO
        ahead = min(row + AHEAD, image.shape[0] - 1)
        for word in range(bits.shape[1]):
            prefetch(image, ahead, word * WORD)
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
def _join(parent: Any, first: int, second: int) -> None:
    """Rem's union with splicing: one loop for nodes that are fresh, joined or apart.

    Nodes are unsigned here: numba then leaves out the check for indices from the end.
    """
    a, b = np.uint64(first), np.uint64(second)
    up, vp = parent[a], parent[b]
    while up != vp:
        if up > vp:
            parent[a] = vp
            if a == np.uint64(up):
                return
            a = np.uint64(up)
            up = parent[a]
        else:
            parent[b] = up
            if b == np.uint64(vp):
                return
            b = np.uint64(vp)
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
    parent: Any,
    bits: Any,
    starts: Any,
    base: Any,
    i: int,
    j: int,
    diagonal: bool,
    via: Any,
    vias: int,
) -> None:
    """Union the runs of rows i and j that touch.

    Two intervals overlap at one first position, which is where one of the two starts. Where
    diagonals count, runs grow by one pixel to the right: [s, e] and [s', e'] touch by a corner or
    more exactly when [s, e + 1] and [s', e' + 1] overlap. Runs of a row do not collide: there is a
    gap between them. The first `vias` of `via` are rows between i and j: a pixel there, at the
    place of contact, connects the two already (26-connected, this leaves out most unions).
    """
    for word in range(bits.shape[1]):
        start_a, start_b = starts[i, word], starts[j, word]
        if not start_a | start_b:
            continue
        a, b = bits[i, word], bits[j, word]
        if diagonal:
            a, b = _grown(bits, i, word), _grown(bits, j, word)
        where = a & b & (start_a | start_b)
        for v in range(vias):
            if where:
                where &= ~(_grown(bits, via[v], word) if diagonal else bits[via[v], word])
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
def advance(at: Any, shape: Any) -> None:
    """Move coordinates on to the next row."""
    for axis in range(shape.size - 1, -1, -1):
        at[axis] += 1
        if at[axis] < shape[axis]:
            return
        at[axis] = 0


@inline
def _has(at: Any, steps: Any, k: int, shape: Any) -> bool:
    """Whether the row at coordinates `at` has a row steps[k] away."""
    for axis in range(shape.size):
        x = at[axis] + steps[k, axis]
        if x < 0 or x >= shape[axis]:
            return False
    return True


@jit
def connect(
    image: Any,
    valued: bool,
    bits: Any,
    starts: Any,
    base: Any,
    parent: Any,
    shape: Any,
    steps: Any,
    diagonal: Any,
    jumps: Any,
    vias: Any,
    first: int,
    last: int,
    begin: int,
    stop: int,
    seam: bool,
) -> None:
    """Union the runs of rows `first` to `last` with those of the rows `steps` away.

    Step k leads to the row jumps[k, 0] further on; the first vias[k] of jumps[k, 1:] lead to rows
    between. A strip (rows `begin` to `stop`) connects its own rows; afterwards, with `seam`, one
    thread connects what lies in different strips.
    """
    at = np.empty(shape.size, np.int64)
    via = np.empty(jumps.shape[1], np.int64)
    rest = first
    for axis in range(shape.size - 1, -1, -1):
        at[axis] = rest % shape[axis]
        rest //= shape[axis]
    for row in range(first, last):
        for k in range(steps.shape[0]):
            other = row + jumps[k, 0]
            if (begin <= other < stop) == seam or not _has(at, steps, k, shape):
                continue
            if valued:
                _join_values(parent, image, bits, starts, base, row, other, diagonal[k])
            else:
                for v in range(vias[k]):
                    via[v] = row + jumps[k, v + 1]
                _join_masks(parent, bits, starts, base, row, other, diagonal[k], via, vias[k])
        advance(at, shape)


@inline
def _around(at: Any, steps: Any, k: int, shape: Any, wrap: Any) -> int:
    """Row that lies steps[k] away where the axes `wrap` have no ends, or -1 outside."""
    other = 0
    for axis in range(shape.size):
        x = at[axis] + steps[k, axis]
        if x < 0 or x >= shape[axis]:
            if not wrap[axis]:
                return -1
            x = x + shape[axis] if x < 0 else x - shape[axis]
        other = other * shape[axis] + x
    return other


@jit
def connect_ends(
    image: Any,
    valued: bool,
    bits: Any,
    starts: Any,
    base: Any,
    parent: Any,
    shape: Any,
    steps: Any,
    diagonal: Any,
    wrap: Any,
) -> None:
    """Union what touches where axes have no ends; wrap[-1] is the axis along the rows."""
    at = np.zeros(shape.size, np.int64)
    via = np.empty(0, np.int64)
    for row in range(bits.shape[0]):
        if wrap[-1]:
            _join_pixels(image, valued, bits, starts, base, parent, row, row)
        for k in range(steps.shape[0]):
            other = _around(at, steps, k, shape, wrap)
            if other < 0:
                continue
            if wrap[-1] and diagonal[k]:
                _join_pixels(image, valued, bits, starts, base, parent, row, other)
                _join_pixels(image, valued, bits, starts, base, parent, other, row)
            if _has(at, steps, k, shape):
                continue
            if valued:
                _join_values(parent, image, bits, starts, base, row, other, diagonal[k])
            else:
                _join_masks(parent, bits, starts, base, row, other, diagonal[k], via, 0)
        advance(at, shape)


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
) -> None:
    """Union the first run of `row` and the last run of `other`, if they reach the ends."""
    end = image.shape[1] - 1
    word = end // WORD
    if not bits[row, 0] & ONE or not (bits[other, word] >> np.uint64(end % WORD)) & ONE:
        return
    if valued and image[row, 0] != image[other, end]:
        return
    last = np.int64(base[other, word]) - 1 + popcount(starts[other, word])
    _join(parent, np.int64(base[row, 0]), last)


@jit
def make_nodes(base: Any, parent: Any, first: int, last: int, begin: int, end: int) -> None:
    """Give the runs of rows `first` to `last` the nodes `begin` to `end`, each its own parent."""
    for row in range(first, last):
        for word in range(base.shape[1]):
            base[row, word] += begin
    nodes = parent[begin:end]
    for i in range(nodes.size):
        nodes[i] = begin + i


@jit
def count_roots(parent: Any, begin: int, end: int) -> int:
    roots = 0
    nodes = parent[begin:end]
    for i in range(nodes.size):
        roots += nodes[i] == begin + i
    return roots


@jit
def number(parent: Any, begin: int, end: int, label: int) -> None:
    """Replace the nodes of one strip by labels, negated; `label` is the last one given before.

    A parent is never above its child, so one pass in order suffices. What hangs on a node of an
    earlier strip keeps pointing there.
    """
    nodes = parent[begin:end]
    for i in range(nodes.size):
        up = np.int64(nodes[i])
        # A root reads its own new label. Without a branch on what is a root: 10 ms for 14 million
        # nodes of noise, with one 43 ms.
        nodes[i] = -(label + 1)
        label += up == begin + i
        earlier = -np.int64(up < begin)
        nodes[i] = (earlier & up) | (~earlier & np.int64(parent[np.uint64(up)]))


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
            # All background or within one run, as half of the words of nuclei are: a tenth off the
            # whole labeling (of text a quarter), and no branch that noise would mispredict.
            if x + WORD <= width and start <= ONE and here + ONE <= ONE:
                node += np.int64(start)
                put_word(out, at, -parent[node] if here else 0)
                at += WORD
                continue
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
def renumber(parent: Any, begin: int, end: int, numbers: Any) -> None:
    """Replace label k by numbers[k - 1]."""
    for node in range(begin, end):
        parent[node] = -numbers[-parent[node] - 1]


@inline
def _first_pixels_of_few(
    bits: Any, starts: Any, base: Any, parent: Any, width: int, out: Any
) -> None:
    """The same from root to root."""
    words, found = bits.shape[1], 0
    nodes, bases, firsts = parent.reshape(-1), base.reshape(-1), starts.reshape(-1)
    word = np.int64(0)
    for node in range(bases[0], nodes.size):
        if -nodes[node] != found + 1:
            continue
        while word + 1 < bases.size and bases[word + 1] <= node:
            word += 1
        start = firsts[word]
        for _ in range(node - bases[word]):
            start &= start - ONE
        x = word % words * WORD + popcount(start ^ (start - ONE)) - 1
        out[found] = word // words * width + x
        found += 1


@jit
def first_pixels(bits: Any, starts: Any, base: Any, parent: Any, width: int, out: Any) -> None:
    """Raster index of the first pixel of each label, in their order; `out` has one place more."""
    # Nuclei: a third of the time. Noise, where one cannot tell what is a root: twice.
    if out.size * _FEW < parent.size:
        _first_pixels_of_few(bits, starts, base, parent, width, out)
        return
    found = 0
    for row in range(bits.shape[0]):
        for word in range(bits.shape[1]):
            start, node = starts[row, word], np.int64(base[row, word])
            while start:
                upto = start ^ (start - ONE)
                # Written for every run and kept for roots: to ask first would be wrong too often.
                out[found] = row * width + word * WORD + popcount(upto) - 1
                found += -parent[node] == found + 1
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
