"""Mixtures of colour channels on a device, as arithmetic of whole arrays."""

from __future__ import annotations

import cupy

from gpuseg._cuda.filters import as_float
from gpuseg._shared.color import LEAST, Mixture, result_dtype
from gpuseg.typing import Array


def mix(image: Array, mixture: Mixture) -> Array:
    """Results in the last axis, where the image has its three channels, or in none."""
    dtype = result_dtype(image.dtype, mixture)
    given = as_float(image, False).astype(dtype, copy=False)
    if mixture.stains:
        given = cupy.log(cupy.maximum(given, LEAST)) / cupy.log(LEAST)
    results = [
        given[..., 0] * red + given[..., 1] * green + given[..., 2] * blue
        for red, green, blue in mixture.weights.T.tolist()
    ]
    if not mixture.keepdim:
        return results[0]
    found = cupy.stack(results, axis=-1)
    return cupy.maximum(found, 0) if mixture.stains else found
