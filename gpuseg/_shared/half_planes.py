"""Exact integer forms of angles and ratios on the lattice of an image's possible values.

An image with values 0..M has finitely many hue directions and saturations, so any real threshold
can be replaced by small integers that decide every one of them correctly. The tool is the
Stern-Brocot walk: it ends at two lattice fractions with no third between them, and their mediant
separates them.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache, lru_cache

_BITS = 256


def separator(
    target: tuple[int, int], highest: tuple[int, int], *, target_is_high: bool
) -> tuple[int, int]:
    """Fraction that splits the lattice at `target` and is itself not on the lattice.

    Parameters
    ----------
    target : (int, int)
        Numerator and denominator, neither negative; (1, 0) is infinity, which must be high, as 0
        must be low.
    highest : (int, int)
        Largest numerator and denominator of a lattice fraction.
    target_is_high : bool
        Whether a lattice fraction equal to `target` belongs above the separator.

    Returns
    -------
    (int, int)
        Simplest fraction strictly between the lattice fractions below and above.
    """
    top, bottom = target
    low, high = (0, 1), (1, 0)
    while True:
        a, b = low
        c, d = high
        room = min(
            (highest[0] - c) // a if a else highest[1],
            (highest[1] - d) // b,
        )
        # Steps of `high` towards `low` that stay above the target, all at once.
        gap, pull = c * bottom - top * d, top * b - a * bottom
        steps = room if pull == 0 else gap // pull
        if pull and gap % pull == 0 and not target_is_high:
            steps -= 1
        steps = max(0, min(steps, room))
        high = (c + steps * a, d + steps * b)
        c, d = high
        room_low = min((highest[0] - a) // c, (highest[1] - b) // d if d else highest[0])
        gap, pull = top * b - a * bottom, c * bottom - top * d
        steps_low = room_low if pull == 0 else gap // pull
        if pull and gap % pull == 0 and target_is_high:
            steps_low -= 1
        steps_low = max(0, min(steps_low, room_low))
        low = (a + steps_low * c, b + steps_low * d)
        if steps == 0 and steps_low == 0:
            return a + c, b + d


@cache
def _two_pi() -> int:
    """2 pi in fixed point, by Machin's formula."""

    def arctan_inverse(x: int) -> int:
        total, power, n = 0, (1 << (_BITS + 16)) // x, 1
        while power:
            total += power // n if n % 4 == 1 else -(power // n)
            power //= x * x
            n += 2
        return total

    return (8 * (4 * arctan_inverse(5) - arctan_inverse(239))) >> 16


@lru_cache(maxsize=1024)
def direction(turns: Fraction) -> tuple[Fraction, Fraction]:
    """(x, y) of the hue direction at angle `turns`, where hue is the angle of (x, sqrt(3) y).

    Exact small integers for multiples of a twelfth, the only rational angles at which the lattice
    has directions (Niven's theorem); elsewhere correct to about 250 bits, so that the answer does
    not depend on a machine's `sin`.
    """
    twelfth = turns * 12
    if twelfth.denominator == 1:
        x, y = ((1, 0), (3, 1), (1, 1), (0, 1), (-1, 1), (-3, 1))[int(twelfth) % 6]
        return (Fraction(x), Fraction(y)) if int(twelfth) % 12 < 6 else (Fraction(-x), Fraction(-y))
    one = 1 << _BITS
    angle = (turns % 1) * _two_pi()
    theta = angle.numerator // angle.denominator
    cosine, sine, term, n = 0, 0, one, 0
    while term:
        sign = -1 if n % 4 >= 2 else 1
        if n % 2 == 0:
            cosine += sign * term
        else:
            sine += sign * term
        n += 1
        term = term * theta // (n << _BITS)
    return Fraction(cosine, one), Fraction(sine, math.isqrt(3 << (2 * _BITS)))


def split_direction(turns: Fraction, max_value: int, *, at_belongs_after: bool) -> tuple[int, int]:
    """Integer (x, y) just before (or just after) angle `turns`, on no lattice direction.

    The lattice is x = 2R-G-B, y = G-B for R, G, B in 0..max_value. A lattice direction exactly at
    `turns` comes after the split if `at_belongs_after`, else before it.
    """
    x, y = direction(turns)
    quadrant = math.floor(turns * 4) % 4
    if (turns * 4).denominator == 1 and at_belongs_after:
        quadrant = (quadrant - 1) % 4
    # In the first and third quadrant the angle grows with |y/x|, in the others it falls.
    ratio = abs(y) / abs(x) if x else None
    target = (ratio.numerator, ratio.denominator) if ratio is not None else (1, 0)
    grows = quadrant % 2 == 0
    dy, dx = separator(target, (max_value, 2 * max_value), target_is_high=at_belongs_after == grows)
    return (dx if quadrant in (0, 3) else -dx), (dy if quadrant < 2 else -dy)
