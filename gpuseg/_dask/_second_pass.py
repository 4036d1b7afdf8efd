"""A second reading of an array's graph that starts only when something else is done.

`dask.graph_manipulation.bind` means to do this, but leaves the keys within task objects (in layers
that are no `Blockwise`) as they are, so that a rechunked array can no longer be computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.array as da
from dask._task_spec import DataNode, GraphNode, Task, TaskRef
from dask.base import clone_key
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph

from gpuseg.typing import Array


def apart(image: Array, seed: str) -> Array:
    """The same array from a copy of its graph: what reads it holds no block for who reads this."""
    return again(image, None, HighLevelGraph({}, {}), seed)


def again(image: Array, after: str | None, graph: HighLevelGraph, seed: str) -> Array:
    """The same array from a copy of its graph, none of whose tasks runs before the key `after`.

    `after` is the name of a layer of `graph`, and the one key in it; None waits for nothing.
    """
    keys = image.dask.get_all_external_keys()
    layers: dict[str, Mapping[Any, Any]] = dict(graph.layers)
    dependencies = dict(graph.dependencies)
    for name, layer in image.dask.layers.items():
        copied = clone_key(name, seed)
        if isinstance(layer, Blockwise):
            layers[copied], bound = layer.clone(keys, seed, after)
        else:
            layers[copied] = {
                clone_key(key, seed): _copied(key, task, keys, after, seed)
                for key, task in layer.items()
            }
            bound = True
        dependencies[copied] = {clone_key(other, seed) for other in image.dask.dependencies[name]}
        if bound and after is not None:
            dependencies[copied].add(after)
    whole = HighLevelGraph(layers, dependencies)
    return da.Array(whole, clone_key(image.name, seed), chunks=image.chunks, meta=image._meta)


def _copied(key: Any, task: Any, keys: set[Any], after: str | None, seed: str) -> Any:
    """A task with the keys of the copy, made to wait if it waits for nothing else."""
    new_key = clone_key(key, seed)
    if isinstance(task, GraphNode):
        needed = {other: clone_key(other, seed) for other in task.dependencies if other in keys}
        new = task.substitute(needed, key=new_key)
        leaf = after is not None and not needed and not isinstance(task, DataNode)
        return Task(new_key, _first, new, TaskRef(after)) if leaf else new
    found: list[Any] = []
    new = _replaced(task, keys, seed, found)
    leaf = (
        after is not None
        and not found
        and isinstance(task, tuple)
        and len(task) > 0
        and callable(task[0])
    )
    return (_first, new, after) if leaf else new


def _replaced(value: Any, keys: set[Any], seed: str, found: list[Any]) -> Any:
    """A task written as nested tuples, with the keys of the copy; `found` are those replaced."""
    if isinstance(value, tuple) and value and callable(value[0]):
        return (value[0], *(_replaced(part, keys, seed, found) for part in value[1:]))
    if isinstance(value, list):
        return [_replaced(part, keys, seed, found) for part in value]
    if isinstance(value, dict):
        return {name: _replaced(part, keys, seed, found) for name, part in value.items()}
    try:
        known = value in keys
    except TypeError:  # what has no hash is no key
        return value
    if not known:
        return value
    found.append(value)
    return clone_key(value, seed)


def _first(value: Any, _: Any) -> Any:
    return value
