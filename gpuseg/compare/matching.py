"""Objects matched one to one by intersection over union, and the scores made from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpuseg._validate import check_number
from gpuseg.compare._table import Pairs
from gpuseg.typing import NumpyArray

# Those of COCO, of the Data Science Bowl 2018, and of Cellpose's and StarDist's papers.
THRESHOLDS: tuple[float, ...] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Matching(NamedTuple):
    """Scores at one threshold, under StarDist's names; every one is 0 where nothing matches.

    Attributes
    ----------
    threshold : float
        Least intersection over union of a match.
    tp, fp, fn : int
        True objects that are matched, found objects and true objects that are not.
    precision, recall, f1 : float
        tp / (tp + fp), tp / (tp + fn), and their harmonic mean 2 tp / (2 tp + fp + fn).
    accuracy : float
        tp / (tp + fp + fn): the Data Science Bowl's, Cellpose's and StarDist's average precision.
    mean_matched_score, mean_true_score : float
        Mean intersection over union of the matches, and of all true objects (0 if unmatched).
    panoptic_quality : float
        Sum of the matches' intersection over union, divided by tp + fp / 2 + fn / 2.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.compare import compare_labels
    >>> compare_labels(np.array([1, 1, 0, 2]), np.array([1, 1, 0, 0])).matching(0.5)
    Matching(threshold=0.5, tp=1, fp=0, fn=1, precision=1.0, recall=0.5, f1=0.666..., accuracy=0.5,
        mean_matched_score=1.0, mean_true_score=0.5, panoptic_quality=0.666...)
    """

    threshold: float
    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f1: float
    accuracy: float
    mean_matched_score: float
    mean_true_score: float
    panoptic_quality: float


def match(pairs: Pairs, n_true: int, n_test: int, threshold: float) -> NumpyArray:
    """Indices of the pairs that match: as many as possible, then those that overlap most.

    Raises
    ------
    ValueError
        If the threshold is not above 0 and at most 1.
    """
    if not 0 < check_number(threshold, "threshold") <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    found = np.flatnonzero(pairs.iou >= threshold)
    if threshold > 0.5:
        return found
    if threshold == 0.5:
        # Only at exactly 1/2 has an object two partners: the two halves of which it consists, and
        # these have no other. The first of them is taken.
        for index in (pairs.true, pairs.test):
            _, first = np.unique(index[found], return_index=True)
            found = found[np.sort(first)]
        return found
    assigned = _assign(pairs, n_true, n_test, threshold)
    return assigned[pairs.iou[assigned] >= threshold]


def _assign(pairs: Pairs, n_true: int, n_test: int, threshold: float) -> NumpyArray:
    """Indices of pairs of the assignment of least cost, at StarDist's costs.

    A pair costs -1 if it reaches the threshold, less its score divided by twice the number of
    objects of the side that has fewer. StarDist solves that on the matrix of all objects by all;
    here only objects that meet are edges. A dummy partner for each true object makes that a
    problem that always has a solution.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not pairs.iou.size:
        return np.empty(0, np.intp)
    gain = (pairs.iou >= threshold) + pairs.iou / (2 * min(n_true, n_test))
    rows = np.concatenate((pairs.true, np.arange(n_true)))
    columns = np.concatenate((pairs.test, n_test + np.arange(n_true)))
    # Weights must not be 0, which a sparse matrix does not keep.
    costs = np.concatenate((2.0 - gain, np.full(n_true, 2.0)))
    graph = csr_array((costs, (rows, columns)), shape=(n_true, n_test + n_true))
    true, test = min_weight_full_bipartite_matching(graph)
    partner = np.full(n_true, -1)
    partner[true] = test
    return np.flatnonzero(partner[pairs.true] == pairs.test)


def score(pairs: Pairs, n_true: int, n_test: int, threshold: float, found: NumpyArray) -> Matching:
    """Scores of the matches `found`."""
    tp = int(found.size)
    fp, fn = n_test - tp, n_true - tp
    total = float(pairs.iou[found].sum())

    def ratio(part: float, whole: float) -> float:
        return float(part / whole) if tp else 0.0

    return Matching(
        float(threshold),
        tp,
        fp,
        fn,
        ratio(tp, tp + fp),
        ratio(tp, tp + fn),
        ratio(2 * tp, 2 * tp + fp + fn),
        ratio(tp, tp + fp + fn),
        ratio(total, tp),
        ratio(total, n_true),
        ratio(total, tp + fp / 2 + fn / 2),
    )
