"""Connected components on the GPU: launches `kernels/label.cu`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import Any

import cupy
import numpy as np

from gpuseg._cuda._source import Build
from gpuseg.typing import Array, NumpyArray

_THREADS = 256
# Blocks that take one tile after the other: more than run at a time on any device.
_PERSISTENT = 2048
_MAX_AXES = 8
_STATES = 4
# Below this many nodes, room for the most there can be is cheaper than to wait for their number.
_UNCOUNTED = 1 << 24
# Indices of threads that have nothing to do must fit as well.
_NARROW = (1 << 31) - (1 << 16)

_PIXELS = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
# A bool mask, or integers of some size whose values must agree.
_KINDS = (("u8", False), *((name, True) for name in _PIXELS.values()))
_LABELS = {np.dtype(np.int32): "i32", np.dtype(np.int64): "i64"}


@cache
def _connecting(pixel: str, valued: bool, index: str) -> Build:
    """Kernels that look at pixels."""
    kind = f"{pixel}, {str(valued).lower()}"
    names = [f"{name}<{kind}, {index}>" for name in ("pack", "link", "unite_ends")]
    rows = [f"unite_rows<{kind}, {axes}, {index}>" for axes in (0, 1, 2)]
    return Build("label", instances=(*names, *rows))


@cache
def _labelling(index: str) -> Build:
    """Kernels that look at runs."""
    names = [f"{name}<{index}>" for name in ("flatten", "number", "first_pixels", "face")]
    writes = [f"write<{index}, {label}>" for label in _LABELS.values()]
    return Build("label", instances=(*names, *writes))


BUILDS = (
    *(_connecting(*kind, index) for kind, index in product(_KINDS, ("i32", "i64"))),
    *map(_labelling, ("i32", "i64")),
)


def label(
    image: Array,
    connectivity: int,
    *,
    background: int = 0,
    axes: Sequence[int] | None = None,
    wrap_axes: Sequence[int] = (),
    out: Array | None = None,
    numbers: NumpyArray | None = None,
) -> tuple[Array, int]:
    """Labels (int32, or int64 from 2^31 pixels on) and their number.

    Parameters
    ----------
    image : bool or integer array, at least 1-D
        Pixels of a bool image connect where both are foreground, of an integer image where they are
        equal.
    connectivity : int
        Largest number of `axes` along which two neighbours may differ, 1 to len(axes).
    background : int
        Value of pixels without a label; none has one where the dtype cannot hold it.
    axes : sequence of int, optional
        Axes along which pixels connect, non-negative; all by default.
    wrap_axes : sequence of int
        Axes among them whose ends meet.
    out : int32 or int64 array of the image's shape, optional
    numbers : NumPy array of integers, optional
        What to write for each label instead of 1, 2, ...: numbers[0] for the first, and so on.

    Raises
    ------
    ValueError
        If the image has more than 9 axes.
    """
    dtype = np.dtype(np.int32 if image.size < 2**31 else np.int64)
    if out is not None:
        dtype = out.dtype
    elif numbers is not None:
        dtype = numbers.dtype
    # What is no integer of 32 or 64 bits is written as one and converted.
    wanted = np.dtype(np.int64 if dtype.itemsize == 8 else np.int32)
    direct = out is not None and out.flags.c_contiguous
    target: Array = out if direct else cupy.empty(image.shape, wanted)
    count = 0
    if image.size:
        solved = _solve(image, connectivity, background, axes, wrap_axes)
        if numbers is None:
            _write(solved, target, None)
            count = solved.count()
        else:
            count = solved.count()
            if numbers.size != count:
                raise RuntimeError(
                    f"the image changed while it was labelled: {numbers.size} components before, "
                    f"{count} now"
                )
            _write(solved, target, cupy.asarray(numbers.astype(wanted, copy=False)))
    if out is None:
        return target.astype(dtype, copy=False), count
    if not direct:
        out[...] = target
    return out, count


def outline(
    image: Array,
    connectivity: int,
    faces: Sequence[tuple[int, int]],
    *,
    background: int = 0,
    axes: Sequence[int] | None = None,
) -> tuple[NumpyArray, list[NumpyArray]]:
    """What neighbours of a block must know of its labels, without writing them.

    Parameters
    ----------
    faces : sequence of (axis, end)
        Which faces to return: of that axis the first pixels (end 0) or the last (end -1).

    Returns
    -------
    firsts : NumPy array of int64 (labels,)
        Raster index of the first pixel of each label, ascending.
    faces : list of NumPy arrays
        Labels of each face; shape: the image's without the axis.
    """
    if image.size == 0:
        shapes = [image.shape[:axis] + image.shape[axis + 1 :] for axis, _ in faces]
        return np.empty(0, np.int64), [np.zeros(shape, np.int32) for shape in shapes]
    solved = _solve(image, connectivity, background, axes, ())
    firsts = cupy.empty(solved.count(), np.int64)
    solved.launch(f"first_pixels<{solved.index}>", solved.words, firsts)
    found = [_face(solved, image.shape, axis, end) for axis, end in faces]
    return firsts.get(), [face.get() for face in found]  # synchronize


@dataclass(frozen=True)
class _Solved:
    """An image as runs, each of which knows its label."""

    bits: Array
    starts: Array
    base: Array
    parent: Array
    work: Array
    grid: NumpyArray
    index: str

    @property
    def words(self) -> int:
        return int(self.bits.size)

    def count(self) -> int:
        return int(self.work[1].get())  # synchronize

    def launch(self, name: str, threads: int, *arguments: Any) -> None:
        """Launch a kernel that looks at runs."""
        runs = (self.bits, self.starts, self.base, self.parent)
        kernel = _labelling(self.index).kernel(name)
        kernel((-(-threads // _THREADS),), (_THREADS,), (*runs, *arguments, self.grid))


def _solve(
    image: Array,
    connectivity: int,
    background: int,
    axes: Sequence[int] | None,
    wrap_axes: Sequence[int],
) -> _Solved:
    """All passes but the last."""
    used = tuple(range(image.ndim)) if axes is None else tuple(axes)
    wide = image.size >= _NARROW
    index, kind = ("i64" if wide else "i32"), np.dtype(np.int64 if wide else np.int32)
    grid, valued = _grid(image.shape, image.dtype, connectivity, background, used, tuple(wrap_axes))
    pixels = cupy.ascontiguousarray(image).view(f"u{image.dtype.itemsize}")
    words, rows = int(grid["words"]), int(grid["rows"])
    # Runs of a mask do not touch.
    most = image.size if grid["stored"] else rows * -(-int(grid["width"]) // 2)
    tiles = -(-words // _THREADS)
    work = cupy.zeros(_STATES + tiles + -(-most // _THREADS), np.uint64)
    bits = cupy.empty(words, np.uint32)
    starts = cupy.empty(words if grid["stored"] else 0, np.uint32)
    base = cupy.empty(words, kind)
    build = _connecting(_PIXELS[image.dtype.itemsize], valued, index)
    name = f"{_PIXELS[image.dtype.itemsize]}, {str(valued).lower()}"
    block = (_THREADS,)

    build.kernel(f"pack<{name}, {index}>")(
        (tiles,), block, (pixels, bits, starts, base, work, grid)
    )
    if most > _UNCOUNTED:
        most = max(1, int(work[0].get()))  # synchronize
    parent = cupy.empty(most, kind)
    runs = (pixels, bits, starts, base, parent, grid)
    build.kernel(f"link<{name}, {index}>")((tiles,), block, runs)
    persistent = (min(_PERSISTENT, -(-most // _THREADS)),)
    labelling = _labelling(index)
    labelling.kernel(f"flatten<{index}>")(persistent, block, (parent, work))
    leading = int(grid["axes"])
    step = f"unite_rows<{name}, {leading if leading < 3 else 0}, {index}>"
    build.kernel(step)((tiles,), block, runs)
    if image.ndim - 1 in wrap_axes:
        build.kernel(f"unite_ends<{name}, {index}>")((-(-rows // _THREADS),), block, runs)
    labelling.kernel(f"number<{index}>")(
        persistent, block, (parent, work, np.int64(_STATES + tiles))
    )
    return _Solved(bits, starts, base, parent, work, grid, index)


def _write(solved: _Solved, target: Array, numbers: Array | None) -> None:
    names = cupy.empty(0, target.dtype) if numbers is None else numbers
    kernel = f"write<{solved.index}, {_LABELS[target.dtype]}>"
    solved.launch(kernel, -(-target.size // 4), names, np.int32(numbers is not None), target)


@lru_cache(1024)
def _grid(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    connectivity: int,
    background: int,
    axes: tuple[int, ...],
    wrap_axes: tuple[int, ...],
) -> tuple[NumpyArray, bool]:
    """The kernels' `struct Grid`, and whether pixels connect by value."""
    if len(shape) == 1:
        shape = (1, *shape)
        axes, wrap_axes = (tuple(axis + 1 for axis in named) for named in (axes, wrap_axes))
    leading, width = shape[:-1], shape[-1]
    if len(leading) > _MAX_AXES:
        raise ValueError(f"image must have at most {_MAX_AXES + 1} axes on a GPU, got {len(shape)}")
    mask = dtype.kind == "b"
    limits = (0, 1) if mask else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    everything = not limits[0] <= background <= limits[1]
    valued = not mask or everything
    linked = len(leading) in axes
    rows, per_row = int(np.prod(leading, dtype=np.int64)), -(-width // 32)
    grid = np.zeros((), _grid_dtype(rows * width >= _NARROW))
    grid["shape"][: len(leading)] = leading
    grid["rows"], grid["width"], grid["words"] = rows, width, rows * per_row
    grid["background"] = (
        0 if everything else int(np.array(background, dtype).view(f"u{dtype.itemsize}"))
    )
    grid["axes"], grid["per_row"], grid["connectivity"] = len(leading), per_row, connectivity
    grid["connected"] = sum(1 << axis for axis in axes if axis < len(leading))
    grid["wrapped"] = sum(1 << axis for axis in wrap_axes if axis < len(leading))
    grid["linked"], grid["everything"] = linked, everything
    grid["stored"] = valued or not linked
    return grid, valued


def _grid_dtype(wide: bool) -> np.dtype[Any]:
    index = np.int64 if wide else np.int32
    sizes = [("shape", index, _MAX_AXES), *((name, index) for name in ("rows", "width", "words"))]
    names = ("axes", "per_row", "connectivity", "connected", "wrapped")
    flags = ("linked", "everything", "stored")
    numbers = [(name, np.int32) for name in (*names, *flags)]
    return np.dtype([*sizes, ("background", np.uint64), *numbers], align=True)


def _face(solved: _Solved, shape: tuple[int, ...], axis: int, end: int) -> Array:
    """Labels of the first (end 0) or last (end -1) pixels along `axis`."""
    kind = solved.base.dtype.type
    face = cupy.empty(shape[:axis] + shape[axis + 1 :], kind)
    inner = int(np.prod(shape[axis + 1 : -1], dtype=np.int64))
    solved.launch(
        f"face<{solved.index}>",
        face.size,
        face,
        kind(face.size),
        np.int32(axis == len(shape) - 1),
        kind(inner),
        kind(shape[axis]),
        kind(end % shape[axis]),
    )
    return face
