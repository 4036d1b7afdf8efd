"""Region by region over chunks: histograms add up; values are gathered before a function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from dask.base import tokenize

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu.ndmeasure import Pixels, apply
from gpuseg._dask import _by_label as by_label
from gpuseg.typing import Array, NumpyArray


def labeled_comprehension(
    labels: Array,
    image: Array,
    ids: NumpyArray,
    func: Callable[..., Any],
    dtype: np.dtype[Any],
    default: Any,
    pass_positions: bool,
) -> Array:
    """Lazy: each chunk gathers the pixels asked for, one task applies `func`."""
    labels, image = by_label.align(labels, image)
    last = partial(
        apply, ids=ids, func=func, dtype=dtype, default=default, pass_positions=pass_positions
    )
    name = f"comprehension-{tokenize(labels.name, image.name, last)}"
    graph: by_label.Graph = {}
    for index, origin, label_key, image_key in by_label.blocks(labels, image):
        task = partial(_gather, ids=ids, origin=origin, shape=labels.shape)
        graph[f"{name}-chunk", *index] = (task, label_key, image_key)
    graph[name, 0] = (last, list(graph))
    return by_label.as_array(graph, name, [labels, image], (ids.size,), dtype)


def histogram(labels: Array, image: Array, ids: NumpyArray, edges: NumpyArray) -> Array:
    """Lazy: the counts of chunks add up in a tree."""
    labels, image = by_label.align(labels, image)
    task = partial(_histogram, ids=ids, edges=edges)
    name = f"histogram-{tokenize(labels.name, image.name, task)}"
    graph: by_label.Graph = {}
    for index, _, label_key, image_key in by_label.blocks(labels, image):
        graph[f"{name}-chunk", *index] = (task, label_key, image_key)
    last = by_label.merge_tree(graph, list(graph), sum, f"{name}-merge")
    graph[name, 0, 0] = last
    shape = (ids.size, edges.size - 1)
    return by_label.as_array(graph, name, [labels, image], shape, np.int64)


def _gather(labels: Array, image: Array, **where: Any) -> Pixels:
    with limit_threads(1):
        return implementation(labels, "ndmeasure").gather(labels, image, **where)


def _histogram(labels: Array, image: Array, *, ids: NumpyArray, edges: NumpyArray) -> NumpyArray:
    with limit_threads(1):
        return implementation(labels, "ndmeasure").histogram(labels, image, ids, edges)
