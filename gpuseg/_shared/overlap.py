"""How many pixels each pair of labels shares: a sparse table that adds up over chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpuseg.typing import NumpyArray

_HALF = np.uint64(32)


class Overlap(NamedTuple):
    """Pairs of labels that meet, sorted by true and then by test label, and their pixels.

    Labels are uint64, pixels int64. Background (label 0) is a label like any other here, and the
    pixels add up to those of the image.
    """

    true: NumpyArray
    test: NumpyArray
    pixels: NumpyArray


def merge(parts: Sequence[Overlap]) -> Overlap:
    """One table of several, which may hold equal pairs."""
    true, test, pixels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = _order(true, test)
    true, test, pixels = true[order], test[order], pixels[order]
    if not true.size:
        return Overlap(true, test, pixels)
    starts = np.flatnonzero(
        np.concatenate(([True], (true[1:] != true[:-1]) | (test[1:] != test[:-1])))
    )
    return Overlap(true[starts], test[starts], np.add.reduceat(pixels, starts))


def _order(true: NumpyArray, test: NumpyArray) -> NumpyArray:
    """Indices that sort pairs; as one number where both fit, which takes a quarter of the time."""
    if true.size and max(true.max(), test.max()) >> _HALF == 0:
        return np.argsort((true << _HALF) | test)
    return np.lexsort((test, true))


def check_not_negative(found: Overlap, true_kind: str, test_kind: str, bits: int) -> Overlap:
    """Refuse negative labels, which two's complement has turned into the largest numbers.

    Raises
    ------
    ValueError
    """
    for name, labels, kind in (
        ("image_true", found.true, true_kind),
        ("image_test", found.test, test_kind),
    ):
        if kind == "i" and labels.size and int(labels.max()) >= 1 << (bits - 1):
            value = int(labels.max()) - (1 << bits)
            raise ValueError(f"labels must not be negative, got {value} in {name}")
    return found
