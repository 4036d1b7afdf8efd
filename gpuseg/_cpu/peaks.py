"""Local maxima that keep a distance from each other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu._jit import jit
from gpuseg._cpu._watershed_basins import neighbours
from gpuseg.typing import NumpyArray

# Fewer pixels a thread than this cost more to hand out than to look at.
_THREAD_PIXELS = 1 << 16


class Found(NamedTuple):
    """Pixels with nothing higher within reach: raster index in the whole, value, label."""

    places: NumpyArray
    values: NumpyArray
    groups: NumpyArray


def bounds(image: NumpyArray) -> NumpyArray:
    """Least and largest value."""
    return np.array([image.min(), image.max()])


def candidates(
    image: NumpyArray,
    labels: NumpyArray | None,
    distance: int,
    above: float,
    *,
    inner: Sequence[tuple[int, int]] | None = None,
    origin: Sequence[int] | None = None,
    whole: Sequence[int] | None = None,
) -> Found:
    """Pixels `above` a value, with nothing higher of their label within a square distance.

    `inner` says for each axis how many pixels before and after are only looked at; the rest lies at
    `origin` in an array of shape `whole`. Label 0 has no peaks.
    """
    more = 3 - image.ndim
    sides = [(0, 0)] * more + list(inner or [(0, 0)] * image.ndim)
    kind = image.dtype
    if kind.kind == "b" or (kind.kind == "f" and kind.itemsize == 2):
        kind = np.dtype(np.float32)
    box = np.ascontiguousarray(image, kind.newbyteorder("=")).reshape((1,) * more + image.shape)
    groups = np.empty((0, 0, 0), np.int64)
    if labels is not None:
        groups = np.ascontiguousarray(labels, np.int64).reshape(box.shape)
    first = np.array([a for a, _ in sides])
    last = np.array([size - b for (_, b), size in zip(sides, box.shape, strict=True)])
    reach = np.array([0] * more + [distance] * image.ndim)
    rows = int(np.prod((last - first)[:2]))

    def work(start: int, stop: int) -> NumpyArray:
        found = np.empty((stop - start) * box.shape[2], np.int64)
        return found[: _candidates(box, groups, first, last, reach, above, start, stop, found)]

    parts = max(1, min(threads(), image.size // _THREAD_PIXELS))
    edges = [rows * k // parts for k in range(parts + 1)]
    if parts == 1:
        at = work(0, rows)
    else:
        with ThreadPoolExecutor(parts) as pool:
            at = np.concatenate(list(pool.map(work, edges[:-1], edges[1:])))
    values = box.reshape(-1)[at]
    chosen = np.zeros(at.size, np.int64) if labels is None else groups.reshape(-1)[at]
    if inner is not None and origin is not None and whole is not None:
        index = np.unravel_index(at, image.shape)
        moved = [x - a + o for x, (a, _), o in zip(index, inner, origin, strict=True)]
        at = np.ravel_multi_index(moved, tuple(whole))
    return Found(at, values, chosen)


def spaced(found: Found, shape: Sequence[int], distance: int, border: Sequence[int]) -> Found:
    """Those that stay when the highest is taken first (of equal ones the first in raster order).

    Each keeps away, along some axis, at least `distance` pixels from others of its label, and
    `border` pixels from the ends of each axis.
    """
    at = np.stack(np.unravel_index(found.places, tuple(shape)), axis=1)
    sizes = np.array(shape)
    inside = ((at >= border) & (at < sizes - border)).all(axis=1)
    found, at = Found(*(column[inside] for column in found)), at[inside]
    # Negated integers overflow, so ranks are negated.
    _, rank = np.unique(found.values, return_inverse=True)
    order = np.lexsort((found.places, -rank))
    found, at = Found(*(column[order] for column in found)), at[order]
    # The cells of a label, no wider than the distance, hold at most one peak each.
    cells = tuple(-(-size // distance) for size in shape)
    _, group = np.unique(found.groups, return_inverse=True)
    cell = np.ravel_multi_index(tuple((at // distance).T), cells)
    # Cells of other labels are told apart by names beyond those of all cells.
    total = int(np.prod(cells))
    cell = cell + group * (2 * total)
    names, where = np.unique(cell, return_inverse=True)
    # Cells around each, as positions among those that have candidates.
    steps = np.indices((3,) * len(shape)).reshape(len(shape), -1).T - 1
    around = steps @ np.cumprod((1, *cells[:0:-1]))[::-1]
    kept = _keep(at, where, names, cell, group, around, distance)
    return Found(*(column[kept] for column in found))


def peaks(
    image: NumpyArray,
    labels: NumpyArray | None,
    distance: int,
    least: float | None,
    relative: float | None,
    border: Sequence[int],
    most: int | None,
) -> NumpyArray:
    """Coordinates (K, ndim) of scikit-image's peaks, the highest first."""
    if image.size == 0:
        return np.empty((0, image.ndim), np.int64)
    ends = bounds(image)
    _check(ends)
    if labels is not None:
        parts = [regions(image, labels, distance, border)]
        return by_label(parts, ends, image.shape, distance, least, relative, most)
    above = threshold(ends, least, relative)
    found = candidates(image, None, distance, above)
    return coordinates([found], ends, image.shape, distance, border, most)


def _check(ends: NumpyArray) -> None:
    if np.isnan(ends).any():
        raise ValueError("image must have no NaN, got some; replace them by its least value")


def threshold(ends: NumpyArray, least: float | None, relative: float | None) -> float:
    """What peaks must be above, given the least and the largest value."""
    _check(ends)
    above = ends[0] if least is None else least
    return float(above if relative is None else max(above, relative * ends[1]))


def coordinates(
    found: Sequence[Found],
    ends: NumpyArray,
    shape: Sequence[int],
    distance: int,
    border: Sequence[int],
    most: int | None,
) -> NumpyArray:
    """Coordinates of the peaks among candidates, the highest first."""
    _check(ends)
    if ends[0] == ends[1] and np.prod(shape) > 1:
        return np.empty((0, len(shape)), np.int64)
    kept = spaced(
        Found(*(np.concatenate(column) for column in zip(*found, strict=True))),
        shape,
        distance,
        border,
    )
    return np.stack(np.unravel_index(kept.places[:most], tuple(shape)), axis=1)


class Regions(NamedTuple):
    """Candidates of labels, whether each is alone, and how many pixels each label has.

    Alone is a pixel that no cross of its label covers.
    """

    found: Found
    alone: NumpyArray
    labels: NumpyArray
    sizes: NumpyArray


def regions(
    image: NumpyArray,
    labels: NumpyArray,
    distance: int,
    border: Sequence[int],
    *,
    inner: Sequence[tuple[int, int]] | None = None,
    origin: Sequence[int] | None = None,
    whole: Sequence[int] | None = None,
) -> Regions:
    """Candidates of each label; `border` pixels at the ends of the whole belong to none."""
    sides = inner or [(0, 0)] * image.ndim
    start, shape = origin or (0,) * image.ndim, whole or image.shape
    labels = labels.astype(np.int64)
    for axis, width in enumerate(border):
        along = np.arange(labels.shape[axis]) + (start[axis] - sides[axis][0])
        outside = (along < width) | (along >= shape[axis] - width)
        labels[(slice(None),) * axis + (outside,)] = 0
    own = tuple(slice(a, n - b) for (a, b), n in zip(sides, labels.shape, strict=True))
    names, sizes = np.unique(labels[own], return_counts=True)
    found = candidates(image, labels, distance, -np.inf, inner=sides, origin=start, whole=shape)
    index = np.unravel_index(found.places, tuple(shape))
    at = [x - o + a for x, o, (a, _) in zip(index, start, sides, strict=True)]
    framed = np.pad(labels, 2)
    pixels = np.ravel_multi_index([x + 2 for x in at], framed.shape)
    steps = neighbours(framed.shape, 1)
    alone = _alone(framed.reshape(-1), pixels, np.append(steps, 0), steps)
    return Regions(found, alone, names[names != 0], sizes[names != 0])


def by_label(
    parts: Sequence[Regions],
    ends: NumpyArray,
    shape: Sequence[int],
    distance: int,
    least: float | None,
    relative: float | None,
    most: int | None,
) -> NumpyArray:
    """Coordinates of the peaks of each label, in the order of labels.

    As in scikit-image, a label all of whose pixels are candidates has no peaks but those alone.
    """
    found = Found(*(np.concatenate(c) for c in zip(*(part.found for part in parts), strict=True)))
    alone = np.concatenate([part.alone for part in parts])
    names, which = np.unique(np.concatenate([part.labels for part in parts]), return_inverse=True)
    sizes = np.bincount(which, np.concatenate([part.sizes for part in parts]), names.size)
    of = np.searchsorted(names, found.groups)
    trivial = np.bincount(of, minlength=names.size) == sizes
    stays = (~trivial[of] | alone) & (found.values > threshold(ends, least, relative))
    found = Found(*(column[stays] for column in found))
    kept = spaced(found, shape, distance, (0,) * len(shape))
    if most is None or kept.places.size <= most:
        # Already by value and place.
        order = np.argsort(kept.groups, kind="stable")
        kept = Found(*(column[order] for column in kept))
    else:
        kept = spaced(
            kept._replace(groups=np.zeros_like(kept.groups)), shape, distance, (0,) * len(shape)
        )
    return np.stack(np.unravel_index(kept.places[:most], tuple(shape)), axis=1)


@jit
def _alone(labels: Any, pixels: Any, centres: Any, steps: Any) -> Any:
    alone = np.ones(pixels.size, np.bool_)
    for i in range(pixels.size):
        label = labels[pixels[i]]
        for j in range(centres.size):
            centre = pixels[i] + centres[j]
            covers = labels[centre] == label
            for k in range(steps.size):
                covers &= labels[centre + steps[k]] == label
            if covers:
                alone[i] = False
                break
    return alone


@jit
def _candidates(
    box: Any,
    groups: Any,
    first: Any,
    last: Any,
    reach: Any,
    above: float,
    start: int,
    stop: int,
    out: Any,
) -> int:
    count = 0
    wide = last[1] - first[1]
    labelled = groups.size > 0
    for row in range(start, stop):
        z, y = first[0] + row // wide, first[1] + row % wide
        for x in range(first[2], last[2]):
            value = box[z, y, x]
            if not value > above or (labelled and groups[z, y, x] == 0):
                continue
            group = groups[z, y, x] if labelled else 0
            # Most pixels have a higher neighbour, which a look along the row finds first.
            left, right = max(x - 1, 0), min(x + 1, box.shape[2] - 1)
            if not labelled and (box[z, y, left] > value or box[z, y, right] > value):
                continue
            if _highest(box, groups, labelled, group, value, z, y, x, reach):
                out[count] = (z * box.shape[1] + y) * box.shape[2] + x
                count += 1
    return count


@jit
def _highest(
    box: Any,
    groups: Any,
    labelled: bool,
    group: int,
    value: Any,
    z: int,
    y: int,
    x: int,
    reach: Any,
) -> bool:
    # From the nearest row outwards: a higher pixel is rarely far.
    for dz in range(-reach[0], reach[0] + 1):
        k = z + dz
        if k < 0 or k >= box.shape[0]:
            continue
        for step in range(2 * reach[1] + 1):
            i = y + (-(step + 1) // 2 if step % 2 else step // 2)
            if i < 0 or i >= box.shape[1]:
                continue
            for j in range(max(0, x - reach[2]), min(box.shape[2], x + reach[2] + 1)):
                if box[k, i, j] > value and (not labelled or groups[k, i, j] == group):
                    return False
    return True


@jit
def _keep(
    at: Any, where: Any, names: Any, cell: Any, group: Any, around: Any, distance: int
) -> Any:
    kept = np.zeros(at.shape[0], np.bool_)
    holder = np.full(names.size, -1, np.int64)
    for i in range(at.shape[0]):
        free = True
        for k in range(around.size):
            j = np.searchsorted(names, cell[i] + around[k])
            if j == names.size or names[j] != cell[i] + around[k] or holder[j] < 0:
                continue
            other = holder[j]
            farthest = 0
            for axis in range(at.shape[1]):
                farthest = max(farthest, abs(at[i, axis] - at[other, axis]))
            if group[other] == group[i] and farthest < distance:
                free = False
                break
        if free:
            kept[i] = True
            holder[where[i]] = i
    return kept


def markers(image: NumpyArray, labels: NumpyArray, distance: int) -> NumpyArray:
    """Peaks of each label as pixels 1, 2, ... (int32) in raster order; each label has some."""
    found = candidates(image, labels, distance, -np.inf)
    return paint(
        accepted([found], image.shape, distance), (0,) * image.ndim, image.shape, image.shape
    )


def accepted(found: Sequence[Found], shape: Sequence[int], distance: int) -> NumpyArray:
    """Places of peaks among candidates, ascending."""
    together = Found(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return np.sort(spaced(together, shape, distance, (0,) * len(shape)).places)


def paint(
    places: NumpyArray, origin: Sequence[int], size: Sequence[int], whole: Sequence[int]
) -> NumpyArray:
    """Pixels 1, 2, ... (int32) at ascending places of the whole, in a part of it."""
    out = np.zeros(tuple(size), np.int32)
    at = np.stack(np.unravel_index(places, tuple(whole)), axis=1) - np.array(origin)
    inside = ((at >= 0) & (at < np.array(size))).all(axis=1)
    out[tuple(at[inside].T)] = np.flatnonzero(inside) + 1
    return out
