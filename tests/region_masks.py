"""Masks painted from spans."""

from __future__ import annotations

import numpy as np

from gpuseg._cpu.regions import pack, spans


def mask(rings, height, width, top=0, left=0):
    """Pixels of one region in a box, painted from its spans; each at most once."""
    return masks([rings], height, width, top, left)[0]


def masks(regions, height, width, top=0, left=0):
    count = np.zeros((len(regions), height, width), int)
    for region, row, start, stop in spans(pack(regions), top, left, height, width):
        count[region, row, start:stop] += 1
    assert count.max(initial=0) <= 1
    return count.astype(bool)
