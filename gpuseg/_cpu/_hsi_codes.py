"""numba: classes and sums of one block of pixels, from planes of red, green and blue.

Codes are the four labels, and `STAIN` for counterstained pixels. Integers decide, in such a way
that a pixel that rounding might turn is positive; those few are marked with `TIE` and done again
in float64, in HistomicsTK's order of operations.

Measured on one Zen 5 core, uint8 tissue, Mpx/s of this loop: 4800. With comparisons for each
condition 4200; with numba's own 64-bit integers, which LLVM narrowed only in part, 2470 at best,
and then, besides: sums in a loop of their own 1750, because of the stores of 16-bit sums; ties
marked within the loop 1820, of intensities too 1470; float32 products 1680; int64 accumulators
1200. Comparing the smaller of both half-planes instead of each gave 10 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from gpuseg._cpu._jit import jit
from gpuseg._cpu._narrow import add, mul, sub
from gpuseg._shared.hsi import WORD_BITS

STAIN = 4
TIE = 128
_TIES = np.uint64(0x8080808080808080)
_ONE_BITS = 0x3FF0000000000000
_LOW = (1 << WORD_BITS) - 1


@jit
def _add_word(both: Any, one: int, k: int, words: Any) -> None:
    """Unpack a count above a sum into class k's words."""
    words[k] += both // one
    words[7 + 2 * k] += both % one


@jit
def _integer_codes(
    r: Any,
    g: Any,
    b: Any,
    n: int,
    form: Any,
    wide: Any,
    pack: Any,
    one: int,
    codes: Any,
    words: Any,
) -> bool:
    """Codes of at most 1024 pixels by integers alone; True if one ties with the saturation."""
    a1, b1, a2, b2 = wide(form[0]), wide(form[1]), wide(form[2]), wide(form[3])
    edge, outside = wide(form[4]), form[5] != 0
    p, q = wide(form[6]), wide(form[7])
    lower, upper, weak, strong = wide(form[8]), wide(form[9]), wide(form[10]), wide(form[11])
    last, flip = wide(upper - 1), wide(-1 if outside else 0)
    least = last
    all_sum, weak_sum, strong_sum = pack(0), pack(0), pack(0)
    for i in range(n):
        red, green, blue = wide(r[i]), wide(g[i]), wide(b[i])
        u, v = sub(green, red), sub(blue, red)
        s = add(add(red, green), blue)
        nearest = min(add(mul(a1, u), mul(b1, v)), add(mul(a2, u), mul(b2, v)))
        slack = sub(mul(p, s), mul(q, min(red, min(green, blue))))
        # Every condition as a number that is not negative: minima are cheaper than comparisons.
        hue = wide(sub(nearest, edge) ^ flip)
        positive = min(min(hue, slack), min(sub(s, lower), sub(last, s))) >= 0
        least = min(least, slack if positive else last)
        is_weak, is_strong = s >= weak, s < strong
        code = np.uint8(2) - np.uint8(is_weak) + np.uint8(is_strong)
        codes[i] = np.uint8(code if positive else 0)
        value = pack(pack(s) | pack(one))
        all_sum = add(all_sum, value if positive else pack(0))
        weak_sum = add(weak_sum, value if positive & is_weak else pack(0))
        strong_sum = add(strong_sum, value if positive & is_strong else pack(0))
    ties = least == 0
    _add_word(weak_sum, one, 0, words)
    _add_word(pack(all_sum - weak_sum - strong_sum), one, 1, words)
    _add_word(strong_sum, one, 2, words)
    return ties


@jit
def _mark_ratio_ties(r: Any, g: Any, b: Any, n: int, form: Any, wide: Any, codes: Any) -> None:
    p, q = wide(form[6]), wide(form[7])
    for i in range(n):
        red, green, blue = wide(r[i]), wide(g[i]), wide(b[i])
        even = wide(p * wide(red + green + blue)) == wide(q * min(red, min(green, blue)))
        codes[i] |= np.uint8(TIE if even & (codes[i] != 0) else 0)


@jit
def _mark_sum_ties(r: Any, g: Any, b: Any, n: int, form: Any, narrow: Any, codes: Any) -> bool:
    t0, t1, t2, t3 = narrow(form[13]), narrow(form[14]), narrow(form[15]), narrow(form[16])
    any_tie = False
    for i in range(n):
        s = narrow(narrow(r[i]) + narrow(g[i]) + narrow(b[i]))
        tie = ((s == t0) | (s == t1) | (s == t2) | (s == t3)) & (codes[i] != 0)
        any_tie |= tie
        codes[i] |= np.uint8(TIE if tie else 0)
    return any_tie


@jit
def _float_code(red: float, green: float, blue: float, f: Any) -> int:
    """Code by HistomicsTK's formulas of a pixel whose hue fits; channels are in 0..1."""
    intensity = ((red + green) + blue) / 3.0
    saturation = 0.0
    if intensity != 0.0:
        saturation = 1.0 - min(red, min(green, blue)) / max(intensity, 1e-10)
    if not (saturation >= f[6] and f[7] <= intensity < f[8]):
        return 0
    return 1 if intensity >= f[9] else 3 if intensity < f[10] else 2


@jit
def _redo_ties(r: Any, g: Any, b: Any, f: Any, codes: Any, words: Any) -> None:
    """Settle marked codes and move their pixels in the tally; looks at eight at a time."""
    eights = codes.view(np.uint64)
    for j in range(len(eights)):
        if eights[j] & _TIES == 0:
            continue
        for i in range(8 * j, 8 * j + 8):
            if codes[i] >= TIE:
                red, green, blue = r[i] / f[11], g[i] / f[11], b[i] / f[11]
                before, after = codes[i] - TIE, _float_code(red, green, blue, f)
                s = np.int64(r[i]) + np.int64(g[i]) + np.int64(b[i])
                words[before - 1] -= 1
                words[5 + 2 * before] -= s
                if after:
                    words[after - 1] += 1
                    words[5 + 2 * after] += s
                codes[i] = after


@jit
def _float_codes(r: Any, g: Any, b: Any, n: int, form: Any, f: Any, codes: Any, fixed: Any) -> None:
    """Codes in float64, and intensities in multiples of 2^-52."""
    outside, grey, scale = form[5] != 0, form[17] != 0, f[11]
    a1, b1, a2, b2, a3, b3 = f[0], f[1], f[2], f[3], f[4], f[5]
    for i in range(n):
        red, green, blue = np.float64(r[i]), np.float64(g[i]), np.float64(b[i])
        u, v = green - red, blue - red
        first, second, third = a1 * u + b1 * v >= 0, a2 * u + b2 * v >= 0, a3 * u + b3 * v >= 0
        hue = (first | second) if outside else (first & second & third)
        codes[i] = np.uint8(grey if (u == 0) & (v == 0) else hue)
    least, lower, upper, weak, strong = f[6], f[7], f[8], f[9], f[10]
    for i in range(n):
        red, green, blue = r[i] / scale, g[i] / scale, b[i] / scale
        intensity = ((red + green) + blue) / 3.0
        saturation = 1.0 - min(red, min(green, blue)) / max(intensity, 1e-10)
        saturation = 0.0 if intensity == 0.0 else saturation
        positive = (
            (codes[i] != 0) & (saturation >= least) & (intensity >= lower) & (intensity < upper)
        )
        code = np.uint8(2) - np.uint8(intensity >= weak) + np.uint8(intensity < strong)
        codes[i] = np.uint8(code if positive else 0)
        # Adding 1 rounds to a multiple of 2^-52 and leaves it in the low bits of the number.
        fixed[i] = np.float64(intensity + 1.0).view(np.int64) - _ONE_BITS


@jit
def _add_integers(
    codes: Any, r: Any, g: Any, b: Any, first: Any, n: int, pack: Any, one: int, words: Any
) -> None:
    weak, plain, strong, stain = pack(0), pack(0), pack(0), pack(0)
    for k in range(n):
        # Unsigned, or numba takes care of negative indices and nothing is vectorised.
        i = first + np.uint64(k)
        value = pack(pack(pack(r[i]) + pack(g[i]) + pack(b[i])) | pack(one))
        weak = pack(weak + (value if codes[i] == 1 else pack(0)))
        plain = pack(plain + (value if codes[i] == 2 else pack(0)))
        strong = pack(strong + (value if codes[i] == 3 else pack(0)))
        stain = pack(stain + (value if codes[i] == STAIN else pack(0)))
    _add_word(weak, one, 0, words)
    _add_word(plain, one, 1, words)
    _add_word(strong, one, 2, words)
    _add_word(stain, one, 3, words)


@jit
def _add_fixed(codes: Any, fixed: Any, first: Any, n: int, words: Any) -> None:
    for code in range(1, 5):
        count, high, low = 0, 0, 0
        for k in range(n):
            i = first + np.uint64(k)
            hit = codes[i] == code
            count += hit
            high += (fixed[i] >> WORD_BITS) if hit else 0
            low += (fixed[i] & _LOW) if hit else 0
        words[code - 1] += count
        words[4 + 2 * code] += high
        words[5 + 2 * code] += low


def block_codes(
    r: Any, g: Any, b: Any, n: Any, form: Any, f: Any, codes: Any, fixed: Any, words: Any
) -> Any:
    """Codes of the first n <= 1024 pixels, and their tally added to `words`.

    `codes` is a multiple of 8 long; `fixed` is scratch that floating images need.
    """
    raise NotImplementedError("for compiled code only")


def add_codes(
    codes: Any, r: Any, g: Any, b: Any, fixed: Any, first: Any, n: Any, words: Any
) -> Any:
    """Add n <= 1024 pixels from `first` on, by their codes, to `words`."""
    raise NotImplementedError("for compiled code only")


def in_range(r: Any, g: Any, b: Any, n: Any, scale: Any) -> Any:
    """Whether the first n values of each plane are within 0..scale; NaN is not."""
    raise NotImplementedError("for compiled code only")


def _integer_types(dtype: Any) -> tuple[Any, Any, int, Any]:
    """Types of products and of packed sums, the packed 1, and a type that holds R+G+B.

    8-bit: products below 2^21, 1024 * 765 < 2^20. 16-bit: below 2^37, 1024 * 196605 < 2^28.
    """
    if dtype == types.uint8:
        return np.int32, np.uint32, 1 << 20, np.int16
    return np.int64, np.uint64, 1 << 40, np.int32


@overload(block_codes)
def _block_codes(
    r: Any, g: Any, b: Any, n: Any, form: Any, f: Any, codes: Any, fixed: Any, words: Any
) -> Any:
    if isinstance(r.dtype, types.Float):

        def floats(
            r: Any, g: Any, b: Any, n: Any, form: Any, f: Any, codes: Any, fixed: Any, words: Any
        ) -> Any:
            _float_codes(r, g, b, n, form, f, codes, fixed)
            _add_fixed(codes, fixed, np.uint64(0), n, words)

        return floats
    wide, pack, one, narrow = _integer_types(r.dtype)

    def integers(
        r: Any, g: Any, b: Any, n: Any, form: Any, f: Any, codes: Any, fixed: Any, words: Any
    ) -> Any:
        ties = _integer_codes(r, g, b, n, form, wide, pack, one, codes, words) and form[12] != 0
        if ties:
            _mark_ratio_ties(r, g, b, n, form, wide, codes)
        if form[13] >= 0:
            ties |= _mark_sum_ties(r, g, b, n, form, narrow, codes)
        if ties:
            codes[n:] = 0
            _redo_ties(r, g, b, f, codes, words)

    return integers


@overload(add_codes)
def _add_codes(
    codes: Any, r: Any, g: Any, b: Any, fixed: Any, first: Any, n: Any, words: Any
) -> Any:
    if isinstance(r.dtype, types.Float):

        def floats(
            codes: Any, r: Any, g: Any, b: Any, fixed: Any, first: Any, n: Any, words: Any
        ) -> Any:
            _add_fixed(codes, fixed, np.uint64(first), n, words)

        return floats
    _, pack, one, _ = _integer_types(r.dtype)

    def integers(
        codes: Any, r: Any, g: Any, b: Any, fixed: Any, first: Any, n: Any, words: Any
    ) -> Any:
        _add_integers(codes, r, g, b, np.uint64(first), n, pack, one, words)

    return integers


@overload(in_range)
def _in_range(r: Any, g: Any, b: Any, n: Any, scale: Any) -> Any:
    full = None if isinstance(r.dtype, types.Float) else float(r.dtype.maxval)

    def check(r: Any, g: Any, b: Any, n: Any, scale: Any) -> Any:
        if full is not None and scale >= full:
            return True
        good = True
        for i in range(n):
            good &= (r[i] >= 0) & (g[i] >= 0) & (b[i] >= 0)
            good &= (r[i] <= scale) & (g[i] <= scale) & (b[i] <= scale)
        return good

    return check
