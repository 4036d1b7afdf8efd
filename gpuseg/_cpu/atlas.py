"""Annotations as rows of their structure table, and what lies in which row.

A voxel's id becomes a small code once: 0 outside, else the structure's row + 1. After that a point
costs one look into an array of 2 bytes a voxel, and counting is `bincount`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu._jit import jit
from gpuseg._shared.atlas_frame import Sides
from gpuseg._shared.structures import Structures
from gpuseg.typing import NumpyArray

Result = TypeVar("Result")

# Voxels that one task takes, and eight times the points.
_TASK = 1 << 20


def code_type(structures: Structures) -> type[np.unsignedinteger]:
    """Smallest type that holds all codes and, as its largest value, "not in the table"."""
    return np.uint16 if len(structures) < 65535 else np.uint32


def index_regions(annotation: NumpyArray, structures: Structures) -> NumpyArray:
    """Codes of an annotation's voxels; ids that are not in the table get the largest value."""
    codes = np.empty(annotation.shape, code_type(structures))
    ids, rows = structures.sorted
    numbers = (rows + 1).astype(codes.dtype)
    missing = codes.dtype.type(np.iinfo(codes.dtype).max)

    def task(planes: slice) -> None:
        # What atlases have is compiled for; the rest is converted.
        own = annotation.dtype in (np.dtype(np.uint16), np.dtype(np.uint32))
        some = np.ascontiguousarray(annotation[planes], None if own else np.int64)
        _index(some.ravel(), ids, numbers, missing, codes[planes].reshape(-1))

    _each(task, _planes(annotation.shape))
    return codes


@jit
def _index(values, ids, numbers, missing, out):  # type: ignore[no-untyped-def]
    # Neighbours are mostly alike: one search serves a run of them.
    last, code = np.int64(0), np.int64(0)
    for i in range(values.size):
        value = np.int64(values[i])
        if value != last:
            last = value
            at = np.searchsorted(ids, value)
            if value == 0:
                code = np.int64(0)
            elif at < ids.size and ids[at] == value:
                code = np.int64(numbers[at])
            else:
                code = np.int64(missing)
        out[i] = code


def locate(points: NumpyArray, matrix: NumpyArray, codes: NumpyArray, sides: Sides) -> NumpyArray:
    """Of each point 3 x code + side; 0 outside the annotation.

    `matrix` (3, 4) leads to voxels, whose centres have whole coordinates.
    """
    found = np.empty(len(points), np.int64)

    def task(some: slice) -> None:
        _locate(points[some], matrix, codes, sides.values, sides.strides, found[some])

    _each(task, [slice(i, i + _TASK // 8) for i in range(0, len(points), _TASK // 8)])
    return found


@jit
def _locate(points, matrix, codes, sides, strides, out):  # type: ignore[no-untyped-def]
    depth, height, width = codes.shape
    for i in range(points.shape[0]):
        p, q, r = points[i, 0], points[i, 1], points[i, 2]
        z = np.floor(matrix[0, 0] * p + matrix[0, 1] * q + matrix[0, 2] * r + matrix[0, 3] + 0.5)
        y = np.floor(matrix[1, 0] * p + matrix[1, 1] * q + matrix[1, 2] * r + matrix[1, 3] + 0.5)
        x = np.floor(matrix[2, 0] * p + matrix[2, 1] * q + matrix[2, 2] * r + matrix[2, 3] + 0.5)
        out[i] = 0
        if 0 <= z < depth and 0 <= y < height and 0 <= x < width:
            k, j, c = int(z), int(y), int(x)
            side = sides[k * strides[0] + j * strides[1] + c * strides[2]]
            out[i] = 3 * np.int64(codes[k, j, c]) + side


def tally(
    codes: NumpyArray, sides: Sides, number: int, matrix: NumpyArray, shape: NumpyArray
) -> NumpyArray:
    """Voxels of each code and side whose centres lie in a box of samples: (number, 3).

    `matrix` (3, 4) leads from voxels to samples; the box holds `shape` of them along each axis.
    """

    def task(planes: slice) -> NumpyArray:
        counts = np.zeros(3 * number, np.int64)
        start = planes.start
        _tally(codes[planes], start, sides.values, sides.strides, matrix, shape, counts)
        return counts

    counts: NumpyArray = np.sum(_each(task, _planes(codes.shape)), axis=0)
    return counts.reshape(number, 3)


@jit
def _tally(codes, start, sides, strides, matrix, shape, counts):  # type: ignore[no-untyped-def]
    for k in range(codes.shape[0]):
        z = start + k
        for y in range(codes.shape[1]):
            a = matrix[0, 0] * z + matrix[0, 1] * y + matrix[0, 3] + 0.5
            b = matrix[1, 0] * z + matrix[1, 1] * y + matrix[1, 3] + 0.5
            c = matrix[2, 0] * z + matrix[2, 1] * y + matrix[2, 3] + 0.5
            # Neighbours are mostly alike: one addition to memory serves a run of them.
            last, run = np.int64(0), np.int64(0)
            for x in range(codes.shape[2]):
                code = np.int64(codes[k, y, x])
                if code == 0:
                    continue
                if not (
                    0 <= a + matrix[0, 2] * x < shape[0]
                    and 0 <= b + matrix[1, 2] * x < shape[1]
                    and 0 <= c + matrix[2, 2] * x < shape[2]
                ):
                    continue
                key = 3 * code + sides[z * strides[0] + y * strides[1] + x * strides[2]]
                if key != last:
                    counts[last] += run
                    last, run = key, np.int64(0)
                run += 1
            counts[last] += run


def _planes(shape: Sequence[int]) -> list[slice]:
    step = max(1, _TASK // max(1, int(np.prod(shape[1:]))))
    return [slice(i, min(i + step, shape[0])) for i in range(0, shape[0], step)]


def _each(task: Callable[[slice], Result], parts: Sequence[slice]) -> list[Result]:
    if threads() == 1 or len(parts) < 2:
        return [task(part) for part in parts]
    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(task, parts))
