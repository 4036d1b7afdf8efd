"""Count the pixels that each pair of labels shares, in one pass over two arrays.

1. Cut a band of both arrays into runs in which neither label changes.
2. Add each run's length to its pair of labels. Most runs lie under one of the same pair, which
   is found by walking along the row above; others ask a hash table. Background under background,
   the most frequent pair, is what remains in the end.
3. Sort the tables of the threads' strips by label and add them up; chunks add up alike.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu._jit import jit
from gpuseg._shared.overlap import Overlap, check_not_negative, merge
from gpuseg.typing import NumpyArray

# Runs of a band are noted before they are counted: small enough to stay in the second cache, and
# at least so many rows that the first one, which has none above it, does not matter. A run takes
# up to 32 bytes a pixel.
_BAND, _BAND_ROWS, _BAND_MOST = 1 << 15, 16, 1 << 21
# Fewer pixels a thread than this cost more to hand out than to count.
_STRIP = 1 << 18
_FIRST_SLOTS = 1 << 12  # of the hash table

# Two odd multipliers: one of Fibonacci hashing and one of xxHash.
_TRUE = np.uint64(0x9E3779B97F4A7C15)
_TEST = np.uint64(0xC2B2AE3D27D4EB4F)


def overlap(true: NumpyArray, test: NumpyArray) -> Overlap:
    """Table of the pairs of labels in two arrays of one shape.

    Raises
    ------
    ValueError
        If a label is negative.
    """
    bits = 8 * max(true.dtype.itemsize, test.dtype.itemsize)
    flat_true, flat_test = _flat(true), _flat(test)
    width = true.shape[-1] if true.ndim else 1
    parts = max(1, min(threads(), flat_true.size // _STRIP))
    edges = [flat_true.size * i // parts for i in range(parts + 1)]

    def work(start: int, stop: int) -> Overlap:
        return _strip(flat_true[start:stop], flat_test[start:stop], width, bits)

    if parts == 1:
        found = [work(0, flat_true.size)]
    else:
        with ThreadPoolExecutor(parts) as pool:
            found = list(pool.map(work, edges[:-1], edges[1:]))
    return check_not_negative(merge(found), true.dtype.kind, test.dtype.kind, bits)


def _flat(labels: NumpyArray) -> NumpyArray:
    labels = labels.view(np.uint8) if labels.dtype == bool else labels
    return np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).reshape(-1)


def _strip(true: NumpyArray, test: NumpyArray, width: int, bits: int) -> Overlap:
    """Unsorted table of a strip of rows of `width` pixels."""
    band = max(1, min(true.size, max(_BAND, _BAND_ROWS * width), _BAND_MOST))
    starts, labels = np.empty(band + 1, np.int64), np.empty((band + 1, 2), np.uint64)
    owner = np.empty(band + 1, np.int64)
    slots, pairs = np.full(_FIRST_SLOTS, -1), np.empty((_FIRST_SLOTS // 2, 3), np.uint64)
    used = 0
    for first in range(0, true.size, band):
        a = _unsigned(true[first : first + band], bits)
        b = _unsigned(test[first : first + band], bits)
        runs = _cut(a, b, starts, labels)
        done = 0
        while done < runs:
            if used == pairs.shape[0]:
                slots, pairs = _grown(pairs)
            done, used = _tally(starts, labels, done, runs, width, owner, slots, pairs, used)
    count = pairs[:used, 2].astype(np.int64)
    both = true.size - int(count.sum())
    zero = np.zeros(1 if both else 0, np.uint64)
    background = Overlap(zero, zero, np.full(zero.size, both, np.int64))
    return Overlap(
        *(
            np.concatenate(columns)
            for columns in zip(background, (pairs[:used, 0], pairs[:used, 1], count), strict=True)
        )
    )


def _unsigned(labels: NumpyArray, bits: int) -> NumpyArray:
    """Labels as unsigned numbers of `bits`, so that few types need compiled code."""
    signed = np.dtype(f"{labels.dtype.kind}{bits // 8}")
    return labels.astype(signed, copy=False).view(f"u{bits // 8}")


@jit
def _cut(true: NumpyArray, test: NumpyArray, starts: NumpyArray, labels: NumpyArray) -> int:
    """First pixel and pair of labels of every run; returns their number.

    `starts` gets one more entry, which holds the end.
    """
    starts[0] = 0
    n = 1
    for i in range(1, true.size):
        # Written always and kept sometimes: a branch here costs five times as much.
        starts[n] = i
        n += (true[i] != true[i - 1]) | (test[i] != test[i - 1])
    starts[n] = true.size
    for k in range(n):
        labels[k, 0] = true[starts[k]]
        labels[k, 1] = test[starts[k]]
    return n


@jit
def _tally(
    starts: NumpyArray,
    labels: NumpyArray,
    done: int,
    runs: int,
    width: int,
    owner: NumpyArray,
    slots: NumpyArray,
    pairs: NumpyArray,
    used: int,
) -> tuple[int, int]:
    """Add runs from `done` on to the rows of `pairs` (true, test, pixels), found through `slots`.

    `owner` notes the row of each run for the row of pixels below it. Returns how many runs are
    done, not all where `pairs` is full, and the number of pairs. (Tables that grow in here would
    be counted as references at every run: four times as slow.)
    """
    above = 0
    for k in range(done, runs):
        a, b = labels[k, 0], labels[k, 1]
        if (a | b) == 0:
            owner[k] = -1
            continue
        pair = -1
        if starts[k] >= width:
            while starts[above + 1] <= starts[k] - width:
                above += 1
            # The run above the first pixel, or where an object widens the one to its right.
            if labels[above, 0] == a and labels[above, 1] == b:
                pair = owner[above]
            elif above + 1 < k and labels[above + 1, 0] == a and labels[above + 1, 1] == b:
                pair = owner[above + 1]
        if pair < 0:
            h = _find(slots, pairs, a, b)
            if slots[h] < 0:
                if used == pairs.shape[0]:
                    return k, used
                slots[h] = used
                pairs[used, 0] = a
                pairs[used, 1] = b
                pairs[used, 2] = 0
                used += 1
            pair = slots[h]
        owner[k] = pair
        pairs[pair, 2] += np.uint64(starts[k + 1] - starts[k])
    return runs, used


@jit(inline="always")
def _find(slots: NumpyArray, pairs: NumpyArray, a: np.uint64, b: np.uint64) -> int:
    """Slot of a pair, or the empty one where it belongs."""
    mask = slots.size - 1
    mixed = ((a * _TRUE) ^ (b * _TEST)) * _TRUE
    h = np.int64(mixed >> np.uint64(32)) & mask
    while slots[h] >= 0 and (pairs[slots[h], 0] != a or pairs[slots[h], 1] != b):
        h = (h + 1) & mask
    return int(h)


def _grown(pairs: NumpyArray) -> tuple[NumpyArray, NumpyArray]:
    """Tables for four times as many pairs; the hash table stays at most half full."""
    larger = np.empty((4 * len(pairs), 3), np.uint64)
    larger[: len(pairs)] = pairs
    slots = np.full(2 * len(larger), -1)
    _enter(slots, larger, len(pairs))
    return slots, larger


@jit
def _enter(slots: NumpyArray, pairs: NumpyArray, used: int) -> None:
    """Put the first rows of `pairs` into an empty hash table."""
    for k in range(used):
        slots[_find(slots, pairs, pairs[k, 0], pairs[k, 1])] = k
