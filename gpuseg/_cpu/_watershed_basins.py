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

# What `way` says beyond the number of the step to the lowest neighbour.
ROOT, LOW, HALO, OUT = 252, 253, 254, 255
# Depth of flat pixels that no way down is known for.
FAR = 2**31 - 1
# What `node` says beyond nodes (from 0 on) and seeds (~0, ~1, ...).
UNSET, NOTHING, BEYOND = -(2**31), 2**31 - 1, 2**31 - 2
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
    way: Any,
    depth: Any,
    node: Any,
    steps: Any,
    first: int,
    last: int,
    nothing: Any,
    rim: Any,
    halo: Any,
) -> tuple[int, int]:
    """Find the higher pixels of edges between different nodes, unless both have seeds.

    Returns how many there are in the block, and beyond it (where some come more than once).
    """
    count = beyond = 0
    for p in range(first, last):
        if way[p] >= HALO:
            continue
        a = node[p]
        found = False
        for k in range(steps.size):
            r = p + steps[k]
            if r < first or r >= last or node[r] == BEYOND:
                if a < 0 or keys[r] == nothing:
                    continue
                if lower(keys, depth, r, p):
                    found = True
                else:
                    halo[beyond] = r
                    beyond += 1
                continue
            b = node[r]
            if b != a and b != NOTHING and (a >= 0 or b >= 0):
                found |= lower(keys, depth, r, p)
        if found:
            rim[count] = p
            count += 1
    return count, beyond


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
def root(parent: Any, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


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
    nothing: Any,
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
        inside = first <= p < last and node[p] != BEYOND
        here = component(node, parent, p) if inside else 0
        found = 0
        for k in range(steps.size):
            r = p + steps[k]
            own = first <= r < last and node[r] != BEYOND
            if not own and (not inside or keys[r] == nothing):
                continue
            if own and node[r] == NOTHING:
                continue
            # What is joined stays so, and sorting 26 neighbours is dear.
            if own and inside and (node[r] == node[p] or joined(node, parent, tag, here, r)):
                continue
            if not lower(keys, depth, r, p):
                continue
            at = found
            while at > 0 and lower(keys, depth, r, near[at - 1]):
                near[at] = near[at - 1]
                at -= 1
            near[at] = r
            found += 1
        for k in range(found):
            r = near[k]
            if not inside or r < first or r >= last or node[r] == BEYOND:
                x = component(node, parent, p if inside else r)
                if x >= 0 and tag[x] == CLOSED:
                    tag[x] = OPEN
                continue
            count = join(node, parent, bound, tag, p, r, edges, count)
    return count


@jit
def joined(node: Any, parent: Any, tag: Any, x: int, p: int) -> bool:
    """Whether a pixel is in component `x`, or both have seeds."""
    y = component(node, parent, p)
    return bool(x == y or ((x < 0 or tag[x] < 0) and (y < 0 or tag[y] < 0)))


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
    node: Any,
    link: Any,
    steps: Any,
    first: int,
    last: int,
    faces: Any,
    out: Any,
    nothing: Any,
) -> int:
    """List (pixel, neighbour) where an open component meets a pixel beyond the block."""
    count = 0
    for i in range(faces.size):
        p = faces[i]
        if node[p] < 0 or link[node[p]] < 0 or link[node[p]] == NOTHING:
            continue
        for k in range(steps.size):
            r = p + steps[k]
            if (r < first or r >= last or node[r] == BEYOND) and keys[r] != nothing:
                out[count, 0], out[count, 1] = p, r
                count += 1
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
