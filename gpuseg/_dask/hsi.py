"""Positive pixels of chunked arrays: each chunk by its own floor, tallies summed as a tree.

1. The channel axis becomes one chunk, and a mask takes the image's chunks.
2. A block gives labels, or the 14 integers of its tally.
3. Integers are summed over the blocks, nine at a time; the last division follows them all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np

from gpuseg._backend import implementation, limit_threads
from gpuseg._shared.hsi import WORDS, Output, Rule, Tally
from gpuseg.typing import Array

# Over two axes, this is three by three.
_SPLIT_EVERY = 9


def classify(image: Array, rule: Rule, mask: Array | None = None) -> Array:
    """Lazy labels (uint8), chunked as the image's pixels."""
    image, masks = aligned(image, mask)
    axes = tuple(range(image.ndim))
    return da.blockwise(
        partial(_labels, rule=rule),
        axes[:-1],
        image,
        axes,
        *(part for one in masks for part in (one, axes[:-1])),
        concatenate=True,
        dtype=np.uint8,
        meta=np.empty_like(image._meta, shape=(0,) * (image.ndim - 1), dtype=np.uint8),
    )


def tally(image: Array, rule: Rule, mask: Array | None = None) -> Any:
    """`dask.delayed.Delayed` of the image's `Tally`."""
    image, masks = aligned(image, mask)
    axes = tuple(range(image.ndim))
    words = da.blockwise(
        partial(_words, rule=rule),
        (*axes[:-1], image.ndim),
        image,
        axes,
        *(part for one in masks for part in (one, axes[:-1])),
        new_axes={image.ndim: WORDS},
        adjust_chunks={axis: lambda size: 1 for axis in axes[:-1]},
        concatenate=True,
        dtype=np.int64,
        meta=np.empty((0,) * image.ndim, np.int64),
    )
    total = words.sum(axis=axes[:-1], split_every=_SPLIT_EVERY)
    # Never hand an array itself to `dask.delayed`: it would be gathered before it is needed.
    (whole,) = total.to_delayed().tolist()
    return dask.delayed(_from_words, pure=True)(whole)


def to_output(tallied: Any, rule: Rule, pixel_area_mm2: float | None) -> Any:
    """`Delayed` of the `Output` of a delayed tally."""
    finish = partial(_output, rule=rule, pixel_area_mm2=pixel_area_mm2)
    return dask.delayed(finish, pure=True)(tallied)


def aligned(image: Array, mask: Array | None) -> tuple[Array, list[Array]]:
    """Image with its channels in one chunk, and the mask, if any, in the image's chunks."""
    image = image.rechunk({image.ndim - 1: -1})
    if mask is None:
        return image, []
    pixels = image.chunks[:-1]
    if isinstance(mask, da.Array):
        return image, [mask.rechunk(pixels)]
    return image, [da.from_array(mask, chunks=pixels, asarray=False)]


def _labels(block: Array, mask: Array | None = None, *, rule: Rule) -> Array:
    with limit_threads(1):
        return implementation(block, "hsi").classify(block, rule, mask)


def _words(block: Array, mask: Array | None = None, *, rule: Rule) -> Array:
    with limit_threads(1):
        words = implementation(block, "hsi").tally(block, rule, mask).to_ints()
    return np.array(words, np.int64).reshape((1,) * (block.ndim - 1) + (WORDS,))


def _from_words(words: Array) -> Tally:
    return Tally.from_ints(words.tolist())


def _output(tallied: Tally, rule: Rule, pixel_area_mm2: float | None) -> Output:
    return tallied.to_output(rule, pixel_area_mm2)
