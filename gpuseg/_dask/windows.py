"""Filters of chunked arrays: each chunk by its own floor, with what its neighbours hold around it.

What lies outside the image is left to the chunk's floor, which makes it up by the same mode as for
the whole: chunks at the border get nothing there. What that makes up beside a neighbour is wrong
and cut off with the halo. Only `wrap` needs the other end of the image, and gets it as a halo.
"""

from __future__ import annotations

from functools import partial

import dask.array as da
from dask.array.overlap import ensure_minimum_chunksize

from gpuseg._backend import implementation, limit_threads
from gpuseg._dask._halo import map_surrounded
from gpuseg._shared.window import Window
from gpuseg.typing import Array


def apply(image: Array, window: Window) -> Array:
    """Lazy: what `window` says of the whole image, in the image's chunks."""
    if any(size != size for size in image.shape):
        raise ValueError(
            f"image must have chunks of known sizes, got shape {image.shape}; "
            "call image.compute_chunk_sizes() first"
        )
    if image.size == 0:
        return da.empty_like(image, dtype=window.dtype)
    if window.one_by_one and any(image.numblocks[axis] > 1 for axis in window.whole):
        for one in window.one_by_one:
            image = apply(image, one)
        return image
    cut = image.rechunk(
        tuple(
            _chunks(sizes, reach, axis in window.whole)
            for axis, (sizes, reach) in enumerate(zip(image.chunks, window.reach, strict=True))
        )
    )
    function = partial(_block, window=window)
    reach = tuple(wide if cut.numblocks[axis] > 1 else 0 for axis, wide in enumerate(window.reach))
    if any(reach):
        found = map_surrounded(function, cut, reach, window.mode == "wrap", window.dtype)
    else:
        meta = image._meta.astype(window.dtype)
        found = cut.map_blocks(function, dtype=window.dtype, meta=meta)
    return found.rechunk(image.chunks)


def _chunks(sizes: tuple[int, ...], reach: int, whole: bool) -> tuple[int, ...]:
    """Sizes of chunks none of which needs more than its next neighbours."""
    sizes = tuple(size for size in sizes if size)
    if whole or sum(sizes) <= reach:
        return (sum(sizes),)
    enough: tuple[int, ...] = ensure_minimum_chunksize(reach, sizes) if reach else sizes
    return enough


def _block(block: Array, *, window: Window) -> Array:
    with limit_threads(1):
        return implementation(block, "windows").apply(block, window)
