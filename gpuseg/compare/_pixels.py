"""Metrics of pairs of pixels: exact sums of squares of the table, and entropies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpuseg._shared.overlap import Overlap
from gpuseg._validate import check_integer, check_number
from gpuseg.compare._table import Side, square_sum, totals
from gpuseg.typing import NumpyArray


class AdaptedRand(NamedTuple):
    """SNEMI3D's error, and the precision and recall that it is made of."""

    error: float
    precision: float
    recall: float


class VariationOfInformation(NamedTuple):
    """Conditional entropies in bits: of the found given the true image, and the other way."""

    split: float
    merge: float


class Segments(NamedTuple):
    """Counts of pairs of segments, the segments' pixels, and which of them a count is about."""

    both: NumpyArray
    true: NumpyArray
    test: NumpyArray
    true_row: NumpyArray
    test_row: NumpyArray

    @property
    def pixels(self) -> int:
        """Their sum."""
        return int(self.both.sum())

    def squares(self) -> tuple[int, int, int, int]:
        """Pixels, and sums of squares over pairs, true and test segments."""
        both, true, test = (square_sum(count) for count in self[:3])
        return self.pixels, both, true, test


def segments(table: Overlap, true: Side, test: Side, ignored: Sequence[int]) -> Segments:
    """All pixels but those whose true label is to be ignored."""
    if not isinstance(ignored, Sequence | np.ndarray):
        raise TypeError(f"ignore_labels must be a sequence of integers, got {ignored!r}")
    if not len(ignored):
        return Segments(table.pixels, true.sizes, test.sizes, true.row, test.row)
    for label in ignored:
        check_integer(label, "ignore_labels", 0)
    kept = ~np.isin(table.true, np.asarray(ignored, np.uint64))
    count, i, j = table.pixels[kept], true.row[kept], test.row[kept]
    sizes = totals(i, count, true.sizes.size), totals(j, count, test.sizes.size)
    return Segments(count, *sizes, i, j)


def rand_index(found: Segments) -> float:
    """Share of ordered pairs of pixels on which both images agree."""
    n, both, true, test = found.squares()
    pairs = n * (n - 1)
    return (pairs + 2 * both - true - test) / pairs if pairs else float("nan")


def adjusted_rand(found: Segments) -> float:
    """Hubert and Arabie's index; 1 where both images hold one segment, or only single pixels."""
    n, both, true, test = found.squares()
    if not n:
        return float("nan")
    together, only_true, only_test = both - n, true - both, test - both
    apart = n * n - both - only_true - only_test
    if not only_true and not only_test:
        return 1.0
    return (
        2
        * (together * apart - only_true * only_test)
        / (
            (together + only_true) * (only_true + apart)
            + (together + only_test) * (only_test + apart)
        )
    )


def adapted_rand(found: Segments, alpha: float) -> AdaptedRand:
    """Pairs of pixels together in both, of those together in either."""
    if not 0 <= check_number(alpha, "alpha") <= 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    n, both, true, test = found.squares()

    def ratio(whole: float) -> float:
        return (both - n) / whole if whole else float("nan")

    # The names are scikit-image's: its precision divides by the pairs of the true image.
    mean = alpha * (true - n) + (1 - alpha) * (test - n)
    return AdaptedRand(1 - ratio(mean), ratio(true - n), ratio(test - n))


def variation_of_information(found: Segments) -> VariationOfInformation:
    """Entropy of each image given the other."""
    n = found.pixels
    if not n:
        return VariationOfInformation(float("nan"), float("nan"))
    split, merge = (
        float((found.both * np.log2(sizes[index] / found.both)).sum() / n)
        for sizes, index in ((found.true, found.true_row), (found.test, found.test_row))
    )
    return VariationOfInformation(split, merge)
