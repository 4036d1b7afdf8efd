"""Find objects, and edit label images of any size."""

from gpuseg.segmentation._onnx import OnnxModel
from gpuseg.segmentation._predict import predict
from gpuseg.segmentation._split import split_touching
from gpuseg.segmentation._watershed import watershed
from gpuseg.segmentation.label_tools import (
    clear_border,
    expand_labels,
    find_boundaries,
    map_array,
    relabel_sequential,
)

__all__ = [
    "OnnxModel",
    "clear_border",
    "expand_labels",
    "find_boundaries",
    "map_array",
    "predict",
    "relabel_sequential",
    "split_touching",
    "watershed",
]
