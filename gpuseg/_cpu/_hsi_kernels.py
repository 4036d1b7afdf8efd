"""numba: one pass over an image, from rows of RGB to a tally and labels.

`_cpu/hsi.py` calls these with addresses of rows. A block of 1024 pixels is split into planes that
stay in L1 (20,000 Mpx/s; main loops that load with stride 3 lose a third of their speed),
classified there and summed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg._cpu._hsi_codes import STAIN, add_codes, block_codes, in_range
from gpuseg._cpu._jit import jit
from gpuseg._cpu._pointer import row_at
from gpuseg._shared.hsi import WORDS

BLOCK = 1024


@jit
def split(source: Any, channels: int, n: int, r: Any, g: Any, b: Any, offset: Any) -> None:
    """Planes of n pixels, from `offset` on; unsigned, or numba checks for negative indices."""
    if channels == 3:
        for i in range(n):
            r[offset + np.uint64(i)] = source[3 * i]
            g[offset + np.uint64(i)] = source[3 * i + 1]
            b[offset + np.uint64(i)] = source[3 * i + 2]
    else:
        for i in range(n):
            r[offset + np.uint64(i)] = source[4 * i]
            g[offset + np.uint64(i)] = source[4 * i + 1]
            b[offset + np.uint64(i)] = source[4 * i + 2]


@jit
def stain(codes: Any, second: Any, n: int) -> None:
    for i in range(n):
        stained = (codes[i] == 0) & (second[i] != 0)
        codes[i] = np.uint8(STAIN if stained else codes[i])


@jit
def _copy(source: Any, n: int, out: Any, offset: Any) -> None:
    for i in range(n):
        out[offset + np.uint64(i)] = source[i]


@jit
def write(codes: Any, offset: Any, n: int, out: Any) -> None:
    for i in range(n):
        out[i] = codes[offset + np.uint64(i)] & np.uint8(3)


@jit
def apply_mask(codes: Any, mask: Any, n: int) -> int:
    """Clear codes outside the mask; number of pixels inside."""
    total = np.uint32(0)
    for i in range(n):
        inside = mask[i] != 0
        total = np.uint32(total + np.uint32(inside))
        codes[i] = np.uint8(codes[i] if inside else 0)
    return int(total)


@jit
def _masked_in_range(r: Any, g: Any, b: Any, mask: Any, n: int, scale: float) -> bool:
    """What lies outside the mask may be anything."""
    good = True
    for i in range(n):
        low, high = min(r[i], g[i], b[i]), max(r[i], g[i], b[i])
        fits = (r[i] == r[i]) & (g[i] == g[i]) & (b[i] == b[i]) & (low >= 0) & (high <= scale)
        good &= fits | (mask[i] == 0)
    return good


@jit
def scratch(sample: Any) -> Any:
    return (
        np.empty(BLOCK, sample.dtype),
        np.empty(BLOCK, sample.dtype),
        np.empty(BLOCK, sample.dtype),
        np.empty(BLOCK, np.uint8),
        np.empty(BLOCK, np.uint8),
        np.empty(BLOCK, np.int64),
        np.zeros(WORDS, np.int64),
    )


@jit
def tally(job: Any, lattice: Any, floats: Any, words: Any, sample: Any) -> bool:
    """Add an image's pixels to `words` and write its labels; False if a value is out of range.

    `job` holds address and row stride of the image, rows, width, channels, then address and row
    stride of the mask and of the labels (address 0 for none).
    """
    address, stride, rows, width, channels = job[0], job[1], job[2], job[3], job[4]
    # Slices within the loop would cost 170 of a block's 700 ns, in reference counts.
    form, f, form2, f2, two = lattice[0], floats[0], lattice[-1], floats[-1], len(lattice) == 2
    r, g, b, codes, second, fixed, spare = scratch(sample)
    mask = np.empty(BLOCK, np.uint8)
    # What changes codes later adds them up later.
    later = two or job[5] != 0
    # Short rows share a block: tiles of 256 that are parts of an image take half as long.
    together = max(1, BLOCK // width)
    for top in range(0, rows, together):
        lines = min(together, rows - top)
        for start in range(0, width, BLOCK):
            part = min(BLOCK, width - start)
            n = part * lines
            for k in range(lines):
                at = address + (top + k) * stride + start * channels * sample.itemsize
                source = row_at(at, part * channels, sample.dtype)
                split(source, channels, part, r, g, b, np.uint64(k * part))
                if job[5]:
                    source = row_at(job[5] + (top + k) * job[6] + start, part, np.uint8)
                    _copy(source, part, mask, np.uint64(k * part))
            if not in_range(r, g, b, n, f[11]) and not (
                job[5] and _masked_in_range(r, g, b, mask, n, f[11])
            ):
                return False
            block_codes(r, g, b, n, form, f, codes, fixed, spare if later else words)
            if two:
                block_codes(r, g, b, n, form2, f2, second, fixed, spare)
                stain(codes, second, n)
            words[4] += apply_mask(codes, mask, n) if job[5] else n
            if later:
                add_codes(codes, r, g, b, fixed, 0, n, words)
            if job[7]:
                for k in range(lines):
                    out = row_at(job[7] + (top + k) * job[8] + start, part, np.uint8)
                    write(codes, np.uint64(k * part), part, out)
    return True
