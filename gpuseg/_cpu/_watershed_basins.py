"""Passes of the watershed over one block of pixels, in numba.

A block is a flat array of keys with a frame of one pixel around: what neighbouring blocks hold
there, or nothing. Pixels `first` to `last` are the block's own, but for those whose `way` is `HALO`
or `OUT`. Steps lead to neighbours, ascending, so that of equal neighbours the first one found is
that with the lowest index. `docs/design/watershed.md` says why each pass is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._cpu._unions import root

# What `way` says beyond the number of the step to the lowest neighbour.
ROOT, LOW, HALO, OUT = 252, 253, 254, 255
# Depth of flat pixels that no way down is known for.
FAR = 2**31 - 1
# What `node` says beyond nodes (from 0 on) and seeds (~0, ~1, ...).
UNSET, NOTHING, BEYOND = -(2**31), 2**31 - 1, 2**31 - 2
# Slots for pairs of nodes, a power of 2; 16 bytes each, which the cache holds.
_PAIRS = 1 << 13
# What is known of a component beyond the seed (~0, ~1, ...) that it has.
CLOSED, OPEN, DEAD = 0, 1, 2


@jit
def fill(
    values: Any, signed: bool, seeds: Any, mask: Any, starts: Any, keys: Any, way: Any
) -> tuple[int, int]:
    """Copy rows of keys into the frame, whose row i begins at starts[i].

    Of `signed` values, the bits of floats, keys are made as `order_keys` makes them. Returns how
    many seeds there are, and how many NaN.
    """
    found = odd = 0
    masked = mask.size > 0
    seeded = seeds.size > 0
    top = keys.dtype.type(1) << keys.dtype.type(8 * keys.itemsize - 1)
    infinite = keys.dtype.type(0xFF800000 if keys.itemsize == 4 else 0xFFF0000000000000)
    for row in range(values.shape[0]):
        at = starts[row]
        for x in range(values.shape[1]):
            if masked and not mask[row, x]:
                continue
            key = values[row, x]
            if signed:
                if key == top:
                    key = keys.dtype.type(0)
                key = ~key if key & top else key | top
                odd += key > infinite or key < ~infinite
            keys[at + x] = key
            root = seeded and seeds[row, x]
            way[at + x] = ROOT if root else 0
            found += root
    return found, odd


@jit
def flats(keys: Any, way: Any, depth: Any, steps: Any, first: int, last: int, flat: Any) -> int:
    """Find pixels without a lower neighbour but with an equal one: their depth is not known yet."""
    count = 0
    for p in range(first, last):
        if way[p] >= ROOT:
            continue
        key = keys[p]
        lower = equal = False
        for k in range(steps.size):
            other = keys[p + steps[k]]
            if other < key:
                lower = True
                break
            equal |= other == key
        if equal and not lower:
            depth[p] = FAR
            flat[count] = p
            count += 1
    return count


@jit
def shores(
    keys: Any,
    way: Any,
    depth: Any,
    steps: Any,
    first: int,
    last: int,
    flat: Any,
    own: bool,
    beyond: bool,
    found: Any,
) -> int:
    """Flat pixels whose depth follows from a neighbour: of their own block's, or beyond it."""
    count = 0
    for i in range(flat.size):
        p = flat[i]
        least = depth[p]
        for k in range(steps.size):
            r = p + steps[k]
            if keys[r] != keys[p]:
                continue
            if r < first or r >= last or way[r] == HALO:
                if beyond and depth[r] + 1 < least and depth[r] != FAR:
                    least = depth[r] + 1
            elif own and depth[r] == 0:
                least = 1
        if least < depth[p]:
            depth[p] = least
            found[count] = p
            count += 1
    return count


@jit
def spread(
    keys: Any, way: Any, depth: Any, steps: Any, first: int, last: int, sources: Any, queue: Any
) -> None:
    """Carry depths on from `sources`, which ascend by depth: each flat pixel is set once."""
    head = tail = at = 0
    while at < sources.size or head < tail:
        if head == tail or (at < sources.size and depth[sources[at]] <= depth[queue[head]]):
            p = sources[at]
            at += 1
        else:
            p = queue[head]
            head += 1
        for k in range(steps.size):
            r = p + steps[k]
            if keys[r] != keys[p] or depth[r] <= depth[p] + 1:
                continue
            if first <= r < last and way[r] != HALO:
                depth[r] = depth[p] + 1
                queue[tail] = r
                tail += 1


@jit
def settle(depth: Any, flat: Any) -> None:
    """Flat pixels without any way down are told apart by their index alone."""
    for i in range(flat.size):
        if depth[flat[i]] == FAR:
            depth[flat[i]] = 0


@jit
def descend(
    keys: Any, way: Any, depth: Any, node: Any, steps: Any, first: int, last: int, tag: Any
) -> int:
    """Point each pixel to its lowest neighbour; returns how many nodes that gives.

    A node is a pixel without a lower neighbour, or one that points beyond the block.
    """
    nodes = seeds = 0
    for p in range(first, last):
        if way[p] >= ROOT:
            node[p] = NOTHING if way[p] == OUT else BEYOND
            if way[p] == ROOT:
                seeds += 1
                node[p] = -seeds
            continue
        lowest, deep, best = keys[p], depth[p], -1
        for k in range(steps.size):
            r = p + steps[k]
            key = keys[r]
            if key > lowest:
                continue
            if key < lowest:
                lowest, deep, best = key, depth[r], k
            elif depth[r] < deep or (best < 0 and depth[r] == deep and steps[k] < 0):
                deep, best = depth[r], k
        node[p] = UNSET
        if best < 0:
            way[p] = LOW
            tag[nodes] = CLOSED
            node[p] = nodes
            nodes += 1
            continue
        way[p] = best
        r = p + steps[best]
        if r < first or r >= last or way[r] == HALO:
            tag[nodes] = OPEN
            node[p] = nodes
            nodes += 1
    return nodes


@jit
def follow(way: Any, node: Any, steps: Any, first: int, last: int) -> None:
    """Give each pixel the node or seed at the end of its way."""
    for p in range(first, last):
        if node[p] != UNSET:
            continue
        q = p
        while node[q] == UNSET:
            q += steps[way[q]]
        end = node[q]
        q = p
        while node[q] == UNSET:
            node[q] = end
            q += steps[way[q]]


@jit
def divides(
    keys: Any,
    depth: Any,
    node: Any,
    steps: Any,
    starts: Any,
    width: int,
    nothing: Any,
    gates: Any,
    rim: Any,
) -> int:
    """Find the higher pixels of edges between different nodes, unless both have seeds.

    Of the edges between two nodes only the least can be in the forest, since nodes are; the same
    holds of all seeds together, and of all beyond. A table remembers the least edges of the pairs
    met lately. The steps of those that remain are set in the bits of `gates`.
    """
    count = 0
    pairs = np.full(_PAIRS, -1, np.int64)
    highest, step = np.empty(_PAIRS, np.int64), np.empty(_PAIRS, np.int64)
    met = np.empty(width, np.uint32)
    for row in range(starts.size):
        _meet(keys, node, steps, starts[row], met)
        for x in range(width):
            p = starts[row] + x
            a = node[p]
            if met[x] == 0 or a == NOTHING:
                continue
            kept, left, k = 0, met[x], -1
            while left:
                k += 1
                bit = left & 1
                left >>= 1
                r = p + steps[k]
                b = node[r]
                if not bit or (b == BEYOND and (a < 0 or keys[r] == nothing)):
                    continue
                if not lower(keys, depth, r, p):
                    continue
                one, other = max(min(a, b), -1), max(a, b)
                pair = (one << 32) + other
                at = ((pair * 0x5851F42D4C957F2D) >> 40) & (_PAIRS - 1)
                if pairs[at] == pair:
                    if highest[at] == p:
                        if not lower(keys, depth, r, p + steps[step[at]]):
                            continue
                        kept ^= 1 << step[at]
                    elif lower(keys, depth, highest[at], p):
                        continue
                pairs[at], highest[at], step[at] = pair, p, k
                kept |= 1 << k
            if kept:
                gates[p] = kept
                rim[count] = p
                count += 1
    return count


@jit
def _meet(keys: Any, node: Any, steps: Any, at: int, met: Any) -> None:
    """Bits of the neighbours of a row's pixels that are no higher, and in other nodes."""
    width = met.size
    met[:] = 0
    key, mine = keys[at : at + width], node[at : at + width]
    for k in range(steps.size):
        there = at + steps[k]
        other, theirs = keys[there : there + width], node[there : there + width]
        bit = np.uint32(1 << k)
        for x in range(width):
            # Both are seeds where both are negative.
            differ = (theirs[x] != mine[x]) & ((theirs[x] & mine[x]) >= 0)
            met[x] |= bit if (other[x] <= key[x]) & differ else np.uint32(0)


@jit
def sorted_by(values: Any, order: Any, other: Any, bits: int) -> bool:
    """Sort `order` by its `values`, `bits` wide, keeping the order of equal ones.

    By 11 bits at a time, from the lowest; whether the result is in `other`.
    """
    counts = np.empty(2049, np.int64)
    turned = False
    shift = 0
    while shift < bits:
        counts[:] = 0
        for i in range(order.size):
            counts[((values[order[i]] >> shift) & 2047) + 1] += 1
        for digit in range(2048):
            counts[digit + 1] += counts[digit]
        if (counts == order.size).sum() + (counts == 0).sum() < 2049:
            for i in range(order.size):
                digit = (values[order[i]] >> shift) & 2047
                other[counts[digit]] = order[i]
                counts[digit] += 1
            order, other = other, order
            turned = not turned
        shift += 11
    return turned


@jit
def component(node: Any, parent: Any, p: int) -> int:
    """Root of a pixel's component, or the seed of a pixel that has one by itself."""
    a = node[p]
    return a if a < 0 else root(parent, a)


@jit
def lower(keys: Any, depth: Any, p: int, q: int) -> bool:
    """The strict order of pixels."""
    if keys[p] != keys[q]:
        return bool(keys[p] < keys[q])
    if depth[p] != depth[q]:
        return bool(depth[p] < depth[q])
    return p < q


@jit
def grow(
    keys: Any,
    depth: Any,
    node: Any,
    steps: Any,
    first: int,
    last: int,
    gates: Any,
    order: Any,
    parent: Any,
    bound: Any,
    tag: Any,
    edges: Any,
) -> int:
    """Join components along ascending edges wherever that is certain.

    The least edge out of a closed component is: all edges that leave it are known here. Of the
    others, those are listed whose ends lesser ones have not `bound` already; all that has a seed
    counts as bound, to the last node.
    """
    count = 0
    near = np.empty(steps.size, np.int64)
    for i in range(order.size):
        p = order[i]
        if p < first or p >= last or node[p] == BEYOND:
            for k in range(steps.size):
                r = p + steps[k]
                if first <= r < last and 0 <= node[r] < BEYOND and lower(keys, depth, r, p):
                    reopen(node, parent, tag, r)
            continue
        found, k, bits = 0, 0, gates[p]
        while bits:
            if bits & 1:
                r = p + steps[k]
                at = found
                while at > 0 and lower(keys, depth, r, near[at - 1]):
                    near[at] = near[at - 1]
                    at -= 1
                near[at] = r
                found += 1
            bits >>= 1
            k += 1
        for k in range(found):
            r = near[k]
            if r < first or r >= last or node[r] == BEYOND:
                reopen(node, parent, tag, p)
            else:
                count = join(node, parent, bound, tag, p, r, edges, count)
    return count


@jit
def reopen(node: Any, parent: Any, tag: Any, p: int) -> None:
    """A pixel's component has its least edge beyond the block."""
    x = component(node, parent, p)
    if x >= 0 and tag[x] == CLOSED:
        tag[x] = OPEN


@jit
def join(
    node: Any, parent: Any, bound: Any, tag: Any, p: int, r: int, edges: Any, count: int
) -> int:
    x, y = component(node, parent, p), component(node, parent, r)
    x, y = min(x, y), max(x, y)
    if x == y or y < 0:
        return count
    near, far = x if x < 0 else tag[x], tag[y]
    if near < 0 and far < 0:
        return count
    seeds = bound.size - 1
    u, v = root(bound, seeds if near < 0 else x), root(bound, seeds if far < 0 else y)
    if u == v:
        return count
    bound[u] = v
    if near != CLOSED and far != CLOSED:
        edges[count, 0], edges[count, 1] = p, r
        return count + 1
    if x < 0:
        tag[y] = x
        return count
    parent[y] = x
    if near == CLOSED:
        tag[x] = far
    return count


@jit
def number(parent: Any, tag: Any, link: Any) -> int:
    """What became of nodes: a seed (~0, ~1, ...), an open component (0, ...), or `NOTHING`."""
    opened = 0
    for a in range(parent.size):
        if parent[a] != a:
            # Roots come before what hangs on them.
            link[a] = link[root(parent, a)]
        elif tag[a] < 0:
            link[a] = tag[a]
        elif tag[a] == OPEN:
            link[a] = opened
            opened += 1
        else:
            link[a] = NOTHING
    return opened


@jit
def contacts(
    keys: Any,
    depth: Any,
    node: Any,
    link: Any,
    steps: Any,
    first: int,
    last: int,
    shell: Any,
    out: Any,
) -> int:
    """List (pixel, neighbour) where an open component meets a pixel of the shell around the block.

    Of several pixels of one component only the lowest: what is one component already is joined to
    the neighbour by its least edge or by none.
    """
    count = 0
    for i in range(shell.size):
        r = shell[i]
        start = count
        for k in range(steps.size):
            p = r + steps[k]
            if p < first or p >= last or node[p] < 0 or node[p] >= BEYOND:
                continue
            a = link[node[p]]
            if a < 0 or a == NOTHING:
                continue
            at = start
            while at < count and link[node[out[at, 0]]] != a:
                at += 1
            if at == count:
                out[at, 0], out[at, 1] = p, r
                count += 1
            elif lower(keys, depth, p, out[at, 0]):
                out[at, 0] = p
    return count


@jit
def write(node: Any, values: Any, final: Any, starts: Any, out: Any) -> None:
    """Labels of rows of pixels: `values` of seeds, `final` of nodes."""
    for row in range(out.shape[0]):
        at = starts[row]
        for x in range(out.shape[1]):
            a = node[at + x]
            if a < 0:
                out[row, x] = values[~a]
            else:
                out[row, x] = 0 if a >= BEYOND else final[a]


def neighbours(shape: tuple[int, ...], connectivity: int) -> Any:
    """Ascending steps to the neighbours in a flat array of `shape`."""
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    offsets = np.indices((3,) * len(shape)).reshape(len(shape), -1).T - 1
    near = np.count_nonzero(offsets, axis=1)
    return np.sort(offsets[(near > 0) & (near <= connectivity)] @ strides)
