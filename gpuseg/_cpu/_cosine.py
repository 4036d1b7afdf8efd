"""Filters of any radius along whole lines, as products in the space of cosines.

With SciPy's border `reflect` a line of n pixels goes on with period 2n and is even, so that every
symmetric filter, cut off wherever it is, is diagonal in the cosine transform of type II. The cost
does not depend on the radius: a frame of 520×696 with a window of its own size takes 5 ms where
sums take 230.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._shared.window import gaussian_weights
from gpuseg.typing import NumpyArray


@lru_cache(maxsize=64)
def _gains(size: int, sigma: float, radius: int) -> NumpyArray:
    """What a Gaussian cut off at `radius` multiplies each cosine by."""
    weights = gaussian_weights(sigma, radius)
    # The filter wrapped around the period.
    period = np.zeros(2 * size)
    np.add.at(period, np.arange(radius + 1) % (2 * size), weights)
    np.add.at(period, -np.arange(1, radius + 1) % (2 * size), weights[1:])
    gains: NumpyArray = np.fft.rfft(period).real[:size]
    return gains


def gaussian(image: NumpyArray, axis: int, sigma: float, radius: int, *, spare: bool) -> NumpyArray:
    """Gaussian along one axis of a float image, beyond whose ends it is reflected.

    The image may be overwritten if it is `spare`: new memory for a frame costs as much as half a
    transform.

    Raises
    ------
    ValueError
        If the image holds NaN or infinity, which would spread over whole lines.
    """
    from scipy import fft

    low, high = image.min(axis, keepdims=True), image.max(axis, keepdims=True)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(
            f"image must be finite for a Gaussian of radius {radius}, got NaN or infinity"
        )
    gains = _gains(image.shape[axis], sigma, radius)
    lines = fft.dct(image.astype(np.float64, copy=False), axis=axis, overwrite_x=spare)
    lines *= gains.reshape((-1,) + (1,) * (image.ndim - 1 - axis))
    # Contiguous, or clipping would be of a copy.
    found = np.ascontiguousarray(fft.idct(lines, axis=axis, overwrite_x=True))
    # A mean lies between the extremes: where a line is constant, or 0 as far as the filter sees,
    # rounding must not put it beside that, or `image > threshold` would be decided by it.
    shape = math.prod(image.shape[:axis]), image.shape[axis], math.prod(image.shape[axis + 1 :])
    sides = shape[0], shape[2]
    lowest, highest = (one.astype(np.float64).reshape(sides) for one in (low, high))
    clip = _clip_rows if shape[2] > 1 else _clip_lines
    clip(found.reshape(shape), lowest, highest)
    return found.astype(image.dtype, copy=False)


@jit
def _clip_rows(found: Any, low: Any, high: Any) -> None:
    """Clip lines along the middle axis of three; NumPy's two passes take thrice as long."""
    for o in range(found.shape[0]):
        least, most = low[o], high[o]
        for i in range(found.shape[1]):
            row = found[o, i]
            for x in range(row.size):
                row[x] = min(max(row[x], least[x]), most[x])


@jit
def _clip_lines(found: Any, low: Any, high: Any) -> None:
    """Clip lines along the second of three axes, whose last one has one pixel."""
    for o in range(found.shape[0]):
        least, most = low[o, 0], high[o, 0]
        line = found[o, :, 0]
        for x in range(line.size):
            line[x] = min(max(line[x], least), most)
