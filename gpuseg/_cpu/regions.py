"""Which pixels of a box belong to which region: rows cut into spans, by even–odd.

A pixel belongs to a region when its centre (x + 0.5, y + 0.5) is inside, counting crossings of the
row's centre line with the region's edges. An edge from (x0, y0) up to (x1, y1) crosses the line at
y where y0 <= y < y1, at x0 + (y - y0) * (x1 - x0) / (y1 - y0), in float64 from the slide's own
coordinates: nothing in the formula knows the box, so the answer doesn't depend on how a slide is
cut, and regions that share an edge share no pixel and leave none out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpuseg._cpu._jit import jit

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


class Packed(NamedTuple):
    """Regions as flat arrays: the edges of all, those of one region together, sorted by `y0`."""

    bounds: Int64  # (n_regions, 4): top, left, bottom, right of the pixels that may belong
    first: Int64  # (n_regions + 1,): region r owns the edges first[r]:first[r + 1]
    x0: Float64  # (n_edges,): the upper end of each edge (the smaller y)
    y0: Float64
    x1: Float64
    y1: Float64
    reach: Float64  # largest y1 of this and all earlier edges of the region: ascending


def pack(regions: Sequence[Sequence[npt.ArrayLike]]) -> Packed:
    """Sort the edges of regions once, for any number of boxes.

    Parameters
    ----------
    regions : sequence of sequences of (n, 2) float64
        Rings (x, y) of each region, closed or not.

    Returns
    -------
    Packed
        Arrays only, so it pickles and enters compiled code as it is.
    """
    counts = [len(rings) for rings in regions]
    edges, ring = _edges([np.asarray(ring, np.float64) for rings in regions for ring in rings])
    owner = np.repeat(np.arange(len(regions)), counts)[ring]
    order = np.lexsort((edges[:, 1], owner))
    first = np.searchsorted(owner[order], np.arange(len(regions) + 1)).astype(np.int64)
    x0, y0, x1, y1 = np.ascontiguousarray(edges[order].T)
    sides, reach = _extents(first, x0, y0, x1, y1)
    bounds = np.clip(np.ceil(sides - 0.5), -(2.0**62), 2.0**62).astype(np.int64)
    return Packed(bounds, first, x0, y0, x1, y1, reach)


def _edges(rings: Sequence[Float64]) -> tuple[Float64, Int64]:
    """(n, 4) edges x0, y0, x1, y1 with y0 < y1, and the number of each one's ring."""
    sizes = np.array([len(ring) for ring in rings], np.int64)
    points = np.concatenate([np.zeros((0, 2)), *rings])
    following = np.arange(1, len(points) + 1)
    last = np.cumsum(sizes)[sizes > 0] - 1
    following[last] = last + 1 - sizes[sizes > 0]
    edges = np.concatenate([points, points[following]], axis=1)
    falling = edges[:, 1] > edges[:, 3]
    edges[falling] = edges[falling][:, [2, 3, 0, 1]]
    # Level edges never cross a centre line.
    rising = edges[:, 1] < edges[:, 3]
    return edges[rising], np.repeat(np.arange(len(rings)), sizes)[rising]


@jit
def _extents(first: Any, x0: Any, y0: Any, x1: Any, y1: Any) -> Any:
    """Top, left, bottom, right of each region's edges; the running maximum of their `y1`."""
    sides = np.zeros((len(first) - 1, 4))
    reach = np.empty_like(y1)
    for region in range(len(sides)):
        top, left, bottom, right = np.inf, np.inf, -np.inf, -np.inf
        for e in range(first[region], first[region + 1]):
            top, bottom = min(top, y0[e]), max(bottom, y1[e])
            left, right = min(left, min(x0[e], x1[e])), max(right, max(x0[e], x1[e]))
            reach[e] = bottom
        if top < bottom:
            sides[region] = top, left, bottom, right
    return sides, reach


def spans(packed: Packed, top: int, left: int, height: int, width: int) -> Int32:
    """Pixels of each region within a box, as spans of its rows.

    Parameters
    ----------
    packed : Packed
        Regions from `pack`.
    top, left, height, width : int
        The box, in pixels of the slide. It may reach over the slide's edge.

    Returns
    -------
    (n, 4) int32
        Rows (region, row, start, stop): the pixels `start` to `stop` (exclusive) of `row`, counted
        from the box's corner, belong to `region`. Ordered by region, row, start; the spans of one
        region neither overlap nor are empty.

    Examples
    --------
    >>> square = pack([[[(1, 1), (4, 1), (4, 3), (1, 3)]]])
    >>> spans(square, 0, 0, 8, 8).tolist()
    [[0, 1, 1, 4], [0, 2, 1, 4]]
    >>> spans(square, 2, 2, 8, 8).tolist()
    [[0, 0, 0, 2]]
    """
    found, count = _spans(*packed, top, left, height, width)
    return found[:count]


@jit
def _spans(  # type: ignore[no-untyped-def]
    bounds, first, x0, y0, x1, y1, reach, top, left, height, width
):
    found = np.empty((256, 4), np.int32)
    count = 0
    active = np.empty(16, np.int64)
    crossings = np.empty(16, np.float64)
    for region in range(len(bounds)):
        begin = max(top, bounds[region, 0])
        end = min(top + height, bounds[region, 2])
        # Also a clamp: a crossing may round to one ulp beside its edge's ends.
        low = max(left, bounds[region, 1])
        high = min(left + width, bounds[region, 3])
        if end <= begin or high <= low:
            continue
        stop = first[region + 1]
        # Edges that end above the box are passed over without being looked at.
        above = np.searchsorted(reach[first[region] : stop], begin + 0.5, side="right")
        upcoming = first[region] + above
        alive = 0
        for row in range(begin, end):
            centre = row + 0.5
            kept = _drop(active, alive, y1, centre)
            active, alive, upcoming = _add(active, kept, upcoming, stop, y0, y1, centre)
            if len(crossings) < len(active):
                crossings = np.empty(len(active), np.float64)
            for k in range(alive):
                e = active[k]
                crossings[k] = x0[e] + (centre - y0[e]) * (x1[e] - x0[e]) / (y1[e] - y0[e])
            _sort(crossings, active, alive, kept)
            if count + alive // 2 > len(found):
                found = _grown(found, count + alive // 2)
            for k in range(0, alive - 1, 2):
                start = np.int64(min(max(np.ceil(crossings[k] - 0.5), low), high))
                last = np.int64(min(max(np.ceil(crossings[k + 1] - 0.5), low), high))
                if start < last:
                    found[count] = region, row - top, start - left, last - left
                    count += 1
    return found, count


@jit
def _drop(active: Any, alive: int, y1: Any, centre: float) -> int:
    """Forget the edges that ended before the row; returns how many are left."""
    kept = 0
    for k in range(alive):
        if y1[active[k]] > centre:
            active[kept] = active[k]
            kept += 1
    return kept


@jit
def _add(  # type: ignore[no-untyped-def]
    active, alive, upcoming, stop, y0, y1, centre
):
    """Append the edges that the row is the first of the box to cross."""
    while upcoming < stop and y0[upcoming] <= centre:
        if y1[upcoming] > centre:
            if alive == len(active):
                longer = np.empty(2 * alive, np.int64)
                longer[:alive] = active
                active = longer
            active[alive] = upcoming
            alive += 1
        upcoming += 1
    return active, alive, upcoming


@jit
def _sort(crossings: Any, active: Any, alive: int, kept: int) -> None:
    """Sort the row's crossings and, with them, the edges: the next row is then almost in order."""
    if alive - kept > 16:
        order = np.argsort(crossings[:alive])
        crossings[:alive] = crossings[:alive][order]
        active[:alive] = active[:alive][order]
        return
    for k in range(1, alive):
        x, edge, j = crossings[k], active[k], k
        while j > 0 and crossings[j - 1] > x:
            crossings[j], active[j] = crossings[j - 1], active[j - 1]
            j -= 1
        crossings[j], active[j] = x, edge


@jit
def _grown(array: Any, needed: int) -> Any:
    longer = np.empty((max(2 * len(array), needed), 4), array.dtype)
    longer[: len(array)] = array
    return longer
