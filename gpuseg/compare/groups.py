"""Judge methods on experiments that had no say in choosing them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gpuseg.typing import NumpyArray


class HeldOut(NamedTuple):
    """One group, judged by the others.

    Attributes
    ----------
    group : object
        The group that was held out.
    images : int
        How many of its images were scored.
    choice : object
        The method that is best on the other groups; None where there is only one.
    score_others : float
        Its score on the other groups: the mean of their means.
    score : float
        Its mean score on the group held out.

    Examples
    --------
    >>> leave_one_group_out([0.5, 0.7, 0.9], ["a", "a", "b"])[0]
    HeldOut(group='a', images=2, choice=None, score_others=0.9, score=0.6)
    """

    group: Any
    images: int
    choice: Any
    score_others: float
    score: float


def leave_one_group_out(
    scores: npt.ArrayLike,
    groups: Sequence[Hashable],
    choices: Sequence[Hashable] | None = None,
    *,
    best: Literal["max", "min"] = "max",
) -> list[HeldOut]:
    """Score each group of images with the method that is best on all other groups.

    Images of one experiment resemble each other: a method, or a threshold, that was chosen on some
    of them looks better on the others than it is. So whole groups are left out, not images.

    Parameters
    ----------
    scores : (n,) array_like of float
        One for each image, or for each image and method. NaN is left out.
    groups : (n,) sequence
        What an image belongs to: its experiment, slide, plate or patient.
    choices : (n,) sequence, optional
        What made each score: a method, a setting. The best by the mean over the other groups of
        each group's mean (so that a group counts once, however large) is chosen; of equal ones the
        first.
    best : {"max", "min"}
        Whether large scores are good, or small ones, as errors are.

    Returns
    -------
    list of HeldOut
        One for each group, in order of appearance. The mean of their `score` is what the choice
        is worth on an experiment that is yet to come.

    Raises
    ------
    ValueError
        If lengths differ, or there are fewer than two groups.

    Examples
    --------
    >>> scores = [0.9, 0.6, 0.8, 0.7, 0.5, 0.7]
    >>> plates = ["p1", "p1", "p2", "p2", "p3", "p3"]
    >>> methods = ["otsu", "local"] * 3
    >>> for row in leave_one_group_out(scores, plates, methods):
    ...     print(row.group, row.choice, round(row.score_others, 2), row.score)
    p1 local 0.7 0.6
    p2 otsu 0.7 0.8
    p3 otsu 0.85 0.5
    """
    values = np.asarray(scores, np.float64)
    names = [None] * values.size if choices is None else list(choices)
    if values.ndim != 1 or not len(groups) == len(names) == values.size:
        raise ValueError(
            "scores, groups and choices must have one length, "
            f"got {values.shape}, {len(groups)} and {len(names)}"
        )
    if best not in ("max", "min"):
        raise ValueError(f'best must be "max" or "min", got {best!r}')
    known, at = _numbered(groups)
    made, by = _numbered(names)
    if len(known) < 2:
        raise ValueError(f"leaving one group out needs at least two groups, got {known}")
    counts, means = _means(values, at, by, len(known), len(made))
    sign = 1 if best == "max" else -1
    rows = []
    for k, group in enumerate(known):
        others = _mean(np.delete(means, k, axis=0))
        chosen = int(np.argmax(np.where(np.isnan(others), -np.inf, sign * others)))
        rows.append(
            HeldOut(
                group,
                int(counts[k, chosen]),
                made[chosen],
                float(others[chosen]),
                float(means[k, chosen]),
            )
        )
    return rows


def _numbered(names: Sequence[Hashable]) -> tuple[list[Any], NumpyArray]:
    """Different names in order of appearance, and which one each is."""
    known = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return list(known), np.array([known[name] for name in names], np.intp)


def _means(
    values: NumpyArray, group: NumpyArray, choice: NumpyArray, groups: int, choices: int
) -> tuple[NumpyArray, NumpyArray]:
    """Number of scores and their mean (groups, choices), NaN where there are none."""
    known = ~np.isnan(values)
    cell = (group * choices + choice)[known]
    count = np.bincount(cell, minlength=groups * choices).reshape(groups, choices)
    total = np.bincount(cell, values[known], minlength=groups * choices).reshape(groups, choices)
    return count, np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _mean(rows: NumpyArray) -> NumpyArray:
    """Mean of each column over what is known."""
    count = (~np.isnan(rows)).sum(axis=0)
    total = np.nansum(rows, axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
