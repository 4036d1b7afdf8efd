"""Nearest seed of every pixel, exactly: rows first, then lower envelopes along each other axis.

What one pass hands to the next is the nearest seed's number within the axes that are done: its
position in the row, then in the plane, then in the array. Among seeds at one distance the first in
raster order wins, which in a pass along an axis is the one with the smaller position there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu._jit import jit
from gpuseg._cpu._strips import strips
from gpuseg._shared.edt import Metric, within
from gpuseg.typing import NumpyArray

# Columns that are copied together: one cache line of 32-bit sources.
_TILE = 16
# Fewer pixels a thread than this cost more to hand out than to do.
_THREAD_PIXELS = 1 << 16


def transform(
    mask: NumpyArray, metric: Metric, distances: bool, indices: bool
) -> tuple[NumpyArray | None, NumpyArray | None]:
    """Distances to the nearest pixel that is 0 and its place, as far as they are asked for."""
    out = np.empty(mask.shape) if distances else None
    source = sources(mask == 0, metric, out)
    return out, places(source, metric) if indices else None


def sources(seeds: NumpyArray, metric: Metric, out: NumpyArray | None = None) -> NumpyArray:
    """Number, in raster order, of the nearest seed of each pixel; -1 where there is none.

    Its distance is written to `out` (float64), inf where there is none.
    """
    source = rows(seeds, metric)
    for axis in range(seeds.ndim - 2, 0, -1):
        along(source, axis, metric)
    return along(source, 0, metric, out=out)


def places(source: NumpyArray, metric: Metric) -> NumpyArray:
    """Coordinates (axes, ...) of numbered pixels (int32); -1 for -1."""
    shape = metric.shape[3 - source.ndim :]
    found = np.empty((source.ndim, *source.shape), np.int32)
    rest = source
    for axis in range(source.ndim - 1, -1, -1):
        rest, found[axis] = np.divmod(rest, shape[axis])
    found[:, source < 0] = -1
    return found


def near(mask: NumpyArray, metric: Metric, inner: Sequence[tuple[int, int]] | None) -> NumpyArray:
    """Distances within the metric's limit, inf beyond.

    `inner` gives, for each axis, how many pixels before and after are only looked at.
    """
    out = np.empty(mask.shape)
    sources(mask == 0, metric.of(mask.shape), out)
    return within(out, inner)


def expand(
    labels: NumpyArray, metric: Metric, inner: Sequence[tuple[int, int]] | None = None
) -> NumpyArray:
    """Labels of the nearest labelled pixel within the metric's limit; `inner` as for `near`."""
    labels = np.ascontiguousarray(labels, labels.dtype.newbyteorder("="))
    source = sources(labels != 0, metric.of(labels.shape)).reshape(-1)
    out, flat = np.empty_like(labels), labels.reshape(-1)

    def work(start: int, stop: int) -> None:
        part = out.reshape(-1)[start:stop]
        # What has no source takes the last pixel's label, and then none.
        np.take(flat, source[start:stop], out=part, mode="wrap")
        part[source[start:stop] < 0] = 0

    if labels.size:
        strips(work, labels.size, _parts(labels.size))
    return within(out, inner)


def rows(seeds: NumpyArray, metric: Metric) -> NumpyArray:
    """Position in its row of the nearest seed of each pixel, -1 where there is none."""
    source = np.empty(seeds.shape, metric.dtype)
    if source.size:
        flat = np.ascontiguousarray(seeds).reshape(-1, seeds.shape[-1]).view(np.uint8)
        near = source.reshape(flat.shape)
        strips(lambda a, b: _rows(flat[a:b], near[a:b]), len(flat), _parts(source.size))
    return source


def along(
    source: NumpyArray,
    axis: int,
    metric: Metric,
    corner: Sequence[int] | None = None,
    out: NumpyArray | None = None,
) -> NumpyArray:
    """Nearest seeds, now also along `axis`: `source` itself.

    Parameters
    ----------
    source : (..., n, ...) contiguous array of integers
        A block of an array of the metric's shape, whole along `axis`; later axes are done.
    corner : sequence of int, optional
        First pixel of the block; 0 by default.
    out : float64 array of the same shape, optional
        Where to write distances along the axes that are done.
    """
    if source.size == 0:
        return source
    whole, distances = source, np.empty((0,) * source.ndim) if out is None else out
    corner = corner or (0,) * source.ndim
    if source.ndim == 1:
        source, distances, axis, corner = source[None], distances[None], 0, (0, *corner)
    done, front = source.shape[axis + 1 :], 3 - source.ndim
    full = metric.shape[front + axis + 1 :]
    cut = (math.prod(source.shape[:axis]), source.shape[axis], math.prod(done))
    arrays = source.reshape(cut), distances.reshape(cut if out is not None else (0, 0, 0))
    # The planes that are done have rows of done[-1] pixels; which pixel of the whole is the first?
    top = corner[-2] if len(done) == 2 else 0
    where = (math.prod(full), full[-1], done[-1], top, corner[-1], len(done) == 2)
    units = (metric.units[front + axis], metric.units[1], metric.units[2])
    rules = (*units, metric.limit, metric.divisor)
    if cut[0] >= threads():
        parts = _parts(source.size, cut[0])
        strips(lambda a, b: _lines(*arrays, (a, b), (0, cut[2]), where, rules), cut[0], parts)
    else:
        parts = _parts(source.size, -(-cut[2] // _TILE))
        every = (0, cut[0])
        strips(lambda a, b: _lines(*arrays, every, (a, b), where, rules), cut[2], parts, _TILE)
    return whole


def _parts(pixels: int, most: int = 1 << 30) -> int:
    """Into how many strips to cut."""
    return max(1, min(4 * threads(), pixels // _THREAD_PIXELS, most))


@jit
def _rows(seeds: Any, near: Any) -> None:
    for row in range(seeds.shape[0]):
        last = -1
        for x in range(seeds.shape[1]):
            if seeds[row, x]:
                last = x
            near[row, x] = last
        following = -1
        for x in range(seeds.shape[1] - 1, -1, -1):
            before = near[row, x]
            if before == x:
                following = x
            elif following >= 0 and (before < 0 or following - x < x - before):
                near[row, x] = following


@jit(error_model="numpy")
def _lines(source: Any, out: Any, planes: Any, columns: Any, where: Any, rules: Any) -> None:
    """One pass along the middle axis."""
    n = source.shape[1]
    # Rows of buffers are no power of two apart, which would put all into one set of the cache.
    heights, nearest = np.empty((_TILE, n + 24)), np.empty((_TILE, n + 24), np.int32)
    before = np.empty((_TILE, n + 24), source.dtype)
    owner, first = np.empty(n + 1, np.int32), np.empty(n + 1, np.int32)
    for plane in range(planes[0], planes[1]):
        for start in range(columns[0], columns[1], _TILE):
            stop = min(start + _TILE, columns[1])
            _load(source[plane], start, stop, where, rules, before, heights)
            for w in range(stop - start):
                _line(heights[w], n, rules[0], owner, first, nearest[w])
            _store(source[plane], start, stop, where, rules, before, heights, nearest)
            if out.size:
                _measure(out[plane], start, stop, rules, heights, nearest)


@jit(error_model="numpy")
def _load(
    source: Any, start: int, stop: int, where: Any, rules: Any, before: Any, heights: Any
) -> None:
    """Columns of a tile as rows of buffers, and squared distances along the axes that are done."""
    _, full, width, top, left, deep = where
    _, unit_y, unit_x, limit, _ = rules
    for y in range(source.shape[0]):
        for w in range(stop - start):
            at = source[y, start + w]
            before[w, y] = at
            height = np.inf
            if at >= 0:
                x, across = left + start + w, 0.0
                if deep:
                    row = (start + w) // width
                    x -= row * width
                    across = (at // full - top - row) * unit_y
                    at = at % full
                along = (at - x) * unit_x
                height = along * along + across * across
            heights[w, y] = height if height <= limit else np.inf


@jit(error_model="numpy")
def _store(
    source: Any, start: int, stop: int, where: Any, rules: Any,
    before: Any, heights: Any, nearest: Any,
) -> None:  # fmt: skip
    stride, unit, limit = where[0], rules[0], rules[3]
    for y in range(source.shape[0]):
        for w in range(stop - start):
            i, at = nearest[w, y], -1
            if i >= 0:
                step = (y - i) * unit
                if heights[w, i] + step * step <= limit:
                    at = i * stride + before[w, i]
            source[y, start + w] = at


@jit(error_model="numpy")
def _measure(out: Any, start: int, stop: int, rules: Any, heights: Any, nearest: Any) -> None:
    unit, limit, divisor = rules[0], rules[3], rules[4]
    for y in range(out.shape[0]):
        for w in range(stop - start):
            i, distance = nearest[w, y], np.inf
            if i >= 0:
                step = (y - i) * unit
                square = heights[w, i] + step * step
                if square <= limit:
                    distance = np.sqrt(square) / divisor
            out[y, start + w] = distance


@jit(error_model="numpy")
def _line(heights: Any, n: int, unit: float, owner: Any, first: Any, nearest: Any) -> None:
    """Whose parabola is lowest at each place of a line.

    Between two heights of 0 nothing beyond them counts: each such stretch is for itself.
    """
    y = 0
    while y < n:
        if heights[y] == 0.0:
            nearest[y] = y
            y += 1
            continue
        start = y
        while y < n and heights[y] != 0.0:
            y += 1
        if y - start == 1 and start > 0 and y < n:
            nearest[start] = start if heights[start] < unit * unit else start - 1
        else:
            _envelope(heights, max(0, start - 1), min(n, y + 1), unit, owner, first, nearest)


@jit(error_model="numpy")
def _envelope(
    heights: Any, start: int, stop: int, unit: float, owner: Any, first: Any, nearest: Any
) -> None:
    """Lower envelope of parabolas (Felzenszwalb and Huttenlocher; Meijster's integer form)."""
    top = -1
    for u in range(start, stop):
        if heights[u] == np.inf:
            continue
        begin = start
        while top >= 0:
            i, at = owner[top], first[top]
            new, old = (at - u) * unit, (at - i) * unit
            if heights[u] + new * new < heights[i] + old * old:
                top -= 1
                continue
            # Where it gets strictly lower: at equal distance the first seed stays.
            rise = heights[u] - heights[i] + unit * unit * float((u - i) * (u + i))
            meets = np.floor(rise / (2.0 * unit * unit * float(u - i))) + 1.0
            begin = stop if meets >= stop else int(meets)
            break
        if begin < stop:
            top += 1
            owner[top], first[top] = u, begin
    if top < 0:
        nearest[start:stop] = -1
        return
    first[top + 1] = stop
    for k in range(top + 1):
        nearest[first[k] : first[k + 1]] = owner[k]
