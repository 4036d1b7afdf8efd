"""Surface pixels over chunks: each looks one pixel into its neighbours."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from dask.base import tokenize

from gpuseg._backend import implementation, limit_threads
from gpuseg._dask import _by_label as by_label
from gpuseg._shared.surfaces import Points, join
from gpuseg.typing import Array, NumpyArray


def surfaces(labels: Array, ids: NumpyArray) -> Points:
    """Surface pixels of the labels in `ids`, computed now."""
    labels, _ = by_label.align(labels, None)
    token = tokenize(labels.name, ids)
    graph: by_label.Graph = {}
    around = by_label.rims(graph, labels, 1, f"surfaces-rim-{token}")
    keys = []
    for index, origin, key, _ in by_label.blocks(labels, None):
        offsets, rims = around(index)
        keys.append((f"surfaces-chunk-{token}", *index))
        graph[keys[-1]] = (partial(_chunk, ids=ids, origin=origin, offsets=offsets), key, rims)
    name = f"surfaces-{token}"
    graph[name, 0] = (_boxed, by_label.merge_tree(graph, keys, join, f"surfaces-merge-{token}"))
    (found,) = by_label.as_array(graph, name, [labels], (1,), object).compute()
    points: Points = found
    return points


def _chunk(
    labels: Array,
    rims: list[dict[by_label.Index, Array]],
    *,
    ids: NumpyArray,
    origin: by_label.Index,
    offsets: list[by_label.Index],
) -> Points:
    labels, inner = by_label.surrounded(labels, 1, offsets, rims)
    with limit_threads(1):
        points: Points = implementation(labels, "surfaces").surfaces(labels, ids, origin, inner)
        return points


def _boxed(thing: Any) -> NumpyArray:
    box = np.empty(1, object)
    box[0] = thing
    return box
