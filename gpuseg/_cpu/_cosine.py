"""Filters of any radius along whole lines, as products in the space of cosines.

With SciPy's border `reflect` a line of n pixels goes on with period 2n and is even, so that every
symmetric filter, cut off wherever it is, is diagonal in the cosine transform of type II. The cost
does not depend on the radius: a frame of 520×696 with a window of its own size takes 2 ms where
sums take 230.

The cosine transform is a Fourier transform of the line's even pixels and then its odd ones
backwards (Makhoul 1980); with two pixels as one complex number that is half as long. Its
coefficients are only ever multiplied, so they are taken apart and put together in one step.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from gpuseg._cpu import _fourier as fourier
from gpuseg._cpu._jit import jit
from gpuseg._cpu._lanes import LANES, greater, lesser, load, store
from gpuseg._shared.window import gaussian_weights
from gpuseg.typing import NumpyArray

# Of lengths with a greater prime factor SciPy's transform is faster, and odd ones have no half.
_GREATEST_FACTOR = 500


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


@lru_cache(maxsize=64)
def _factors(size: int, sigma: float, radius: int) -> NumpyArray:
    """Rows of eight numbers for `_multiply`: one for coefficients k and -k of half as many.

    With V the Fourier coefficients of the line and t = pi k / 2n, the cosine ones k and n - k are
    the real part of W = exp(-it) V and less its imaginary one. These times their gains g and h make
    (g + h) / 2 W + (g - h) / 2 W*, hence V' = (g + h) / 2 V + (g - h) / 2 exp(2it) V*.
    """
    gains = _gains(size, sigma, radius)
    half = size // 2
    k = np.arange(half // 2 + 1)
    cosines, sines = fourier.circle(k, size)

    def parts(k: NumpyArray) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
        one, other = gains[k], gains[np.where(k, size - k, 0)]
        x, y = fourier.circle(k, 2 * size)
        # The sums in `_multiply` are twice too large, both ways; the transform is half as long.
        keep, turn = (one + other) / (8 * half), (one - other) / (8 * half)
        return keep, turn * x, turn * y

    keep, x, y = parts(k)
    far_keep, far_x, far_y = parts(half - k)
    # exp(-2 pi i k / n) / i takes the odd pixels' coefficients to their place.
    return np.stack([-sines, -cosines, keep, x, y, far_keep, far_x, -far_y], axis=1)


@lru_cache(maxsize=64)
def _order(size: int) -> NumpyArray:
    """Even pixels, then the odd ones backwards."""
    return np.concatenate([np.arange(0, size, 2), np.arange(1, size, 2)[::-1]])


def gaussian(image: NumpyArray, axis: int, sigma: float, radius: int, *, spare: bool) -> NumpyArray:
    """Gaussian along one axis of a float image, beyond whose ends it is reflected.

    The image may be overwritten if it is `spare`: new memory for a frame costs as much as a
    transform.

    Raises
    ------
    ValueError
        If the image holds NaN or infinity, which would spread over whole lines.
    """
    size = image.shape[axis]
    source = np.ascontiguousarray(image, np.float64)
    found = source if spare or source is not image else np.empty_like(source)
    if size % 2 or max(fourier.factors_of(size // 2), default=1) > _GREATEST_FACTOR:
        finite = _by_scipy(source, axis, _gains(size, sigma, radius), found)
    else:
        shape = math.prod(image.shape[:axis]), size, math.prod(image.shape[axis + 1 :])
        tables = fourier.plan(size // 2), _factors(size, sigma, radius), _order(size)
        flat = source.reshape(-1).view()
        flat.flags.writeable = False
        finite = _filter(flat, shape, *tables, found.reshape(-1))
    if not finite:
        raise ValueError(
            f"image must be finite for a Gaussian of radius {radius}, got NaN or infinity"
        )
    return found.astype(image.dtype, copy=False)


def _by_scipy(source: NumpyArray, axis: int, gains: NumpyArray, out: NumpyArray) -> bool:
    from scipy import fft

    low, high = source.min(axis, keepdims=True), source.max(axis, keepdims=True)
    finite = bool(np.isfinite(low).all() and np.isfinite(high).all())
    if finite:
        lines = fft.dct(source, axis=axis)
        lines *= gains.reshape((-1,) + (1,) * (source.ndim - 1 - axis))
        np.clip(fft.idct(lines, axis=axis, overwrite_x=True), low, high, out=out)
    return finite


@jit
def _filter(source: Any, shape: Any, plan: Any, factors: Any, order: Any, out: Any) -> bool:
    """Filter the middle axis of three, eight lines at a time; whether all pixels are finite."""
    outer, size, inner = shape
    work = np.zeros(LANES * size)
    scratch = np.empty(2 * LANES * (plan.factors[-1] if plan.factors.size else 1))
    strange = work[:LANES].copy()
    # Neighbours along the last axis, or lines that are this axis themselves.
    step = 1 if inner > 1 else size
    lines, planes = (inner, outer) if inner > 1 else (outer, 1)
    for plane in range(planes):
        for line in range(0, lines, LANES):
            at, count = plane * size * inner + line * step, min(LANES, lines - line)
            _gather(source, at, count, step, inner, order, work)
            low = high = load(work, 0)
            odd = load(strange, 0)
            for k in range(size):
                pixels = load(work, k * LANES)
                low, high = lesser(low, pixels), greater(high, pixels)
                odd = odd + (pixels - pixels)
            store(strange, 0, odd)
            fourier.forward(work, plan, scratch)
            _multiply(work, plan.places, factors)
            fourier.backward(work, plan, scratch)
            # A mean lies between the extremes: where a line is constant, or 0 as far as the filter
            # sees, rounding must not put it beside that, or `image > threshold` would be decided
            # by it.
            for k in range(size):
                store(work, k * LANES, lesser(greater(load(work, k * LANES), low), high))
            _scatter(work, order, out, at, count, step, inner)
    return not np.isnan(strange).any()


@jit
def _gather(source: Any, at: int, count: int, step: int, inner: int, order: Any, work: Any) -> None:
    """Pixels of lines that begin at `at` and every `step` from there, in their order."""
    if count == LANES and step == 1:
        for k in range(order.size):
            store(work, k * LANES, load(source, at + order[k] * inner))
        return
    for lane in range(count):
        for k in range(order.size):
            work[k * LANES + lane] = source[at + lane * step + order[k] * inner]


@jit
def _scatter(work: Any, order: Any, out: Any, at: int, count: int, step: int, inner: int) -> None:
    """Undo `_gather`."""
    if count == LANES and step == 1:
        for k in range(order.size):
            store(out, at + order[k] * inner, load(work, k * LANES))
        return
    for lane in range(count):
        for k in range(order.size):
            out[at + lane * step + order[k] * inner] = work[k * LANES + lane]


@jit
def _multiply(work: Any, places: Any, factors: Any) -> None:
    """Multiply the cosine coefficients of lines whose pixels are paired to complex numbers."""
    for k in range(factors.shape[0]):
        row = factors[k]
        at = places[k] * 2 * LANES
        far = places[places.size - k if k else 0] * 2 * LANES
        ar, ai = load(work, at), load(work, at + LANES)
        br, bi = load(work, far), load(work, far + LANES)
        # Twice the even pixels' coefficients, and the odd ones' turned to their place.
        er, ei, dr, di = ar + br, ai - bi, ar - br, ai + bi
        x, y = row[0], row[1]
        dr, di = dr * x - di * y, di * x + dr * y
        vr, vi, wr, wi = er + dr, ei + di, er - dr, ei - di
        keep, x, y = row[2], row[3], row[4]
        vr, vi = vr * keep + (vr * x + vi * y), vi * keep + (vr * y - vi * x)
        keep, x, y = row[5], row[6], row[7]
        wr, wi = wr * keep + (wr * x + wi * y), wi * keep + (wr * y - wi * x)
        er, ei, dr, di = vr + wr, vi + wi, vr - wr, vi - wi
        x, y = row[0], row[1]
        dr, di = dr * x + di * y, di * x - dr * y
        store(work, at, er + dr)
        store(work, at + LANES, ei + di)
        store(work, far, er - dr)
        store(work, far + LANES, di - ei)
