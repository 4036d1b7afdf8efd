"""Basins of maxima: which one each pixel climbs to, and where basins meet. The passes, in numba.

Pixels are in the order of (value, raster index), so no two are equal and each has one highest
neighbour. A stretch of equal pixels may fall apart into several basins; they meet at its own
height.
"""

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._cpu._unions import root

inline = jit(forceinline=True)

# What became of a maximum; of one that follows another, the same as of that.
UNDECIDED, DROPPED, KEPT, FOLLOWS = 0, 1, 2, 3


@jit
def climb(box: Any, first: Any, last: Any, steps: Any, up: Any) -> None:
    """Set `up` of the pixels from `first` to `last` to the flat index of the highest neighbour.

    `steps` are in raster order, with none among them: of equal neighbours the last one wins. Step
    by step along a row, the loop over its pixels is one of vectors.
    """
    depth, height, width = box.shape
    flat = box.reshape(-1)
    best = np.empty(width, box.dtype)
    where = np.empty(width, np.int64)
    for z in range(first[0], last[0]):
        for y in range(first[1], last[1]):
            best[:] = -np.inf
            for k in range(steps.shape[0]):
                zz, yy, dx = z + steps[k, 0], y + steps[k, 1], steps[k, 2]
                if zz < 0 or zz >= depth or yy < 0 or yy >= height:
                    continue
                row = (zz * height + yy) * width + dx
                for x in range(max(first[2], -dx), min(last[2], width - dx)):
                    value = flat[row + x]
                    higher = value >= best[x]
                    best[x] = value if higher else best[x]
                    where[x] = row + x if higher else where[x]
            row = (z * height + y) * width
            for x in range(first[2], last[2]):
                up[row + x] = where[x]


@jit
def flatten(up: Any) -> None:
    """Let every pixel point to where its climb ends."""
    for i in range(up.size):
        end = i
        while up[end] != end:
            end = up[end]
        at = i
        while up[at] != end:
            following = up[at]
            up[at] = end
            at = following


@jit
def name(up: Any) -> None:
    """Replace pointers to ends by what stands there, negated: ~number."""
    for i in range(up.size):
        if up[i] >= 0:
            up[i] = up[up[i]]
    for i in range(up.size):
        up[i] = ~up[i]


@jit
def count_tops(
    flat: Any, basin: Any, heights: Any, shape: Any, first: Any, last: Any, out: Any
) -> int:
    """Runs of pixels as high as the maximum of their basin; returns how many.

    A row of `out`, where it has any, is (first pixel within the inner box, length, basin).
    """
    count = 0
    inner = 0
    for z in range(first[0], last[0]):
        for y in range(first[1], last[1]):
            row = (z * shape[1] + y) * shape[2]
            before = np.int64(-1)
            for x in range(first[2], last[2]):
                here = np.int64(basin[row + x])
                if flat[row + x] != heights[here]:
                    here = np.int64(-1)
                elif here == before:
                    if out.size:
                        out[count - 1, 1] += 1
                else:
                    if out.size:
                        out[count, 0], out[count, 1], out[count, 2] = inner, 1, here
                    count += 1
                before = here
                inner += 1
    return count


@inline
def _raise(saddles: Any, partners: Any, basin: int, saddle: float, partner: int) -> None:
    if saddle > saddles[basin] or (saddle == saddles[basin] and partner > partners[basin]):
        saddles[basin] = saddle
        partners[basin] = partner


@jit
def meet(
    flat: Any,
    basin: Any,
    shape: Any,
    first: Any,
    last: Any,
    steps: Any,
    saddles: Any,
    partners: Any,
    ends: Any,
    levels: Any,
) -> int:
    """Find where basins meet; returns the number of pairs of pixels.

    Each basin gets the highest saddle to another, and to which (the largest number of several).
    With room in `ends` and `levels`, pairs are written there instead: the basins and the saddle.
    `steps` lead to the later half of the neighbours.
    """
    count = 0
    for z in range(first[0], last[0]):
        for y in range(first[1], last[1]):
            row = (z * shape[1] + y) * shape[2]
            for k in range(steps.shape[0]):
                zz, yy, dx = z + steps[k, 0], y + steps[k, 1], steps[k, 2]
                if zz < 0 or zz >= shape[0] or yy < 0 or yy >= shape[1]:
                    continue
                other = (zz * shape[1] + yy) * shape[2] + dx
                for x in range(max(first[2], -dx), min(last[2], shape[2] - dx)):
                    a, b = basin[row + x], basin[other + x]
                    if a == b:
                        continue
                    saddle = min(flat[row + x], flat[other + x])
                    if levels.size:
                        ends[count, 0], ends[count, 1], levels[count] = a, b, saddle
                    else:
                        _raise(saddles, partners, a, saddle, b)
                        _raise(saddles, partners, b, saddle, a)
                    count += 1
    return count


@jit
def rises(high: float, low: float, h: float, single: bool) -> bool:
    """Whether one is `h` or more above the other; by float32 where the image is of these."""
    rise = high - low
    return bool(np.float32(rise) >= h) if single else rise >= h


@inline
def _fate(height: float, saddle: float, other: float, h: float, single: bool) -> int:
    """Of a maximum that meets an equal or higher one at a saddle, and no other above that."""
    if rises(height, saddle, h, single):
        return KEPT
    return FOLLOWS if other == height else DROPPED


@jit
def absorb(
    heights: Any,
    unsure: Any,
    saddles: Any,
    partners: Any,
    h: float,
    single: bool,
    into: Any,
    fate: Any,
    follow: Any,
) -> int:
    """Join each basin with the one it meets highest, where that one's maximum is higher.

    Basins are numbered by the order of their maxima. What is `unsure` may meet others that are not
    in sight. Returns how many were joined; `into` then leads to what they are part of.
    """
    joined = 0
    for basin in range(heights.size - 1, -1, -1):
        other = partners[basin]
        if into[basin] == basin and not unsure[basin] and other > basin:
            into[basin] = other
            fate[basin] = _fate(heights[basin], saddles[basin], heights[other], h, single)
            follow[basin] = other
            joined += 1
        into[basin] = into[into[basin]]
    return joined


@jit
def regroup(basin: Any, into: Any) -> None:
    for i in range(basin.size):
        basin[i] = into[basin[i]]


@jit
def settle(
    heights: Any,
    unsure: Any,
    ends: Any,
    levels: Any,
    h: float,
    single: bool,
    into: Any,
    fate: Any,
    follow: Any,
    stays: Any,
) -> None:
    """Join basins by pairs in descending order of saddles, as far as is sure.

    A group's lower maximum ends where the group meets a higher one, unless the group may have met
    another before, out of sight: that pair `stays`, and what it joins is unsure.
    """
    group = np.arange(heights.size)
    top = np.arange(heights.size)
    for k in range(levels.size):
        a, b = root(group, ends[k, 0]), root(group, ends[k, 1])
        if a == b:
            continue
        at = ends[k, 1]
        if top[a] > top[b]:
            a, b, at = b, a, ends[k, 0]
        group[a] = b
        if unsure[a]:
            stays[k] = True
            unsure[b] = True
            continue
        peak = top[a]
        into[peak] = at
        fate[peak] = _fate(heights[peak], levels[k], heights[top[b]], h, single)
        follow[peak] = top[b]
    for node in range(heights.size):
        into[node] = root(into, node)
    # What follows a decided one is decided. Numbers ascend along the way.
    for node in range(heights.size - 1, -1, -1):
        other = follow[node]
        if fate[node] == FOLLOWS and fate[other] != UNDECIDED:
            fate[node], follow[node] = fate[other], follow[other]


@jit
def fill(starts: Any, lengths: Any, out: Any) -> None:
    for k in range(starts.size):
        out[starts[k] : starts[k] + lengths[k]] = 1
