"""Chunks with the rims of their neighbours around them: two tasks a chunk.

`dask.array.overlap` cuts and joins rims one by one, which makes 26 tasks of a chunk in space; they
cost 8 ms, more than most filters of it. Here one task copies all rims of a chunk, and one puts
those of the neighbours around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from gpuseg.typing import Array

Index = tuple[int, ...]


def map_surrounded(
    function: Callable[[Array], Array],
    image: Array,
    reach: Sequence[int],
    wrap: bool,
    dtype: np.dtype[Any],
) -> Array:
    """Lazy: `function` of every chunk with `reach` pixels around, of which the inner ones are kept.

    Beyond the image there is nothing around, or with `wrap` its other end. No chunk may be thinner
    than `reach`; `function` keeps the shape.
    """
    name = f"surrounded-{tokenize(function, image.name, reach, wrap)}"
    steps = [(-1, 0, 1) if wide else (0,) for wide in reach]
    graph: dict[Any, Any] = {}
    for index in np.ndindex(image.numblocks):
        graph[f"{name}-rims", *index] = (partial(_rims, reach=reach), (image.name, *index))
        offsets, keys = [], []
        for offset in itertools.product(*steps):
            at = [i + step for i, step in zip(index, offset, strict=True)]
            if wrap:
                at = [i % n for i, n in zip(at, image.numblocks, strict=True)]
            elif not all(0 <= i < n for i, n in zip(at, image.numblocks, strict=True)):
                continue
            if any(offset):
                offsets.append(offset)
                keys.append((f"{name}-rims", *at))
        task = partial(_surrounded, function=function, reach=reach, offsets=offsets)
        graph[name, *index] = (task, (image.name, *index), keys)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[image])
    return da.Array(layers, name, image.chunks, meta=image._meta.astype(dtype))


def _rims(block: Array, *, reach: Sequence[int]) -> dict[Index, Array]:
    """Copies of the outermost pixels towards each side and corner."""
    sides = [
        {-1: slice(None, wide), 0: slice(None), 1: slice(-wide, None)} if wide else {0: slice(None)}
        for wide in reach
    ]
    return {
        offset: block[tuple(side[step] for side, step in zip(sides, offset, strict=True))].copy()
        for offset in itertools.product(*sides)
        if any(offset)
    }


def _surrounded(
    block: Array,
    rims: Sequence[dict[Index, Array]],
    *,
    function: Callable[[Array], Array],
    reach: Sequence[int],
    offsets: Sequence[Index],
) -> Array:
    before = [wide * any(o[axis] < 0 for o in offsets) for axis, wide in enumerate(reach)]
    after = [wide * any(o[axis] > 0 for o in offsets) for axis, wide in enumerate(reach)]
    cuts = [
        {-1: slice(0, a), 0: slice(a, a + size), 1: slice(a + size, a + size + b)}
        for a, b, size in zip(before, after, block.shape, strict=True)
    ]
    shape = tuple(cut[1].stop for cut in cuts)
    around = np.empty_like(block, shape=shape)

    def place(offset: Index) -> tuple[slice, ...]:
        return tuple(cut[step] for cut, step in zip(cuts, offset, strict=True))

    inner = place((0,) * block.ndim)
    around[inner] = block
    for offset, rim in zip(offsets, rims, strict=True):
        around[place(offset)] = rim[tuple(-step for step in offset)]
    return function(around)[inner]
