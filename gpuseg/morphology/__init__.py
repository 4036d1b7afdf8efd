"""Shapes of any size: erode, dilate, clean, and measure how deep pixels lie in them."""

from gpuseg.morphology.edt import distance_transform_edt
from gpuseg.morphology.footprints import (
    binary_closing,
    binary_dilation,
    binary_erosion,
    binary_opening,
    black_tophat,
    closing,
    dilation,
    erosion,
    opening,
    white_tophat,
)
from gpuseg.morphology.masks import fill_holes, remove_small_holes, remove_small_objects
from gpuseg.morphology.maxima import h_maxima, h_minima

__all__ = [
    "binary_closing",
    "binary_dilation",
    "binary_erosion",
    "binary_opening",
    "black_tophat",
    "closing",
    "dilation",
    "distance_transform_edt",
    "erosion",
    "fill_holes",
    "h_maxima",
    "h_minima",
    "opening",
    "remove_small_holes",
    "remove_small_objects",
    "white_tophat",
]
