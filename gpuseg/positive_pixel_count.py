"""Positive pixel counting with HistomicsTK's names: `ppc.count_image`, `ppc.Parameters`, ...

Every function takes NumPy, CuPy and Dask arrays (of either) and answers where the array lives.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Literal

from gpuseg._backend import floor, implementation
from gpuseg._shared.colour_histogram import ColourHistogram, sweep
from gpuseg._shared.hsi import Labels, Output, Parameters, pixel_area_mm2, rule_for
from gpuseg._validate import check_mask, check_pixels
from gpuseg.typing import Array

if TYPE_CHECKING:
    from gpuseg._jobs.count_slide import Progress, SlideCount
    from gpuseg.cluster import Cluster
    from gpuseg.io.slides import OnError, Slide

__all__ = [
    "ColourHistogram",
    "Labels",
    "Output",
    "Parameters",
    "SlideCount",
    "classify",
    "colour_histogram",
    "count",
    "count_image",
    "count_regions",
    "count_slide",
    "sweep",
]


def __getattr__(name: str) -> Any:
    # What reads slides needs decoders; arrays are counted where there are none.
    if name == "SlideCount":
        from gpuseg._jobs.count_slide import SlideCount

        return SlideCount
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def classify(
    image: Array, params: Parameters, mask: Array | None = None, *, max_value: float | None = None
) -> Array:
    """Label each pixel as negative, weak, plain or strong positive.

    Parameters
    ----------
    image : array (..., 3) or (..., 4), uint8, uint16, float32 or float64
        RGB in the last axis; a fourth channel is ignored.
    params : Parameters
        Thresholds, as fractions of full scale.
    mask : array (...), bool or any integer, optional
        Pixels where it is 0 are negative. Its shape must be that of the image without channels.
    max_value : int or float, optional
        Image value of full intensity; the dtype's maximum, or 1.0 for floats, unless given.

    Returns
    -------
    array (...), uint8
        Values of `Labels`; lazy where `image` is.

    Raises
    ------
    TypeError
        If the image or the mask has another dtype or container.
    ValueError
        If shapes do not agree, a parameter is out of range, or an image value within the mask is
        negative, NaN or above `max_value`.

    See Also
    --------
    count : the statistics alone.

    Notes
    -----
    Equal to HistomicsTK's labels for uint8 images; where a hue lies exactly on the boundary, which
    HistomicsTK leaves to the rounding of `arctan2`, it counts as inside.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import positive_pixel_count as ppc
    >>> image = np.array([[[200, 150, 110], [150, 90, 40], [80, 40, 20], [240, 240, 240]]], "uint8")
    >>> ppc.classify(image, ppc.Parameters(hue_value=0.05))
    array([[2, 2, 3, 0]], dtype=uint8)
    """
    check_pixels(image)
    check_mask(image, mask)
    rule = rule_for(image.dtype, params, max_value=max_value)
    return implementation(image, "hsi").classify(image, rule, mask)


def count(
    image: Array | ColourHistogram,
    params: Parameters,
    mask: Array | None = None,
    *,
    negative: Parameters | None = None,
    max_value: float | None = None,
    mpp: float | None = None,
) -> Any:
    """Statistics of positive pixels.

    Parameters
    ----------
    image : array or ColourHistogram
        As for `classify`; a histogram gives what the image it was made of would give.
    params, mask, max_value
        As for `classify`. A histogram takes neither mask nor `max_value`.
    negative : Parameters, optional
        Counterstain: pixels that are not positive and meet these are counted as negative, and
        `Positivity` is positive / (positive + negative), as in Aperio's algorithm.
    mpp : float, optional
        Edge length of a pixel in micrometres, for the areas.

    Returns
    -------
    Output
        For a Dask image an object whose `compute()` gives it, by a tree of partial tallies of a few
        hundred bytes each.

    Raises
    ------
    TypeError, ValueError
        As `classify`.

    Notes
    -----
    Sums are integers until the last division, so the same bits come from every chunking, number
    of threads, scheduler and device.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import positive_pixel_count as ppc
    >>> image = np.array([[[200, 150, 110], [150, 90, 40], [80, 40, 20], [240, 240, 240]]], "uint8")
    >>> stats = ppc.count(image, ppc.Parameters(hue_value=0.05))
    >>> stats.NumberPositive, stats.NumberStrongPositive, stats.RatioTotalToPixels
    (2, 1, 0.75)
    """
    if isinstance(image, ColourHistogram):
        if mask is not None or max_value is not None:
            raise ValueError("a ColourHistogram is counted as it is: no mask and no max_value")
        return image.count(params, negative=negative, mpp=mpp)
    check_pixels(image)
    check_mask(image, mask)
    rule = rule_for(image.dtype, params, negative, max_value)
    area = pixel_area_mm2(mpp)
    tally = implementation(image, "hsi").tally(image, rule, mask)
    if floor(image) == "_dask":
        return implementation(image, "hsi").to_output(tally, rule, area)
    return tally.to_output(rule, area)


def count_image(
    image: Array, params: Parameters, mask: Array | None = None, **options: Any
) -> tuple[Any, Array]:
    """Statistics and labels of an image in one pass; HistomicsTK's function of that name.

    Parameters
    ----------
    image, params, mask
        As for `classify`.
    **options
        `negative`, `max_value` and `mpp` of `count`.

    Returns
    -------
    stats : Output
    label_image : array (...), uint8

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import positive_pixel_count as ppc
    >>> image = np.array([[[200, 150, 110], [240, 240, 240]]], "uint8")
    >>> stats, labels = ppc.count_image(image, ppc.Parameters(hue_value=0.05))
    >>> stats.NumberTotalPixels, labels.tolist()
    (2, [[2, 0]])
    """
    max_value = options.get("max_value")
    if floor(image) == "_dask":
        return count(image, params, mask, **options), classify(
            image, params, mask, max_value=max_value
        )
    return _count_and_label(image, params, mask, **options)


def _count_and_label(
    image: Array,
    params: Parameters,
    mask: Array | None,
    *,
    negative: Parameters | None = None,
    max_value: float | None = None,
    mpp: float | None = None,
) -> tuple[Output, Array]:
    check_pixels(image)
    check_mask(image, mask)
    rule = rule_for(image.dtype, params, negative, max_value)
    area = pixel_area_mm2(mpp)
    tally, labels = implementation(image, "hsi").tally_and_labels(image, rule, mask)
    return tally.to_output(rule, area), labels


def count_slide(
    path: str | os.PathLike[str] | Slide,
    params: Parameters,
    region: Any = None,
    tile_grouping: int = 256,
    make_label_image: bool = False,
    **options: Any,
) -> tuple[Output] | tuple[Output, Array]:
    """Statistics of a whole slide or one of its regions; HistomicsTK's function of that name.

    Parameters
    ----------
    path : str, path-like or Slide
        Slide or image; see `gpuseg.io.open_slide` for what can be read.
    params : Parameters
    region : optional
        Dictionary as large_image takes it (left, top, right, bottom, width, height, units), or
        anything else that `count_regions` takes. Several regions are counted as one.
    tile_grouping : int
        Largest size of the boxes that are counted at a time, in tiles of 256² pixels; processes
        may get four times as much. The answer doesn't depend on it.
    make_label_image : bool
        Also return the labels of the region, or of the smallest rectangle around it, in memory.
        Labels that are too large for that are written to a file by `count_regions`.
    **options
        Those of `count_regions`.

    Returns
    -------
    stats : Output
    label_image : uint8 array (height, width), only with `make_label_image`

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or the region is empty or outside the slide.
    SlideError
        If the slide cannot be read.
    MemoryError
        If the label image doesn't fit into memory, before any work.

    Examples
    --------
    >>> import numpy as np, tempfile, tifffile
    >>> from gpuseg import positive_pixel_count as ppc
    >>> path = tempfile.NamedTemporaryFile(suffix=".tif").name
    >>> tifffile.imwrite(path, np.full((512, 768, 3), (150, 90, 40), np.uint8), tile=(256, 256))
    >>> (stats,) = ppc.count_slide(path, ppc.Parameters(hue_value=0.05), {"width": 10})
    >>> stats.NumberPositive, stats.NumberTotalPixels
    (5120, 5120)
    """
    counted = count_regions(
        path,
        params,
        region,
        label_image=make_label_image,
        crop_labels=True,
        tile_grouping=tile_grouping,
        **options,
    )
    if make_label_image:
        return counted.total, counted.label_image
    return (counted.total,)


def count_regions(
    path: str | os.PathLike[str] | Slide,
    params: Parameters,
    regions: Any = None,
    *,
    level: int = 0,
    mpp: float | None = None,
    magnification: float | None = None,
    negative: Parameters | None = None,
    max_value: float | None = None,
    on_error: OnError = "raise",
    labels: str | os.PathLike[str] | None = None,
    label_image: bool = False,
    crop_labels: bool = False,
    downsampling: Literal["mode", "any"] = "mode",
    overwrite: bool = False,
    scheduler: str | Cluster | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    tile_grouping: int = 256,
) -> SlideCount:
    """Statistics of a slide and of any number of its regions, and its labels, in one pass.

    Parameters
    ----------
    path : str, path-like or Slide
        Slide or image. A `Slide` is read at its own level and left open.
    params : Parameters
    regions : optional
        Whatever `gpuseg.io.as_regions` takes: dictionaries, rectangles, polygons, GeoJSON, the path
        of an annotation file, or a list of these, in pixels of the finest level. A pixel belongs
        to a region if its centre is inside, by even–odd; where regions overlap it counts in each.
        Parts of the slide that no region meets are not read.
    level, mpp, magnification
        Level of the slide, as for `open_slide`.
    negative, max_value
        As for `count`.
    on_error : {"raise", "skip"}
        Whether an unreadable tile is an error, or its pixels count in `PixelsUnreadable` alone.
    labels : str or path-like, optional
        Label image to write meanwhile: `.zarr` (OME-Zarr 0.5) or `.tif` (pyramidal, with palette).
        It has its name only when it is whole. Run again after a crash, this goes on with the boxes
        that are not done. Outside the regions it is 0.
    label_image : bool
        Keep the labels in memory.
    crop_labels : bool
        Labels cover only the smallest rectangle that holds all regions.
    downsampling, overwrite
        As for `LabelPyramid`.
    scheduler, workers
        What computes, as for `gpuseg.cluster.connect`; threads by default. Also what an outer
        `connect` gave.
    progress : callable, optional
        Called as ``progress(done_boxes, boxes, done_pixels, pixels)`` before the first box and
        after each.
    tile_grouping : int
        Largest size of the boxes, in tiles of 256² pixels; processes may get four times as much,
        and with `labels` it is about 4096² in any case. The answer doesn't depend on it.

    Returns
    -------
    SlideCount
        With `total` (of all regions together; of the slide where there are none), `regions` (pairs
        of a region and its statistics), `labels` and `label_image`.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or a region is empty or outside the slide.
    SlideError
        If the slide cannot be read; the message names file, level and tile.
    OSError
        If the labels cannot be written.
    MemoryError
        If `label_image` doesn't fit into memory, before any work.

    Notes
    -----
    Memory use doesn't depend on the slide's size. Sums are exact, so the same bits come from every
    scheduler, number of workers and size of boxes. With ``scheduler="cuda"`` tiles are decoded by
    the CPU and moved to the GPU box by box.

    Examples
    --------
    >>> import numpy as np, tempfile, tifffile
    >>> from gpuseg import positive_pixel_count as ppc
    >>> path = tempfile.NamedTemporaryFile(suffix=".tif").name
    >>> tifffile.imwrite(path, np.full((512, 768, 3), (150, 90, 40), np.uint8), tile=(256, 256))
    >>> counted = ppc.count_regions(
    ...     path, ppc.Parameters(hue_value=0.05), [(0, 0, 20, 10), (10, 0, 20, 10)])
    >>> [(region.name, stats.NumberPositive) for region, stats in counted.regions]
    [('region 1', 200), ('region 2', 200)]
    >>> counted.total.NumberPositive
    300
    """
    if not isinstance(tile_grouping, int) or tile_grouping < 1:
        raise ValueError(f"tile_grouping must be a positive integer, got {tile_grouping!r}")
    from gpuseg._jobs import count_slide as job

    return job.count(
        path,
        params,
        regions,
        where={"level": level, "mpp": mpp, "magnification": magnification},
        negative=negative,
        max_value=max_value,
        on_error=on_error,
        labels=labels,
        label_options={"downsampling": downsampling, "overwrite": overwrite},
        label_image=label_image,
        crop_labels=crop_labels,
        scheduler=scheduler,
        workers=workers,
        progress=progress,
        box_size=256 * math.isqrt(tile_grouping),
    )


def colour_histogram(
    image: Array | str | os.PathLike[str] | Slide,
    mask: Array | None = None,
    *,
    regions: Any = None,
    level: int = 0,
    mpp: float | None = None,
    magnification: float | None = None,
    on_error: OnError = "raise",
    scheduler: str | Cluster | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Any:
    """Exact histogram of the colours of an image or a slide: any parameters are answered from it.

    Parameters
    ----------
    image : uint8 array (..., 3) or (..., 4), str, path-like or Slide
        RGB in the last axis, a fourth channel is ignored; or a slide, in bounded memory.
    mask : array (...), bool or any integer, optional
        Pixels where it is 0 are left out. For arrays alone.
    regions : optional
        Regions of a slide, as for `count_regions`. The other arguments are its as well, and
        for slides alone; a `Slide` is read at its own level.

    Returns
    -------
    ColourHistogram
        In host memory, also for CuPy arrays. For a Dask image an object whose `compute()` gives it.
        With `regions`, a list of (Region, ColourHistogram).

    Raises
    ------
    TypeError
        If the image is not uint8, the mask has another dtype or container, or an argument is for
        the other kind of image.
    ValueError
        If shapes do not agree, or a region is empty or outside the slide.
    SlideError
        If the slide cannot be read.

    See Also
    --------
    sweep : a table of many parameters.

    Notes
    -----
    `count` of the histogram equals `count` of the image bit for bit, and takes half a millisecond
    for a slide of 10^5 colours.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import positive_pixel_count as ppc
    >>> image = np.array([[[200, 150, 110], [80, 40, 20], [80, 40, 20]]], "uint8")
    >>> histogram = ppc.colour_histogram(image)
    >>> histogram
    ColourHistogram(2 colours, 3 pixels)
    >>> params = ppc.Parameters(hue_value=0.05)
    >>> ppc.count(histogram, params) == ppc.count(image, params)
    True
    """
    # A Slide is told by what it can do, for its module needs decoders.
    if isinstance(image, str | os.PathLike) or hasattr(image, "read_tiles"):
        if mask is not None:
            raise TypeError(f"mask is for arrays; name regions of a slide, got {type(mask)}")
        from gpuseg._jobs.slide_histogram import histograms

        wanted, merged = histograms(
            image,
            regions,
            where={"level": level, "mpp": mpp, "magnification": magnification},
            on_error=on_error,
            scheduler=scheduler,
            workers=workers,
            progress=progress,
        )
        return merged[0] if regions is None else list(zip(wanted, merged, strict=True))
    if regions is not None:
        raise TypeError(f"regions are of slides; give an array a mask, got {regions!r}")
    check_pixels(image)
    check_mask(image, mask)
    if image.dtype != "uint8":
        raise TypeError(f"a colour histogram is of a uint8 image, got {image.dtype}")
    found = implementation(image, "colour_histogram").histogram(image, mask)
    return ColourHistogram(*found) if isinstance(found, tuple) else found
