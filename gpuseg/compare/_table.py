"""The table of an overlap as metrics read it: objects of both sides, and pairs of objects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpuseg._shared.overlap import Overlap
from gpuseg.typing import NumpyArray


class Side(NamedTuple):
    """Background, whether it is there or not, and objects of one image, by increasing label.

    `sizes` has the pixels of each, `row` says which one each row of the table is about.
    """

    labels: NumpyArray
    sizes: NumpyArray
    row: NumpyArray

    @property
    def objects(self) -> int:
        """Number of objects."""
        return int(self.labels.size) - 1


class Pairs(NamedTuple):
    """Objects that meet, numbered from 0, in the order of true and then of test labels."""

    true: NumpyArray
    test: NumpyArray
    pixels: NumpyArray
    iou: NumpyArray


def make_side(labels: NumpyArray, pixels: NumpyArray) -> Side:
    """Background and objects named by a column of the table."""
    names, index = np.unique(labels, return_inverse=True)
    if not names.size or names[0]:
        names, index = np.concatenate((np.zeros(1, np.uint64), names)), index + 1
    wide = names[-1] >> np.uint64(63)
    return Side(names if wide else names.astype(np.int64), totals(index, pixels, names.size), index)


def make_pairs(table: Overlap, true: Side, test: Side) -> Pairs:
    """Pairs of objects, and their intersection over union."""
    kept = (true.row > 0) & (test.row > 0)
    i, j, both = true.row[kept], test.row[kept], table.pixels[kept]
    return Pairs(i - 1, j - 1, both, both / (true.sizes[i] + test.sizes[j] - both))


def totals(index: NumpyArray, count: NumpyArray, size: int) -> NumpyArray:
    """Sum of the counts of each index, exactly: the weights of `bincount` end at 2^53."""
    found = np.zeros(size, np.int64)
    np.add.at(found, index, count)
    return found


def best(index: NumpyArray, value: NumpyArray, size: int) -> NumpyArray:
    """For each of `size` objects, where its largest value is, the first of equal ones; else -1."""
    largest = np.full(size, -1, value.dtype)
    np.maximum.at(largest, index, value)
    at = np.flatnonzero(value == largest[index])[::-1]
    found = np.full(size, -1)
    found[index[at]] = at
    return found


def square_sum(count: NumpyArray) -> int:
    """Sum of squares, exactly."""
    if count.size and int(count.max()) * int(count.sum()) >= 1 << 63:
        return sum(int(value) ** 2 for value in count)
    return int(np.dot(count, count))
