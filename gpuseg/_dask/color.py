"""Mixtures of colour channels of chunked arrays: channels in one chunk, pixels as they are cut."""

from __future__ import annotations

import numpy as np

from gpuseg._backend import implementation, limit_threads
from gpuseg._shared.color import Mixture, result_dtype
from gpuseg.typing import Array


def mix(image: Array, mixture: Mixture) -> Array:
    """Lazy: results in the last axis, where the image has its three channels, or in none."""
    image = image.rechunk({image.ndim - 1: -1})
    dtype = result_dtype(image.dtype, mixture)
    if mixture.keepdim:
        chunks = (*image.chunks[:-1], (mixture.weights.shape[1],))
        return image.map_blocks(
            _mix, mixture=mixture, dtype=dtype, chunks=chunks, meta=image._meta.astype(dtype)
        )
    meta = np.empty_like(image._meta, shape=(0,) * (image.ndim - 1), dtype=dtype)
    return image.map_blocks(_mix, mixture=mixture, dtype=dtype, drop_axis=image.ndim - 1, meta=meta)


def _mix(block: Array, *, mixture: Mixture) -> Array:
    with limit_threads(1):
        return implementation(block, "color").mix(block, mixture)
