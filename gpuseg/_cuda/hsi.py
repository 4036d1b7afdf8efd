"""Positive pixels on the GPU: launches `kernels/hsi.cu`."""

from __future__ import annotations

from itertools import product

import cupy
import numpy as np

from gpuseg._cuda._source import Build
from gpuseg._shared.hsi import WORDS, Rule, Tally
from gpuseg.typing import Array

_THREADS = 256
_GROUPS = 8
_NAMES = {"uint8": "u8", "uint16": "u16", "float32": "float", "float64": "double"}
# As `struct Rule` in the kernel.
_FORM = np.dtype([("k", np.int64, 18), ("f", np.float64, 12)])
_RULE = np.dtype(
    [("form", _FORM, 2)] + [(name, np.int64) for name in ("forms", "checked", "masked", "labelled")]
)


def _build(pixel: str, channels: int, wide: bool) -> Build:
    """Kernel for a dtype of `_NAMES`; `wide` where a pixel's number may need 64 bits."""
    return Build(
        "hsi",
        (
            f"-DPIXEL={_NAMES[pixel]}",
            f"-DCHANNELS={channels}",
            f"-DINDEX={'u64' if wide else 'u32'}",
            f"-DFLOATING={int(pixel.startswith('float'))}",
            "--fmad=false",
        ),
    )


BUILDS = tuple(_build(*choice) for choice in product(_NAMES, (3, 4), (False, True)))


def tally(image: Array, rule: Rule, mask: Array | None = None, out: Array | None = None) -> Tally:
    """Tally of `image` (..., 3 or 4); fills `out` (...) with labels if it is given.

    Raises
    ------
    ValueError
        If a value within the mask is negative, NaN or above `rule.max_value`.
    """
    pixels = image.size // image.shape[-1]
    if pixels == 0:
        return Tally()
    image = cupy.ascontiguousarray(image, image.dtype.newbyteorder("="))
    labels = out
    if out is None or not out.flags.c_contiguous:
        labels = cupy.empty(0 if out is None else out.shape, cupy.uint8)
    inside = cupy.empty(0, cupy.uint8) if mask is None else mask_bytes(mask)
    totals = cupy.zeros(WORDS + 1, cupy.uint64)
    wide = pixels * image.shape[-1] >= 1 << 31
    _launch(image, inside, labels, pixels, _struct(image, rule, mask, out), totals, wide)
    words = totals.get().tolist()  # synchronize
    if words[WORDS]:
        _refuse(image, pixels - words[WORDS], rule)
    if mask is None:
        words[4] = pixels
    if out is not None and labels is not out:
        out[...] = labels
    return Tally.from_ints(words[:WORDS])


def tally_and_labels(image: Array, rule: Rule, mask: Array | None = None) -> tuple[Tally, Array]:
    """Tally and labels (uint8) in one pass."""
    labels = cupy.empty(image.shape[:-1], cupy.uint8)
    return tally(image, rule, mask, labels), labels


def classify(image: Array, rule: Rule, mask: Array | None = None) -> Array:
    """Labels (uint8) of `image` (..., 3 or 4); 0 outside `mask`."""
    return tally_and_labels(image, rule, mask)[1]


def _launch(
    image: Array,
    mask: Array,
    labels: Array,
    pixels: int,
    rule: Array,
    totals: Array,
    wide: bool,
) -> None:
    index = np.uint64 if wide else np.uint32
    kernel = _build(image.dtype.name, image.shape[-1], wide).kernel("hsi_tally")
    per_block = _THREADS * _GROUPS * (16 // image.dtype.itemsize)
    grid = (pixels + per_block - 1) // per_block
    kernel((grid,), (_THREADS,), (image, mask, labels, index(pixels), rule, totals))


def _struct(image: Array, rule: Rule, mask: Array | None, out: Array | None) -> Array:
    """The kernel's last parameter but one, by value."""
    struct = np.zeros((), _RULE)
    integers, floats = rule.tables
    struct["form"]["k"][: len(integers)] = integers
    struct["form"]["f"][: len(floats)] = floats
    struct["forms"] = len(integers)
    struct["checked"] = rule.floating or rule.max_value < np.iinfo(image.dtype).max
    struct["masked"] = mask is not None
    struct["labelled"] = out is not None
    return struct


def mask_bytes(mask: Array) -> Array:
    """Contiguous mask of one byte per pixel."""
    return cupy.ascontiguousarray(mask if mask.dtype.itemsize == 1 else mask != 0).view(cupy.uint8)


def _refuse(image: Array, pixel: int, rule: Rule) -> None:
    flat = image.reshape(-1, image.shape[-1])
    colour = flat[pixel, :3].get()  # synchronize
    worst = colour[~((colour >= 0) & (colour <= rule.max_value))][0]
    raise ValueError(f"image values must be between 0 and max_value={rule.max_value}, got {worst}")
