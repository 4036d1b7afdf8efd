"""Find the surface pixels of objects, and the distances between those of two objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._shared.surfaces import Points
from gpuseg.typing import NumpyArray

# Distances between surfaces of up to this many pixels times pixels come from all pairs; a tree,
# which costs 0.1 ms to build and ask, is faster from there on.
_ALL_PAIRS = 1 << 17


def surfaces(
    labels: NumpyArray,
    ids: NumpyArray,
    origin: Sequence[int] | None = None,
    inner: Sequence[tuple[int, int]] | None = None,
) -> Points:
    """Pixels of the labels in `ids` with a face towards another label or the image's border.

    Parameters
    ----------
    labels : ndarray of bool or integers
        With pixels around them that are only looked at: `inner` says how many (before, after)
        along each axis.
    ids : ndarray
        Labels wanted, in increasing order.
    origin : sequence of int, optional
        Index of the first pixel that is not only looked at; 0 by default.
    """
    inner = inner or [(0, 0)] * labels.ndim
    inside = np.ones(labels.shape, bool)
    for axis in range(labels.ndim):
        along, kept = np.moveaxis(labels, axis, 0), np.moveaxis(inside, axis, 0)
        same = along[1:] == along[:-1]
        kept[1:] &= same
        kept[:-1] &= same
        kept[:1] = kept[-1:] = False
    core = tuple(slice(a, size - b) for (a, b), size in zip(inner, labels.shape, strict=True))
    found = np.nonzero(~inside[core] & (labels[core] != 0))
    names = labels[core][found].astype(np.int64)
    wanted = np.isin(names, ids)
    places = np.stack(found, axis=-1)[wanted] + np.asarray(origin or (0,) * labels.ndim)
    return Points(names[wanted], places.astype(np.int64))


def nearest(
    points: NumpyArray, edges: NumpyArray, others: NumpyArray, other_edges: NumpyArray
) -> NumpyArray:
    """Distance from each of `points` to the nearest of the other points of its pair.

    Points are float64 (points, axes); those of pair k lie between `edges[k]` and `edges[k + 1]`.
    """
    from scipy.spatial import cKDTree

    found = np.empty(len(points))
    large = np.diff(edges) * np.diff(other_edges) > _ALL_PAIRS
    _all_pairs(points, edges, others, other_edges, large, found)
    for k in np.flatnonzero(large):
        mine = slice(edges[k], edges[k + 1])
        tree = cKDTree(others[other_edges[k] : other_edges[k + 1]])
        found[mine] = tree.query(points[mine])[0]
    return found


@jit
def _all_pairs(
    points: NumpyArray,
    edges: NumpyArray,
    others: NumpyArray,
    other_edges: NumpyArray,
    left_out: NumpyArray,
    found: NumpyArray,
) -> None:
    for k in range(left_out.size):
        if left_out[k]:
            continue
        for i in range(edges[k], edges[k + 1]):
            least = np.inf
            for j in range(other_edges[k], other_edges[k + 1]):
                square = 0.0
                for axis in range(points.shape[1]):
                    step = points[i, axis] - others[j, axis]
                    square += step * step
                least = min(least, square)
            found[i] = np.sqrt(least)
