"""A model on an image of any size: tiles, batches of them, and how their outputs are put together.

The grid of tiles, the batches and the weights follow from the whole image, never from its chunks.
Along an axis a tile hands over to the next one within a ramp, and nothing else overlaps: at most
two tiles have weight at a place. Weights are multiples of 2^-b and those of the two add up to 1;
times a float32 they are exact in float64, so that where tiles agree the result is their value.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from gpuseg._backend import floor, threads
from gpuseg.typing import Array, NumpyArray

Index = tuple[int, ...]
Box = tuple[tuple[int, int], ...]
Model = Callable[[Array], Array]

# Bits of the weights of all axes together: those of a product with a float32 are 24 more.
_BITS = 28


class Grid:
    """Where tiles lie on an image, and what each place takes from them.

    Parameters
    ----------
    shape : tuple of int
        Of the image without channels.
    tile, overlap, halo : tuple of int
        For each axis. Tiles begin every tile - overlap pixels, and the last one ends with the
        image. The outer `halo` pixels of a tile get no weight but at the image's border.
    window : {"hann", "linear"}
        Form of the ramps.
    lead : int
        How many of the first axes the model doesn't see.
    """

    def __init__(
        self, shape: Index, tile: Index, overlap: Index, halo: Index, window: str, lead: int
    ) -> None:
        self.shape, self.tile, self.overlap, self.halo = shape, tile, overlap, halo
        self.window, self.lead = window, lead
        self.starts = tuple(map(_starts, shape, tile, overlap))
        self.bits = min(14, _BITS // max(1, len(shape) - lead))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return self.shape, self.tile, self.overlap, self.halo, self.window, self.lead

    @property
    def blended(self) -> bool:
        """Whether outputs mix anywhere."""
        return any(
            o > 2 * h and len(s) > 1
            for o, h, s in zip(self.overlap, self.halo, self.starts, strict=True)
        )

    def indices(self) -> list[Index]:
        """All tiles in raster order."""
        return list(np.ndindex(*map(len, self.starts)))

    def batches(self, size: int) -> list[list[Index]]:
        """All tiles in raster order, some at a time."""
        tiles = self.indices()
        return [tiles[i : i + size] for i in range(0, len(tiles), size)]

    def box(self, index: Index) -> Box:
        """Pixels of the image in a tile."""
        places = zip(self.starts, index, self.tile, self.shape, strict=True)
        return tuple((s[i], min(s[i] + t, n)) for s, i, t, n in places)

    def span(self, axis: int, i: int) -> tuple[int, int]:
        """Where tile `i` along an axis has weight."""
        starts, tile, n = self.starts[axis], self.tile[axis], self.shape[axis]
        low = starts[i - 1] + tile - self.overlap[axis] + self.halo[axis] if i > 0 else 0
        high = starts[i] + tile - self.halo[axis] if i < len(starts) - 1 else n
        return low, high

    def parts(self, axis: int, i: int) -> list[tuple[int, int, NumpyArray | None]]:
        """Span of tile `i` along an axis in up to three parts, with weights; None is 1."""
        low, high = self.span(axis, i)
        rise = self._ramps[axis]
        width = rise.size
        first, last = i == 0 or not width, i == len(self.starts[axis]) - 1 or not width
        inner, outer = (low if first else low + width), (high if last else high - width)
        found: list[tuple[int, int, NumpyArray | None]] = []
        if not first:
            found.append((low, inner, rise))
        if inner < outer:
            found.append((inner, outer, None))
        if not last:
            found.append((outer, high, 1 - rise))
        return found

    @cached_property
    def _ramps(self) -> tuple[NumpyArray, ...]:
        """Rising weights along each axis."""
        return tuple(map(self._ramp, self.overlap, self.halo))

    def _ramp(self, overlap: int, halo: int) -> NumpyArray:
        width = overlap - 2 * halo
        rise = (np.arange(width) + 0.5) / max(width, 1)
        if self.window == "hann":
            rise = 0.5 - 0.5 * np.cos(np.pi * rise)
        ramp: NumpyArray = np.round(rise * 2**self.bits) / 2**self.bits
        return ramp

    @cached_property
    def spans(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Of each axis, the spans of all its tiles."""
        return tuple(
            tuple(self.span(axis, i) for i in range(len(starts)))
            for axis, starts in enumerate(self.starts)
        )

    def within(self, box: Box) -> list[Index]:
        """Tiles that have weight in a box, in raster order."""
        along = [
            [i for i, (low, high) in enumerate(spans) if low < end and high > start]
            for spans, (start, end) in zip(self.spans, box, strict=True)
        ]
        return list(itertools.product(*along))


def _starts(n: int, tile: int, overlap: int) -> tuple[int, ...]:
    n = max(n, tile)
    count = max(1, -(-(n - overlap) // (tile - overlap)))
    return tuple(min(i * (tile - overlap), n - tile) for i in range(count))


def namespace(array: Array) -> Any:
    """Module of an array: numpy, or cupy, which is there because the array is."""
    if floor(array) == "_cpu":
        return np
    return sys.modules[type(array).__module__.partition(".")[0]]


def stacked(tiles: Sequence[Array], grid: Grid, size: int) -> Array:
    """Tiles as the model takes them, as many as a batch has: the last one repeats.

    What lies beyond an image smaller than a tile mirrors it.
    """
    channels = tiles[0].shape[: tiles[0].ndim - len(grid.tile)]
    batch = namespace(tiles[0]).empty((size, *channels, *grid.tile), dtype=tiles[0].dtype)
    for slot in range(size):
        tile = tiles[min(slot, len(tiles) - 1)]
        batch[(slot, ..., *(slice(0, n) for n in tile.shape[len(channels) :]))] = tile
    for axis, full in enumerate(grid.tile):
        _mirror(batch, 1 + len(channels) + axis, min(full, grid.shape[axis]))
    return batch.reshape((size, *channels, *grid.tile[grid.lead :]))


def _mirror(batch: Array, axis: int, filled: int) -> None:
    """Continue an axis beyond what is filled of it."""
    before = (slice(None),) * axis
    while filled < batch.shape[axis]:
        more = min(filled, batch.shape[axis] - filled)
        mirrored = batch[(*before, slice(filled - more, filled))][(*before, slice(None, None, -1))]
        batch[(*before, slice(filled, filled + more))] = mirrored
        filled += more


def checked(output: Any, batch: Array, grid: Grid) -> Array:
    """What a model returned, if it can be put together.

    Raises
    ------
    TypeError
        If it is elsewhere than the tiles, or cannot be blended.
    ValueError
        If it has another shape than the tiles.
    """
    try:
        elsewhere = floor(output) != floor(batch)
    except TypeError:
        elsewhere = True
    if elsewhere:
        raise TypeError(
            f"model must return arrays where the tiles are, {type(batch)}, got {type(output)}"
        )
    size, tile = batch.shape[0], grid.tile[grid.lead :]
    fits = output.ndim in (len(tile) + 1, len(tile) + 2) and output.shape[0] == size
    if not fits or tuple(output.shape[-len(tile) :]) != tile:
        sizes = ", ".join(map(str, tile))
        raise ValueError(
            f"model must return shape ({size}, {sizes}) or ({size}, channels, {sizes}) for tiles "
            f"of shape {tuple(batch.shape)}, got {tuple(output.shape)}"
        )
    if grid.blended and output.dtype.kind != "f":
        raise TypeError(
            f"model must return floats to be blended, got {output.dtype}; tiles of classes meet "
            "without a ramp where halo is half the overlap"
        )
    return output


# Part of a tile along an axis, where it goes in a box, and its weights; None is 1.
Piece = tuple[slice, slice, Array | None]


class Blend:
    """What is known of a box of the result, to which each tile that has weight there is added.

    Places that one tile decides, most of them, are copied. The others fall into cells, in which the
    same 2^k tiles have weight; a cell is added up in float64 until the last of them is there.
    """

    def __init__(self, result: Array, box: Box, grid: Grid) -> None:
        self._result, self._box, self._grid = result, box, grid
        self._xp = namespace(result)
        self._known: dict[Index, list[Piece]] = {}
        self._cells: dict[Index, tuple[int, Array]] = {}

    def add(self, output: Array, index: Index) -> None:
        """Add a tile's output, times its weights; tiles come in raster order."""
        lead = output.ndim - len(self._grid.tile[self._grid.lead :])
        shape = output.shape
        output = output.reshape(shape[:lead] + self._grid.tile[: self._grid.lead] + shape[lead:])
        for axis, i in enumerate(index):
            if (axis, i) not in self._known:
                self._known[axis, i] = self._pieces(axis, i)
        for cell in itertools.product(*(self._known[axis] for axis in enumerate(index))):
            inner, outer, factors = zip(*cell, strict=True)
            weights = [factor for factor in factors if factor is not None]
            part, place = output[(..., *inner)], (..., *outer)
            if weights:
                self._mix(part, place, weights)
            else:
                self._result[place] = part

    def _pieces(self, axis: int, i: int) -> list[Piece]:
        """Along an axis: parts of a tile within the box, where they go, and their weights."""
        found: list[Piece] = []
        start, end = self._box[axis]
        corner = self._grid.starts[axis][i]
        for low, high, weights in self._grid.parts(axis, i):
            first, last = max(low, start), min(high, end)
            if first >= last:
                continue
            if weights is not None:
                shape = [-1 if at == axis else 1 for at in range(len(self._box))]
                weights = self._xp.asarray(weights[first - low : last - low].reshape(shape))
            inner, outer = slice(first - corner, last - corner), slice(first - start, last - start)
            found.append((inner, outer, weights))
        return found

    def _mix(self, part: Array, place: tuple[Any, ...], weights: Sequence[Array]) -> None:
        # One factor after the other: their product has more bits than a float64 leaves to it.
        mixed = part * weights[0]  # float64, as weights are
        for factor in weights[1:]:
            mixed *= factor
        corner = tuple(axis.start for axis in place[1:])
        count, before = self._cells.pop(corner, (0, 0.0))
        mixed += before  # at first 0: two negative zeros make a positive one, as in any sum
        if count + 1 < 2 ** len(weights):
            self._cells[corner] = count + 1, mixed
        else:
            self._result[place] = mixed


def predict(image: Array, model: Model, grid: Grid, batch: int, parallel: bool) -> Array:
    """Outputs for an image in memory, channels first."""
    results = _outputs(image, model, grid, batch, parallel)
    first = next(results)
    like = first[1]
    lead = like.shape[: like.ndim - len(grid.tile[grid.lead :])]
    result = namespace(like).empty((*lead, *grid.shape), dtype=like.dtype)
    blend = Blend(result, tuple((0, size) for size in grid.shape), grid)
    for index, output in itertools.chain([first], results):
        blend.add(output, index)
    return result


def _outputs(
    image: Array, model: Model, grid: Grid, size: int, parallel: bool
) -> Iterator[tuple[Index, Array]]:
    """Each tile's output in raster order; batches side by side if the model allows that."""

    def run(indices: list[Index]) -> Array:
        tiles = [image[(..., *(slice(*ends) for ends in grid.box(index)))] for index in indices]
        batch = stacked(tiles, grid, size)
        return checked(model(batch), batch, grid)

    todo = grid.batches(size)
    workers = threads() if parallel else 1
    if workers == 1:
        found: Iterator[Array] = map(run, todo)
    else:
        found = _side_by_side(run, todo, workers)
    for indices, outputs in zip(todo, found, strict=True):
        yield from zip(indices, outputs, strict=False)


def _side_by_side(
    run: Callable[[list[Index]], Array], todo: list[list[Index]], workers: int
) -> Iterator[Array]:
    running: deque[Future[Array]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for indices in todo:
                running.append(pool.submit(run, indices))
                if len(running) > workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
