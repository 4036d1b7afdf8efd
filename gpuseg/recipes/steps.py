"""The steps that a recipe may name, each a thin function over gpuseg's own.

A step takes from what came before by the names of its positional parameters (`image`, `mask`,
`labels`) and makes what its return type says; its keyword parameters are what a recipe may set.
Lengths are one number, or one for each axis.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from gpuseg import color, filters, measure, morphology, ndmeasure, segmentation
from gpuseg.typing import Array

Image = Annotated[Array, "image"]
Mask = Annotated[Array, "mask"]
Labels = Annotated[Array, "labels"]
Length = float | list[float]

__all__ = [
    "channel",
    "clear_border",
    "closing",
    "cut",
    "difference_of_gaussians",
    "dilation",
    "erosion",
    "expand",
    "fill_holes",
    "gaussian",
    "grey",
    "hysteresis",
    "invert",
    "label",
    "median",
    "opening",
    "remove_dim_objects",
    "remove_large_objects",
    "remove_small_holes",
    "remove_small_objects",
    "split",
    "stain",
    "threshold",
    "threshold_local",
    "white_tophat",
]


def grey(image: Array) -> Image:
    """Luminance of RGB, from 0 to 1."""
    return color.rgb2gray(image)


def stain(image: Array, *, name: Literal["hematoxylin", "eosin", "dab"] = "hematoxylin") -> Image:
    """Density of one stain in RGB (Ruifrok and Johnston's vectors)."""
    channel = ("hematoxylin", "eosin", "dab").index(name)
    return color.rgb2hed(image)[..., channel]


def channel(image: Array, *, index: int) -> Image:
    """One channel of RGB."""
    return image[..., index]


def invert(image: Array) -> Image:
    """Bright for dark: the dtype's maximum less the image; for floats 1 less it."""
    most = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else image.dtype.type(1)
    return most - image


def gaussian(image: Array, *, sigma: Length) -> Image:
    """Smooth."""
    return filters.gaussian(image, sigma, preserve_range=True)


def median(image: Array, *, radius: Length) -> Image:
    """Median over an ellipse or ellipsoid."""
    return filters.median(image, _ellipsoid(radius, image.ndim))


def difference_of_gaussians(image: Array, *, low_sigma: Length, high_sigma: Length) -> Image:
    """Keep what is larger than the one and smaller than the other."""
    low, high = (filters.gaussian(image, s, preserve_range=True) for s in (low_sigma, high_sigma))
    return low - high


def white_tophat(image: Array, *, radius: Length) -> Image:
    """Remove a background that varies over more than the radius."""
    return morphology.white_tophat(image, _ellipsoid(radius, image.ndim))


def threshold(
    image: Array,
    *,
    method: Literal["otsu", "li", "yen", "triangle"] = "otsu",
    value: float | None = None,
    deviations: float | None = None,
    log: bool = False,
    scale: float = 1.0,
) -> Mask:
    """Above a value: the method's, the one given, or so many deviations above the mean.

    `log` lets the method see log(1 + image), in which dim objects beside bright ones stand out;
    `scale` multiplies what the method found.
    """
    if value is not None:
        return image > value
    if deviations is not None:
        mean, deviation = ndmeasure.mean(image), ndmeasure.standard_deviation(image)
        return image > mean + deviations * deviation
    seen = np.log1p(np.maximum(image, 0)) if log else image
    return seen > getattr(filters, f"threshold_{method}")(seen) * scale


def threshold_local(
    image: Array,
    *,
    window: Length,
    method: Literal["gaussian", "mean", "median"] = "gaussian",
    offset: float = 0.0,
) -> Mask:
    """Above the mean of the surroundings less the offset."""
    size = tuple(int(side) // 2 * 2 + 1 for side in _each(window, image.ndim))
    return image > filters.threshold_local(image, size, method=method, offset=offset)


def hysteresis(image: Array, *, low: float, high: float) -> Mask:
    """Above low, in objects that are somewhere above high."""
    return filters.apply_hysteresis_threshold(image, low, high)


def erosion(mask: Array, *, radius: Length) -> Mask:
    """Shrink."""
    return morphology.binary_erosion(mask, _ellipsoid(radius, mask.ndim))


def dilation(mask: Array, *, radius: Length) -> Mask:
    """Grow."""
    return morphology.binary_dilation(mask, _ellipsoid(radius, mask.ndim))


def opening(mask: Array, *, radius: Length) -> Mask:
    """Remove what is thinner."""
    return morphology.binary_opening(mask, _ellipsoid(radius, mask.ndim))


def closing(mask: Array, *, radius: Length) -> Mask:
    """Close gaps that are narrower."""
    return morphology.binary_closing(mask, _ellipsoid(radius, mask.ndim))


def fill_holes(mask: Array) -> Mask:
    """Fill background that objects enclose."""
    return morphology.fill_holes(mask)


def remove_small_holes(mask: Array, *, max_size: float) -> Mask:
    """Fill holes of at most so many pixels."""
    return morphology.remove_small_holes(mask, max_size=int(max_size))


def label(mask: Array, *, connectivity: int = 1) -> Labels:
    """One object for each connected component."""
    return measure.label(mask, connectivity=connectivity)[0]


def cut(labels: Array, image: Array, *, contrast: float = 0.5) -> Mask:
    """Keep of each object what is above a share of its own mean's height over the background.

    A threshold that finds dim objects is too low for bright ones, whose blur it takes in.
    """
    ids, means, background = _brightness(labels, image)
    levels = background + contrast * (means - background)
    return (labels > 0) & (image > segmentation.map_array(labels, ids, levels))


def split(
    mask: Array, image: Array, *, sigma: Length = 1.0, depth: float = 0.5, brightness: float = 0.0
) -> Labels:
    """Part touching objects along the necks of the distance to the background.

    Peaks of the smoothed distance that rise by `depth` pixels above the saddle to a higher one are
    objects. With `brightness` the distance is first multiplied by this power of the brightness
    relative to the object's mean, so that dark lines part objects as well.
    """
    distance = morphology.distance_transform_edt(mask)
    if brightness:
        parts = label(mask)
        ids, means, background = _brightness(parts, image)
        height = segmentation.map_array(parts, ids, np.maximum(means - background, 1e-9))
        relative = (gaussian(image, sigma=sigma) - background) / np.where(mask, height, 1)
        distance = distance * np.maximum(relative, 0.01) ** brightness
    landscape = gaussian(distance, sigma=sigma)
    # Peaks by distance, as `split_touching` finds them, part nuclei less well: F1 at an IoU of 0.5
    # falls from 0.943 to 0.933 at best, on every sixth frame of BBBC039.
    peaks = label(morphology.h_maxima(landscape, depth) > 0, connectivity=mask.ndim)
    return segmentation.watershed(-landscape, peaks, mask=mask)


def expand(labels: Array, *, distance: Length) -> Labels:
    """Grow objects, without letting them overlap."""
    radii = _each(distance, labels.ndim)
    if len(set(radii)) == 1:
        return segmentation.expand_labels(labels, radii[0])
    return segmentation.expand_labels(labels, 1.0, spacing=tuple(1 / radius for radius in radii))


def clear_border(labels: Array) -> Labels:
    """Remove objects that the image's border cuts."""
    return _numbered(segmentation.clear_border(labels))


def remove_small_objects(labels: Array, *, max_size: float) -> Labels:
    """Remove objects of at most so many pixels."""
    return _numbered(morphology.remove_small_objects(labels, max_size=int(max_size)))


def remove_dim_objects(labels: Array, image: Array, *, ratio: float) -> Labels:
    """Remove objects whose mean is less than so many times the background's.

    In an image without objects a threshold finds noise.
    """
    ids, means, background = _brightness(labels, image)
    return _numbered(
        segmentation.map_array(labels, ids, np.where(means < ratio * background, 0, ids))
    )


def remove_large_objects(labels: Array, *, min_size: float) -> Labels:
    """Remove objects of at least so many pixels."""
    return _numbered(labels - morphology.remove_small_objects(labels, max_size=int(min_size) - 1))


def _numbered(labels: Array) -> Array:
    return segmentation.relabel_sequential(labels)[0]


def _brightness(labels: Array, image: Array) -> tuple[Any, Any, float]:
    """Labels, their means and the background's, exact in every chunking."""
    table = measure.regionprops_table(labels, image, properties=("label", "intensity_mean"))
    background = float(ndmeasure.mean(image, labels, 0))
    return table["label"], table["intensity_mean"], background


def _each(length: Length | tuple[float, ...], ndim: int) -> tuple[float, ...]:
    return (float(length),) * ndim if isinstance(length, int | float) else tuple(length)


def _ellipsoid(radius: Length, ndim: int) -> Any:
    """Footprint of all pixels whose centres are within the radius, which may differ by axis."""
    radii = _each(radius, ndim)
    axes = [np.arange(-int(r), int(r) + 1) / max(r, 1e-9) for r in radii]
    return sum(np.square(axis) for axis in np.ix_(*axes)) <= 1
