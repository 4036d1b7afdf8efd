"""Connected components on the CPU: runs of pixels, united strip by strip.

The passes are in `_runs.py`; here are the strips, the threads and the memory. Scratch is 0.31 bytes
a pixel (two bits and a base for each word of 64); the union-find lives in the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from typing import Any, NamedTuple

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu import _runs as runs
from gpuseg.typing import NumpyArray

# Below this many pixels a second thread costs more than it brings (a pool starts in 0.1 ms).
_PIXELS_PER_THREAD = 1 << 20
# Smaller planes are copied sooner than looked at one by one.
_PLANE_PIXELS = 1 << 12
# More strips than threads, because objects are rarely spread evenly.
_STRIPS_PER_THREAD = 4


def label(
    image: NumpyArray,
    connectivity: int,
    *,
    background: int = 0,
    axes: Sequence[int] | None = None,
    wrap_axes: Sequence[int] = (),
    out: NumpyArray | None = None,
    numbers: NumpyArray | None = None,
) -> tuple[NumpyArray, int]:
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
    numbers : int32 or int64 array, optional
        What to write for each label instead of 1, 2, ...: numbers[0] for the first, and so on.
    """
    dtype = np.int32 if image.size < 2**31 else np.int64
    if image.size == 0:
        return (np.empty(image.shape, dtype) if out is None else out), 0
    with _pool(image.size) as pool:
        return _labels(
            _pack(image, connectivity, background, axes, wrap_axes, pool),
            image,
            dtype,
            out,
            numbers,
        )


def _labels(
    packed: _Packed,
    image: NumpyArray,
    dtype: type[np.signedinteger[Any]],
    out: NumpyArray | None,
    numbers: NumpyArray | None,
) -> tuple[NumpyArray, int]:
    if out is None:
        target = np.empty(image.shape, dtype if numbers is None else numbers.dtype)
    elif out.flags.c_contiguous and not np.may_share_memory(image, out):
        target = out
    else:
        target = np.empty(image.shape, out.dtype)
    flat = target.reshape(-1)
    pixels = [strip.last * packed.width for strip in packed.strips]
    count = _solve(packed, flat, pixels)
    if numbers is not None:
        if numbers.size != count:
            raise RuntimeError(
                f"the image changed while it was labelled: {numbers.size} components before, "
                f"{count} now"
            )
        packed.each(lambda s: runs.renumber(flat, s.begin, s.end, numbers))
    packed.each(lambda s: runs.expand(*packed.words, flat, *packed.part(flat, s)))
    if out is not None and target is not out:
        out[...] = target
    return (target if out is None else out), count


def outline(
    image: NumpyArray,
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
    firsts : int64 array (labels,)
        Raster index of the first pixel of each label, ascending.
    faces : list of arrays
        Labels of each face; shape: the image's without the axis.
    """
    if image.size == 0:
        shapes = [image.shape[:axis] + image.shape[axis + 1 :] for axis, _ in faces]
        return np.empty(0, np.int64), [np.zeros(shape, np.int32) for shape in shapes]
    with _pool(image.size) as pool:
        packed = _pack(image, connectivity, background, axes, (), pool)
        firsts, parent = _firsts(packed)
    return firsts, [_face(packed, parent, image.shape, axis, end) for axis, end in faces]


def _firsts(packed: _Packed) -> tuple[NumpyArray, NumpyArray]:
    """First pixel of each label, and the label of each run, negated."""
    # One position in front is never a node: expansion reads (and drops) the node before the first.
    total = sum(strip.runs for strip in packed.strips) + 1
    parent = np.empty(total, np.int32 if total < 2**31 else np.int64)
    ends = np.cumsum([strip.runs for strip in packed.strips]) + 1
    firsts = np.empty(_solve(packed, parent, ends.tolist()) + 1, np.int64)
    runs.first_pixels(*packed.words, parent, packed.width, firsts)
    return firsts[:-1], parent


@dataclass
class _Strip:
    """Rows `first` to `last`; what is next to other strips lies before `seam`.

    Its runs are the nodes `begin` to `end`; `before` components start in earlier strips.
    """

    first: int
    last: int
    seam: int
    runs: int = 0
    begin: int = 0
    end: int = 0
    before: int = 0


@dataclass
class _Packed:
    """An image as runs, and how its rows neighbour each other.

    Of a mask, `image` has no rows: all is in the words, and the mask may go.
    """

    image: NumpyArray
    valued: bool
    words: tuple[NumpyArray, NumpyArray, NumpyArray]
    geometry: Geometry
    wrap: NumpyArray
    strips: list[_Strip]
    pool: ThreadPoolExecutor | None

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    def part(self, flat: NumpyArray, strip: _Strip) -> tuple[NumpyArray, int, int, int]:
        """Pixels of a strip, with what `expand` must know of them."""
        pixels = flat[strip.first * self.width : strip.last * self.width]
        return pixels, self.width, strip.first, strip.last

    def each(self, task: Callable[[_Strip], Any]) -> list[Any]:
        """Results of `task` for every strip, in order."""
        return list((map if self.pool is None else self.pool.map)(task, self.strips))


def _pack(
    image: NumpyArray,
    connectivity: int,
    background: int,
    axes: Sequence[int] | None,
    wrap_axes: Sequence[int],
    pool: ThreadPoolExecutor | None,
) -> _Packed:
    axes = range(image.ndim) if axes is None else axes
    if image.ndim == 1:
        image = image[np.newaxis]
        axes, wrap_axes = ([axis + 1 for axis in named] for named in (axes, wrap_axes))
    linked = image.ndim - 1 in axes
    pixels, value, everything, valued = _pixels(image, background)
    parts = _rows(pixels, valued)
    rows, height = image.size // image.shape[-1], len(parts[0])
    near = geometry(image.shape, connectivity, axes)
    shape = rows, -(-image.shape[-1] // 64)
    base_dtype = np.int32 if image.size < 2**31 else np.int64
    packed = _Packed(
        parts[0] if valued else np.empty((0, image.shape[-1]), parts[0].dtype),
        valued,
        (np.empty(shape, np.uint64), np.empty(shape, np.uint64), np.empty(shape, base_dtype)),
        near,
        np.array([axis in wrap_axes for axis in range(image.ndim)]),
        _strips(rows, _workers(image.size), near.reach),
        pool,
    )

    def pack(strip: _Strip) -> None:
        for k in range(strip.first // height, -(-strip.last // height)):
            first, last = max(strip.first, k * height), min(strip.last, (k + 1) * height)
            part = parts[k][first - k * height : last - k * height]
            words = [word[first:last] for word in packed.words]
            how = value, everything, valued, linked
            strip.runs = runs.pack(part, *how, *words, strip.runs)

    packed.each(pack)
    return packed


def _workers(pixels: int) -> int:
    return max(1, min(threads(), pixels // _PIXELS_PER_THREAD))


@contextmanager
def _pool(pixels: int) -> Iterator[ThreadPoolExecutor | None]:
    """Threads for all passes of one image; None where one is enough."""
    if _workers(pixels) == 1:
        yield None
        return
    with ThreadPoolExecutor(_workers(pixels)) as pool:
        yield pool


def _pixels(image: NumpyArray, background: int) -> tuple[NumpyArray, Any, bool, bool]:
    """Pixels as unsigned integers, their last axis in one piece, and the background as one.

    Then: whether there is no background, and whether pixels connect by value.
    """
    limits = (
        (0, 1) if image.dtype == bool else (np.iinfo(image.dtype).min, np.iinfo(image.dtype).max)
    )
    everything = not limits[0] <= background <= limits[1]
    valued = image.dtype != bool or everything
    native = image.dtype.newbyteorder("=")
    pixels = image.astype(native, copy=False)
    if pixels.shape[-1] > 1 and pixels.strides[-1] != pixels.itemsize:
        pixels = np.ascontiguousarray(pixels)
    unsigned = np.dtype(f"u{native.itemsize}")
    value = np.array(0 if everything else background, native).view(unsigned)[()]
    return pixels.view(unsigned), value, everything, valued


def _rows(pixels: NumpyArray, whole: bool) -> list[NumpyArray]:
    """Pixels as rows, in equal parts or `whole`.

    Planes of a block that is cut out of a larger volume follow each other with gaps. They are taken
    one by one then: a copy of them all would be dear, and held as long as it is looked at.
    """
    steps = zip(pixels.strides[:-2], pixels.strides[1:-1], pixels.shape[1:-1], strict=True)
    joined = all(step == inner * size for step, inner, size in steps)
    if whole or joined or pixels[0].size < _PLANE_PIXELS:
        return [pixels.reshape(-1, pixels.shape[-1])]
    return [rows for plane in pixels for rows in _rows(plane, whole)]


class Geometry(NamedTuple):
    """How rows neighbour each other, as `runs.connect` takes it.

    The shape of the array of rows; the steps to neighbours that come before a row; whether these
    may also be diagonal along the row; how far each is in raster order, followed by the rows that
    lie between (those that leave out one axis of the step); and how many these are.
    """

    shape: NumpyArray
    steps: NumpyArray
    diagonal: NumpyArray
    jumps: NumpyArray
    vias: NumpyArray

    @property
    def reach(self) -> int:
        """How many rows away the farthest neighbour is."""
        return int(np.abs(self.jumps[:, :1]).max(initial=0))


def geometry(shape: tuple[int, ...], connectivity: int, axes: Sequence[int]) -> Geometry:
    """Neighbours along `axes` that differ along at most `connectivity` of them."""
    above = len(shape) - 1
    spans = [(-1, 0, 1) if axis in axes else (0,) for axis in range(above)]
    found = [
        step
        for step in product(*spans)
        if step < (0,) * above and np.count_nonzero(step) <= connectivity
    ]
    rows = np.array(shape[:-1], np.int64)
    strides = np.cumprod(np.append(rows[1:], 1)[::-1])[::-1]
    steps = np.array(found, np.int64).reshape(len(found), above)
    lengths = np.count_nonzero(steps, axis=1)
    jumps = np.zeros((len(steps), 1 + above), np.int64)
    for k, step in enumerate(steps):
        jumps[k, 0] = step @ strides
        for v, axis in enumerate(np.flatnonzero(step)):
            jumps[k, v + 1] = jumps[k, 0] - step[axis] * strides[axis]
    diagonal = (lengths < connectivity) & (above in axes)
    return Geometry(rows, steps, diagonal, jumps, np.where(lengths > 1, lengths, 0))


def _strips(rows: int, workers: int, reach: int) -> list[_Strip]:
    """Strips of rows, thick enough that their seams (`reach` rows) are few."""
    wanted = 1 if workers == 1 else min(workers * _STRIPS_PER_THREAD, rows // (8 * reach + 8))
    count = max(min(workers, rows), wanted)
    cuts = [rows * k // count for k in range(count + 1)]
    return [_Strip(first, last, min(first + reach, last)) for first, last in pairwise(cuts)]


def _solve(packed: _Packed, parent: NumpyArray, ends: Sequence[int]) -> int:
    """Number the components: each run's node becomes its label, negated; returns how many."""
    strips, rows = packed.strips, (packed.image, packed.valued, *packed.words)
    for strip, end in zip(strips, ends, strict=True):
        strip.begin, strip.end = end - strip.runs, end

    def connect(strip: _Strip) -> None:
        first, last = strip.first, strip.last
        runs.make_nodes(packed.words[2], parent, first, last, strip.begin, strip.end)
        runs.connect(*rows, parent, *packed.geometry, first, last, first, last, False)

    packed.each(connect)
    for strip in strips if len(strips) > 1 else ():
        span = (strip.first, strip.seam, strip.first, strip.last)
        runs.connect(*rows, parent, *packed.geometry, *span, True)
    if packed.wrap.any():
        runs.connect_ends(*rows, parent, *packed.geometry[:3], packed.wrap)
    roots = packed.each(lambda s: runs.count_roots(parent, s.begin, s.end))
    for strip, before in zip(strips, accumulate(roots, initial=0), strict=False):
        strip.before = before
    packed.each(lambda s: runs.number(parent, s.begin, s.end, s.before))
    if len(strips) > 1:
        packed.each(lambda s: runs.resolve(parent, s.begin, s.end))
    return int(sum(roots))


def _face(
    packed: _Packed, parent: NumpyArray, shape: tuple[int, ...], axis: int, end: int
) -> NumpyArray:
    """Labels of the first (end 0) or last (end -1) pixels along `axis`."""
    face = np.empty(shape[:axis] + shape[axis + 1 :], parent.dtype)
    if axis == len(shape) - 1:
        runs.column(*packed.words, parent, end % shape[axis], face.reshape(-1))
    else:
        rows = np.arange(len(packed.words[0])).reshape(shape[:-1]).take(end, axis).reshape(-1)
        runs.expand_rows(*packed.words, parent, face.reshape(-1), packed.width, rows)
    return face
