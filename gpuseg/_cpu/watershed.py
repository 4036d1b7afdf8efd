"""Watershed on the CPU: tiles are solved side by side, and joined along their seams."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu import _watershed_merge as merge
from gpuseg._cpu._watershed_block import Block, Frame
from gpuseg._cpu.label import label
from gpuseg._shared.window import native
from gpuseg.typing import NumpyArray

Index = tuple[int, ...]

# Below this many pixels a second thread costs more than it brings.
_PIXELS_PER_THREAD = 1 << 17
_STRIPS_PER_THREAD = 2
# Pixels of a tile, whose passes then stay within the cache: edges are taken in the order of their
# values, which is any order in space. Noise of 2048² in one piece took four times as long.
_TILE = 1 << 17
# Pixels of a strip are counted in 32 bits, those of the frame and of its neighbours among them.
_MOST = 1 << 30


def watershed(
    image: NumpyArray, markers: NumpyArray, mask: NumpyArray | None, connectivity: int
) -> NumpyArray:
    """Labels of the minimum spanning forest rooted in the markers; 0 outside the mask."""
    kind = np.dtype(np.int32 if markers.dtype.itemsize < 4 or markers.dtype == "i4" else np.int64)
    out = np.zeros(image.shape, kind)
    if image.size:
        _solve(image, markers, mask, connectivity, out)
    return out.astype(markers.dtype, copy=False)


def _solve(
    image: NumpyArray,
    markers: NumpyArray,
    mask: NumpyArray | None,
    connectivity: int,
    out: NumpyArray,
) -> None:
    frame = Frame.around(image.shape, image.dtype)
    spans = _strips(image.shape, image.size)
    tiles = _tiles(image.shape)
    strips = [
        Block(frame.rows(*span), connectivity, (span[0], *(0,) * (image.ndim - 1)), image.shape)
        for span in spans
    ]

    def fill(strip: Block, span: tuple[int, int]) -> None:
        rows = slice(*span)
        strip.fill(image[rows], markers[rows], None if mask is None else mask[rows])

    def solve(tile: tuple[Index, Index]) -> tuple[Block, merge.Part]:
        block = Block(frame.window(*tile), connectivity, tile[0], image.shape)
        block.take_values(markers[_region(tile)])
        block.solve()
        part = block.part()
        block.forget()
        return block, part

    def write(block: Block, labels: NumpyArray, tile: tuple[Index, Index]) -> None:
        found = np.empty(block.shape, out.dtype)
        block.write(labels, found)
        out[_region(tile)] = found

    workers = max(1, min(threads(), image.size // _PIXELS_PER_THREAD))
    with ThreadPoolExecutor(workers) as pool:

        def each(task: Callable[..., Any], *arguments: Any) -> list[Any]:
            return list((map if workers == 1 else pool.map)(task, *arguments))

        each(fill, strips, spans)
        _deepen(strips, each)
        solved = each(solve, tiles)
        _, links = merge.join([part for _, part in solved])
        labels = merge.spread(links, np.empty(0, np.int64))
        each(write, [block for block, _ in solved], labels, tiles)


def _region(tile: tuple[Index, Index]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(*tile, strict=True))


def _tiles(shape: Index) -> list[tuple[Index, Index]]:
    """First pixel of each tile, and the one after its last."""
    side = max(1, round(_TILE ** (1 / len(shape))))
    counts = [-(-size // side) for size in shape]
    edges = [
        [size * k // count for k in range(count + 1)]
        for size, count in zip(shape, counts, strict=True)
    ]
    return [
        (
            tuple(cuts[i] for cuts, i in zip(edges, index, strict=True)),
            tuple(cuts[i + 1] for cuts, i in zip(edges, index, strict=True)),
        )
        for index in np.ndindex(*counts)
    ]


def _deepen(blocks: list[Block], each: Callable[..., list[Any]]) -> None:
    """Depths of flat pixels, from strip to strip until none changes."""
    each(Block.flats, blocks)
    each(lambda block: block.deepen(own=True, beyond=False), blocks)
    each(Block.spread, blocks)
    while len(blocks) > 1:
        # One after the other, because each looks at rows of the next.
        found = [block.deepen(own=False, beyond=True) for block in blocks]
        if not any(found):
            break
        each(Block.spread, blocks)
    each(Block.settle, blocks)


def _strips(shape: tuple[int, ...], size: int) -> list[tuple[int, int]]:
    workers = max(1, min(threads(), size // _PIXELS_PER_THREAD))
    count = 1 if workers == 1 else workers * _STRIPS_PER_THREAD
    framed = int(np.prod([side + 2 for side in shape], dtype=np.int64))
    count = min(max(count, -(-framed // _MOST)), shape[0])
    edges = [shape[0] * k // count for k in range(count + 1)]
    return list(pairwise(edges))


def minima(image: NumpyArray, mask: NumpyArray | None, connectivity: int) -> NumpyArray:
    """Labels of the local minima, as scikit-image floods from where no markers are given."""
    from skimage.morphology import local_minima

    # scikit-image takes neither half floats nor another byte order.
    half = image.dtype.kind == "f" and image.dtype.itemsize == 2
    image = image.astype(np.float32 if half else native(image.dtype), copy=False)
    low = local_minima(image, connectivity=connectivity)
    labels, _ = label(low if mask is None else low & mask, connectivity)
    return labels


def paint(image: NumpyArray, points: NumpyArray) -> NumpyArray:
    """Labels 1, 2, ... (int32) of points."""
    labels = np.zeros(image.shape, np.int32)
    # From the last to the first, which stays.
    labels[tuple(points[::-1].T)] = np.arange(len(points), 0, -1)
    return labels
