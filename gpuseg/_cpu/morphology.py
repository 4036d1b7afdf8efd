"""Erosions and dilations of eager arrays; each works on one strip, see `windows.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg._cpu import _mask_words as mask_words
from gpuseg._cpu._extremes import extremes
from gpuseg._cpu._lines import PAD
from gpuseg._shared.footprints import Step, border
from gpuseg._shared.window import native
from gpuseg.typing import NumpyArray


def binary(image: NumpyArray, *, steps: Sequence[Step]) -> NumpyArray:
    """Steps on a mask, beyond whose border each step says what there is."""
    mask = image if image.dtype == bool else image != 0
    shape = mask.shape
    width = shape[-1]
    above = np.array(shape[:-1], np.int64)
    words = mask_words.pack(mask.reshape(math.prod(shape[:-1]), width))
    spare = np.empty_like(words)
    for step in steps:
        runs = mask_words.runs(step.footprint)
        mask_words.erode(words, width, above, runs, step.outside, step.grow, spare)
        words, spare = spare, words
    return mask_words.unpack(words, width).reshape(shape)


def grey(
    image: NumpyArray, *, steps: Sequence[Step], mode: str, cval: float, tophat: str = ""
) -> NumpyArray:
    """Steps on grey values or on a mask, beyond whose border `mode` goes on.

    Then what they took away ("white") or added ("black"), if `tophat` says so.
    """
    image = np.asarray(image, native(image.dtype))
    found = image
    one = _masks if image.dtype == bool else _extremes
    for step in steps:
        found = one(found, step, *border(step, mode, cval, image.dtype))
    if not tophat:
        return found
    if image.dtype == bool:
        return image ^ found
    return image - found if tophat == "white" else found - image


def _extremes(image: NumpyArray, step: Step, mode: str, cval: Any) -> NumpyArray:
    with np.errstate(invalid="ignore", over="ignore"):
        held = mode != "constant" or np.asarray(cval).astype(image.dtype) == cval
    if not held:
        # Of a value outside that the image's type cannot hold, what SciPy makes of it.
        from scipy import ndimage

        extreme = ndimage.maximum_filter if step.grow else ndimage.minimum_filter
        found: NumpyArray = extreme(image, footprint=step.footprint, mode=mode, cval=cval)
        return found
    return extremes(image, step.footprint, step.grow, mode, cval)


def _masks(mask: NumpyArray, step: Step, mode: str, cval: Any) -> NumpyArray:
    if mode == "constant":
        return binary(mask, steps=[step._replace(outside=bool(cval))])
    widths = [(size // 2,) * 2 for size in step.footprint.shape]
    padded = np.pad(mask, widths, mode=PAD[mode])  # type: ignore[call-overload]
    found = binary(padded, steps=[step])
    return found[tuple(slice(a, n - b) for (a, b), n in zip(widths, found.shape, strict=True))]
