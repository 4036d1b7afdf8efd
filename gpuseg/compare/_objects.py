"""Metrics of objects and their partners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gpuseg._shared.overlap import Overlap
from gpuseg._validate import check_number
from gpuseg.compare._table import Pairs, Side, best
from gpuseg.typing import NumpyArray


class Errors(NamedTuple):
    """Numbers of objects: true ones that are split, found ones that merge, and so on."""

    split: int
    merged: int
    spurious: int
    missing: int


class SizeClass(NamedTuple):
    """True objects of at least `lower` and below `upper` pixels, and those without a match."""

    lower: float
    upper: float
    n_true: int
    missed: int


def divide(part: float, whole: float) -> float:
    """Their ratio; NaN where there is nothing to divide by."""
    return float(part / whole) if whole else float("nan")


def _covered(pairs: Pairs, true: Side) -> NumpyArray:
    """Pairs in which the found object covers more than half of the true one."""
    return np.flatnonzero(2 * pairs.pixels > true.sizes[1:][pairs.true])


def seg(pairs: Pairs, true: Side) -> float:
    """Mean intersection over union of true objects that are covered by more than half."""
    return divide(float(pairs.iou[_covered(pairs, true)].sum()), true.objects)


def det(pairs: Pairs, true: Side, test: Side) -> float:
    """Cost of repairing the detections, relative to making them all."""
    covered = _covered(pairs, true)
    held = np.bincount(pairs.test[covered], minlength=test.objects)
    apart = int(np.maximum(held - 1, 0).sum())
    missing = true.objects - covered.size
    cost, worst = 5 * apart + 10 * missing + int((held == 0).sum()), 10 * true.objects
    return 1 - divide(min(cost, worst), worst)


def aggregated_jaccard(pairs: Pairs, true: Side, test: Side) -> float:
    """Summed intersections over summed unions of best partners; the unused add to the latter."""
    at = best(pairs.true, pairs.iou, true.objects)
    at = at[at >= 0]
    used = np.zeros(test.objects, bool)
    used[pairs.test[at]] = True
    both = int(pairs.pixels[at].sum())
    # Partners may be shared, and count as often as they are.
    partners = test.sizes[1:][pairs.test[at]], test.sizes[1:][~used]
    union = int(true.sizes[1:].sum()) + sum(int(size.sum()) for size in partners) - both
    return divide(both, union)


def dice(both: NumpyArray, true: NumpyArray, test: NumpyArray) -> NumpyArray:
    """Dice of pairs of objects."""
    return 2 * both / (true + test)


def jaccard(both: NumpyArray, true: NumpyArray, test: NumpyArray) -> NumpyArray:
    """Intersection over union of pairs of objects."""
    return both / (true + test - both)


def weighted(pairs: Pairs, true: Side, test: Side, measure: Callable[..., NumpyArray]) -> float:
    """Mean of both directions of the measure of each object's largest overlap, by area."""
    if not true.objects and not test.objects:
        return float("nan")
    halves = []
    for sizes, index in ((true.sizes[1:], pairs.true), (test.sizes[1:], pairs.test)):
        at = best(index, pairs.pixels, sizes.size)
        at = at[at >= 0]
        both, i, j = pairs.pixels[at], pairs.true[at], pairs.test[at]
        values = measure(both, true.sizes[1:][i], test.sizes[1:][j])
        total = int(sizes.sum())
        halves.append(float((sizes[index[at]] * values).sum()) / total if total else 0.0)
    return sum(halves) / 2


def errors(table: Overlap, true: Side, test: Side) -> Errors:
    """Splits, merges, spurious and missing objects, by where most of each object lies."""
    missing, merging = _belonging(true, test, table.pixels)
    # Ties go to the lowest true label: rows come in the order of true labels.
    spurious, splitting = _belonging(test, true, table.pixels)
    return Errors(splitting, merging, spurious, missing)


def _belonging(side: Side, other: Side, count: NumpyArray) -> tuple[int, int]:
    """How many objects belong to the background, and how many others have several of them."""
    rows = np.flatnonzero(side.row > 0)
    home = other.row[rows[best(side.row[rows] - 1, count[rows], side.objects)]]
    held = np.bincount(home, minlength=1)
    return int(held[0]), int((held[1:] > 1).sum())


def shared(index: NumpyArray, iou: NumpyArray, least: float) -> int:
    """Objects with several partners above `least`."""
    check_number(least, "iou", 0)
    return int((np.bincount(index[iou > least], minlength=1) > 1).sum())


def missed_by_size(
    sizes: NumpyArray, matched: NumpyArray, edges: Sequence[float]
) -> list[SizeClass]:
    """True objects in classes of size, and those that are not among the matched."""
    bounds = np.asarray(edges, np.float64)
    if bounds.ndim != 1 or np.isnan(bounds).any() or not (np.diff(bounds) > 0).all():
        raise ValueError(f"edges must be increasing sizes, got {edges!r}")
    missed = np.ones(sizes.size, bool)
    missed[matched] = False
    kinds = np.searchsorted(bounds, sizes, "right")
    total = np.bincount(kinds, minlength=bounds.size + 1)
    lost = np.bincount(kinds[missed], minlength=bounds.size + 1)
    limits = [0.0, *bounds.tolist(), float("inf")]
    return [
        SizeClass(limits[k], limits[k + 1], int(total[k]), int(lost[k]))
        for k in range(bounds.size + 1)
    ]


def table(pairs: Pairs, true: Side, test: Side) -> dict[str, NumpyArray]:
    """Columns of all true objects and their best partners."""
    at = best(pairs.true, pairs.iou, true.objects)
    alone = at < 0

    def column(values: NumpyArray) -> NumpyArray:
        found = np.zeros(at.size, values.dtype)
        found[~alone] = values[at[~alone]]
        return found

    overlap, sizes = column(pairs.pixels), true.sizes[1:]
    partner = column(pairs.test + 1)  # the background, whose size is left out, where there is none
    size = np.where(alone, 0, test.sizes[partner])
    return {
        "label": true.labels[1:],
        "size": sizes,
        "partner": test.labels[partner],
        "partner_size": size,
        "overlap": overlap,
        "iou": column(pairs.iou),
        "dice": dice(overlap, sizes, size),
        "met": np.bincount(pairs.true, minlength=true.objects),
    }
