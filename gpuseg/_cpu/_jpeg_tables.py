"""numba: Huffman tables of a JPEG stream, as lookups that answer two symbols at once.

A code and the bits that follow it are at most 11 bits long in 97 of 100 cases at quality 80, and
two of them together in every other. So the next 11 bits of the scan are looked up to learn both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit

DC_BITS, AC_BITS = 10, 11
# Words of a number's tables: first those of its DC table, then those of its AC table.
DC_WORDS = 1 << DC_BITS
TABLE_WORDS = DC_WORDS + (1 << AC_BITS)
# Skipped by an end of block: beyond all coefficients, and without the bit of 64.
END = 128

_U = np.uint64


@jit
def _symbols(counts: Any, values: Any, bits: int, ac: bool) -> Any:
    """Bits used, coefficients skipped and value of the symbol that each `bits` bits begin with.

    Bits used are negative, those of the code alone, where the value's own bits are not all there;
    the value is then their number. They are 0 where the code itself is not all there, or wrong.
    """
    found = np.zeros((1 << bits, 3), np.int64)
    code, number = 0, 0
    for length in range(1, bits + 1):
        for _ in range(counts[length - 1]):
            symbol = np.int64(values[number])
            number += 1
            size, skip = (symbol & 15, (symbol >> 4) + 1) if ac else (symbol, 0)
            free = bits - length
            if ac and size == 0:
                # 1 to 14 zeros without a value after them mean nothing.
                skip = END if skip == 1 else skip if skip == 16 else 0
            known = size <= free and not (ac and skip == 0)
            for low in range(1 << free):
                entry = (code << free) + low
                if entry >= 1 << bits:
                    break
                if known:
                    value = low >> (free - size)
                    if size > 0 and value < 1 << (size - 1):
                        value -= (1 << size) - 1
                    found[entry, 0], found[entry, 1], found[entry, 2] = length + size, skip, value
                elif skip or not ac:
                    found[entry, 0], found[entry, 1], found[entry, 2] = -length, skip, size
            code += 1
        code <<= 1
    return found


@jit
def _fill_dc(counts: Any, values: Any, out: Any) -> None:
    """Words of bits used | value << 32; 0 where more bits are needed."""
    single = _symbols(counts, values, DC_BITS, False)
    for i in range(len(single)):
        known = single[i, 0] > 0
        out[i] = _U(single[i, 0]) | _U(single[i, 2] & 0xFFFF) << _U(32) if known else _U(0)


@jit
def _fill_ac(counts: Any, values: Any, out: Any) -> None:
    """Words that answer two symbols; a single one is its own second, which skips nothing.

    Bits used by both | by the first << 8 | skip of the first << 16 and of both << 24 | values << 32
    and << 48. 0 bits used by both: only the first code's length, skip and number of value's bits.
    """
    single = _symbols(counts, values, AC_BITS, True)
    for i in range(len(single)):
        bits, skip, value = single[i, 0], single[i, 1], single[i, 2]
        if bits <= 0:
            out[i] = _U(-bits) << _U(8) | _U(skip) << _U(16) | _U(value) << _U(32)
            continue
        both, skips, second = bits, skip, value
        rest = (i << bits) & (len(single) - 1)
        if skip != END and 0 < single[rest, 0] <= AC_BITS - bits:
            both, skips, second = bits + single[rest, 0], skip + single[rest, 1], single[rest, 2]
        out[i] = (
            _U(both) | _U(bits) << _U(8) | _U(skip) << _U(16) | _U(skips) << _U(24)
            | _U(value & 0xFFFF) << _U(32) | _U(second & 0xFFFF) << _U(48)
        )  # fmt: skip


@jit
def fill(number: int, ac: bool, counts: Any, values: Any, lookup: Any, limits: Any) -> None:
    """Fill a table's part of `lookup`, and its row of `limits` for codes of any length.

    Parameters
    ----------
    number : int
        The stream's number of the table, 0 to 3.
    ac : bool
    counts : int64 array (16,)
        Codes of each length.
    values : uint8 array (256,)
    lookup : uint64 array (4 * TABLE_WORDS,)
    limits : int64 array (8, 2, 17)
        For each length, where the 16 bits of longer codes begin, and from a code to its value.
    """
    start = number * TABLE_WORDS
    if ac:
        _fill_ac(counts, values, lookup[start + DC_WORDS : start + TABLE_WORDS])
    else:
        _fill_dc(counts, values, lookup[start : start + DC_WORDS])
    row = limits[4 * ac + number]
    code, total = 0, 0
    for length in range(1, 17):
        row[1, length] = total - code
        code += counts[length - 1]
        total += counts[length - 1]
        row[0, length] = code << (16 - length)
        code <<= 1


@jit
def long_code(bits: Any, limits: Any, values: Any) -> Any:
    """Length and value of the code that the upper 16 of 64 bits begin with; length 0 if none."""
    top = np.int64(bits >> _U(48))
    for length in range(1, 17):
        if top < limits[0, length]:
            return length, np.int64(values[(limits[1, length] + (top >> (16 - length))) & 255])
    return 0, 0
