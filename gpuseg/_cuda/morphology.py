"""Erosions and dilations on a device, by cupyx."""

from __future__ import annotations

from collections.abc import Sequence

import cupy

from gpuseg._shared.footprints import Step, border, mirrored
from gpuseg.typing import Array


def binary(image: Array, *, steps: Sequence[Step]) -> Array:
    """Steps on a mask, beyond whose border each step says what there is."""
    from cupyx.scipy import ndimage

    mask = image != 0
    for step in steps:
        # A dilation looks at p - o, a step at p + o.
        footprint = mirrored(step.footprint) if step.grow else step.footprint
        change = ndimage.binary_dilation if step.grow else ndimage.binary_erosion
        mask = change(mask, cupy.asarray(footprint), border_value=int(step.outside))
    return mask


def grey(image: Array, *, steps: Sequence[Step], mode: str, cval: float, tophat: str = "") -> Array:
    """Steps on grey values or on a mask, and what they took away or added, see `_cpu`."""
    from cupyx.scipy import ndimage

    # Masks as bytes: the device's filters of ranks take no bool.
    found = image.astype("u1") if image.dtype == bool else image
    for step in steps:
        outside, value = border(step, mode, cval, image.dtype)
        extreme = ndimage.maximum_filter if step.grow else ndimage.minimum_filter
        footprint = cupy.asarray(step.footprint)
        found = extreme(found, footprint=footprint, mode=outside, cval=value)
    found = found.astype(image.dtype, copy=False)
    if not tophat:
        return found
    if image.dtype == bool:
        return image ^ found
    return image - found if tophat == "white" else found - image
