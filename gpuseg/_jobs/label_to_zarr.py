"""Label an image that fits no memory, chunk by chunk on disk; what is done survives a kill.

The steps are those of `_dask/_label_boxes.py`. Between them everything lies in files: outlines of
the chunks, then the numbers of their labels, then the label image. So no step needs more memory
than some chunks and their neighbours' faces, and each begins again where it was stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.blockwise import blockwise
from dask.highlevelgraph import HighLevelGraph

from gpuseg._dask._label_boxes import Box, Chunk, Index, Kept, Problem, outline
from gpuseg._dask._label_graph import Graph, merge_graph
from gpuseg._dask._label_numbers import Place, Rims, Scan, pick_rims, rank, relabel, table
from gpuseg._dask._label_plan import Key, Plan
from gpuseg._dask.label import Origin, PerChunk, pose
from gpuseg._shared.neighbours import Neighbours
from gpuseg.cluster import Cluster, Threads, connect
from gpuseg.io import _label_levels as levels_io
from gpuseg.io._label_levels import Layout
from gpuseg.io._label_store import LabelStore
from gpuseg.typing import Array, NumpyArray

Progress = Callable[[int, int], None]


class Job(NamedTuple):
    """What a run is about."""

    image: Array
    problem: Problem
    plan: Plan
    store: LabelStore
    levels: list[Layout]
    dtype: np.dtype[Any] | None
    state: dict[str, str]


class Work:
    """How much is done, told to whoever wants to know."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self._progress = 0, total, progress
        self.add(0)

    def add(self, steps: int) -> None:
        self.done += steps
        if self._progress is not None:
            self._progress(self.done, self.total)


def run(
    image: Array,
    destination: str | os.PathLike[str],
    neighbours: Neighbours,
    background: int,
    dtype: np.dtype[Any] | None,
    layout: dict[str, Any],
    overwrite: bool,
    cluster: dict[str, Any],
    progress: Progress | None,
) -> int:
    """Number of labels, all of them written."""
    if image.size == 0:
        raise ValueError(f"image must have pixels, got shape {image.shape}")
    target = Path(os.path.abspath(destination))
    if target.exists() and not (overwrite or levels_io.is_ours(target)):
        raise FileExistsError(f"{target} exists and isn't a label image of gpuseg; overwrite=True?")
    job = _job(image, target, neighbours, background, dtype, layout)
    grids = [level.grid() for level in job.levels]
    with connect(**cluster) as workers:
        job.store.begin(job.state)
        # Outlines and labels of each chunk, all merges together, and the shards of coarser levels.
        work = Work(len(grids[0]) + 1 + sum(map(len, grids)), progress)
        number = job.store.read_count()
        if number is None:
            _outline(job, workers, work)
            number = _merge(job, workers)
        else:
            work.add(len(grids[0]))
        work.add(1)
        root = job.store.folder / "image"
        levels_io.create(root, job.levels, _dtype(number, job.dtype))
        _write(job, workers, work)
        for at in range(1, len(job.levels)):
            _coarser(job, at, workers, work)
    levels_io.write_metadata(root, job.levels, number)
    levels_io.publish(job.store.folder, target)
    return number


def _job(
    image: Array,
    target: Path,
    neighbours: Neighbours,
    background: int,
    dtype: np.dtype[Any] | None,
    layout: dict[str, Any],
) -> Job:
    levels = layout.pop("levels")
    # A shard is written by one task, so shards are the chunks, and those all alike.
    shards = tuple(max(1, max(sizes)) for sizes in image.chunks)
    image = image.rechunk(shards)
    whole = levels_io.make_layout(image.shape, shards, neighbours.axes, **layout)
    problem = pose(image, neighbours, background)
    plan = Plan(image.chunks, tokenize(image.name, problem))
    store = LabelStore(target.with_name(target.name + ".partial"))
    found = levels_io.levels_of(whole, levels)
    state = {"image": image.name, "problem": repr(problem), "levels": repr(found)}
    return Job(image, problem, plan, store, found, dtype, {**state, "dtype": str(dtype)})


def _dtype(number: int, wanted: np.dtype[Any] | None) -> np.dtype[Any]:
    if wanted is None:
        return np.min_scalar_type(number)
    if number > np.iinfo(wanted).max:
        raise OverflowError(
            f"dtype must hold the {number} labels, got {wanted}, which ends at "
            f"{np.iinfo(wanted).max}; None takes the smallest one that does"
        )
    return wanted


class _Index(PerChunk):
    def __getitem__(self, index: Index) -> Index:
        return index


def _outline(job: Job, workers: Cluster, work: Work) -> None:
    """Step A of all chunks that have none yet."""
    done = job.store.done("outline")
    work.add(len(done))
    arguments = {"store": job.store, "problem": job.problem}
    _blocks(job, "outlined", _outline_block, done, workers, work, **arguments)


def _outline_block(
    block: Array, origin: Index, index: Index, store: LabelStore, problem: Problem
) -> None:
    store.write_outline(index, outline(block, origin, problem))


def _write(job: Job, workers: Cluster, work: Work) -> None:
    """Step E of all chunks that aren't written yet."""
    done = job.store.done("written")
    work.add(len(done))
    arguments = {"store": job.store, "problem": job.problem, "level": job.levels[0]}
    _blocks(job, "written", _write_block, done, workers, work, **arguments)


def _write_block(
    block: Array, origin: Index, index: Index, store: LabelStore, problem: Problem, level: Layout
) -> None:
    labels = relabel(block, store.read_numbers(index), problem)
    on_host: NumpyArray = labels.get() if hasattr(labels, "get") else labels
    levels_io.write(store.folder / "image", 0, level, index, on_host)
    store.mark("written", index)


def _blocks(
    job: Job,
    step: str,
    function: Callable[..., None],
    done: set[Index],
    workers: Cluster,
    work: Work,
    **arguments: Any,
) -> None:
    """Call a function with each chunk that isn't done; the image's tasks fuse with the call."""
    name, axes, image = job.plan.key(step)[0], tuple(range(job.image.ndim)), job.image
    layer = blockwise(
        function,
        name,
        axes,
        image.name,
        axes,
        Origin(job.plan),
        axes,
        _Index(job.plan),
        axes,
        numblocks={image.name: image.numblocks},
        **arguments,
    )
    graph = HighLevelGraph(
        {**image.dask.layers, name: layer}, {**image.dask.dependencies, name: {image.name}}
    )
    keys = [(name, *index) for index in np.ndindex(*job.plan.numblocks) if index not in done]
    if keys:
        _compute(da.optimize(graph, keys), keys, workers, lambda: work.add(1))


def _compute(graph: Any, keys: Sequence[Any], workers: Cluster, tell: Callable[[], None]) -> None:
    """Compute keys for what they do; `tell` hears of each."""
    if isinstance(workers, Threads):
        from dask.callbacks import Callback
        from dask.threaded import get

        wanted = set(keys)

        def heard(key: Any, *_: Any) -> None:
            if key in wanted:
                tell()

        with Callback(posttask=heard):
            get(graph, list(keys), num_workers=workers.workers)
        return
    from distributed import as_completed

    futures = workers.client.get(graph, list(keys), sync=False)
    try:
        for future in as_completed(futures):
            future.result()
            tell()
    finally:
        workers.client.cancel(futures)


def _merge(job: Job, workers: Cluster) -> int:
    """Steps B to D: from the outlines on disk to the numbers of each chunk's labels, there too."""
    graph, last = stored_graph(job.plan, job.problem, job.store)
    _compute(graph, [last], workers, lambda: None)
    number = job.store.read_count()
    assert number is not None
    return number


def stored_graph(plan: Plan, problem: Problem, store: LabelStore) -> tuple[Graph, Key]:
    """Tasks of `_merge`, and the last one.

    First pixels, ranks and numbers of all labels pass through files; what stays in memory is about
    the labels that reach a face.
    """
    graph: Graph = merge_graph(plan, problem)
    # Dask takes quadratic time to order tasks with many beginnings, see `_dask/label.py`.
    start = plan.key("start")
    graph[start] = (_nothing,)
    for index in np.ndindex(*plan.numblocks):
        graph[plan.key("outline", *index)] = (partial(_read_outline, index, store), start)
    for group, lines in enumerate(plan.groups()):
        task, boxes = graph[plan.key("rank", group)]
        chunks = [[(*line, column) for column in range(plan.numblocks[-1])] for line in lines]
        stored = partial(_rank, chunks=chunks, store=store, **task.keywords)
        graph[plan.key("rims", group)] = (stored, boxes)
        del graph[plan.key("rank", group)]
    keys = []
    for box in np.ndindex(*plan.grids[1]):
        parts = plan.parts(1, box)
        places = [plan.place(part) for part in parts]
        save = partial(_save_numbers, chunks=parts, places=places, store=store)
        keys.append(plan.key("saved", *box))
        graph[keys[-1]] = (save, plan.key("scan"), plan.key("spread", 1, *box))
    last = plan.key("count")
    graph[last] = (partial(_save_count, store=store), keys, plan.key("scan"))
    return graph, last


def _nothing() -> None:
    pass


def _read_outline(index: Index, store: LabelStore, _: None) -> tuple[Box, Chunk]:
    return store.read_outline(index)


def _rank(
    kept: Sequence[Kept],
    lines: Sequence[Sequence[Place]],
    width: int,
    chunks: Sequence[Sequence[Index]],
    store: LabelStore,
) -> Rims:
    """Ranks to disk, one line of chunks after the other; what the boxes above need stays."""
    found = Rims([], [], [])
    for line, indices in zip(lines, chunks, strict=True):
        ranked = rank(kept, [line], width)
        for index, ranks, planes in zip(indices, ranked.ranks[0], ranked.planes[0], strict=True):
            store.write_ranks(index, ranks, planes)
        rims = pick_rims(ranked)
        found.ranks.extend(rims.ranks)
        found.planes.extend(rims.planes)
        found.totals.extend(rims.totals)
    return found


def _save_numbers(
    whole: Scan,
    numbers: Sequence[NumpyArray],
    chunks: Sequence[Index],
    places: Sequence[tuple[int, int, int]],
    store: LabelStore,
) -> None:
    dtype = np.dtype(np.int32 if whole.number < 2**31 else np.int64)
    for index, (group, line, _), of_rim in zip(chunks, places, numbers, strict=True):
        ranks = store.read_ranks(index)
        found = table(*ranks, whole.before[group][line], of_rim, dtype)
        store.write_numbers(index, found)
        store.drop_ranks(index)


def _save_count(_: Any, whole: Scan, store: LabelStore) -> None:
    store.write_count(whole.number)


def _coarser(job: Job, at: int, workers: Cluster, work: Work) -> None:
    """One more level of the pyramid."""
    step, level = f"level{at}", job.levels[at]
    done = job.store.done(step)
    work.add(len(done))
    task = partial(_subsample, store=job.store, number=at, level=level)
    todo = [index for index in level.grid() if index not in done]
    with closing(workers.map(task, todo)) as finished:
        for _ in finished:
            work.add(1)


def _subsample(index: Index, store: LabelStore, number: int, level: Layout) -> None:
    levels_io.subsample(store.folder / "image", number, level, index)
    store.mark(f"level{number}", index)
