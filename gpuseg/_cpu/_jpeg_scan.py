"""numba: from the entropy-coded bytes of a JPEG scan to planes of samples.

Whatever libjpeg would warn of, and all that is rare, is left to libjpeg: a negative answer means
that the stream has to be decoded by other means, not that it is damaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from gpuseg._cpu import _jpeg_dct as dct
from gpuseg._cpu._jit import jit
from gpuseg._cpu._jpeg_dct import LANES
from gpuseg._cpu._jpeg_tables import AC_BITS, DC_BITS, DC_WORDS, TABLE_WORDS, long_code
from gpuseg._cpu._pointer import row_at

# What may be read beyond the end before a unit of blocks is found to be too long.
PADDING = 2048
# Coefficients are written to `place[k]`; those beyond the 63rd to the row behind all others. In a
# damaged stream a symbol may skip 16 from the 62nd, and an end of block 128 more.
PLACES = 62 + 16 + 128 + 2
_NATURAL = (
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
)  # fmt: skip
PLACE = np.full(PLACES, 64 * LANES)
PLACE[:64] = np.array(_NATURAL) * LANES

_U = np.uint64
_SEVENS, _ONES = _U(0x8080808080808080), _U(0x0101010101010101)


@intrinsic
def _big_endian(typing_context: Any, address: Any) -> Any:
    """The eight bytes at an address, aligned or not, the first one highest."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], context.get_value_type(types.CPointer(types.uint64)))
        word = builder.load(pointer)
        word.align = 1
        return builder.bswap(word)

    return types.uint64(address), codegen


@jit
def unstuffed(address: int, size: int, out: Any) -> Any:
    """Copy a scan up to its end marker, without the zeros after bytes of 255.

    Returns its number of bytes; -1 if it doesn't end, or holds another marker.
    """
    source = row_at(address, size, np.uint8)
    i, written, end = _U(0), _U(0), _U(size)
    while i < end:
        if i + _U(8) <= end:
            eight = _big_endian(_U(address) + i)
            # Whether one of eight bytes is 255: whether one of their complements is 0.
            if not (~eight - _ONES) & eight & _SEVENS:
                for k in range(8):
                    out[written + _U(k)] = source[i + _U(k)]
                i, written = i + _U(8), written + _U(8)
                continue
        while i < end:
            byte = source[i]
            out[written] = byte
            i, written = i + _U(1), written + _U(1)
            if byte == 255:
                if i >= end or source[i] != 0:
                    ended = i < end and source[i] == 0xD9
                    return np.int64(written) - 1 if ended else -1
                i += _U(1)
                break
    return -1


@jit(forceinline=True)
def _signed(bits: Any, size: Any) -> Any:
    """Value of the upper `size` of 64 bits, as JPEG writes signed numbers."""
    value = np.int64(bits >> _U(1) >> _U(63 - size))
    if size > 0 and value < 1 << (size - 1):
        value -= (1 << size) - 1
    return value


@jit
def _rare_difference(full: Any, limits: Any, values: Any) -> Any:
    """Bits and value of a difference that the lookup doesn't know; 0 bits if it is none."""
    length, size = long_code(full, limits, values)
    if length == 0 or size > 11:
        return 0, 0
    return length + size, _signed(full << _U(length), size)


@jit
def _rare_coefficient(entry: Any, full: Any, limits: Any, values: Any) -> Any:
    """Bits, skip and value of a symbol whose bits the lookup doesn't hold; 0 bits if it is none."""
    length: Any = np.int64(entry >> _U(8) & _U(63))
    skip: Any = np.int64(entry >> _U(16) & _U(255))
    size: Any = np.int64(entry >> _U(32))
    if length == 0:
        length, symbol = long_code(full, limits, values)
        size, skip = symbol & 15, (symbol >> 4) + 1
        if size == 0:
            skip = 128 if skip == 1 else skip
            if skip != 128 and skip != 16:
                return 0, 0, 0
    return (length + size, skip, _signed(full << _U(length), size)) if length else (0, 0, 0)


@jit
def _layout(shape: Any, lookup: Any) -> Any:
    """Where the blocks of a unit go; and the number of units side by side.

    For each block: first lane, lanes to the next unit, component, numbers and addresses of tables.
    """
    across, down = shape[2], shape[3]
    luma = across * down
    batch = LANES // (luma + 2)
    blocks = np.zeros((luma + 2, 7), np.uint64)
    for j in range(luma + 2):
        component = max(0, j - luma + 1)
        blocks[j, 0] = j // across * batch * across + j % across if j < luma else j * batch
        blocks[j, 1] = across if j < luma else 1
        blocks[j, 2] = component
        blocks[j, 3], blocks[j, 4] = shape[5 + component], shape[8 + component]
        for k in range(2):
            start = blocks[j, 3 + k] * _U(TABLE_WORDS) + _U(k * DC_WORDS)
            blocks[j, 5 + k] = _U(lookup.ctypes.data) + _U(8) * start
    return blocks, batch


@jit(forceinline=True)
def _word(address: Any, index: Any) -> Any:
    return row_at(np.int64(address), 1 << AC_BITS, np.uint64)[index]


@jit
def _store(left: Any, right: Any, lane: int, count: int, out: Any, stride: int) -> None:
    """Eight rows of `count` blocks from `lane` on, to rows of int32 at address `out`."""
    for y in range(8):
        row = row_at(out + y * stride, 2 * count, np.int32)
        start = _U(y * LANES + lane)
        for i in range(count):
            row[_U(2) * _U(i)] = left[start + _U(i)]
            row[_U(2) * _U(i) + _U(1)] = right[start + _U(i)]


@jit
def _batch(
    bits: Any,
    units: int,
    blocks: Any,
    quant: Any,
    limits: Any,
    values: Any,
    place: Any,
    before: Any,
    out: Any,
    end: Any,
) -> bool:
    """Coefficients of some units side by side, times their quantization; False if it is odd.

    `bits` are the next ones (the rest is 0), how many are known, and where the others are;
    `before` is the last DC value of each component.
    """
    buffer, left, at = bits[0], bits[1], bits[2]
    odd = _U(0)
    for unit in range(units):
        for j in range(len(blocks)):
            lane = blocks[j, 0] + blocks[j, 1] * _U(unit)
            component = blocks[j, 2]
            steps = component * _U(PLACES)
            # Filled up aside, so that a lookup waits for the one before and nothing else.
            entry = _word(blocks[j, 5], buffer >> _U(64 - DC_BITS))
            full = buffer | _big_endian(at) >> left
            at += (_U(63) - left) >> _U(3)
            left |= _U(56)
            used, difference = entry & _U(63), np.int64(np.int16(entry >> _U(32)))
            if used == _U(0):
                number = blocks[j, 3]
                rare = _rare_difference(full, limits[number], values[number])
                used, difference = _U(rare[0]), rare[1]
                if used == _U(0):
                    return False
            buffer, left = full << used, left - used
            before[component] += difference
            level = before[component] * quant[steps]
            # libjpeg-turbo's vector code differs from its C code beyond.
            odd |= _U(level > 8191) | _U(level < -8191)
            out[lane] = level
            k, table = _U(0), blocks[j, 6]
            while k < _U(63):
                entry = _word(table, buffer >> _U(64 - AC_BITS))
                full = buffer | _big_endian(at) >> left
                at += (_U(63) - left) >> _U(3)
                left |= _U(56)
                used = entry & _U(63)
                if used == _U(0):
                    number = _U(4) + blocks[j, 4]
                    some = _rare_coefficient(entry, full, limits[number], values[number])
                    if some[0] == 0:
                        return False
                    k += _U(some[1])
                    out[_U(place[k]) + lane] = some[2] * quant[steps + k]
                    buffer, left = full << _U(some[0]), left - _U(some[0])
                    odd |= k & _U(64)
                    continue
                first = k + (entry >> _U(16) & _U(255))
                value = np.int32(np.int16(entry >> _U(32)))
                out[_U(place[first]) + lane] = value * quant[steps + first]
                if first == _U(63):
                    # The second symbol belongs to the next block.
                    used = entry >> _U(8) & _U(63)
                    buffer, left = full << used, left - used
                    break
                k += entry >> _U(24) & _U(255)
                value = np.int32(np.int16(entry >> _U(48)))
                out[_U(place[k]) + lane] = value * quant[steps + k]
                buffer, left = full << used, left - used
                odd |= (first | k) & _U(64)
        if at > end or odd != _U(0):
            return False
    bits[0], bits[1], bits[2] = buffer, left, at
    return True


@jit
def planes(
    scan: Any,
    size: int,
    shape: Any,
    lookup: Any,
    limits: Any,
    values: Any,
    quant: Any,
    place: Any,
    out: Any,
) -> bool:
    """Decode `size` bytes of an unstuffed scan to samples; False if it is odd.

    `shape` and the tables are those of a `gpuseg._cpu.jpeg.Frame`. `out` (int64 words) gets luma
    and then both chroma planes, each with whole units in its rows and columns.
    """
    across, down = shape[2], shape[3]
    wide, tall = -(-shape[1] // (8 * across)), -(-shape[0] // (8 * down))
    blocks, batch = _layout(shape, lookup)
    before = np.zeros(3, np.int64)
    coefficients = np.empty(65 * LANES, np.int16)
    half_done = np.empty(64 * LANES, np.int16)
    left, right = np.empty(8 * LANES, np.int32), np.empty(8 * LANES, np.int32)
    start = _U(scan.ctypes.data)
    end = start + _U(size)
    bits = np.array([_big_endian(start) & ~_U(255), _U(56), start + _U(7)], np.uint64)
    luma_row, chroma_row = 8 * wide * across, 8 * wide
    chroma = out.ctypes.data + luma_row * tall * down * 8
    for row in range(tall):
        for first in range(0, wide, batch):
            units = min(batch, wide - first)
            coefficients[:] = 0
            # Eight bytes are read ahead.
            if not _batch(
                bits, units, blocks, quant, limits, values, place, before, coefficients,
                end + _U(8),
            ):  # fmt: skip
                return False
            dct.columns(coefficients, half_done)
            dct.rows(half_done, left, right)
            for k in range(down):
                at = out.ctypes.data + (row * down + k) * 8 * luma_row + 8 * first * across
                _store(left, right, k * batch * across, units * across, at, luma_row)
            for k in range(2):
                at = chroma + (k * tall + row) * 8 * chroma_row + 8 * first
                _store(left, right, (across * down + k) * batch, units, at, chroma_row)
    return np.int64(bits[2] - start) - np.int64(bits[1] >> _U(3)) == size
