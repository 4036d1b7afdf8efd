"""Runs of equal label, and what a run adds to its label's row without looking at values.

A band of rows is cut into runs once; every other kernel walks the runs. Cutting without a branch
(2.3 ms for 2048 x 2048, whatever is in it) beat comparing inside the scan (3 to 12 ms).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._shared.region_rows import LIMB_BITS, POWERS
from gpuseg.typing import NumpyArray

# Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.int64((1 << LIMB_BITS) - 1)
_BITS = np.int64(LIMB_BITS)


@jit
def cut(labels: NumpyArray, rows: NumpyArray, starts: NumpyArray) -> int:
    """Row and first column of every run of `labels` (rows, columns); returns their number.

    `starts` gets one more entry, 0, so that a run ends where the next one starts or, where that
    is 0, at the end of its row.
    """
    n = 0
    for r in range(labels.shape[0]):
        line = labels[r]
        rows[n] = r
        starts[n] = 0
        n += 1
        for x in range(1, line.size):
            rows[n] = r
            starts[n] = x
            n += line[x] != line[x - 1]
    starts[n] = 0
    return n


@jit
def own(
    labels: NumpyArray,
    table: NumpyArray,
    low: int,
    everything: bool,
    runs: NumpyArray,
    n: int,
    names: NumpyArray,
    count: int,
) -> tuple[int, int]:
    """Slot of each run by a table indexed with `label - low`; runs that are skipped vanish.

    `runs` is int32 (4, capacity): row, start, stop, slot. New labels get the next slots and are
    noted in `names`. Returns the number of runs kept, and of slots.
    """
    rows, starts, stops, slots = runs[0], runs[1], runs[2], runs[3]
    k = 0
    for i in range(n):
        r, a, b = rows[i], starts[i], starts[i + 1]
        label = np.int64(labels[r, a])
        if label <= 0 and not everything:
            continue
        slot = table[label - low]
        if slot < 0:
            slot = np.int32(count)
            table[label - low] = slot
            names[count] = label
            count += 1
        rows[k] = r
        starts[k] = a
        stops[k] = b if b else labels.shape[1]
        slots[k] = slot
        k += 1
    return k, count


@jit
def own_sparse(
    labels: NumpyArray,
    keys: NumpyArray,
    values: NumpyArray,
    everything: bool,
    runs: NumpyArray,
    n: int,
    names: NumpyArray,
    count: int,
) -> tuple[int, int]:
    """As `own`, where labels are too far apart for a table: by a hash table kept half empty."""
    rows, starts, stops, slots = runs[0], runs[1], runs[2], runs[3]
    shift = np.uint64(64 - int(np.log2(keys.size)))
    k = 0
    for i in range(n):
        r, a, b = rows[i], starts[i], starts[i + 1]
        label = np.int64(labels[r, a])
        if label <= 0 and not everything:
            continue
        h = np.int64((np.uint64(label) * _GOLDEN) >> shift)
        while values[h] >= 0 and keys[h] != label:
            h = (h + 1) & (keys.size - 1)
        if values[h] < 0:
            keys[h] = label
            values[h] = count
            names[count] = label
            count += 1
        rows[k] = r
        starts[k] = a
        stops[k] = b if b else labels.shape[1]
        slots[k] = values[h]
        k += 1
    return k, count


@jit
def rehash(names: NumpyArray, count: int, keys: NumpyArray, values: NumpyArray) -> None:
    """Enter the slots of `names[:count]` into an empty hash table."""
    shift = np.uint64(64 - int(np.log2(keys.size)))
    for slot in range(count):
        h = np.int64((np.uint64(names[slot]) * _GOLDEN) >> shift)
        while values[h] >= 0:
            h = (h + 1) & (keys.size - 1)
        keys[h] = names[slot]
        values[h] = slot


@jit
def clear(acc: NumpyArray, start: int, stop: int, empty: NumpyArray) -> None:
    """Make rows `start` to `stop` those of labels without a pixel (NumPy takes 4 times as long)."""
    for i in range(start, stop):
        for c in range(empty.size):
            acc[i, c] = empty[c]


@jit
def count_pixels(runs: NumpyArray, n: int, acc: NumpyArray, column: int) -> None:
    """Add each run's length to its label."""
    for i in range(n):
        acc[runs[3, i], column] += runs[2, i] - runs[1, i]


@jit
def bounds(
    runs: NumpyArray, n: int, places: NumpyArray, x0: int, acc: NumpyArray, lower: int, upper: int
) -> None:
    """Bounding boxes: least and greatest coordinate. `places` (rows, axes - 1) locates rows."""
    leading = places.shape[1]
    for i in range(n):
        row = acc[runs[3, i]]
        for axis in range(leading):
            p = places[runs[0, i], axis]
            row[lower + axis] = min(row[lower + axis], p)
            row[upper + axis] = max(row[upper + axis], p)
        row[lower + leading] = min(row[lower + leading], x0 + runs[1, i])
        row[upper + leading] = max(row[upper + leading], x0 + runs[2, i] - 1)


@jit(inline="always")
def put(row: NumpyArray, column: int, width: int, value: Any) -> None:
    """Add an int64 to a sum of one limb, or cut into two."""
    if width == 1:
        row[column] += value
    else:
        row[column] += value & _LOW
        row[column + 1] += value >> _BITS


@jit
def first_moments(
    runs: NumpyArray, n: int, places: NumpyArray, x0: int, acc: NumpyArray, column: int, width: int
) -> None:
    """Sums of coordinates, one after the other."""
    leading = places.shape[1]
    for i in range(n):
        row = acc[runs[3, i]]
        a, b = x0 + np.int64(runs[1, i]), x0 + np.int64(runs[2, i])
        for axis in range(leading):
            put(row, column + axis * width, width, places[runs[0, i], axis] * (b - a))
        put(row, column + leading * width, width, (a + b - 1) * (b - a) // 2)


@jit
def second_moments(
    runs: NumpyArray, n: int, places: NumpyArray, x0: int, acc: NumpyArray, column: int, width: int
) -> None:
    """Sums of products of two coordinates, in the order (0, 0), (0, 1), ..., (1, 1), ..."""
    leading = places.shape[1]
    for i in range(n):
        row = acc[runs[3, i]]
        a, b = x0 + np.int64(runs[1, i]), x0 + np.int64(runs[2, i])
        length, linear = b - a, (a + b - 1) * (b - a) // 2
        c = column
        for axis in range(leading):
            p = places[runs[0, i], axis]
            for other in range(axis, leading):
                put(row, c, width, p * places[runs[0, i], other] * length)
                c += width
            put(row, c, width, p * linear)
            c += width
        # The sum of squares of 0 .. k is k (k + 1) (2 k + 1) / 6; about `a` it stays small.
        k = length - 1
        squares = k * (k + 1) * (2 * k + 1) // 6
        put(row, c, width, a * a * length + a * k * length + squares)


def power_sums(x0: int, size: int, primes: tuple[int, ...]) -> NumpyArray:
    """Sums of powers of `size` coordinates from `x0` on: (moduli, powers, size + 1).

    The difference of two entries is the sum over the coordinates between, modulo 2^64 or a prime.
    """
    found = np.zeros((1 + len(primes), POWERS, size + 1), np.int64)
    x = np.arange(x0, x0 + size)
    for k, modulus in enumerate((0, *primes)):
        power = np.ones(size, np.int64)
        for j in range(POWERS):
            np.cumsum(power, out=found[k, j, 1:])
            power = power * (x % modulus if modulus else x)
            if modulus:
                found[k, j] %= modulus
                power %= modulus
    return found


@jit
def powers(
    runs: NumpyArray,
    n: int,
    places: NumpyArray,
    sums: NumpyArray,
    primes: NumpyArray,
    acc: NumpyArray,
    column: int,
) -> None:
    """Sums of products of powers of the coordinates, modulo 2^64 and each prime.

    `sums` are those of `power_sums` for the tile; `places` (rows, 1 or 2) locates rows.
    """
    size = sums.shape[1]
    planes = size if places.shape[1] == 2 else 1
    for i in range(n):
        r, a, b = runs[0, i], runs[1, i], runs[2, i]
        row = acc[runs[3, i]]
        y = places[r, places.shape[1] - 1]
        for m in range(sums.shape[0]):
            p = primes[m - 1] if m else np.int64(0)
            c = column + m * planes * size * size
            along_z = np.int64(1)
            for _ in range(planes):
                along = along_z
                for _ in range(size):
                    for k in range(size):
                        s = sums[m, k, b] - sums[m, k, a]
                        row[c] += along * s if m == 0 else (along * (s + p)) % p
                        c += 1
                    along = along * y if m == 0 else along * (y % p) % p
                along_z = along_z * places[r, 0] if m == 0 else along_z * (places[r, 0] % p) % p
