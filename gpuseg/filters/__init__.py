"""Smooth, sharpen and threshold images of any size, in scikit-image's words."""

from gpuseg.filters.smoothing import (
    difference_of_gaussians,
    gaussian,
    laplace,
    median,
    prewitt,
    sobel,
)
from gpuseg.filters.thresholding import (
    apply_hysteresis_threshold,
    threshold_li,
    threshold_local,
    threshold_multiotsu,
    threshold_otsu,
    threshold_triangle,
    threshold_yen,
)

__all__ = [
    "apply_hysteresis_threshold",
    "difference_of_gaussians",
    "gaussian",
    "laplace",
    "median",
    "prewitt",
    "sobel",
    "threshold_li",
    "threshold_local",
    "threshold_multiotsu",
    "threshold_otsu",
    "threshold_triangle",
    "threshold_yen",
]
