"""Positive pixel counting with HistomicsTK's names: `ppc.count_image`, `ppc.Parameters`, ...

Every function takes NumPy, CuPy and Dask arrays (of either) and answers where the array lives.
"""

from __future__ import annotations

from typing import Any

from gpuseg._backend import floor, implementation
from gpuseg._hsi import Labels, Output, Parameters, rule_for
from gpuseg._validate import check_mask, check_pixels
from gpuseg.typing import Array

__all__ = ["Labels", "Output", "Parameters", "classify", "count", "count_image"]


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
        If shapes do not agree, a parameter is out of range, or an image value is negative, NaN or
        above `max_value`.

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
    image: Array,
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
    image, params, mask, max_value
        As for `classify`.
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
    check_pixels(image)
    check_mask(image, mask)
    rule = rule_for(image.dtype, params, negative, max_value)
    area = None if mpp is None else (mpp / 1000) ** 2
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
    tally, labels = implementation(image, "hsi").tally_and_labels(image, rule, mask)
    return tally.to_output(rule, None if mpp is None else (mpp / 1000) ** 2), labels
