"""Colour histograms of chunked arrays: sparse ones of the chunks, merged as a tree."""

from __future__ import annotations

from typing import Any

import dask

from gpuseg._backend import implementation, limit_threads
from gpuseg._dask.hsi import aligned
from gpuseg._shared.colour_histogram import ColourHistogram
from gpuseg.typing import Array

_SPLIT_EVERY = 8


def histogram(image: Array, mask: Array | None = None) -> Any:
    """`dask.delayed.Delayed` of a `ColourHistogram`."""
    image, masks = aligned(image, mask)
    blocks = image.to_delayed().ravel().tolist()
    insides = masks[0].to_delayed().ravel().tolist() if masks else [None] * len(blocks)
    parts = [
        dask.delayed(_histogram, pure=True)(block, inside)
        for block, inside in zip(blocks, insides, strict=True)
    ]
    while len(parts) > 1:
        groups = [parts[k : k + _SPLIT_EVERY] for k in range(0, len(parts), _SPLIT_EVERY)]
        parts = [dask.delayed(_merge, pure=True)(group) for group in groups]
    return parts[0]


def _histogram(block: Array, mask: Array | None) -> ColourHistogram:
    with limit_threads(1):
        return ColourHistogram(*implementation(block, "colour_histogram").histogram(block, mask))


def _merge(parts: list[ColourHistogram]) -> ColourHistogram:
    return sum(parts[1:], start=parts[0])
