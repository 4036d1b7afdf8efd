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

from gpuseg._dask._label_boxes import Index, Problem, outline
from gpuseg._dask._label_graph import Graph, merge_graph
from gpuseg._dask._label_numbers import Ranked, Scan, relabel, table
from gpuseg._dask._label_plan import Plan
from gpuseg._dask.label import Origin, PerChunk, pose
from gpuseg._neighbours import Neighbours
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
    store.begin({**state, "dtype": str(dtype)})
    return Job(image, problem, plan, store, found, dtype)


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
    plan, store = job.plan, job.store
    graph: Graph = merge_graph(plan, job.problem)
    for index in np.ndindex(*plan.numblocks):
        graph[plan.key("outline", *index)] = (store.read_outline, index)
    keys = []
    for box in np.ndindex(*plan.grids[1]):
        chunks = plan.parts(1, box)
        places = [plan.place(chunk) for chunk in chunks]
        groups = sorted({place[0] for place in places})
        task = partial(_save_numbers, groups=groups, chunks=chunks, places=places, store=store)
        keys.append(plan.key("saved", *box))
        ranked = [plan.key("rank", group) for group in groups]
        graph[keys[-1]] = (task, ranked, plan.key("scan"), plan.key("spread", 1, *box))
    name = plan.key("count")
    graph[name] = (_save_count, keys, plan.key("scan"), store)
    _compute(graph, [name], workers, lambda: None)
    number = store.read_count()
    assert number is not None
    return number


def _save_numbers(
    ranked: Sequence[Ranked],
    whole: Scan,
    numbers: Sequence[NumpyArray],
    groups: Sequence[int],
    chunks: Sequence[Index],
    places: Sequence[tuple[int, int, int]],
    store: LabelStore,
) -> None:
    dtype = np.dtype(np.int32 if whole.number < 2**31 else np.int64)
    for chunk, place, of_rim in zip(chunks, places, numbers, strict=True):
        found = table(ranked[groups.index(place[0])], whole, of_rim, place, dtype)
        store.write_numbers(chunk, found)


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


def as_image(source: Any, chunks: Any) -> tuple[Array, dict[str, Any]]:
    """Dask array of what `label_to_zarr` takes, and what is known of its axes.

    Raises
    ------
    TypeError
        If it is none of an array, a zarr array, or a path.
    ValueError
        If the path holds neither an array nor an OME-Zarr image.
    """
    import zarr

    known: dict[str, Any] = {}
    if isinstance(source, str | os.PathLike):
        source, known = _opened(os.fspath(source))
    if isinstance(source, zarr.Array):
        stored = source.shards or source.chunks
        source = da.from_zarr(source, chunks=stored)
    elif isinstance(source, np.ndarray):
        source = da.from_array(source, chunks="auto" if chunks is None else chunks)
    elif not isinstance(source, da.Array):
        raise TypeError(
            f"source must be a Dask, NumPy or zarr array or a path, got {type(source).__name__}"
        )
    return (source if chunks is None else source.rechunk(chunks)), known


def _opened(path: str) -> tuple[Any, dict[str, Any]]:
    """Array at a path, or the full image of the OME-Zarr there, with its axes."""
    import zarr

    found = zarr.open(path, mode="r")
    if isinstance(found, zarr.Array):
        return found, {}
    attributes: Any = found.attrs.asdict()
    images = attributes.get("ome", attributes).get("multiscales")
    if not images:
        raise ValueError(f"{path} is neither a zarr array nor an OME-Zarr image")
    axes, first = images[0].get("axes"), images[0]["datasets"][0]
    known: dict[str, Any] = {}
    if axes and all(isinstance(axis, dict) for axis in axes):
        known["axis_names"] = "".join(axis["name"] for axis in axes)
        known["unit"] = next(
            (axis["unit"] for axis in axes if axis.get("type") == "space" and "unit" in axis), None
        )
        for step in first.get("coordinateTransformations", ()):
            if step["type"] == "scale":
                known["scale"] = step["scale"]
    return found[first["path"]], known
