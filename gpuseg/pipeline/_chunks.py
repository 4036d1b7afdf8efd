"""Dask arrays to their shards: what is there is not computed again, what fails stops nothing else.

All missing chunks go to Dask in one graph, so that a block that several of them share is computed
once. Each is written by the task that made it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from gpuseg.cluster import Cluster, Threads
from gpuseg.pipeline._arrays import Plan
from gpuseg.pipeline._folders import Folder
from gpuseg.typing import Array

Index = tuple[int, ...]

# Takes how many chunks are there, of how many.
Told = Callable[[int, int], None]


class Target(NamedTuple):
    """A Dask array, how it lies on disk, and the shards that are there already."""

    array: Array
    plan: Plan
    done: set[Index]


class ChunkError(RuntimeError):
    """Chunks that failed; those that did not are kept."""


def fitted(array: Array, plan: Plan) -> Array:
    """The array in chunks that are shards."""
    shards = plan.levels[0].format.shards
    return array if array.chunksize == shards and _regular(array) else array.rechunk(shards)


def _regular(array: Array) -> bool:
    return all(len(set(sizes[:-1])) < 2 and sizes[-1] <= sizes[0] for sizes in array.chunks)


def compute(targets: Sequence[Target], folder: Folder, workers: Cluster, told: Told) -> None:
    """Compute and write all shards that aren't there.

    Raises
    ------
    ChunkError
        If some fail; the message names their positions, the first one's error is the cause.
    """
    arrays = [_written(target, folder) for target in targets]
    keys, places = [], {}
    for array, target in zip(arrays, targets, strict=True):
        for index in target.plan.levels[0].format.grid():
            if index not in target.done:
                key = (array.name, *index)
                keys.append(key)
                places[key] = (target.plan, index)
    if keys:
        before = sum(len(target.done) for target in targets)
        told(before, before + len(keys))

        def heard(done: int) -> None:
            told(before + done, before + len(keys))

        graph = da.optimize(_merged(arrays), keys)
        run = _on_threads if isinstance(workers, Threads) else _on_workers
        failed = run(graph, keys, workers, heard)
        if failed:
            raise _error(failed, places)


def _merged(arrays: Sequence[Array]) -> Any:
    from dask.highlevelgraph import HighLevelGraph

    return HighLevelGraph.merge(*(array.dask for array in arrays))


def _written(target: Target, folder: Folder) -> Array:
    array = target.array
    return array.map_blocks(
        _write,
        folder,
        target.plan,
        dtype=bool,
        chunks=tuple((1,) * len(sizes) for sizes in array.chunks),
        meta=np.empty((0,) * array.ndim, bool),
        name=f"gpuseg-write-{secrets.token_hex(8)}",
    )


def _write(block: Array, folder: Folder, plan: Plan, block_id: Index) -> Any:
    host = block.get() if hasattr(block, "get") else block
    plan.write(folder, block_id, host)
    return np.ones((1,) * block.ndim, bool)


def _on_threads(
    graph: Any, keys: Sequence[Any], workers: Any, told: Callable[[int], None]
) -> dict[Any, Any]:
    from dask.callbacks import Callback
    from dask.threaded import get

    waiting = set(keys)

    def heard(key: Any, *_: Any) -> None:
        if key in waiting:
            waiting.discard(key)
            told(len(keys) - len(waiting))

    failed: dict[Any, BaseException] = {}
    with Callback(posttask=heard):
        try:
            get(graph, list(keys), num_workers=workers.workers)
        except Exception:
            # Dask stops at the first error. One by one the others still get done, and those that
            # fail are known by name.
            for key in [key for key in keys if key in waiting]:
                try:
                    get(da.optimize(graph, [key]), key, num_workers=workers.workers)
                except Exception as error:
                    failed[key] = error
    return failed


def _on_workers(
    graph: Any, keys: Sequence[Any], workers: Any, told: Callable[[int], None]
) -> dict[Any, Any]:
    from distributed import as_completed

    futures = workers.client.get(graph, list(keys), sync=False)
    names = dict(zip(futures, keys, strict=True))
    failed: dict[Any, BaseException] = {}
    try:
        for number, future in enumerate(as_completed(futures), 1):
            told(number)
            if future.status == "error":
                failed[names[future]] = future.exception()
            elif future.status != "finished":
                raise ConnectionError(
                    f"the Dask cluster was lost with {len(keys)} chunks asked for "
                    f"(a chunk is {future.status}); what is written stays, run it again"
                )
    finally:
        workers.client.cancel(futures)
    return failed


def _error(failed: dict[Any, Any], places: dict[Any, tuple[Plan, Index]]) -> ChunkError:
    lines = []
    for key in list(failed)[:5]:
        plan, index = places[key]
        region = plan.levels[0].format.region(index)
        pixels = ", ".join(f"{r.start}:{r.stop}" for r in region)
        reason = f"{type(failed[key]).__name__}: {failed[key]}"
        lines.append(f"chunk {index} of {plan.name} (pixels [{pixels}]): {reason}")
    if len(failed) > 5:
        lines.append(f"and {len(failed) - 5} more")
    error = ChunkError(f"{len(failed)} chunks failed, the others are kept: " + "; ".join(lines))
    error.__cause__ = next(iter(failed.values()))
    return error
