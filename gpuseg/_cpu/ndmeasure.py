"""Region by region: histograms, and any function of a region's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpuseg.typing import NumpyArray


class Pixels(NamedTuple):
    """Pixels of the regions asked for: labels, values and indices in the flattened image."""

    labels: NumpyArray
    values: NumpyArray
    positions: NumpyArray


def labeled_comprehension(
    labels: NumpyArray,
    image: NumpyArray,
    ids: NumpyArray,
    func: Callable[..., Any],
    dtype: np.dtype[Any],
    default: Any,
    pass_positions: bool,
) -> NumpyArray:
    """`func` of the values of each label in `ids`: (ids,)."""
    pixels = gather(labels, image, ids, (0,) * labels.ndim, labels.shape)
    return apply([pixels], ids, func, dtype, default, pass_positions)


def gather(
    labels: NumpyArray,
    image: NumpyArray,
    ids: NumpyArray,
    origin: Sequence[int],
    shape: Sequence[int],
) -> Pixels:
    """Pixels of the labels in `ids`, of a chunk at `origin` in an image of `shape`."""
    labels = _signed(labels)
    inside = np.nonzero(np.isin(labels, ids))
    place = tuple(index + start for index, start in zip(inside, origin, strict=True))
    return Pixels(labels[inside], image[inside], np.ravel_multi_index(place, shape))


def apply(
    parts: Sequence[Pixels],
    ids: NumpyArray,
    func: Callable[..., Any],
    dtype: np.dtype[Any],
    default: Any,
    pass_positions: bool,
) -> NumpyArray:
    """`func` of the values, in raster order, that all chunks have gathered for each label."""
    labels, values, positions = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((positions, labels))
    labels, values, positions = labels[order], values[order], positions[order]
    result = np.empty(ids.size, dtype)
    result[:] = default
    starts = np.searchsorted(labels, ids, "left")
    stops = np.searchsorted(labels, ids, "right")
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        if start < stop:
            region = slice(start, stop)
            result[i] = func(values[region], *([positions[region]] if pass_positions else []))
    return result


def histogram(
    labels: NumpyArray, image: NumpyArray, ids: NumpyArray, edges: NumpyArray
) -> NumpyArray:
    """Counts (ids, bins) of the values of each label; the last bin is closed."""
    labels = _signed(labels)
    known, inverse = np.unique(ids, return_inverse=True)
    bins = edges.size - 1
    if known.size == 0:
        return np.zeros((0, bins), np.int64)
    row = np.minimum(np.searchsorted(known, labels), known.size - 1)
    column = np.searchsorted(edges, image, "right") - 1
    column[image == edges[-1]] = bins - 1
    counted = (known[row] == labels) & (column >= 0) & (column < bins)
    flat = row[counted] * bins + column[counted]
    counts = np.bincount(flat, minlength=known.size * bins).reshape(known.size, bins)
    return counts[inverse]


def _signed(labels: NumpyArray) -> NumpyArray:
    """The labels as other than uint64, which NumPy compares with int64 as floats."""
    if labels.dtype.kind != "u" or labels.dtype.itemsize < 8:
        return labels
    highest = int(labels.max()) if labels.size else 0
    if highest >= 2**63:
        raise ValueError(f"labels must be below 2**63, got {highest}")
    return labels.astype(np.int64)
