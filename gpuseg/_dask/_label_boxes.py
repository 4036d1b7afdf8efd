"""Labels of chunks become labels of the whole, numbered as SciPy numbers it.

A. A chunk is labelled and gives, for each label, its first pixel, and its faces as intervals.
B. Faces that meet in a box of chunks are compared; a neighbour by an edge or a corner of the chunk
   is one by the plane between the chunks too.
C. A box keeps only the components that reach its own faces, known by their keys (raster index of
   the first pixel in the whole image; the least one wins), and is itself a chunk of the next box.
D. A label stays where its own key is its component's. Labels of a chunk ascend by key, so counting
   them per line of the image and column of chunks, and an exclusive scan in that order, numbers
   them without a sort. Numbers then travel to the box that completed a component, and back down.
E. A chunk is labelled again and written with its numbers.

Steps A to C are here, D and E in `_label_numbers.py`, all plain functions of arrays; which chunks
form boxes is in `_label_plan.py`, the graph in `label.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu import _faces as kernels
from gpuseg._shared.neighbours import Neighbours
from gpuseg.typing import Array, NumpyArray

Index = tuple[int, ...]


class Face(NamedTuple):
    """Intervals of a face in ascending order: start (int64), length and component (int32)."""

    start: NumpyArray
    length: NumpyArray
    node: NumpyArray


class Box(NamedTuple):
    """Components that reach the faces of a box: keys, values (if these count), and the faces.

    Faces are those of (axis, end) where the box has a neighbour, end being 0 or -1.
    """

    keys: NumpyArray
    values: NumpyArray
    faces: dict[tuple[int, int], Face]


class Chunk(NamedTuple):
    """Labels of one chunk: their first pixels there, and which of them reach a face (ascending).

    First pixels may be something to call for them, where they lie on disk.
    """

    firsts: NumpyArray | Callable[[], NumpyArray]
    rim: NumpyArray
    keys: NumpyArray
    shape: Index


class Kept(NamedTuple):
    """What of a merge is needed after it.

    `link` says for the components of all parts, in order, which one each became (see
    `_faces.settle`); `sizes` how many each part has; `closed` the keys of complete ones, ascending;
    `chunks` the parts themselves, where these are chunks.
    """

    link: NumpyArray
    sizes: tuple[int, ...]
    n_open: int
    closed: NumpyArray
    chunks: tuple[Chunk, ...]


class Problem(NamedTuple):
    """The image's shape, and what connects in it."""

    shape: Index
    neighbours: Neighbours
    background: int
    valued: bool


def outline(block: Array, origin: Index, problem: Problem) -> tuple[Box, Chunk]:
    """Step A, for the chunk at `origin`."""
    connectivity, axes, wrap_axes = problem.neighbours
    sides = [
        (axis, end)
        for axis in axes
        for end, at_edge in (
            (0, origin[axis] == 0),
            (-1, origin[axis] + block.shape[axis] == problem.shape[axis]),
        )
        if axis in wrap_axes or not at_edge
    ]
    with limit_threads(1):
        firsts, labels = implementation(block, "label").outline(
            block, connectivity, sides, background=problem.background, axes=axes
        )
    found = {
        side: _intervals(face, side[0], origin, problem.shape)
        for side, face in zip(sides, labels, strict=True)
    }
    reaches = np.zeros(firsts.size + 1, bool)
    for face in found.values():
        reaches[face.node] = True
    rim, nodes = np.flatnonzero(reaches), np.cumsum(reaches, dtype=np.int32) - 1
    pixels = np.unravel_index(firsts[rim - 1], block.shape)
    pairs = zip(pixels, origin, strict=True)
    keys = np.ravel_multi_index([x + first for x, first in pairs], problem.shape)
    values = np.empty(0, np.uint8)
    if problem.valued:
        values = block[pixels]
        values = values.get() if hasattr(values, "get") else values
    faces = {side: face._replace(node=nodes[face.node]) for side, face in found.items()}
    small = np.int32 if block.size < 2**31 else np.int64
    return Box(keys, values, faces), Chunk(firsts.astype(small), rim, keys, block.shape)


def _strides(shape: Index, axis: int) -> dict[int, int]:
    """Positions between neighbours along each axis of a plane across `axis`."""
    strides, stride = {}, 1
    for other in reversed([k for k in range(len(shape)) if k != axis]):
        strides[other] = stride
        stride *= shape[other] + kernels.PAD
    return strides


def _intervals(face: NumpyArray, axis: int, origin: Index, shape: Index) -> Face:
    """Intervals of labels, other than 0."""
    strides = _strides(shape, axis)
    corner = sum(origin[k] * stride for k, stride in strides.items())
    rows = np.array(corner)
    for k, size in zip(sorted(strides)[:-1], face.shape[:-1], strict=True):
        rows = rows[..., np.newaxis] + np.arange(size) * strides[k]
    flat = face.reshape(rows.size, -1)
    count = kernels.count_intervals(flat)
    found = Face(*(np.empty(count, kind) for kind in (np.int64, np.int32, face.dtype)))
    kernels.intervals(flat, rows.reshape(-1), *found)
    return found


def merge(
    parts: Sequence[tuple[Box, Chunk | Kept]], layout: Index, problem: Problem, last: bool
) -> tuple[Box, Kept]:
    """Steps B and C: a box of `layout` parts, in C order; the `last` one is the whole image."""
    boxes = [part[0] for part in parts]
    sizes = tuple(box.keys.size for box in boxes)
    keys = np.concatenate([box.keys for box in boxes])
    values = np.concatenate([box.values for box in boxes])
    parent = np.arange(keys.size, dtype=np.int32 if keys.size < 2**31 else np.int64)
    offsets = np.cumsum((0, *sizes))
    places = list(np.ndindex(*layout))

    def plane(axis: int, end: int, at: int) -> Face:
        chosen = [k for k, place in enumerate(places) if place[axis] == at]
        return _joined([(boxes[k].faces.get((axis, end)), int(offsets[k])) for k in chosen])

    def join(axis: int, a: Face, b: Face) -> None:
        for shift, grow in _shifts(axis, problem):
            kernels.join_touching(parent, values, *a, *b, shift, grow)

    for axis in problem.neighbours.axes:
        for at in range(layout[axis] - 1):
            join(axis, plane(axis, -1, at), plane(axis, 0, at + 1))
    sides = [(axis, end) for axis in problem.neighbours.axes for end in (0, -1)]
    if last:
        for axis in problem.neighbours.wrap_axes:
            far, near = plane(axis, -1, layout[axis] - 1), plane(axis, 0, 0)
            join(axis, far, _with_ghosts(near, axis, problem))
        sides = []
    outer = {side: plane(*side, layout[side[0]] - 1 if side[1] else 0) for side in sides}
    outside = np.zeros(keys.size, bool)
    for face in outer.values():
        outside[face.node] = True
    link: NumpyArray = np.empty_like(parent)
    nodes, open_keys, closed = kernels.settle(parent, keys, outside, link)
    order = np.argsort(closed)
    ranks = np.empty_like(link, shape=order.shape)
    ranks[order] = np.arange(order.size)
    complete = link < 0
    link[complete] = ~ranks[~link[complete]]
    faces = {side: face._replace(node=link[face.node]) for side, face in outer.items()}
    chunks = tuple(part[1] for part in parts if isinstance(part[1], Chunk))
    box = Box(open_keys, values[nodes] if problem.valued else values, faces)
    return box, Kept(link, sizes, open_keys.size, closed[order], chunks)


def _shifts(axis: int, problem: Problem) -> Iterator[tuple[int, int]]:
    """Steps from a pixel to its neighbours across a plane, and whether they grow along its rows."""
    connectivity, axes, _ = problem.neighbours
    strides = _strides(problem.shape, axis)
    *leading, last = sorted(strides) or [-1]
    for step in product(*((-1, 0, 1) if k in axes else (0,) for k in leading)):
        used = 1 + np.count_nonzero(step)
        if used <= connectivity:
            shift = sum(s * strides[k] for s, k in zip(step, leading, strict=True))
            yield shift, int(last in axes and used < connectivity)


def _joined(faces: Sequence[tuple[Face | None, int]]) -> Face:
    """One face of several, the nodes of each moved by a number."""
    empty = Face(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32))
    there = [empty] + [
        face._replace(node=face.node + offset) for face, offset in faces if face is not None
    ]
    start, length, node = (np.concatenate(arrays) for arrays in zip(*there, strict=True))
    order = np.argsort(start, kind="stable")
    return Face(start[order], length[order], node[order])


def _with_ghosts(face: Face, axis: int, problem: Problem) -> Face:
    """A face with what lies one step beyond its ends along the other axes that wrap around."""
    strides = _strides(problem.shape, axis)
    for k in set(problem.neighbours.wrap_axes) & set(strides):
        size, row = problem.shape[k], k == max(strides)
        # Counted from one step in front of each axis, where an earlier ghost may stand.
        at = (face.start + sum(strides.values())) // strides[k] % (size + kernels.PAD) - 1
        around = size * strides[k]
        low, high = at == 0, at + (face.length if row else 1) == size
        first = Face(face.start[low] + around, face.length[low], face.node[low])
        last = Face(face.start[high] - around, face.length[high], face.node[high])
        if row:
            last = last._replace(start=last.start + last.length - 1)
            first, last = (f._replace(length=np.ones_like(f.length)) for f in (first, last))
        face = _joined([(face, 0), (first, 0), (last, 0)])
    return face
