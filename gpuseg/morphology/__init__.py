"""Clean masks and label images of any size: small objects, small holes, all holes."""

from gpuseg.morphology.masks import fill_holes, remove_small_holes, remove_small_objects

__all__ = ["fill_holes", "remove_small_holes", "remove_small_objects"]
