"""numba kernels of positive pixel counting; `_cpu/hsi.py` calls them with addresses of rows.

Codes within a block: the four labels, 4 for counterstained pixels, and `_TIE` added to pixels that
rounding decides, which are then done again in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from gpuseg._cpu._pointer import row_at
from gpuseg._hsi import WORD_BITS

BLOCK = 1024
_NEGATIVE_STAIN = 4
_TIE = 128
_LOW = (1 << WORD_BITS) - 1
_UNIT = float(1 << 52)


@njit(nogil=True, cache=True)
def _planes(source: Any, channels: int, n: int, r: Any, g: Any, b: Any) -> None:
    if channels == 3:
        for i in range(n):
            r[i] = source[3 * i]
            g[i] = source[3 * i + 1]
            b[i] = source[3 * i + 2]
    else:
        for i in range(n):
            r[i] = source[4 * i]
            g[i] = source[4 * i + 1]
            b[i] = source[4 * i + 2]


@njit(nogil=True, cache=True)
def _integer_codes(
    r: Any, g: Any, b: Any, n: int, form: Any, wide: Any, codes: Any, sums: Any
) -> bool:
    """Codes and R+G+B of n pixels by integers; True if any needs `_float_code`."""
    a1, b1, a2, b2 = wide(form[0]), wide(form[1]), wide(form[2]), wide(form[3])
    edge, outside = wide(form[4]), form[5] != 0
    p, q = wide(form[6]), wide(form[7])
    lower, upper, weak, strong = wide(form[8]), wide(form[9]), wide(form[10]), wide(form[11])
    ratio_ties = form[12] != 0
    t0, t1, t2, t3 = wide(form[13]), wide(form[14]), wide(form[15]), wide(form[16])
    any_tie = False
    for i in range(n):
        red, green, blue = wide(r[i]), wide(g[i]), wide(b[i])
        u, v = wide(green - red), wide(blue - red)
        s = wide(red + green + blue)
        m = min(red, min(green, blue))
        hue = ((wide(a1 * u + b1 * v) >= edge) & (wide(a2 * u + b2 * v) >= edge)) != outside
        slack = wide(p * s - q * m)
        positive = hue & (slack >= 0) & (s >= lower) & (s < upper)
        code = np.uint8(positive) * np.uint8(2 - np.int32(s >= weak) + np.int32(s < strong))
        tie = hue & (((slack == 0) & ratio_ties) | (s == t0) | (s == t1) | (s == t2) | (s == t3))
        any_tie |= tie
        codes[i] = np.uint8(code | (np.uint8(tie) << 7))
        sums[i] = s
    return any_tie


@njit(nogil=True, cache=True)
def _float_code(red: float, green: float, blue: float, hue: bool, f: Any) -> int:
    """Code by HistomicsTK's formulas, in its order of operations; channels are in 0..1."""
    intensity = ((red + green) + blue) / 3.0
    saturation = 0.0
    if intensity != 0.0:
        saturation = 1.0 - min(red, min(green, blue)) / max(intensity, 1e-10)
    if not (hue and saturation >= f[6] and f[7] <= intensity < f[8]):
        return 0
    return 1 if intensity >= f[9] else 3 if intensity < f[10] else 2


@njit(nogil=True, cache=True)
def _redo_ties(r: Any, g: Any, b: Any, n: int, f: Any, codes: Any) -> None:
    scale = f[11]
    for i in range(n):
        if codes[i] >= _TIE:
            # Ties are marked only where the hue fits.
            codes[i] = _float_code(r[i] / scale, g[i] / scale, b[i] / scale, True, f)


@njit(nogil=True, cache=True)
def _float_codes(r: Any, g: Any, b: Any, n: int, form: Any, f: Any, codes: Any, sums: Any) -> None:
    scale, outside, grey = f[11], form[5] != 0, form[17] != 0
    for i in range(n):
        red, green, blue = np.float64(r[i]), np.float64(g[i]), np.float64(b[i])
        u, v = green - red, blue - red
        first, second = f[0] * u + f[1] * v >= 0, f[2] * u + f[3] * v >= 0
        if u == 0 and v == 0:
            hue = grey
        elif outside:
            hue = first or second
        else:
            hue = first and second and f[4] * u + f[5] * v >= 0
        red, green, blue = red / scale, green / scale, blue / scale
        codes[i] = _float_code(red, green, blue, hue, f)
        sums[i] = np.int64(np.rint(((red + green) + blue) / 3.0 * _UNIT))


def _block_codes(r: Any, g: Any, b: Any, n: Any, form: Any, f: Any, codes: Any, sums: Any) -> Any:
    """Codes and sums of n pixels in planes, by the way that suits their dtype."""
    raise NotImplementedError("numba only")


@overload(_block_codes)
def _block_codes_for(
    r: Any, g: Any, b: Any, n: Any, form: Any, f: Any, codes: Any, sums: Any
) -> Any:
    if isinstance(r.dtype, types.Float):

        def floats(r: Any, g: Any, b: Any, n: Any, form: Any, f: Any, codes: Any, sums: Any) -> Any:
            _float_codes(r, g, b, n, form, f, codes, sums)

        return floats
    # Products stay below 2^21 for 8-bit values and below 2^37 for 16-bit ones.
    wide = np.int32 if r.dtype == types.uint8 else np.int64

    def integers(r: Any, g: Any, b: Any, n: Any, form: Any, f: Any, codes: Any, sums: Any) -> Any:
        if _integer_codes(r, g, b, n, form, wide, codes, sums):
            _redo_ties(r, g, b, n, f, codes)

    return integers


@njit(nogil=True, cache=True)
def _in_range(x: Any, n: int, scale: float) -> bool:
    """Whether all are within 0..scale; NaN is not."""
    good = True
    for i in range(n):
        good &= (x[i] >= 0) & (x[i] <= scale)
    return good


@njit(nogil=True, cache=True)
def _add_up(codes: Any, sums: Any, start: int, stop: int, words: Any) -> None:
    """Add pixels start..stop of a block to a tally's words."""
    for code, place, sum_place in ((1, 0, 6), (2, 1, 8), (3, 2, 10), (4, 3, 12)):
        count, high, low = 0, 0, 0
        for i in range(start, stop):
            hit = codes[i] == code
            count += hit
            high += hit * (sums[i] >> WORD_BITS)
            low += hit * (sums[i] & _LOW)
        words[place] += count
        words[sum_place] += high
        words[sum_place + 1] += low


@njit(nogil=True, cache=True)
def _apply_mask(codes: Any, mask: Any, n: int) -> int:
    """Clear codes outside the mask; number of pixels inside."""
    total = 0
    for i in range(n):
        inside = mask[i] != 0
        total += inside
        codes[i] = codes[i] if inside else 0
    return total


@njit(nogil=True, cache=True)
def _scan_block(
    source: Any,
    channels: int,
    n: int,
    lattice: Any,
    floats: Any,
    planes: Any,
    codes: Any,
    sums: Any,
) -> bool:
    """Codes and sums of one block by all forms; False if a value is out of range."""
    r, g, b = planes[0], planes[1], planes[2]
    _planes(source, channels, n, r, g, b)
    scale = floats[0, 11]
    if not (_in_range(r, n, scale) & _in_range(g, n, scale) & _in_range(b, n, scale)):
        return False
    _block_codes(r, g, b, n, lattice[0], floats[0], codes[0], sums)
    if len(lattice) == 2:
        _block_codes(r, g, b, n, lattice[1], floats[1], codes[1], sums)
        for i in range(n):
            if codes[0, i] == 0 and codes[1, i] != 0:
                codes[0, i] = _NEGATIVE_STAIN
    return True


@njit(nogil=True, cache=True)
def tally(job: Any, lattice: Any, floats: Any, words: Any, sample: Any) -> bool:
    """Add an image's pixels to `words` and write its labels; True if a value is out of range.

    `job` holds address and row stride of the image, rows, width, channels, then address and row
    stride of the mask and of the labels (address 0 for none).
    """
    address, stride, rows, width, channels = job[0], job[1], job[2], job[3], job[4]
    planes = np.empty((3, BLOCK), sample.dtype)
    codes, sums = np.empty((2, BLOCK), np.uint8), np.empty(BLOCK, np.int64)
    total = 0
    for row in range(rows):
        for start in range(0, width, BLOCK):
            n = min(BLOCK, width - start)
            at = address + row * stride + start * channels * sample.itemsize
            source = row_at(at, n * channels, sample.dtype)
            if not _scan_block(source, channels, n, lattice, floats, planes, codes, sums):
                return True
            if job[5]:
                mask = row_at(job[5] + row * job[6] + start, n, np.uint8)
                total += _apply_mask(codes[0], mask, n)
            else:
                total += n
            _add_up(codes[0], sums, 0, n, words)
            if job[7]:
                out = row_at(job[7] + row * job[8] + start, n, np.uint8)
                for i in range(n):
                    out[i] = codes[0, i] & 3
    words[4] += total
    return False


@njit(nogil=True, cache=True)
def tally_spans(job: Any, spans: Any, lattice: Any, floats: Any, words: Any, sample: Any) -> bool:
    """Add spans (region, row, start, stop), sorted by row, to the regions' rows of `words`."""
    address, stride, width, channels = job[0], job[1], job[3], job[4]
    planes = np.empty((3, width), sample.dtype)
    codes, sums = np.empty((2, width), np.uint8), np.empty(width, np.int64)
    k = 0
    while k < len(spans):
        row, first = spans[k, 1], k
        left, right = width, 0
        while k < len(spans) and spans[k, 1] == row:
            left, right = min(left, spans[k, 2]), max(right, spans[k, 3])
            k += 1
        n = max(0, right - left)
        at = address + row * stride + left * channels * sample.itemsize
        source = row_at(at, n * channels, sample.dtype)
        if not _scan_block(source, channels, n, lattice, floats, planes, codes, sums):
            return True
        for j in range(first, k):
            start, stop = spans[j, 2] - left, spans[j, 3] - left
            if stop > start:
                words[spans[j, 0], 4] += stop - start
                _add_up(codes[0], sums, start, stop, words[spans[j, 0]])
    return False
