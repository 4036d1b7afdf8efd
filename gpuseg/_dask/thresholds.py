"""Global thresholds of chunked arrays: histograms of chunks, added up in a tree.

1. Integers of at most 16 bits are counted at once. Of others, the extremes come first, and then a
   copy of the image's graph is read, so that no block is held from one to the other.
2. Counts of integers are aligned and added; bins of floats are the same in all chunks, and those
   that `numpy.histogram` makes of the whole.
3. One task makes the threshold of them.

All of this reads a copy of the graph: in `image > threshold_otsu(image)` the comparison reads the
image for itself, and nothing is held for it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from gpuseg._backend import implementation, limit_threads
from gpuseg._dask import _by_label as by_label
from gpuseg._dask._second_pass import again, apart
from gpuseg._shared.thresholds import (
    Counts,
    Extent,
    check_extent,
    few_values,
    from_counts,
    merge_counts,
    merge_extents,
    result_dtype,
)
from gpuseg.typing import Array


def threshold(image: Array, method: str, nbins: int, options: dict[str, Any]) -> Array:
    """Lazy: 0-d, or of one value for each limit between classes."""
    if method == "li" and image.dtype.kind == "f":
        raise TypeError(
            f"threshold_li of {image.dtype} needs all sorted values of a Dask array at once; round "
            "it to integers, or take `image.compute()`"
        )
    image = image.rechunk(tuple(tuple(n for n in sizes if n) for sizes in image.chunks))
    name = f"threshold-{method}-{tokenize(image.name, nbins, options)}"
    first = apart(image, name)
    graph: by_label.Graph = {}
    if few_values(image.dtype):
        source, span = first, None
    else:
        span = f"{name}-extent"
        source = again(image, span, _extents(first, span), f"{name}-second")
    for index, _, key, _ in by_label.blocks(source, None):
        graph[f"{name}-counts", *index] = (partial(_counts, nbins=nbins), key, span)
    merged = by_label.merge_tree(graph, list(graph), merge_counts, f"{name}-merge")
    several = method == "multiotsu"
    task = partial(_finish, method=method, options=options)
    graph[(name, 0) if several else (name,)] = (task, merged)
    shape = (options["classes"] - 1,) if several else ()
    return by_label.as_array(graph, name, [source], shape, result_dtype(method, image.dtype))


def thresholds(
    image: Array, axes: Sequence[int], method: str, nbins: int, options: dict[str, Any]
) -> Array:
    """Lazy: threshold of each frame along `axes`, whose chunks are joined."""
    sizes = [tuple(n for n in sizes if n) for sizes in image.chunks]
    image = image.rechunk(tuple((sum(n),) if k in axes else n for k, n in enumerate(sizes)))
    limits = (options["classes"] - 1,) if method == "multiotsu" else ()
    dtype = result_dtype(method, image.dtype)
    return image.map_blocks(
        partial(_thresholds, axes=axes, method=method, nbins=nbins, options=options),
        chunks=(*limits, *((1,) if k in axes else n for k, n in enumerate(image.chunks))),
        new_axis=list(range(len(limits))),
        meta=np.empty_like(image._meta, dtype, shape=(0,) * (len(limits) + image.ndim)),
    )


def _thresholds(block: Array, **options: Any) -> Array:
    with limit_threads(1):
        return implementation(block, "thresholds").thresholds(block, **options)


def _extents(image: Array, name: str) -> HighLevelGraph:
    """Graph whose layer `name` has this one key: the image's extent."""
    graph: by_label.Graph = {}
    for index, _, key, _ in by_label.blocks(image, None):
        graph[f"{name}-part", *index] = (_extent, key)
    last = by_label.merge_tree(graph, list(graph), merge_extents, f"{name}-merge")
    graph[name] = (check_extent, last)
    return HighLevelGraph.from_collections(name, graph, dependencies=[image])


def _extent(block: Array) -> Extent:
    return implementation(block, "thresholds").extent(block)


def _counts(block: Array, span: Extent | None, *, nbins: int) -> Counts:
    with limit_threads(1):
        found = implementation(block, "thresholds").counts(block, span, nbins)
    return found if found.edges is not None else found.trimmed()


def _finish(counts: Counts, *, method: str, options: dict[str, Any]) -> Any:
    return np.asarray(from_counts(counts, method, options))


def hysteresis(weak: Array, strong: Array) -> Array:
    """Components of `weak` that hold a pixel of `strong`: lazy."""
    from gpuseg._dask import label_tools
    from gpuseg._dask.label import label

    labels, _ = label(weak, 1)
    found = label_tools.touching(labels, 1, ~strong)
    return label_tools.member(labels, found[found > 0])
