"""Positive pixels on the CPU: one fused pass in numba, and the plain NumPy reference.

A block of 1024 pixels is split into planes in L1 (15,000 Mpx/s), classified there by vector
instructions, and summed; see docs/design/hsi.md for what was tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu import _hsi_kernels as kernels
from gpuseg._cpu._pointer import is_rows
from gpuseg._hsi import WORDS, HuePlanes, Rule, Tally
from gpuseg.typing import NumpyArray

# Below this many pixels a second thread costs more than it brings (a pool starts in 0.1 ms).
_PIXELS_PER_THREAD = 1 << 19
# Pixels of an oddly strided image that are copied at a time.
_SLAB = 1 << 20


def tally(
    image: NumpyArray, rule: Rule, mask: NumpyArray | None = None, out: NumpyArray | None = None
) -> Tally:
    """Tally of `image` (..., 3 or 4); fills `out` (...) with labels if it is given.

    Raises
    ------
    ValueError
        If a value is negative, NaN or above `rule.max_value`.
    """
    words = np.zeros(WORDS, np.int64)
    # Labels without counts still need the counts' memory; they are cheap.
    jobs = list(_jobs(image, mask, out))
    if len(jobs) == 1:
        words += _scan(*jobs[0], rule)
    else:
        with ThreadPoolExecutor(threads()) as pool:
            for part in pool.map(lambda job: _scan(*job, rule), jobs):
                words += part
    return Tally.from_ints(words.tolist())


def classify(image: NumpyArray, rule: Rule, mask: NumpyArray | None = None) -> NumpyArray:
    """Labels (uint8) of `image` (..., 3 or 4); 0 outside `mask`."""
    return tally_and_labels(image, rule, mask)[1]


def tally_and_labels(
    image: NumpyArray, rule: Rule, mask: NumpyArray | None = None
) -> tuple[Tally, NumpyArray]:
    """Both, in one pass."""
    labels = np.empty(image.shape[:-1], np.uint8)
    return tally(image, rule, mask, labels), labels


def tally_spans(
    block: NumpyArray,
    rule: Rule,
    spans: NumpyArray,
    n_regions: int,
    out: NumpyArray | None = None,
) -> NumpyArray:
    """Tallies of many regions of one block, in one pass over it.

    Parameters
    ----------
    block : array (H, W, 3 or 4)
    rule : Rule
    spans : int array (n, 4)
        Rows (region, row, start, stop) local to the block, in any order; they may overlap.
    n_regions : int
    out : int64 array (n_regions, WORDS), optional
        Added to instead of a new array.

    Returns
    -------
    int64 array (n_regions, WORDS)
        Rows for `Tally.from_ints`.
    """
    words = np.zeros((n_regions, WORDS), np.int64) if out is None else out
    if not is_rows(block) or not block.dtype.isnative:
        block = np.ascontiguousarray(block, block.dtype.newbyteorder("="))
    spans = np.ascontiguousarray(spans, np.int32)
    _check_spans(spans, block.shape, n_regions)
    order = np.argsort(spans[:, 1], kind="stable")
    lattice, floats = _packed(rule)
    height, width, channels = block.shape
    job = np.array([block.ctypes.data, block.strides[0], height, width, channels], np.int64)
    high = kernels.tally_spans(job, spans[order], lattice, floats, words, _sample(block.dtype))
    _refuse(high, block, rule)
    return words


def _check_spans(spans: NumpyArray, shape: tuple[int, ...], n_regions: int) -> None:
    if spans.ndim != 2 or spans.shape[1] != 4:
        raise ValueError(f"spans must have shape (n, 4), got {spans.shape}")
    if not len(spans):
        return
    low, high = spans.min(0), spans.max(0)
    limits = (n_regions - 1, shape[0] - 1, shape[1], shape[1])
    if (low < 0).any() or (high > limits).any():
        raise ValueError(f"spans must lie in a block of {shape[:2]}, got {low} to {high}")


_Part = tuple[NumpyArray, NumpyArray | None, NumpyArray | None]


def _jobs(image: NumpyArray, mask: NumpyArray | None, out: NumpyArray | None) -> Iterator[_Part]:
    """Cut into (image, mask, out) parts of about equal size, each plain rows in native order."""
    pixels = image.size // image.shape[-1]
    parts = max(1, min(threads(), pixels // _PIXELS_PER_THREAD))
    plain = is_rows(image) and image.dtype.isnative
    if not plain:
        parts = max(parts, -(-pixels // _SLAB))
    if parts == 1 or len(image) == 1:
        yield image, mask, out
        return
    edges = np.linspace(0, len(image), min(parts, len(image)) + 1).astype(int)
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        yield (
            image[part],
            None if mask is None else mask[part],
            None if out is None else out[part],
        )


def _scan(
    image: NumpyArray, mask: NumpyArray | None, out: NumpyArray | None, rule: Rule
) -> NumpyArray:
    """Words of one part, on one thread."""
    words = np.zeros(WORDS, np.int64)
    if image.size == 0:
        return words
    if not (is_rows(image) and image.dtype.isnative):
        image = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    target = out if out is None or is_rows(out) else np.empty(out.shape, np.uint8)
    if mask is not None:
        mask = _mask_bytes(mask)
    channels = image.shape[-1]
    if all(a is None or a.flags.c_contiguous for a in (image, target)):
        rows, width = 1, image.size // channels
    else:
        rows, width = image.shape[0], image[0].size // channels
    job = np.array(
        [
            image.ctypes.data, image.strides[0], rows, width, channels,
            0 if mask is None else mask.ctypes.data, width,
            0 if target is None else target.ctypes.data, 0 if target is None else target.strides[0],
        ],
        np.int64,
    )  # fmt: skip
    lattice, floats = _packed(rule)
    high = kernels.tally(job, lattice, floats, words, _sample(image.dtype))
    _refuse(high, image, rule)
    if target is not out and out is not None:
        out[...] = target
    return words


def _mask_bytes(mask: NumpyArray) -> NumpyArray:
    mask = mask != 0 if mask.itemsize > 1 else mask
    return np.ascontiguousarray(mask).view(np.uint8)


def _refuse(out_of_range: bool, image: NumpyArray, rule: Rule) -> None:
    if out_of_range:
        colours = image[..., :3]
        bad = colours[~((colours >= 0) & (colours <= rule.max_value))][0]
        raise ValueError(
            f"image values must be between 0 and max_value={rule.max_value}, got {bad}"
        )


@lru_cache(maxsize=64)
def _sample(dtype: np.dtype[Any]) -> NumpyArray:
    """Empty array that tells the kernel which dtype the addresses hold."""
    return np.empty(0, dtype)


@lru_cache(maxsize=256)
def _packed(rule: Rule) -> tuple[NumpyArray, NumpyArray]:
    """Integers and floats of each form, as rows of two arrays."""
    sets = [p for p in (rule.positive, rule.negative) if p is not None]
    lattice = np.array([_integers(form) for form in rule.forms], np.int64)
    floats = np.array(
        [
            [*form.float_planes, p.saturation_minimum, p.intensity_lower_limit,
             p.intensity_upper_limit, p.intensity_weak_threshold, p.intensity_strong_threshold,
             rule.max_value]
            for form, p in zip(rule.forms, sets, strict=True)
        ]
    )  # fmt: skip
    return lattice, floats


def _integers(form: HuePlanes) -> list[int]:
    ties = [*form.tie_sums, -1, -1, -1, -1][:4]
    return [
        *form.planes[0], *form.planes[1], form.edge, form.outside, *form.ratio, form.lower,
        form.upper, form.weak, form.strong, form.ratio_ties, *ties, form.grey,
    ]  # fmt: skip
