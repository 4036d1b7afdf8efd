"""Count shared pixels over chunks: a table a chunk, added up eight at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from dask.base import tokenize

from gpuseg._backend import implementation, limit_threads
from gpuseg._dask import _by_label as by_label
from gpuseg._shared.overlap import Overlap, merge
from gpuseg.typing import Array, NumpyArray


def overlap(true: Array, test: Array) -> Overlap:
    """Table of all chunks, computed now: how many pairs there are is not known before."""
    first, second = by_label.align(true, test)
    assert second is not None
    token = tokenize(first.name, second.name)
    graph: by_label.Graph = {}
    for index, _, true_key, test_key in by_label.blocks(first, second):
        graph[f"overlap-chunk-{token}", *index] = (_chunk, true_key, test_key)
    last = by_label.merge_tree(graph, list(graph), merge, f"overlap-merge-{token}")
    name = f"overlap-{token}"
    graph[name, 0] = (_boxed, last)
    (found,) = by_label.as_array(graph, name, [first, second], (1,), object).compute()
    table: Overlap = found
    return table


def _chunk(true: Array, test: Array) -> Overlap:
    with limit_threads(1):
        table: Overlap = implementation(true, "overlap").overlap(true, test)
        return table


def _boxed(thing: Any) -> NumpyArray:
    box = np.empty(1, object)
    box[0] = thing
    return box
