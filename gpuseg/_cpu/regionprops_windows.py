"""What the neighbours of a run's pixels add to its label's row: outlines, topology, contacts.

All kernels see labels as (planes, rows, columns), which may reach beyond the runs' own pixels by
a halo: `corner` is the index of the runs' first pixel. Whatever lies outside is background. A
window of 2 x 2 (x 2) pixels is counted for a label by the label's first pixel in it, so that
each is counted once, whichever chunk holds it.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg.typing import NumpyArray

# Offsets within a window in raster order, and the bits of a configuration they stand for: the
# order of bits is scikit-image's, so that tables can be compared.
_CORNERS = np.array(list(itertools.product((-1, 0), repeat=3)), np.int64)
_BITS_3D = np.array([128, 32, 64, 16, 8, 2, 4, 1], np.int64)
_BITS_2D = np.array([8, 2, 4, 1], np.int64)

# Directions of Crofton's formula in 3-D: half of the 26 neighbours, in raster order.
DIRECTIONS = np.array(
    [d for d in itertools.product((-1, 0, 1), repeat=3) if d < (0, 0, 0)], np.int64
)


def _euler_3d() -> np.ndarray:
    """Eight times what each configuration of a 2 x 2 x 2 window adds to the Euler number.

    Voxels are closed cubes: vertices - edges + faces - cubes, where the window's vertex is
    whole, and an edge, a face, a cube is seen from 2, 4, 8 vertices.
    """
    table = np.zeros(256, np.int64)
    for config in range(1, 256):
        voxels = [c for c, bit in zip(_CORNERS.tolist(), _BITS_3D, strict=True) if config & bit]
        edges = sum(any(v[axis] == side for v in voxels) for axis in range(3) for side in (-1, 0))
        faces = sum(
            any(v[a] == s and v[b] == t for v in voxels)
            for a, b in itertools.combinations(range(3), 2)
            for s, t in itertools.product((-1, 0), repeat=2)
        )
        table[config] = 8 - 4 * edges + 2 * faces - len(voxels)
    return table


def _euler_2d() -> np.ndarray:
    """Four times what each configuration of a 2 x 2 window adds to the Euler number."""
    corners = list(itertools.product((-1, 0), repeat=2))
    table = np.zeros(16, np.int64)
    for config in range(1, 16):
        pixels = [c for c, bit in zip(corners, _BITS_2D, strict=True) if config & bit]
        edges = sum(any(p[axis] == side for p in pixels) for axis in (0, 1) for side in (-1, 0))
        table[config] = 4 - 2 * edges + len(pixels)
    return table


_EULER_3D = _euler_3d()
_EULER_2D = _euler_2d()

# scikit-image's `perimeter_crofton` weighs the 16 configurations with five numbers (and 0, -1
# here); these are their places among the columns.
_CROFTON = np.array([-1, 0, 1, 2, -1, 0, -1, 1, 3, 4, 1, 1, 3, 4, -1, -1], np.int64)
# The value of `perimeter`'s 3 x 3 sum, with the pixel itself 1, edges 2 and corners 10, decides
# which of three weights (1, sqrt 2, half their sum) a border pixel has.
_PERIMETER = np.full(50, -1, np.int64)
_PERIMETER[[5, 7, 15, 17, 25, 27]] = 0
_PERIMETER[[21, 33]] = 1
_PERIMETER[[13, 23]] = 2


@jit(inline="always")
def _at(labels: NumpyArray, z: int, y: int, x: int) -> Any:
    if z < 0 or y < 0 or x < 0:
        return np.int64(0)
    if z >= labels.shape[0] or y >= labels.shape[1] or x >= labels.shape[2]:
        return np.int64(0)
    return np.int64(labels[z, y, x])


@jit(inline="always")
def _border(labels: NumpyArray, label: Any, y: int, x: int) -> bool:
    """Whether the pixel has the label, and one of its four neighbours has not."""
    return _at(labels, 0, y, x) == label and (
        _at(labels, 0, y - 1, x) != label
        or _at(labels, 0, y + 1, x) != label
        or _at(labels, 0, y, x - 1) != label
        or _at(labels, 0, y, x + 1) != label
    )


@jit
def perimeter(
    runs: NumpyArray,
    n: int,
    labels: NumpyArray,
    row0: int,
    corner: NumpyArray,
    acc: NumpyArray,
    column: int,
) -> None:
    """Border pixels by weight, as `skimage.measure.perimeter` with 4 neighbours tells them."""
    for i in range(n):
        y, x0 = row0 + runs[0, i] + corner[1], corner[2]
        a, b = runs[1, i] + x0, runs[2, i] + x0
        label = np.int64(labels[0, y, a])
        for x in range(a, b):
            if not _border(labels, label, y, x):
                continue
            code = 1
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if (dy or dx) and _border(labels, label, y + dy, x + dx):
                        code += 10 if dy and dx else 2
            if _PERIMETER[code] >= 0:
                acc[runs[3, i], column + _PERIMETER[code]] += 1


@jit
def windows_2d(
    runs: NumpyArray,
    n: int,
    labels: NumpyArray,
    row0: int,
    corner: NumpyArray,
    acc: NumpyArray,
    crofton: int,
    euler: int,
) -> None:
    """Window configurations of the Crofton perimeter and the Euler number; columns may be -1."""
    for i in range(n):
        y, x0 = row0 + runs[0, i] + corner[1], corner[2]
        a, b = runs[1, i] + x0, runs[2, i] + x0
        label = np.int64(labels[0, y, a])
        row = acc[runs[3, i]]
        for x in range(a, b):
            # The window's last pixel is (y + place // 2, x + place % 2).
            for place in range(4):
                bottom, right = y + place // 2, x + place % 2
                config = 0
                for k in range(4):
                    if _at(labels, 0, bottom + _CORNERS[k, 1], right + _CORNERS[k, 2]) == label:
                        if config == 0 and k != 3 - place:
                            break
                        config += _BITS_2D[k]
                if config == 0:
                    continue
                if euler >= 0:
                    row[euler] += _EULER_2D[config]
                if crofton >= 0 and _CROFTON[config] >= 0:
                    row[crofton + _CROFTON[config]] += 1


@jit
def euler_3d(
    runs: NumpyArray,
    n: int,
    labels: NumpyArray,
    row0: int,
    corner: NumpyArray,
    height: int,
    acc: NumpyArray,
    column: int,
) -> None:
    """Window configurations of the Euler number of each object's voxels."""
    for i in range(n):
        r = row0 + runs[0, i]
        z, y, x0 = r // height + corner[0], r % height + corner[1], corner[2]
        a, b = runs[1, i] + x0, runs[2, i] + x0
        label = np.int64(labels[z, y, a])
        total = 0
        for x in range(a, b):
            for place in range(8):
                front, bottom, right = z + place // 4, y + place // 2 % 2, x + place % 2
                config = 0
                for k in range(8):
                    c = _CORNERS[k]
                    if _at(labels, front + c[0], bottom + c[1], right + c[2]) == label:
                        if config == 0 and k != 7 - place:
                            break
                        config += _BITS_3D[k]
                total += _EULER_3D[config]
        acc[runs[3, i], column] += total


@jit
def surface(
    runs: NumpyArray,
    n: int,
    labels: NumpyArray,
    row0: int,
    corner: NumpyArray,
    height: int,
    acc: NumpyArray,
    column: int,
) -> None:
    """For each of the 13 directions, how many times a line along it enters the object."""
    for i in range(n):
        r = row0 + runs[0, i]
        z, y, x0 = r // height + corner[0], r % height + corner[1], corner[2]
        a, b = runs[1, i] + x0, runs[2, i] + x0
        label = np.int64(labels[z, y, a])
        row = acc[runs[3, i]]
        for k in range(13):
            d = DIRECTIONS[k]
            for x in range(a, b):
                row[column + k] += _at(labels, z + d[0], y + d[1], x + d[2]) != label


@jit
def contacts(
    runs: NumpyArray,
    n: int,
    labels: NumpyArray,
    row0: int,
    corner: NumpyArray,
    height: int,
    pairs: NumpyArray,
    count: int,
) -> int:
    """Pairs (smaller label first) of labels that touch, from each pixel to later neighbours.

    `pairs` is a hash table (capacity, 2), empty where its first entry is 0. Returns the number
    of pairs held, or -1 when less than half of the table is left.
    """
    for i in range(n):
        r = row0 + runs[0, i]
        z, y, x0 = r // height + corner[0], r % height + corner[1], corner[2]
        a, b = runs[1, i] + x0, runs[2, i] + x0
        label = np.int64(labels[z, y, a])
        for k in range(5):
            # The rest of this row, then the rows after it within one step.
            dz, dy = (0 if k < 2 else 1), (k if k < 2 else k - 3)
            last = label
            for x in range(b if k == 0 else a - 1, b + 1):
                other = _at(labels, z + dz, y + dy, x)
                if other != last and other > 0 and other != label:
                    count = _enter(pairs, min(label, other), max(label, other), count)
                    if 2 * count > pairs.shape[0]:
                        return -1
                last = other
    return count


@jit
def _enter(pairs: NumpyArray, small: Any, large: Any, count: int) -> int:
    mixed = np.uint64(small) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ np.uint64(large)) * np.uint64(0xD6E8FEB86659FD93)
    h = np.int64(mixed >> np.uint64(20)) & (pairs.shape[0] - 1)
    while pairs[h, 0] != 0:
        if pairs[h, 0] == small and pairs[h, 1] == large:
            return count
        h = (h + 1) & (pairs.shape[0] - 1)
    pairs[h, 0] = small
    pairs[h, 1] = large
    return count + 1


@jit
def rehash_pairs(old: NumpyArray, new: NumpyArray) -> int:
    """Enter the pairs of one hash table into a larger, empty one; returns their number."""
    count = 0
    for i in range(old.shape[0]):
        if old[i, 0] != 0:
            count = _enter(new, old[i, 0], old[i, 1], count)
    return count
