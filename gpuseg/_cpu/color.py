"""Mixtures of colour channels on the CPU.

Of uint8 and uint16 images a channel takes few values, so that all it can add is in a table, and a
pixel costs three look-ups and two additions for each result: no logarithm is taken twice. The order
of additions is fixed, where a product of matrices has one that depends on the image's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu._jit import jit
from gpuseg._shared.color import Mixture, given, result_dtype
from gpuseg.typing import NumpyArray

# Pixels of a strip; fewer cost more to hand out than to mix.
_STRIP_PIXELS = 1 << 16


def mix(image: NumpyArray, mixture: Mixture) -> NumpyArray:
    """Results in the last axis, where the image has its three channels, or in none."""
    dtype = result_dtype(image.dtype, mixture)
    results = mixture.weights.shape[1]
    shape = image.shape[:-1]
    pixels = np.ascontiguousarray(image).reshape(math.prod(shape), 3)
    out = np.empty((len(pixels), results), dtype)
    if image.dtype in (np.uint8, np.uint16):
        tables = _tables(image.dtype, mixture)
        source = pixels.view()
        # Always: numba would compile once more for images that are.
        source.flags.writeable = False

        def work(start: int, stop: int) -> None:
            _look_up(source[start:stop], tables, out[start:stop])

    else:

        def work(start: int, stop: int) -> None:
            _sum(pixels[start:stop], mixture, out[start:stop])

    _strips(work, len(pixels))
    if mixture.stains:
        np.maximum(out, 0, out=out)
    return out.reshape((*shape, results) if mixture.keepdim else shape)


def _tables(dtype: np.dtype[Any], mixture: Mixture) -> NumpyArray:
    """What each value of a channel adds to each result: (channels, values, results)."""
    values = given(np.arange(np.iinfo(dtype).max + 1, dtype=dtype), mixture)
    return values[None, :, None] * mixture.weights[:, None, :]


def _strips(work: Callable[[int, int], Any], pixels: int) -> None:
    parts = max(1, pixels // _STRIP_PIXELS)
    cuts = [pixels * k // parts for k in range(parts + 1)]
    if min(threads(), parts) == 1:
        for start, stop in pairwise(cuts):
            work(start, stop)
        return
    with ThreadPoolExecutor(min(threads(), parts)) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))


@jit
def _look_up(pixels: Any, tables: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        red, green, blue = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        for k in range(out.shape[1]):
            out[i, k] = tables[0, red, k] + tables[1, green, k] + tables[2, blue, k]


def _sum(pixels: NumpyArray, mixture: Mixture, out: NumpyArray) -> None:
    red, green, blue = (
        given(np.ascontiguousarray(pixels[:, channel]), mixture) for channel in range(3)
    )
    for k, weights in enumerate(mixture.weights.T.astype(out.dtype)):
        out[:, k] = red * weights[0] + green * weights[1] + blue * weights[2]
