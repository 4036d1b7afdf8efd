"""Tools on label images: look labels up, find small and touching ones, outline them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg._backend import threads
from gpuseg._cpu import _outlines as outlines
from gpuseg._cpu import regionprops
from gpuseg._cpu._jit import jit
from gpuseg._cpu._mask_words import unpack
from gpuseg._cpu._strips import strips
from gpuseg._cpu.label import geometry
from gpuseg._shared.region_rows import Plan, Rows
from gpuseg._shared.window import native
from gpuseg.typing import NumpyArray

# Fewer pixels a thread than this cost more to hand out than to look up.
_THREAD_PIXELS = 1 << 18
# A lookup table of this many entries is always worth it; a larger one where it is no larger than
# the labels. It is five times as fast as a binary search.
_TABLE = 1 << 16


def present(labels: NumpyArray) -> NumpyArray:
    """Labels above 0, in increasing order (int64)."""
    return present_in(regionprops.measure(labels, None, Plan(labels.shape, frozenset())))


def present_in(rows: Rows) -> NumpyArray:
    """Labels of rows, none of which may be negative."""
    if rows.lowest < 0:
        raise ValueError(f"labels must not be negative, got {rows.lowest}")
    return rows.labels


def small(labels: NumpyArray, max_size: int) -> NumpyArray:
    """Labels of at most `max_size` pixels, in increasing order (int64)."""
    return small_in(regionprops.measure(labels, None, Plan(labels.shape, frozenset())), max_size)


def small_in(rows: Rows, max_size: int) -> NumpyArray:
    """Labels of rows that count at most `max_size` pixels."""
    return present_in(rows)[rows.table[:, 0] <= max_size]


def touching(labels: NumpyArray, width: int, mask: NumpyArray | None) -> NumpyArray:
    """Labels, 0 among them, within `width` pixels of the border, or outside `mask`."""
    if mask is not None:
        return np.unique(labels[~mask]).astype(np.int64)
    return border_labels(labels, width, (0,) * labels.ndim, labels.shape)


def border_labels(
    labels: NumpyArray, width: int, origin: Sequence[int], shape: Sequence[int]
) -> NumpyArray:
    """Labels, within `width` pixels of the whole's border, of a chunk that lies at `origin`."""
    found = [np.empty(0, np.int64)]
    for axis, (start, size) in enumerate(zip(origin, shape, strict=True)):
        along = np.moveaxis(labels, axis, 0)
        found.append(along[: max(0, width - start)].ravel())
        found.append(along[max(0, size - width - start) :].ravel())
    return np.unique(np.concatenate([np.unique(part).astype(np.int64) for part in found]))


def member(labels: NumpyArray, ids: NumpyArray) -> NumpyArray:
    """Whether each pixel's label is among `ids` (increasing int64)."""
    return map_values(labels, ids, np.ones(ids.size, bool))


def map_values(labels: NumpyArray, keys: NumpyArray, values: NumpyArray) -> NumpyArray:
    """The value whose key (increasing int64) is the label; 0 where there is none."""
    out = np.zeros(labels.shape, native(values.dtype))
    if labels.size == 0 or keys.size == 0:
        return out
    values, found = values.astype(out.dtype, copy=False), out.reshape(-1)
    if values.dtype == np.float16:  # which numba lacks
        values, found = values.view(np.uint16), found.view(np.uint16)
    flat = np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).reshape(-1)
    if flat.dtype == np.uint64:
        flat = flat.view(np.int64)  # those beyond are negative, and no key is
    low, high = int(flat.min()), int(flat.max())
    some = slice(np.searchsorted(keys, low), np.searchsorted(keys, high, "right"))
    keys, values = keys[some], values[some]
    span = int(keys[-1]) - int(keys[0]) + 1 if keys.size else 0
    if span <= max(flat.size, _TABLE):
        table = np.zeros(span, values.dtype)
        table[keys - (keys[0] if span else 0)] = values
        first = int(keys[0]) if span else 0

        def work(a: int, b: int) -> None:
            _look_up(flat[a:b], table, first, found[a:b])

    else:

        def work(a: int, b: int) -> None:
            _search(flat[a:b], keys, values, found[a:b])

    strips(work, flat.size, max(1, min(threads(), flat.size // _THREAD_PIXELS)))
    return out


@jit
def _look_up(labels: NumpyArray, table: NumpyArray, first: int, out: NumpyArray) -> None:
    for i in range(labels.size):
        k = np.int64(labels[i]) - first
        if 0 <= k < table.size:
            out[i] = table[k]


@jit
def _search(labels: NumpyArray, keys: NumpyArray, values: NumpyArray, out: NumpyArray) -> None:
    last, k, known = np.int64(0), np.int64(0), False
    for i in range(labels.size):
        label = np.int64(labels[i])
        if i == 0 or label != last:
            last = label
            k = np.searchsorted(keys, label)
            known = bool(k < keys.size and keys[k] == label)
        if known:
            out[i] = values[k]


def boundaries(
    labels: NumpyArray,
    connectivity: int,
    mode: str,
    background: int,
    inner: Sequence[tuple[int, int]] | None = None,
) -> NumpyArray:
    """Boundary pixels as `skimage.segmentation.find_boundaries` finds them, without the halo."""
    found = _outlined(labels, connectivity, mode, background)
    if inner is None:
        return found
    return found[tuple(slice(a, n - b) for (a, b), n in zip(inner, found.shape, strict=True))]


def _outlined(labels: NumpyArray, connectivity: int, mode: str, background: int) -> NumpyArray:
    if labels.size == 0:
        return np.zeros(labels.shape, bool)
    image = np.ascontiguousarray(labels, native(labels.dtype)).reshape(-1, *labels.shape[-1:])
    marks = np.zeros((len(image), -(-image.shape[1] // 64)), np.uint64)
    shape = labels.shape if labels.ndim > 1 else image.shape
    axes = range(len(shape) - labels.ndim, len(shape))
    near, around = (geometry(shape, most, axes) for most in (connectivity, labels.ndim))
    limits = np.iinfo(image.dtype)
    everything = not limits.min <= background <= limits.max
    top = image.dtype.type(limits.max)
    value = top if everything else image.dtype.type(background)

    def work(first: int, last: int) -> None:
        outlines.mark(image, *near[:4], near.reach, first, last, marks)
        if mode != "thick":
            how = image, value, everything, mode == "outer", top
            steps = around.shape, around.steps, around.jumps
            outlines.choose(*how, *steps, first, last, marks)

    parts = min(threads(), image.size // _THREAD_PIXELS, len(image) // (near.reach + 1))
    strips(work, len(image), max(1, parts))
    return unpack(marks, image.shape[1]).reshape(labels.shape)


def relabel(labels: NumpyArray, offset: int) -> tuple[NumpyArray, Any, Any]:
    """Labels numbered from `offset` on, and scikit-image's maps forth and back."""
    old = present(labels)
    last = offset + old.size - 1
    fits = last <= np.iinfo(labels.dtype).max
    dtype = native(labels.dtype) if fits else np.min_scalar_type(last)
    new = np.arange(offset, offset + old.size).astype(dtype)
    background = bool((labels == 0).any())
    return map_values(labels, old, new), *array_maps(old, new, background)


def array_maps(old: NumpyArray, new: NumpyArray, background: bool) -> tuple[Any, Any]:
    """Maps from old to new labels and back; 0 is among them where it is in the image."""
    from skimage.util._map_array import ArrayMap

    if background:
        old, new = np.insert(old, 0, 0), np.insert(new, 0, 0)
    return ArrayMap(old, new), ArrayMap(new, old)
