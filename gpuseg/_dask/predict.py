"""A model on a chunked image: one task a batch of tiles, one more to put each chunk together.

Batches are those of the whole image in raster order, so that a chunk's result needs the batches
that reach it, whichever chunks their tiles lie in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from dask.base import tokenize

from gpuseg._backend import limit_threads
from gpuseg._dask import _by_label as by_label
from gpuseg._shared.prediction import (
    Blend,
    Box,
    Grid,
    Index,
    Model,
    checked,
    namespace,
    stacked,
)
from gpuseg.typing import Array

Slot = tuple[Index, int, int]


def predict(image: Array, model: Model, grid: Grid, batch: int) -> Array:
    """Lazy outputs, channels first, in the image's chunks."""
    import dask.array as da

    lead = image.ndim - len(grid.shape)
    given = image.chunks[lead:]
    full = tuple(tuple(size for size in sizes if size) for sizes in given)  # no tile is in the rest
    image = image.rechunk((*((size,) for size in image.shape[:lead]), *full))
    like = _probe(image, model, grid, batch, lead)
    channels = like.shape[1 : 1 + like.ndim - 1 - len(grid.tile[grid.lead :])]
    name = f"predict-{tokenize(image.name, model, grid, batch)}"
    # A key of its own: a network's weights reach each worker once, not with every task.
    graph: by_label.Graph = {f"{name}-model": model}
    boxes = _Boxes(image.chunks[lead:])
    slots: dict[Index, tuple[int, int]] = {}
    for number, indices in enumerate(grid.batches(batch)):
        slots |= {index: (number, slot) for slot, index in enumerate(indices)}
        where = sorted({at for index in indices for at in boxes.meeting(grid.box(index))})
        keys = [(image.name, *(0,) * lead, *at) for at in where]
        corners = [boxes.box(at) for at in where]
        run = partial(_run, corners=corners, indices=indices, size=batch, grid=grid)
        graph[f"{name}-batch", number] = (run, keys, f"{name}-model")
    for at in np.ndindex(*boxes.numblocks):
        box = boxes.box(at)
        tiles = [(index, *slots[index]) for index in grid.within(box)]
        needed = sorted({number for _, number, _ in tiles})
        tiles = [(index, needed.index(number), slot) for index, number, slot in tiles]
        blend = partial(_blend, box=box, tiles=tiles, grid=grid)
        keys = [(f"{name}-batch", number) for number in needed]
        graph[(name, *(0,) * len(channels), *at)] = (blend, keys)
    chunks = (*((size,) for size in channels), *image.chunks[lead:])
    meta = like.reshape(-1)[:0].reshape((0,) * len(chunks))
    found = da.Array(by_label.layers(graph, name, [image]), name, chunks, meta=meta)
    return found.rechunk((*chunks[: len(channels)], *given))


class _Boxes:
    """Chunks of some axes as boxes."""

    def __init__(self, chunks: Sequence[Sequence[int]]) -> None:
        self._edges = [np.cumsum((0, *sizes)).tolist() for sizes in chunks]
        self.numblocks = tuple(len(sizes) for sizes in chunks)

    def box(self, at: Index) -> Box:
        return tuple((edges[i], edges[i + 1]) for edges, i in zip(self._edges, at, strict=True))

    def meeting(self, box: Box) -> list[Index]:
        """Chunks that share pixels with a box."""
        firsts = [
            int(np.searchsorted(edges, low, side="right")) - 1
            for edges, (low, _) in zip(self._edges, box, strict=True)
        ]
        counts = [
            int(np.searchsorted(edges, high, side="left")) - first
            for edges, (_, high), first in zip(self._edges, box, firsts, strict=True)
        ]
        return [
            tuple(i + first for i, first in zip(at, firsts, strict=True))
            for at in np.ndindex(*counts)
        ]


def _probe(image: Array, model: Model, grid: Grid, size: int, lead: int) -> Array:
    """What the model makes of zeros: nothing but the model knows its channels and type."""
    xp = namespace(image._meta)
    tile = xp.zeros((*image.shape[:lead], *grid.tile), dtype=image.dtype)
    batch = stacked([tile], grid, size)
    with np.errstate(all="ignore"):
        return checked(model(batch), batch, grid)


def _run(
    blocks: list[Array],
    model: Model,
    *,
    corners: list[Box],
    indices: list[Index],
    size: int,
    grid: Grid,
) -> Array:
    """A batch of tiles, cut from the chunks that hold them, through the model."""
    with limit_threads(1):
        tiles = [_cut(blocks, corners, grid.box(index)) for index in indices]
        batch = stacked(tiles, grid, size)
        return checked(model(batch), batch, grid)


def _cut(blocks: list[Array], corners: list[Box], box: Box) -> Array:
    xp = namespace(blocks[0])
    lead = blocks[0].shape[: blocks[0].ndim - len(box)]
    tile = xp.empty((*lead, *(high - low for low, high in box)), dtype=blocks[0].dtype)
    for block, corner in zip(blocks, corners, strict=True):
        shared = [
            (max(a, low), min(b, high)) for (a, b), (low, high) in zip(corner, box, strict=True)
        ]
        if all(first < last for first, last in shared):
            tile[_slices(shared, box)] = block[_slices(shared, corner)]
    return tile


def _slices(shared: Sequence[tuple[int, int]], box: Box) -> tuple[Any, ...]:
    pairs = zip(shared, box, strict=True)
    return (..., *(slice(first - low, last - low) for (first, last), (low, _) in pairs))


def _blend(outputs: list[Array], *, box: Box, tiles: list[Slot], grid: Grid) -> Array:
    """A chunk of the result, from the tiles that have weight in it, in raster order."""
    first = outputs[0]
    xp = namespace(first)
    channels = first.shape[1 : 1 + first.ndim - 1 - len(grid.tile[grid.lead :])]
    shape = (*channels, *(high - low for low, high in box))
    result = xp.empty(shape, dtype=first.dtype)
    blend = Blend(result, box, grid)
    for index, number, slot in tiles:
        blend.add(outputs[number][slot], index)
    return result
