"""Discrete Fourier transforms of eight lines at a time, in place, and back.

Decimation in frequency leaves the coefficients in the order of their digits reversed, and its
mirror image takes them so: nothing is ever moved. Number k of `work` has its eight real parts from
16 k on, and behind them the imaginary ones. Backward, real and imaginary parts change places, which
makes the inverse of the same butterflies and turns. Nothing is divided by the length.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._cpu._lanes import LANES, load, store
from gpuseg.typing import NumpyArray

_NUMBER = 2 * LANES


class Plan(NamedTuple):
    """Tables for a length.

    Attributes
    ----------
    factors : of the length; 4s, then primes
    turns : real and imaginary part of the factors between the passes, one pass after the other
    roots : cosine and sine of 2 pi p q / factor, for p and q of 1 to factor // 2, likewise
    turns_at, roots_at : where those of a pass begin
    places : where each coefficient is
    """

    factors: NumpyArray
    turns: NumpyArray
    turns_at: NumpyArray
    roots: NumpyArray
    roots_at: NumpyArray
    places: NumpyArray


def factors_of(size: int) -> list[int]:
    """Factors, ascending but for the 4s, which come first."""
    found, factor = [], 4
    while size > 1:
        if size % factor == 0:
            found.append(factor)
            size //= factor
        else:
            factor = {4: 2, 2: 3}.get(factor, factor + 2)
    return found


def circle(part: NumpyArray, parts: int) -> tuple[NumpyArray, NumpyArray]:
    """Cosines and sines of integer parts of a circle.

    Rounded from extended precision: NumPy's of doubles differ between processors in the last bit.
    """
    angles = 8 * np.arctan(np.longdouble(1)) * (part % parts) / parts
    return np.cos(angles).astype(np.float64), np.sin(angles).astype(np.float64)


@lru_cache(maxsize=16)
def plan(size: int) -> Plan:
    """Tables for transforms of a length whose factors are small."""
    factors = factors_of(size)
    turns: list[NumpyArray] = [np.empty(0)]
    roots: list[NumpyArray] = [np.empty(0)]
    places = np.zeros(1, np.int64)
    block = size
    for factor in factors:
        inner = block // factor
        cosines, sines = circle(np.outer(np.arange(inner), np.arange(1, factor)), block)
        turns.append(np.stack([cosines, -sines], axis=-1).ravel())
        half = np.arange(1, (factor - 1) // 2 + 1)
        roots.append(np.stack(circle(np.outer(half, half), factor), axis=-1).ravel())
        # The last digit so far counts least in the coefficient's number, most in its place.
        places = (np.arange(factor)[:, None] * inner + places).ravel()
        block = inner
    starts = [np.cumsum([part.size for part in parts])[:-1] for parts in (turns, roots)]
    return Plan(
        np.array(factors, np.int64),
        np.concatenate(turns),
        starts[0],
        np.concatenate(roots),
        starts[1],
        places,
    )


@jit
def forward(work: Any, plan: Any, scratch: Any) -> None:
    """From numbers in their order to coefficients in their places."""
    block = plan.places.size
    for k in range(plan.factors.size):
        _pass(work, block, plan, k, False, scratch)
        block //= plan.factors[k]


@jit
def backward(work: Any, plan: Any, scratch: Any) -> None:
    """From coefficients in their places to numbers in their order."""
    block = 1
    for k in range(plan.factors.size - 1, -1, -1):
        block *= plan.factors[k]
        _pass(work, block, plan, k, True, scratch)


@jit
def _pass(work: Any, block: int, plan: Any, k: int, back: bool, scratch: Any) -> None:
    """Butterflies over all blocks of a length."""
    factor = plan.factors[k]
    inner = block // factor
    turns, roots = plan.turns[plan.turns_at[k] :], plan.roots[plan.roots_at[k] :]
    for first in range(0, plan.places.size, block):
        for j in range(inner):
            at = (first + j) * _NUMBER
            mine = turns[2 * (factor - 1) * j :]
            if factor == 4:
                _four(work, at, inner * _NUMBER, mine, inner > 1, back)
            elif factor == 2:
                _two(work, at, inner * _NUMBER, mine, inner > 1, back)
            else:
                _odd(work, at, inner * _NUMBER, factor, mine, inner > 1, back, roots, scratch)


@jit(forceinline=True)
def _take(work: Any, at: int, turns: Any, k: int, turn: bool, back: bool) -> Any:
    """A number; going back it is turned here."""
    if not back:
        return load(work, at), load(work, at + LANES)
    real, imaginary = load(work, at + LANES), load(work, at)
    if turn:
        x, y = turns[2 * k - 2], turns[2 * k - 1]
        return real * x - imaginary * y, imaginary * x + real * y
    return real, imaginary


@jit(forceinline=True)
def _put(
    work: Any, at: int, real: Any, imaginary: Any, turns: Any, k: int, turn: bool, back: bool
) -> None:
    """Write a number; going forward it is turned here."""
    if back:
        store(work, at + LANES, real)
        store(work, at, imaginary)
    elif turn:
        x, y = turns[2 * k - 2], turns[2 * k - 1]
        store(work, at, real * x - imaginary * y)
        store(work, at + LANES, imaginary * x + real * y)
    else:
        store(work, at, real)
        store(work, at + LANES, imaginary)


@jit(forceinline=True)
def _two(work: Any, at: int, step: int, turns: Any, turn: bool, back: bool) -> None:
    ar, ai = _take(work, at, turns, 0, False, back)
    br, bi = _take(work, at + step, turns, 1, turn, back)
    _put(work, at, ar + br, ai + bi, turns, 0, False, back)
    _put(work, at + step, ar - br, ai - bi, turns, 1, turn, back)


@jit(forceinline=True)
def _four(work: Any, at: int, step: int, turns: Any, turn: bool, back: bool) -> None:
    ar, ai = _take(work, at, turns, 0, False, back)
    br, bi = _take(work, at + step, turns, 1, turn, back)
    cr, ci = _take(work, at + 2 * step, turns, 2, turn, back)
    dr, di = _take(work, at + 3 * step, turns, 3, turn, back)
    er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
    gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
    _put(work, at, er + gr, ei + gi, turns, 0, False, back)
    _put(work, at + step, fr + hi, fi - hr, turns, 1, turn, back)
    _put(work, at + 2 * step, er - gr, ei - gi, turns, 2, turn, back)
    _put(work, at + 3 * step, fr - hi, fi + hr, turns, 3, turn, back)


@jit
def _odd(
    work: Any,
    at: int,
    step: int,
    factor: int,
    turns: Any,
    turn: bool,
    back: bool,
    roots: Any,
    scratch: Any,
) -> None:
    """Of numbers q and -q the cosines see the sum and the sines the difference."""
    half = factor // 2
    r, i = _take(work, at, turns, 0, False, back)
    sr, si = r, i
    for q in range(1, half + 1):
        ar, ai = _take(work, at + q * step, turns, q, turn, back)
        br, bi = _take(work, at + (factor - q) * step, turns, factor - q, turn, back)
        s = 4 * LANES * (q - 1)
        sr, si = sr + (ar + br), si + (ai + bi)
        store(scratch, s, ar + br)
        store(scratch, s + LANES, ai + bi)
        store(scratch, s + 2 * LANES, ar - br)
        store(scratch, s + 3 * LANES, ai - bi)
    _put(work, at, sr, si, turns, 0, False, back)
    for p in range(1, half + 1):
        row = roots[2 * half * (p - 1) :]
        cr, ci = r + load(scratch, 0) * row[0], i + load(scratch, LANES) * row[0]
        dr, di = load(scratch, 2 * LANES) * row[1], load(scratch, 3 * LANES) * row[1]
        for q in range(1, half):
            s = 4 * LANES * q
            cosine, sine = row[2 * q], row[2 * q + 1]
            cr, ci = cr + load(scratch, s) * cosine, ci + load(scratch, s + LANES) * cosine
            dr = dr + load(scratch, s + 2 * LANES) * sine
            di = di + load(scratch, s + 3 * LANES) * sine
        _put(work, at + p * step, cr + di, ci - dr, turns, p, turn, back)
        _put(work, at + (factor - p) * step, cr - di, ci + dr, turns, factor - p, turn, back)
