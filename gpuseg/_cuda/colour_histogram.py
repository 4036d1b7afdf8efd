"""Exact colour histograms on the GPU: launches `kernels/colour_histogram.cu`.

The histogram itself, some 10^5 colours, is handed to the host: that is what it is made for.
"""

from __future__ import annotations

from functools import reduce
from itertools import product

import cupy
import numpy as np

from gpuseg._cuda._source import Build
from gpuseg._cuda.hsi import mask_bytes
from gpuseg.typing import Array, NumpyArray

_THREADS = 256
_ROWS = 1 << 16
# Pixels one thread looks at; more blocks than needed to fill a device, few enough to start fast.
_PIXELS_PER_THREAD = 16
# A counter of 32 bits overflows no earlier than this.
_MOST_PIXELS = 1 << 31

Pair = tuple[NumpyArray, NumpyArray]


def _build(channels: int, wide: bool) -> Build:
    """Kernels for 3 or 4 channels; `wide` where a pixel's number may need 64 bits."""
    index = "u64" if wide else "u32"
    return Build("colour_histogram", (f"-DCHANNELS={channels}", f"-DINDEX={index}"))


BUILDS = tuple(_build(*choice) for choice in product((3, 4), (False, True)))


def histogram(image: Array, mask: Array | None = None) -> Pair:
    """Colours (uint32, R<<16 | G<<8 | B, sorted) of a uint8 image and their counts (int64)."""
    flat = cupy.ascontiguousarray(image).reshape(-1, image.shape[-1])
    inside = None if mask is None else mask_bytes(mask).reshape(-1)
    parts = [
        _part(flat[k : k + _MOST_PIXELS], None if inside is None else inside[k : k + _MOST_PIXELS])
        for k in range(0, len(flat), _MOST_PIXELS)
    ]
    return reduce(_merged, parts, (np.empty(0, np.uint32), np.empty(0, np.int64)))


def _merged(first: Pair, second: Pair) -> Pair:
    colours, places = np.unique(np.concatenate([first[0], second[0]]), return_inverse=True)
    counts = np.zeros(len(colours), np.int64)
    np.add.at(counts, places, np.concatenate([first[1], second[1]]))
    return colours, counts


def _part(flat: Array, mask: Array | None) -> Pair:
    pixels, channels = flat.shape
    wide = pixels * channels >= 1 << 31
    kernels = _build(channels, wide)
    bins = cupy.zeros(_ROWS * 256, cupy.uint32)
    inside = cupy.empty(0, cupy.uint8) if mask is None else mask
    number = (np.uint64 if wide else np.uint32)(pixels)
    grid = -(-pixels // (_THREADS * _PIXELS_PER_THREAD))
    fill = kernels.kernel("fill")
    fill((grid,), (_THREADS,), (flat, inside, number, np.uint32(mask is not None), bins))
    occupied = cupy.empty(_ROWS, cupy.uint32)
    kernels.kernel("tally_rows")((_ROWS,), (_THREADS,), (bins, occupied))
    ends = np.cumsum(occupied.get(), dtype=np.uint32)  # synchronize
    before = cupy.asarray(np.concatenate([np.zeros(1, np.uint32), ends[:-1]]))
    colours, counts = cupy.empty(int(ends[-1]), cupy.uint32), cupy.empty(int(ends[-1]), cupy.uint32)
    kernels.kernel("read_out")((_ROWS,), (_THREADS,), (bins, before, colours, counts))
    return colours.get(), counts.get().astype(np.int64)  # synchronize
