"""Exact colour histograms on the CPU: a dense table of 2^24 counters that is emptied sparsely.

A thread's table takes 64 MB of address space, of which tissue touches some 20. Measured on one
core, tissue: 830 Mpx/s, and 2 ms to read out 10^5 colours. Gathering a block's keys first is faster
on tissue (940) and four times slower on background, where neighbours add to the same counter.
"""

from __future__ import annotations

from contextlib import suppress
from functools import reduce
from typing import Any

import numpy as np

from gpuseg._cpu import hsi
from gpuseg._cpu._hsi_codes import STAIN, block_codes
from gpuseg._cpu._jit import jit
from gpuseg._cpu._strips import shared
from gpuseg._shared.hsi import WORDS, Rule
from gpuseg.typing import NumpyArray

Pair = tuple[NumpyArray, NumpyArray]

# A counter of 32 bits overflows no earlier than this.
_MOST_PIXELS = 1 << 31
# Tables that no thread holds, all zero; a new one costs more than a megapixel in page faults.
_spare: list[Pair] = []


def histogram(image: NumpyArray, mask: NumpyArray | None = None) -> Pair:
    """Colours (uint32, R<<16 | G<<8 | B, sorted) of a uint8 image and their counts (int64)."""
    found: list[Pair] = []  # no more than threads

    def work(part: tuple[NumpyArray, NumpyArray | None]) -> None:
        pair = _part_histogram(*part)
        with suppress(IndexError):
            while True:
                pair = _merge(*pair, *found.pop())
        found.append(pair)

    shared(work, [part[:2] for part in hsi.parts(image, mask, None)])
    return reduce(_merged, found)


def merge(first: Pair, second: Pair) -> Pair:
    """Colours and counts of both."""
    return _merge(*first, *second)


def weigh(colours: NumpyArray, counts: NumpyArray, rule: Rule) -> NumpyArray:
    """Words of the tally of an image with these colours."""
    words = np.zeros(WORDS, np.int64)
    _weigh(colours, counts, *rule.tables, words)
    return words


def _merged(first: Pair, second: Pair) -> Pair:
    return _merge(*first, *second)


def _part_histogram(image: NumpyArray, mask: NumpyArray | None) -> Pair:
    try:
        bins, used = _spare.pop()
    except IndexError:
        # Zeroed by the system when touched: never resident as a whole.
        bins, used = np.zeros(1 << 24, np.uint32), np.zeros(1 << 16, np.uint8)
    flat = np.ascontiguousarray(image).reshape(-1)
    inside = np.empty(0, np.uint8) if mask is None else hsi.mask_bytes(mask).reshape(-1)
    channels, found = image.shape[-1], (np.empty(0, np.uint32), np.empty(0, np.int64))
    for start in range(0, flat.size // channels, _MOST_PIXELS):
        part = slice(start, start + _MOST_PIXELS)
        pixels = flat[start * channels : (start + _MOST_PIXELS) * channels]
        _count(pixels, channels, inside[part], mask is not None, bins, used)
        found = _merge(*found, *_read_out(bins, used))
    _spare.append((bins, used))
    return found


@jit
def _count(flat: Any, channels: int, mask: Any, masked: bool, bins: Any, used: Any) -> None:
    wide = np.uint32
    for i in range(flat.size // channels):
        if masked and not mask[i]:
            continue
        at = i * channels
        row = (wide(flat[at]) << wide(8)) | wide(flat[at + 1])
        used[row] = 1
        bins[(row << wide(8)) | wide(flat[at + 2])] += wide(1)


@jit
def _read_out(bins: Any, used: Any) -> Any:
    """Colours and counts; both tables are zero afterwards."""
    total = 0
    for row in range(len(used)):
        if used[row]:
            for k in range(256 * row, 256 * row + 256):
                total += bins[k] != 0
    colours, counts = np.empty(total, np.uint32), np.empty(total, np.int64)
    n = 0
    for row in range(len(used)):
        if used[row]:
            used[row] = 0
            for k in range(256 * row, 256 * row + 256):
                if bins[k]:
                    colours[n], counts[n] = k, bins[k]
                    bins[k] = 0
                    n += 1
    return colours, counts


@jit
def _merge(a: Any, a_counts: Any, b: Any, b_counts: Any) -> Any:
    colours, counts = np.empty(len(a) + len(b), np.uint32), np.empty(len(a) + len(b), np.int64)
    i, j, n = 0, 0, 0
    while i < len(a) or j < len(b):
        from_a = j == len(b) or (i < len(a) and a[i] <= b[j])
        from_b = i == len(a) or (j < len(b) and b[j] <= a[i])
        colours[n] = a[i] if from_a else b[j]
        counts[n] = 0
        if from_a:
            counts[n] += a_counts[i]
            i += 1
        if from_b:
            counts[n] += b_counts[j]
            j += 1
        n += 1
    return colours[:n].copy(), counts[:n].copy()


@jit
def _weigh(colours: Any, counts: Any, lattice: Any, floats: Any, words: Any) -> None:
    size = 1024
    r, g, b = np.empty(size, np.uint8), np.empty(size, np.uint8), np.empty(size, np.uint8)
    codes, second = np.empty(size, np.uint8), np.empty(size, np.uint8)
    fixed, spare = np.empty(0, np.int64), np.zeros(len(words), np.int64)
    for start in range(0, len(colours), size):
        n = min(size, len(colours) - start)
        part, weights = colours[start : start + n], counts[start : start + n]
        for i in range(n):
            r[i], g[i], b[i] = part[i] >> 16, (part[i] >> 8) & 255, part[i] & 255
        block_codes(r, g, b, n, lattice[0], floats[0], codes, fixed, spare)
        if len(lattice) == 2:
            block_codes(r, g, b, n, lattice[1], floats[1], second, fixed, spare)
            for i in range(n):
                if codes[i] == 0 and second[i] != 0:
                    codes[i] = STAIN
        for code in range(1, 5):
            total, intensity = np.int64(0), np.int64(0)
            for i in range(n):
                weight = weights[i] if codes[i] == code else np.int64(0)
                total += weight
                intensity += weight * (np.int64(r[i]) + np.int64(g[i]) + np.int64(b[i]))
            words[code - 1] += total
            words[5 + 2 * code] += intensity
        words[4] += weights.sum()
