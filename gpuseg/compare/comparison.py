"""What one pass over two label images knows, as metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gpuseg._shared.overlap import Overlap, merge
from gpuseg.compare import _objects, _pixels
from gpuseg.compare._table import Pairs, Side, make_pairs, make_side
from gpuseg.compare.matching import THRESHOLDS, Matching, match, score
from gpuseg.typing import NumpyArray


class Matches(NamedTuple):
    """Labels of matched objects, and their intersection over union."""

    true: NumpyArray
    test: NumpyArray
    iou: NumpyArray


@dataclass(frozen=True, eq=False)
class Comparison:
    """Metrics of two label images, all from the table of the pixels that pairs of labels share.

    Made by `compare_labels` or `pool`; metrics are computed when they are asked for.

    **Background** is label 0. It is no object: it takes no part in matching, object scores and
    errors. `dice` and `jaccard` are those of foreground against background. `rand_index`,
    `adjusted_rand` and `variation_of_information` treat it as one more segment, as scikit-learn
    and scikit-image do, and `adapted_rand_error` leaves out the true background, as scikit-image
    does; `ignore_labels` chooses which true labels are left out. Where a ratio has nothing to
    divide (no true objects, say) it is NaN, save for `Matching`, which is 0 there as StarDist is.

    Attributes
    ----------
    overlap : Overlap
        Columns `true`, `test` and `pixels`: every pair of labels that meet, background included.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.compare import compare_labels
    >>> true = np.array([[1, 1, 1, 1, 0, 2, 2, 0, 3]])
    >>> test = np.array([[4, 4, 5, 5, 0, 6, 6, 6, 0]])
    >>> found = compare_labels(true, test)
    >>> found.n_true, found.n_test, found.pixels
    (3, 3, 9)
    >>> found.matching(0.6).f1, found.seg
    (0.333..., 0.222...)
    >>> found.errors
    Errors(split=1, merged=0, spurious=0, missing=1)
    """

    overlap: Overlap

    @cached_property
    def _true(self) -> Side:
        return make_side(self.overlap.true, self.overlap.pixels)

    @cached_property
    def _test(self) -> Side:
        return make_side(self.overlap.test, self.overlap.pixels)

    @cached_property
    def _pairs(self) -> Pairs:
        return make_pairs(self.overlap, self._true, self._test)

    def _segments(self, ignored: Sequence[int]) -> _pixels.Segments:
        return _pixels.segments(self.overlap, self._true, self._test, ignored)

    @property
    def pixels(self) -> int:
        """Pixels of each image."""
        return int(self.overlap.pixels.sum())

    @property
    def n_true(self) -> int:
        """Objects of the gold standard."""
        return self._true.objects

    @property
    def n_test(self) -> int:
        """Objects found."""
        return self._test.objects

    def matching(self, threshold: float = 0.5) -> Matching:
        """Objects matched one to one at an intersection over union of at least `threshold`.

        As many as possible match, and of several ways those that overlap most: StarDist's rule.
        Above 0.5 an object has at most one partner.
        """
        found = match(self._pairs, self.n_true, self.n_test, threshold)
        return score(self._pairs, self.n_true, self.n_test, threshold, found)

    def matches(self, threshold: float = 0.5) -> Matches:
        """The matches themselves."""
        found = match(self._pairs, self.n_true, self.n_test, threshold)
        true, test, _, iou = self._pairs
        return Matches(
            self._true.labels[1:][true[found]], self._test.labels[1:][test[found]], iou[found]
        )

    def average_precision(self, thresholds: Sequence[float] = THRESHOLDS) -> NumpyArray:
        """`Matching.accuracy` at each threshold, as `cellpose.metrics.average_precision` has it.

        Their mean over 0.5 to 0.95 is the Data Science Bowl's score of one image.
        """
        return np.array([self.matching(threshold).accuracy for threshold in thresholds])

    @property
    def dice(self) -> float:
        """2 |A ∩ B| / (|A| + |B|) of the two foregrounds."""
        both, true, test = self._foreground
        return _objects.divide(2 * both, true + test)

    @property
    def jaccard(self) -> float:
        """|A ∩ B| / |A ∪ B| of the two foregrounds."""
        both, true, test = self._foreground
        return _objects.divide(both, true + test - both)

    @cached_property
    def _foreground(self) -> tuple[int, int, int]:
        sizes = self._pairs.pixels, self._true.sizes[1:], self._test.sizes[1:]
        both, true, test = (int(size.sum()) for size in sizes)
        return both, true, test

    def rand_index(self, ignore_labels: Sequence[int] = ()) -> float:
        """Share of pairs of pixels that are together, or apart, in both images."""
        return _pixels.rand_index(self._segments(ignore_labels))

    def adjusted_rand(self, ignore_labels: Sequence[int] = ()) -> float:
        """Rand index above chance, as `sklearn.metrics.adjusted_rand_score` of all pixels."""
        return _pixels.adjusted_rand(self._segments(ignore_labels))

    def adapted_rand_error(
        self, ignore_labels: Sequence[int] = (0,), alpha: float = 0.5
    ) -> _pixels.AdaptedRand:
        """Error, precision and recall, as `skimage.metrics.adapted_rand_error` has them."""
        return _pixels.adapted_rand(self._segments(ignore_labels), alpha)

    def variation_of_information(
        self, ignore_labels: Sequence[int] = ()
    ) -> _pixels.VariationOfInformation:
        """Bits lost by false splits and by false merges, as `skimage.metrics` has them."""
        return _pixels.variation_of_information(self._segments(ignore_labels))

    @property
    def seg(self) -> float:
        """Cell Tracking Challenge's SEG: mean intersection over union of the true objects.

        A found object counts where it covers more than half of the true one, which at most one
        does; else the score is 0 (Maška et al. 2014).
        """
        return _objects.seg(self._pairs, self._true)

    @property
    def det(self) -> float:
        """Cell Tracking Challenge's DET, from the same matches as `seg` (Matula et al. 2015).

        One less the cost of repair (5 to split an object apart, 10 to add and 1 to delete one),
        divided by that of adding all; at least 0.
        """
        return _objects.det(self._pairs, self._true, self._test)

    @property
    def aggregated_jaccard(self) -> float:
        """Kumar et al. 2017: every true object with its best partner, which others may share.

        Cellpose's function of that name pairs objects one to one and divides by the union of the
        foregrounds: another number.
        """
        return _objects.aggregated_jaccard(self._pairs, self._true, self._test)

    @property
    def object_dice(self) -> float:
        """Dice of each object and its largest overlap, by area, both ways (GlaS 2015)."""
        return _objects.weighted(self._pairs, self._true, self._test, _objects.dice)

    @property
    def object_jaccard(self) -> float:
        """As `object_dice`, of intersections over unions."""
        return _objects.weighted(self._pairs, self._true, self._test, _objects.jaccard)

    @property
    def errors(self) -> _objects.Errors:
        """Errors as Coelho, Shariff and Murphy count them (ISBI 2009).

        Each object belongs to the one of the other image, or to the background, that most of its
        pixels lie on (of equal ones to the lowest label). A true object to which several belong
        is split, a found one to which several true ones belong has merged them; found objects
        that belong to the background are spurious, true ones missing.
        """
        return _objects.errors(self.overlap, self._true, self._test)

    def splits(self, iou: float = 0.1) -> int:
        """True objects with several partners above `iou` (Caicedo et al. 2019)."""
        return _objects.shared(self._pairs.true, self._pairs.iou, iou)

    def merges(self, iou: float = 0.1) -> int:
        """Found objects with several partners above `iou`."""
        return _objects.shared(self._pairs.test, self._pairs.iou, iou)

    def missed_by_size(
        self, edges: Sequence[float], threshold: float = 0.5
    ) -> list[_objects.SizeClass]:
        """How many true objects of each size have no match.

        Parameters
        ----------
        edges : sequence of float
            Increasing sizes in pixels; below the first, between each two, from the last on.
        threshold : float
            Least intersection over union of a match.
        """
        found = match(self._pairs, self.n_true, self.n_test, threshold)
        return _objects.missed_by_size(self._true.sizes[1:], self._pairs.true[found], edges)

    def objects(self) -> dict[str, NumpyArray]:
        """One row for each true object, as columns.

        Its label and size; `partner`, the found object with which it has the largest intersection
        over union (0 if none); that one's size; `overlap` in pixels; `iou`, `dice`; and how many
        found objects it meets.
        """
        return _objects.table(self._pairs, self._true, self._test)

    def to_dict(self, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, int | float]:
        """Row of a table: all metrics under their names.

        `ap` is the mean average precision over `thresholds`; `tp_50`, `precision_50`, `recall_50`,
        `f1_50`, `ap_50` and `pq_50` are those at 0.5, and so on for each.
        """
        split, merge_ = self.variation_of_information()
        adapted = self.adapted_rand_error()
        scores = [self.matching(threshold) for threshold in thresholds]
        row: dict[str, int | float] = {
            "pixels": self.pixels,
            "n_true": self.n_true,
            "n_test": self.n_test,
            "ap": _objects.divide(sum(score.accuracy for score in scores), len(scores)),
            "dice": self.dice,
            "jaccard": self.jaccard,
            "object_dice": self.object_dice,
            "object_jaccard": self.object_jaccard,
            "aggregated_jaccard": self.aggregated_jaccard,
            "seg": self.seg,
            "det": self.det,
            "rand_index": self.rand_index(),
            "adjusted_rand": self.adjusted_rand(),
            **{f"adapted_rand_{name}": value for name, value in adapted._asdict().items()},
            "voi_split": split,
            "voi_merge": merge_,
            **self.errors._asdict(),
            "splits": self.splits(),
            "merges": self.merges(),
        }
        for one in scores:
            at = f"{100 * one.threshold:g}"
            row |= {
                f"tp_{at}": one.tp,
                f"precision_{at}": one.precision,
                f"recall_{at}": one.recall,
                f"f1_{at}": one.f1,
                f"ap_{at}": one.accuracy,
                f"pq_{at}": one.panoptic_quality,
            }
        return row

    def __str__(self) -> str:
        scores = self.matching(0.5)
        return (
            f"{self.n_true:,} true objects, {self.n_test:,} found: "
            f"F1 {scores.f1:.3f}, AP {scores.accuracy:.3f} at IoU 0.5, "
            f"mean AP {self.average_precision().mean():.3f}, SEG {self.seg:.3f}, "
            f"Dice {self.dice:.3f}"
        )


def pool(comparisons: Sequence[Comparison]) -> Comparison:
    """Compare several images as if they lay beside each other in one.

    Objects of all images count alike, whatever the sizes of their images: sums of matches, not
    means of scores. Labels are numbered anew; background stays 0.

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.compare import compare_labels
    >>> right = compare_labels(np.array([1, 0, 2]), np.array([1, 0, 2]))
    >>> wrong = compare_labels(np.array([1, 0]), np.array([0, 1]))
    >>> pool([right, wrong]).matching(0.5)[:4]
    (0.5, 2, 1, 1)
    """
    if not comparisons:
        raise ValueError("pool needs at least one comparison, got none")
    parts, n_true, n_test = [], 0, 0
    for one in comparisons:
        true, test = one._true.row, one._test.row
        parts.append(
            Overlap(
                np.where(true > 0, true + n_true, 0).astype(np.uint64),
                np.where(test > 0, test + n_test, 0).astype(np.uint64),
                one.overlap.pixels,
            )
        )
        n_true += one.n_true
        n_test += one.n_test
    return Comparison(merge(parts))
