"""Results that go: no longer right, no longer wanted, or damaged on the disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from gpuseg.pipeline import _keys
from gpuseg.pipeline._folders import Folder
from gpuseg.pipeline._results import Result
from gpuseg.pipeline._shards import Damaged, parsed
from gpuseg.pipeline._store import Name
from gpuseg.pipeline.run import Run


def invalidate(run: Run, step: str) -> list[Name]:
    """Remove all results of a step, and all that were computed from them.

    Raises
    ------
    KeyError
        If the run has no such step.
    """
    names = list(run.store.names())
    needs = {name: run.store.record(name)["needs"] for name in names}
    drafts = {name for name, _ in run.store.drafts()}
    failed = set(run.store.failures())
    gone = {n for n in {*names, *drafts, *failed} if step in (n.step, n.step.rpartition(".")[2])}
    if not gone:
        raise KeyError(f"{run!r} has no step {step!r}")
    order = sorted(gone)
    for name in order:  # grows
        for each in names:
            if each not in gone and name.path in needs[each]:
                gone.add(each)
                order.append(each)
    # What depends on others goes first: a stop in between leaves nothing that looks right.
    for name in reversed(order):
        run.store.withdraw(name)
        run.store.forgive(name)
    left = {name: folder for name, folder in run.store.drafts() if name in gone}
    for name in set(left) - run.claims.held(left):
        left[name].remove("")
    return order


def unwanted(run: Run, wanted: Iterable[Result]) -> list[tuple[Name, int]]:
    """Results and drafts that none of these refer to, with their bytes."""
    asked = {name for each in wanted for name in (each.name, *(n.name for n in each.needs))}
    found = [
        (name, int(run.store.record(name)["bytes"]))
        for name in run.store.names()
        if name not in asked
    ]
    drafts = ((name, folder) for name, folder in run.store.drafts() if name not in asked)
    return found + [(name, folder.size()) for name, folder in drafts]


def cleanup(run: Run, wanted: Iterable[Result]) -> list[tuple[Name, int]]:
    """Remove what none of these refer to, but what is being computed."""
    asked = list(wanted)
    found = unwanted(run, asked)
    drafts = dict(run.store.drafts())
    held = run.claims.held(name for name, _ in found)
    for name, _ in found:
        if name in held:
            continue
        run.store.withdraw(name)
        if name in drafts:
            drafts[name].remove("")
    for name in set(run.store.failures()) - {each.name for each in asked}:
        run.store.forgive(name)
    run.store.sweep()
    return found


class Problem(NamedTuple):
    """A file that isn't what was written; `redo`: what to remove so that it is made again."""

    name: Name
    file: str
    why: str
    redo: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name.path}/{self.file}: {self.why}"


def verify(run: Run, repair: bool = False) -> list[Problem]:
    """Compare all files with their checksums.

    With `repair`, damaged chunks are dropped and their arrays unfinished again, other damaged
    results are removed; the next run computes just these.
    """
    found = []
    for name in list(run.store.names()):
        problems = list(_problems(run, name))
        found += problems
        if repair and problems:
            _drop(run, name, problems)
    return found


def _problems(run: Run, name: Name) -> Iterator[Problem]:
    folder = run.store.folder(name)
    try:
        record = run.store.record(name)
    except (ValueError, FileNotFoundError) as error:
        yield Problem(name, "result.json", str(error))
        return
    for file, (size, digest) in record["files"].items():
        try:
            data = folder.read(file)
        except FileNotFoundError:
            yield Problem(name, file, "missing")
            continue
        if (len(data), _keys.digest(data)) != (size, digest):
            yield Problem(name, file, "not what was written")
            return
    value = run.store.value(name) or b""
    if _keys.digest(value) != record["digest"]:
        yield Problem(name, "result.json", "the value is not what was written")
        return
    for node in _arrays(json.loads(value)):
        yield from _array_problems(folder, name, node["path"], node["form"] == "dask")


def _arrays(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict) and tree.get("$") == "array":
        yield tree
    elif isinstance(tree, dict | list):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _arrays(each)


def _array_problems(folder: Folder, name: Name, path: str, by_chunks: bool) -> Iterator[Problem]:
    grid = None
    try:
        json.loads(folder.read(f"{path}/zarr.json"))
    except (ValueError, FileNotFoundError) as error:
        yield Problem(name, f"{path}/zarr.json", str(error))
    for level in sorted(each for each in folder.children(path) if each.isdecimal()):
        try:
            form = parsed(folder.read(f"{path}/{level}/zarr.json"))
        except (ValueError, KeyError, FileNotFoundError) as error:
            yield Problem(name, f"{path}/{level}/zarr.json", str(error))
            continue
        grid = form.grid() if grid is None else grid
        for index in form.grid():
            place = "/".join(["c", *map(str, index)])
            file = f"{path}/{level}/{place}"
            # A shard of level 0 stands for the levels that it makes; the others are made anew.
            base = (f"{path}/0/{place}",) if form.grid() == grid else ()
            redo = (file, *base) if by_chunks else ()
            try:
                form.chunks_of(folder.read(file))
            except FileNotFoundError:
                yield Problem(name, file, "missing", redo)
            except Damaged as error:
                yield Problem(name, file, str(error), redo)


def _drop(run: Run, name: Name, problems: Sequence[Problem]) -> None:
    if not all(problem.redo for problem in problems):
        run.store.withdraw(name)
        return
    for problem in problems:
        for file in problem.redo:
            run.store.folder(name).remove(file)
    run.store.reopen(name)
