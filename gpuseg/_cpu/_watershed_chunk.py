"""A chunk of a watershed, with what its neighbours hold around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gpuseg._cpu import _watershed_basins as basins
from gpuseg._cpu._watershed_block import Block, Frame
from gpuseg._cpu._watershed_flats import Flats, flats
from gpuseg._shared.order_keys import order_keys
from gpuseg.typing import NumpyArray

Index = tuple[int, ...]


class Place(NamedTuple):
    """Where a chunk lies, and what its neighbours are."""

    origin: Index
    whole: Index
    connectivity: int


# Offset to a neighbour, and the pixels of it that touch the chunk: image, and mask if there is one.
Rim = tuple[Index, NumpyArray, NumpyArray | None]


def survey(
    image: NumpyArray, markers: NumpyArray, mask: NumpyArray | None, rims: Sequence[Rim], at: Place
) -> Flats:
    """First reading: what a chunk tells of its flats."""
    return flats(_block(image, markers, mask, rims, at), at.connectivity)


def solved(
    image: NumpyArray,
    markers: NumpyArray,
    mask: NumpyArray | None,
    rims: Sequence[Rim],
    depths: Iterable[tuple[NumpyArray, NumpyArray]],
    at: Place,
) -> Block:
    """Second and third reading: components of a chunk, given (places, depths) of faces around."""
    block = _block(image, markers, mask, rims, at)
    halo = block.way == basins.HALO
    for places, values in depths:
        index = np.unravel_index(places, at.whole)
        moved = [x - (start - 1) for x, start in zip(index, at.origin, strict=True)]
        sizes = block.frame.keys.shape
        inside = np.logical_and.reduce(
            [(x >= 0) & (x < n) for x, n in zip(moved, sizes, strict=True)]
        )
        pixels = np.ravel_multi_index([x[inside] for x in moved], sizes)
        there = halo[pixels]
        block.depth[pixels[there]] = values[inside][there]
    block.flats()
    if block.deepen(own=True, beyond=True):
        block.spread()
    block.settle()
    # Flats without any way down reach beyond the chunk, too.
    block.depth[halo & (block.depth == basins.FAR)] = 0
    block.solve()
    return block


def _block(
    image: NumpyArray, markers: NumpyArray, mask: NumpyArray | None, rims: Sequence[Rim], at: Place
) -> Block:
    frame = Frame.around(image.shape, image.dtype)
    block = Block(frame, at.connectivity, at.origin, at.whole)
    block.fill(image, markers, mask)
    sides = {-1: slice(0, 1), 0: slice(1, -1), 1: slice(-1, None)}
    for offset, values, inside in rims:
        region = tuple(sides[step] for step in offset)
        keys = order_keys(values)
        if inside is not None:
            keys = np.where(inside, keys, block.nothing)
        frame.keys[region] = keys
        frame.way[region] = np.where(keys == block.nothing, basins.OUT, basins.HALO)
    return block
