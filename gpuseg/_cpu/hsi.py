"""Positive pixels on the CPU: one fused pass in numba, cut into strips for threads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu import _hsi_kernels as kernels
from gpuseg._cpu import _hsi_spans as spans_kernels
from gpuseg._cpu._pointer import is_rows
from gpuseg._cpu._strips import shared
from gpuseg._cpu.spans import by_row, paint
from gpuseg._shared.hsi import WORDS, HuePlanes, Parameters, Rule, Tally
from gpuseg.typing import NumpyArray

# Below this many pixels a second thread costs more than it brings.
_PIXELS_PER_PART = 1 << 19
# More than one, because a thread may come late.
_PARTS_PER_THREAD = 8
# Pixels of an oddly strided or byte-swapped image that are copied at a time.
_SLAB = 1 << 18

_Part = tuple[NumpyArray, NumpyArray | None, NumpyArray | None]


def tally(
    image: NumpyArray, rule: Rule, mask: NumpyArray | None = None, out: NumpyArray | None = None
) -> Tally:
    """Tally of `image` (..., 3 or 4); fills `out` (...) with labels if it is given.

    Raises
    ------
    ValueError
        If a value within the mask is negative, NaN or above `rule.max_value`.
    """

    def words_of(part: _Part) -> NumpyArray:
        words = np.zeros(WORDS, np.int64)
        add(part[0], rule, words, part[1], part[2])
        return words

    found = shared(words_of, list(parts(image, mask, out, _PARTS_PER_THREAD)))
    return Tally.from_ints(sum(found, np.zeros(WORDS, np.int64)).tolist())


def tally_and_labels(
    image: NumpyArray, rule: Rule, mask: NumpyArray | None = None
) -> tuple[Tally, NumpyArray]:
    """Tally and labels (uint8) in one pass."""
    labels = np.empty(image.shape[:-1], np.uint8)
    return tally(image, rule, mask, labels), labels


def classify(image: NumpyArray, rule: Rule, mask: NumpyArray | None = None) -> NumpyArray:
    """Labels (uint8) of `image` (..., 3 or 4); 0 outside `mask`."""
    # Counting beside labelling costs a tenth: no kernel of its own.
    return tally_and_labels(image, rule, mask)[1]


def reference(
    image: NumpyArray, rule: Rule, mask: NumpyArray | None = None
) -> tuple[Tally, NumpyArray]:
    """Tally and labels by the definition, in plain NumPy: what the kernels must equal."""
    red, green, blue = (image[..., k].astype(np.float64) / rule.max_value for k in range(3))
    intensity = ((red + green) + blue) / 3
    lowest = np.minimum(np.minimum(red, green), blue) / np.maximum(intensity, 1e-10)
    saturation = np.where(intensity == 0, 0, 1 - lowest)

    def fits(form: HuePlanes, p: Parameters) -> NumpyArray:
        lower, upper = intensity >= p.intensity_lower_limit, intensity < p.intensity_upper_limit
        hue = _hue_fits(image, form, rule.floating)
        return hue & (saturation >= p.saturation_minimum) & lower & upper

    inside = np.ones(intensity.shape, bool) if mask is None else mask != 0
    positive = fits(rule.forms[0], rule.positive)
    weak = intensity >= rule.positive.intensity_weak_threshold
    strong = intensity < rule.positive.intensity_strong_threshold
    stained = inside & False if rule.negative is None else fits(rule.forms[1], rule.negative)
    codes = np.select(
        [~inside, positive & weak, positive & strong, positive, stained], [0, 1, 3, 2, 4], 0
    ).astype(np.uint8)
    if rule.floating:
        units = np.rint(intensity * rule.unit).astype(np.int64)
    else:
        units = image[..., :3].sum(-1, dtype=np.int64)
    classes = [codes == code for code in (1, 2, 3, 4)]
    counts = [int(members.sum()) for members in classes]
    sums = [int(units[members].sum(dtype=object)) for members in classes]
    return Tally(*[*counts, int(inside.sum()), 0, *sums]), codes & 3


def _hue_fits(image: NumpyArray, form: HuePlanes, floating: bool) -> NumpyArray:
    red, green, blue = (image[..., k].astype(float if floating else np.int64) for k in range(3))
    u, v = green - red, blue - red
    if not floating:
        first, second = (a * u + b * v >= form.edge for a, b in form.planes)
        return (first & second) != form.outside
    a, b, c, d, e, f = form.float_planes
    first, second, third = a * u + b * v >= 0, c * u + d * v >= 0, e * u + f * v >= 0
    hue = first | second if form.outside else first & second & third
    return np.where((u == 0) & (v == 0), form.grey, hue)


def add(
    image: NumpyArray,
    rule: Rule,
    words: NumpyArray,
    mask: NumpyArray | None = None,
    out: NumpyArray | None = None,
) -> None:
    """Add the tally of `image` to `words` (int64, `WORDS`) on the calling thread.

    What loops over many small tiles calls: 6 us on top of the pixels' own time.
    """
    if image.size == 0:
        return
    image = _native_rows(image)
    channels = image.shape[-1]
    target = out if out is None or is_rows(out) else np.empty(out.shape, np.uint8)
    if image.flags.c_contiguous and (target is None or target.flags.c_contiguous):
        rows, width = 1, image.size // channels
    else:
        rows, width = len(image), image.size // len(image) // channels
    inside = None if mask is None else mask_bytes(mask)
    job = np.array(
        (
            image.ctypes.data, image.strides[0], rows, width, channels,
            0 if inside is None else inside.ctypes.data, width,
            0 if target is None else target.ctypes.data, 0 if target is None else target.strides[0],
        ),
        np.int64,
    )  # fmt: skip
    if not kernels.tally(job, *rule.tables, words, _sample(image.dtype)):
        _refuse(image if mask is None else image[mask != 0], rule)
    if out is not None and target is not out:
        out[...] = target


def tally_spans(
    block: NumpyArray,
    rule: Rule,
    spans: NumpyArray,
    words: NumpyArray,
    out: NumpyArray | None = None,
) -> None:
    """Tallies of many regions of one block, in one pass over it on the calling thread.

    Parameters
    ----------
    block : array (H, W, 3 or 4)
    rule : Rule
    spans : int array (n, 4)
        Rows (region, row, start, stop) local to the block, in any order. Those of different
        regions may overlap.
    words : int64 array (n_regions + 1, WORDS)
        Added to: a row for each region, and one for the pixels in any of them.
    out : uint8 array (H, W), optional
        Zeros, which become the labels of these pixels.
    """
    spans = np.ascontiguousarray(spans, np.int32)
    if spans.ndim != 2 or spans.shape[1] != 4:
        raise ValueError(f"spans must have shape (n, 4), got {spans.shape}")
    height, width, channels = block.shape
    n_regions = len(words) - 1
    state = spans_kernels.spans_state(spans, n_regions, height, width)
    if state == 1:
        spans = by_row(spans, height)[0]
    elif state == 2:
        raise ValueError(
            f"spans must lie in {n_regions} regions and a block of {height, width}, got (region, "
            f"row, start, stop) from {spans.min(0).tolist()} to {spans.max(0).tolist()}"
        )
    if not len(spans):
        return
    block = _native_rows(block)
    if rule.floating or rule.max_value < np.iinfo(block.dtype).max:
        # Values that no region has may be anything.
        block = np.where(paint(spans, height, width)[..., None], block, block.dtype.type(0))
    target = (0, 0) if out is None else (out.ctypes.data, out.strides[0])
    job = np.array((block.ctypes.data, block.strides[0], height, width, channels, *target))
    if not spans_kernels.tally_spans(job, spans, *rule.tables, words, _sample(block.dtype)):
        _refuse(block, rule)


def parts(
    image: NumpyArray, mask: NumpyArray | None, out: NumpyArray | None, each: int = 1
) -> Iterator[_Part]:
    """Cut along the first axis: `each` parts a thread, or slabs small enough to be copied."""
    while len(image) == 1 and image.ndim > 2:
        image = image[0]
        mask, out = (None if a is None else a[0] for a in (mask, out))
    pixels = image.size // image.shape[-1]
    most = each * threads() if threads() > 1 else 1
    count = min(most, pixels // _PIXELS_PER_PART)
    if not (is_rows(image) and image.dtype.isnative):
        count = max(count, pixels // _SLAB)
    edges = np.linspace(0, len(image), max(1, min(count, len(image))) + 1).astype(int)
    for part in (slice(start, stop) for start, stop in pairwise(edges)):
        yield image[part], None if mask is None else mask[part], None if out is None else out[part]


def _native_rows(image: NumpyArray) -> NumpyArray:
    if is_rows(image) and image.dtype.isnative:
        return image
    return np.ascontiguousarray(image, image.dtype.newbyteorder("="))


def mask_bytes(mask: NumpyArray) -> NumpyArray:
    """Contiguous mask of one byte per pixel."""
    return np.ascontiguousarray(mask if mask.itemsize == 1 else mask != 0).view(np.uint8)


def _refuse(image: NumpyArray, rule: Rule) -> None:
    colours = image[..., :3]
    worst = colours[~((colours >= 0) & (colours <= rule.max_value))].flat[0]
    raise ValueError(f"image values must be between 0 and max_value={rule.max_value}, got {worst}")


@lru_cache(maxsize=64)
def _sample(dtype: np.dtype[Any]) -> NumpyArray:
    """Empty array that tells a kernel which dtype an address holds."""
    return np.empty(0, dtype)
