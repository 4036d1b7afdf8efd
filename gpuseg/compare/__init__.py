"""Compare label images, and counts, with a gold standard."""

from gpuseg.compare.comparison import Comparison, pool
from gpuseg.compare.counts import CountComparison, compare_counts
from gpuseg.compare.groups import HeldOut, leave_one_group_out
from gpuseg.compare.labels import compare_labels
from gpuseg.compare.matching import THRESHOLDS, Matching
from gpuseg.compare.surfaces import SurfaceDistances, surface_distances

__all__ = [
    "THRESHOLDS",
    "Comparison",
    "CountComparison",
    "HeldOut",
    "Matching",
    "SurfaceDistances",
    "compare_counts",
    "compare_labels",
    "leave_one_group_out",
    "pool",
    "surface_distances",
]
