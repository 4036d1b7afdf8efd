"""Depths of flats that cross the faces of blocks.

A block finds depths by the ways down that it has itself. What another block's way down can change
are flats that reach a face with an equal pixel beyond it, at a depth of 2 or more there: only of
these a block gives away what they look like, as runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpuseg._cpu import _watershed_basins as basins
from gpuseg._cpu._jit import jit
from gpuseg._cpu._watershed_block import Block
from gpuseg.typing import NumpyArray


class Flats(NamedTuple):
    """What a block tells of its flats.

    Depths other than 0 of pixels on its faces: these pixels in the frame of `shape`, and their
    places in the whole, ascending. Then of the flats that may change: runs as (start, length,
    value), the pixels next to a way down, and (pixel, place) where an equal pixel lies beyond.
    """

    pixels: NumpyArray
    places: NumpyArray
    depths: NumpyArray
    shape: tuple[int, ...]
    connectivity: int
    runs: NumpyArray
    shores: NumpyArray
    crossings: NumpyArray


def flats(block: Block, connectivity: int) -> Flats:
    """Flats of a block that knows the keys around it, but no depths there."""
    block.flats()
    if block.deepen(own=True, beyond=False):
        block.spread()
    faces = block.faces
    deep = faces[block.depth[faces] > 0]
    pairs = np.empty((deep.size * block.steps.size, 2), np.int64)
    span = block.span
    count = _crossings(block.keys, block.way, block.steps, *span, deep, pairs)
    pairs = pairs[:count]
    start = np.unique(pairs[block.depth[pairs[:, 0]] > 1, 0]).astype(np.int32)
    reached = np.where(block.depth > 0, basins.FAR, 0).astype(np.int32)
    reached[start] = 1
    if start.size:
        queue = np.empty(block.flat.size, np.int32)
        where = (block.keys, block.way, reached, block.steps, *span)
        basins.spread(*where, start, queue)
    moving = np.flatnonzero((reached > 0) & (reached < basins.FAR))
    pairs = pairs[(reached[pairs[:, 0]] < basins.FAR)]
    _, values = np.unique(block.keys[moving], return_inverse=True)
    shores = moving[block.depth[moving] == 1]
    crossings = np.stack([pairs[:, 0], block.places(pairs[:, 1])], axis=1)
    return Flats(
        deep,
        block.places(deep),
        block.depth[deep],
        block.frame.keys.shape,
        connectivity,
        _runs(moving, values + 1),
        shores,
        crossings,
    )


def _runs(pixels: NumpyArray, values: NumpyArray) -> NumpyArray:
    breaks = np.flatnonzero((np.diff(pixels) != 1) | (np.diff(values) != 0)) + 1
    starts = np.concatenate([[0], breaks]).astype(np.int64)[: pixels.size or 0]
    lengths = np.diff(np.append(starts, pixels.size))
    return np.stack([pixels[starts], lengths, values[starts]], axis=1)


def settle(some: Sequence[Flats]) -> list[NumpyArray]:
    """Final depths of the faces of all blocks, in the order of their places.

    A block's flats are unpacked, and depths carried through them from its faces, whenever a
    neighbour's have changed; only one is unpacked at a time.
    """
    places = np.concatenate([one.places for one in some])
    depths = np.concatenate([one.depths for one in some]).astype(np.int64)
    order = np.argsort(places)
    names, known = places[order], depths[order]
    owner = np.repeat(np.arange(len(some)), [one.places.size for one in some])[order]
    waiting = deque(k for k, one in enumerate(some) if one.crossings.size)
    queued = {*waiting}
    while waiting:
        k = waiting.popleft()
        queued.discard(k)
        for place in _relaxed(some[k], names, known):
            other = int(owner[place])
            if other != k and other not in queued and some[other].crossings.size:
                waiting.append(other)
                queued.add(other)
    found = known[np.argsort(order)] if order.size else known
    return np.split(found, np.cumsum([one.places.size for one in some])[:-1])


def _relaxed(one: Flats, names: NumpyArray, known: NumpyArray) -> NumpyArray:
    """Carry depths through one block; returns which faces of others that may change."""
    beyond = _depths_at(names, known, one.crossings[:, 1])
    own = np.searchsorted(names, one.places)
    values = np.zeros(int(np.prod(one.shape)), np.int32)
    depth = np.zeros(values.size, np.int32)
    for start, length, value in one.runs.tolist():
        values[start : start + length] = value
        depth[start : start + length] = basins.FAR
    depth[one.shores] = 1
    near = np.where(beyond < basins.FAR, beyond + 1, basins.FAR)
    np.minimum.at(depth, one.crossings[:, 0], near.astype(np.int32))
    sources = np.unique(np.concatenate([one.shores, one.crossings[near < basins.FAR, 0]]))
    sources = sources[np.argsort(depth[sources], kind="stable")].astype(np.int32)
    steps = basins.neighbours(one.shape, one.connectivity)
    way = np.zeros(values.size, np.uint8)
    # Pixels that are no part of these flats have value 0 and depth 0, which nothing improves.
    basins.spread(values, way, depth, steps, 0, depth.size, sources, np.empty_like(depth))
    # One less, since one more is beyond 32 bits where no depth is known.
    changed = one.crossings[depth[one.crossings[:, 0]] < beyond - 1]
    inside = values[one.pixels] > 0
    known[own[inside]] = depth[one.pixels[inside]]
    return np.searchsorted(names, changed[:, 1])


@jit
def _crossings(
    keys: Any, way: Any, steps: Any, first: int, last: int, pixels: Any, out: Any
) -> int:
    """List pairs of a pixel and an equal one beyond the block."""
    count = 0
    for i in range(pixels.size):
        p = pixels[i]
        for k in range(steps.size):
            r = p + steps[k]
            if keys[r] == keys[p] and (r < first or r >= last or way[r] == basins.HALO):
                out[count, 0], out[count, 1] = p, r
                count += 1
    return count


def _depths_at(names: NumpyArray, known: NumpyArray, places: NumpyArray) -> NumpyArray:
    """Depths of faces, 0 for those that are not among the names."""
    if names.size == 0:
        return np.zeros(places.size, np.int64)
    at = np.minimum(np.searchsorted(names, places), names.size - 1)
    return np.where(names[at] == places, known[at], 0)
