"""numba: the inverse cosine transform of libjpeg ("islow"), of many blocks side by side.

Blocks are lanes: coefficient k of block j lies at `k * LANES + j`, so that every loop runs over
neighbours and LLVM needs no transposition. 96 lanes are 16 units of 4:2:0, 24 of 4:2:2 or 32 of
4:4:4. Sums that libjpeg-turbo's vector code computes in 16 bits wrap around in 16 bits here: the
answer is the same for damaged coefficients, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._cpu._narrow import add, mul, sub

LANES = 96

_I = np.int32
_U = np.uint64
# Rounding and, in the second pass, the 128 that samples are above zero.
_FIRST_HALF = 1 << 10
_SECOND_HALF = (1 << 17) + (128 << 18)


@jit(forceinline=True)
def _wrapped(value: Any) -> Any:
    return _I(np.int16(value))


@jit(forceinline=True)
def _transform(
    c0: Any, c1: Any, c2: Any, c3: Any, c4: Any, c5: Any, c6: Any, c7: Any, half: Any
) -> Any:
    """Eight sums of eight coefficients in 13 fractional bits, `half` added."""
    z1 = mul(add(c2, c6), _I(4433))
    even2 = sub(z1, mul(c6, _I(15137)))
    even3 = add(z1, mul(c2, _I(6270)))
    even0 = add(mul(_wrapped(add(c0, c4)), _I(8192)), half)
    even1 = add(mul(_wrapped(sub(c0, c4)), _I(8192)), half)
    a0, a3, a1, a2 = add(even0, even3), sub(even0, even3), add(even1, even2), sub(even1, even2)
    z1, z2 = mul(add(c7, c1), _I(-7373)), mul(add(c5, c3), _I(-20995))
    z3, z4 = _wrapped(add(c7, c3)), _wrapped(add(c5, c1))
    z5 = mul(add(z3, z4), _I(9633))
    z3, z4 = add(mul(z3, _I(-16069)), z5), add(mul(z4, _I(-3196)), z5)
    b0 = add(mul(c7, _I(2446)), add(z1, z3))
    b1 = add(mul(c5, _I(16819)), add(z2, z4))
    b2 = add(mul(c3, _I(25172)), add(z2, z3))
    b3 = add(mul(c1, _I(12299)), add(z1, z4))
    return (
        add(a0, b3), add(a1, b2), add(a2, b1), add(a3, b0),
        sub(a3, b0), sub(a2, b1), sub(a1, b2), sub(a0, b3),
    )  # fmt: skip


@jit(forceinline=True)
def _short(value: Any) -> Any:
    return np.int16(min(max(_I(value >> 11), _I(-32768)), _I(32767)))


@jit
def columns(coefficients: Any, half_done: Any) -> None:
    """First pass: coefficients (int16) to columns with 2 fractional bits (int16)."""
    for column in range(8):
        for j in range(LANES):
            i = _U(column * LANES) + _U(j)
            done = _transform(
                _I(coefficients[i]),
                _I(coefficients[i + _U(8 * LANES)]),
                _I(coefficients[i + _U(16 * LANES)]),
                _I(coefficients[i + _U(24 * LANES)]),
                _I(coefficients[i + _U(32 * LANES)]),
                _I(coefficients[i + _U(40 * LANES)]),
                _I(coefficients[i + _U(48 * LANES)]),
                _I(coefficients[i + _U(56 * LANES)]),
                _I(_FIRST_HALF),
            )
            half_done[i] = _short(done[0])
            half_done[i + _U(8 * LANES)] = _short(done[1])
            half_done[i + _U(16 * LANES)] = _short(done[2])
            half_done[i + _U(24 * LANES)] = _short(done[3])
            half_done[i + _U(32 * LANES)] = _short(done[4])
            half_done[i + _U(40 * LANES)] = _short(done[5])
            half_done[i + _U(48 * LANES)] = _short(done[6])
            half_done[i + _U(56 * LANES)] = _short(done[7])


@jit(forceinline=True)
def _byte(value: Any, shift: Any) -> Any:
    return _I(min(max(_I(value >> 18), _I(0)), _I(255)) << _I(shift))


@jit
def rows(half_done: Any, left: Any, right: Any) -> None:
    """Second pass: rows of 8 samples, as two int32 of 4 bytes for each block.

    `left` and `right` have row y of block j at `y * LANES + j`.
    """
    for row in range(8):
        for j in range(LANES):
            i = _U(row * 8 * LANES) + _U(j)
            done = _transform(
                _I(half_done[i]),
                _I(half_done[i + _U(LANES)]),
                _I(half_done[i + _U(2 * LANES)]),
                _I(half_done[i + _U(3 * LANES)]),
                _I(half_done[i + _U(4 * LANES)]),
                _I(half_done[i + _U(5 * LANES)]),
                _I(half_done[i + _U(6 * LANES)]),
                _I(half_done[i + _U(7 * LANES)]),
                _I(_SECOND_HALF),
            )
            place = _U(row * LANES) + _U(j)
            left[place] = (
                _byte(done[0], 0) | _byte(done[1], 8) | _byte(done[2], 16) | _byte(done[3], 24)
            )
            right[place] = (
                _byte(done[4], 0) | _byte(done[5], 8) | _byte(done[6], 16) | _byte(done[7], 24)
            )
