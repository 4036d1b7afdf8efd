"""Find objects, and edit label images of any size."""

from gpuseg.segmentation.label_tools import (
    clear_border,
    expand_labels,
    find_boundaries,
    map_array,
    relabel_sequential,
)

__all__ = ["clear_border", "expand_labels", "find_boundaries", "map_array", "relabel_sequential"]
