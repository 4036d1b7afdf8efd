"""numba: rows of red, green and blue from planes of luma and chroma, with libjpeg's integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._cpu._narrow import add, mul, sub
from gpuseg._cpu._pointer import row_at

# Pixels of a block of red, green and blue; each is a third of an array.
BLOCK = 1024

_I, _S, _U = np.int32, np.int16, np.uint64


@jit(forceinline=True)
def _up(sums: Any, n: int, even: int, odd: int, shift: int, to: int) -> None:
    """Twice as many samples: each three parts of the nearer sum and one of the other."""
    out = row_at(to, n, np.uint16)
    sums[0], sums[n + 1] = sums[1], sums[n]
    for i in range(n):
        j = _U(i)
        three = np.uint16(3) * sums[j + _U(1)]
        low = np.uint16(np.uint16(three + sums[j] + even) >> shift)
        high = np.uint16(np.uint16(three + sums[j + _U(2)] + odd) >> shift)
        out[i] = np.uint16(low | np.uint16(high << 8))


@jit
def _up_both(near: int, far: int, n: int, sums: Any, to: int) -> None:
    """Rows at addresses `near` and `far` to a row of twice the width."""
    a, b = row_at(near, n, np.uint8), row_at(far, n, np.uint8)
    for i in range(n):
        sums[_U(i) + _U(1)] = np.uint16(3 * np.uint16(a[i]) + np.uint16(b[i]))
    _up(sums, n, 8, 7, 4, to)


@jit
def _up_across(near: int, n: int, sums: Any, to: int) -> None:
    a = row_at(near, n, np.uint8)
    for i in range(n):
        sums[_U(i) + _U(1)] = a[i]
    _up(sums, n, 1, 2, 2, to)


@jit
def _same(near: int, n: int, to: int) -> None:
    source, target = row_at(near, n, np.uint8), row_at(to, n, np.uint8)
    for i in range(n):
        target[i] = source[i]


@jit
def geometry(shape: Any) -> Any:
    """Row lengths of the planes of luma and of chroma, their sizes, and chroma's own extent."""
    across, down = shape[2], shape[3]
    wide, tall = -(-shape[1] // (8 * across)) * 8, -(-shape[0] // (8 * down)) * 8
    width, height = -(-shape[1] // across), -(-shape[0] // down)
    return wide * across, wide, wide * tall * across * down, wide * tall, width, height


@jit
def chroma_row(data: int, y: int, shape: Any, places: Any, sums: Any, to: int, half: int) -> None:
    """Both chroma rows of image row y, at full width, from the planes at address `data`.

    The blue one is written to address `to`, the red one `half` bytes behind it; `places` is the
    planes' `geometry`, and `sums` is 2 longer than a row of chroma.
    """
    _, stride, luma_size, size, width, height = places
    row = y >> 1 if shape[3] == 2 else y
    # Upper rows lean on the one above, lower rows on the one below; there is none at the edges.
    other = min(max(row + (1 if y & 1 else -1), 0), height - 1)
    for k in range(2):
        plane, target = data + luma_size + k * size, to + k * half
        if shape[3] == 2:
            _up_both(plane + row * stride, plane + other * stride, width, sums, target)
        elif shape[2] == 2:
            _up_across(plane + row * stride, width, sums, target)
        else:
            _same(plane + row * stride, width, target)


@jit(forceinline=True)
def _high(value: Any, factor: Any) -> Any:
    """Product in 16 fractional bits, rounded, of a value given twice."""
    return _S(add(_S(mul(_I(value), _I(factor)) >> 16), _S(1)) >> 1)


@jit(forceinline=True)
def _byte(value: Any) -> Any:
    return np.uint8(min(max(value, _S(0)), _S(255)))


@jit
def to_rgb(luma: Any, chroma: Any, second: Any, n: int, rgb: Any, offset: Any) -> None:
    """Colours of n pixels; `chroma` has blue at i and red at `second` + i."""
    for i in range(n):
        j = _U(i)
        y = _S(luma[i])
        blue, red = sub(_S(chroma[j]), _S(128)), sub(_S(chroma[second + j]), _S(128))
        # 1.402 is 1 + 26345 / 65536, 1.772 is 2 - 14942 / 65536: 16 bits are enough for those.
        r = add(add(y, red), _high(add(red, red), 26345))
        b = add(add(y, add(blue, blue)), _high(add(blue, blue), -14942))
        mixed = add(mul(_I(-22554), _I(blue)), mul(_I(-46802), _I(red)))
        g = add(y, _S(add(mixed, _I(32768)) >> 16))
        rgb[offset + j] = _byte(r)
        rgb[offset + j + _U(BLOCK)] = _byte(g)
        rgb[offset + j + _U(2 * BLOCK)] = _byte(b)


@jit
def as_rgb(luma: Any, chroma: Any, second: Any, n: int, rgb: Any, offset: Any) -> None:
    """The same for a stream whose components are red, green and blue."""
    for i in range(n):
        j = _U(i)
        rgb[offset + j] = luma[i]
        rgb[offset + j + _U(BLOCK)] = chroma[j]
        rgb[offset + j + _U(2 * BLOCK)] = chroma[second + j]
