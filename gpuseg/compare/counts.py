"""Compare counts with counts by hand."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.typing import NumpyArray


@dataclass(frozen=True)
class CountComparison:
    """Errors and correlations of counts; made by `compare_counts`. NaN is what is not defined.

    Attributes
    ----------
    n : int
        Images.
    bias : float
        Mean of found less true.
    mean_absolute_error, root_mean_square_error : float
    relative_error : float
        Sum of absolute errors, divided by the sum of true counts.
    pearson, spearman : float
        Correlation of values, and of ranks (equal ones share their mean).
    concordance : float
        Lin's coefficient (1989): correlation with the line on which found equals true.
    r2 : float
        1 less the squared errors divided by the variance of the true counts; negative where their
        mean would do better.
    q2 : float
        The same of a straight line from found to true counts that is fitted to all groups but the
        one that it predicts: how well counts of an experiment yet to come are predicted.

    Examples
    --------
    >>> found = compare_counts([10, 20, 30, 40], [11, 21, 31, 41])
    >>> found.bias, round(found.pearson, 12), round(found.q2, 12)
    (1.0, 1.0, 1.0)
    """

    n: int
    bias: float
    mean_absolute_error: float
    root_mean_square_error: float
    relative_error: float
    pearson: float
    spearman: float
    concordance: float
    r2: float
    q2: float

    def to_dict(self) -> dict[str, int | float]:
        """Row of a table."""
        return asdict(self)


def compare_counts(
    true: npt.ArrayLike, test: npt.ArrayLike, groups: Sequence[Hashable] | None = None
) -> CountComparison:
    """Compare counts, or any other measurements, with those of a gold standard.

    Parameters
    ----------
    true, test : (n,) array_like
        One for each image.
    groups : (n,) sequence, optional
        Experiments to which images belong: `q2` leaves out one after the other. By default every
        image is one, which flatters where several come from one slide or plate.

    Returns
    -------
    CountComparison

    Raises
    ------
    ValueError
        If lengths differ, there are no counts, or one is not finite.

    Examples
    --------
    >>> true, found = [12, 30, 25, 50, 41, 19], [10, 31, 27, 44, 40, 22]
    >>> result = compare_counts(true, found, groups=["a", "a", "b", "b", "c", "c"])
    >>> round(result.mean_absolute_error, 3), round(result.pearson, 3), round(result.q2, 3)
    (2.5, 0.978, 0.838)
    """
    y, x = np.asarray(true, np.float64), np.asarray(test, np.float64)
    if y.ndim != 1 or y.shape != x.shape or not y.size:
        raise ValueError(f"true and test must be 1-D and of one length, got {y.shape}, {x.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("counts must be finite, got NaN or an infinite one")
    names = list(range(y.size)) if groups is None else list(groups)
    if len(names) != y.size:
        raise ValueError(f"groups must be {y.size}, one for each count, got {len(names)}")
    error = x - y
    return CountComparison(
        n=int(y.size),
        bias=float(error.mean()),
        mean_absolute_error=float(np.abs(error).mean()),
        root_mean_square_error=float(np.sqrt((error**2).mean())),
        relative_error=_ratio(np.abs(error).sum(), y.sum()),
        pearson=_correlation(x, y),
        spearman=_correlation(_ranks(x), _ranks(y)),
        concordance=_ratio(2 * _covariance(x, y), x.var() + y.var() + error.mean() ** 2),
        r2=_explained(y, x),
        q2=_explained(y, _predicted(x, y, names)),
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _covariance(x: NumpyArray, y: NumpyArray) -> float:
    return float(((x - x.mean()) * (y - y.mean())).mean())


def _correlation(x: NumpyArray, y: NumpyArray) -> float:
    return _ratio(_covariance(x, y), float(np.sqrt(x.var() * y.var())))


def _ranks(values: NumpyArray) -> NumpyArray:
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: NumpyArray = (last - (count - 1) / 2)[index]
    return ranks


def _explained(true: NumpyArray, predicted: NumpyArray) -> float:
    return 1 - _ratio(((true - predicted) ** 2).sum(), ((true - true.mean()) ** 2).sum())


def _predicted(x: NumpyArray, y: NumpyArray, names: Sequence[Hashable]) -> NumpyArray:
    """Each group's true counts from a line through those of the others; NaN without any."""
    predicted = np.full(y.shape, np.nan)
    for name in dict.fromkeys(names):
        held = np.array([other == name for other in names])
        if held.all():
            continue
        a, b = x[~held], y[~held]
        # Others that are all alike give a level, not a line.
        slope = _covariance(a, b) / a.var() if a.var() else 0.0
        predicted[held] = b.mean() + slope * (x[held] - a.mean())
    return predicted
