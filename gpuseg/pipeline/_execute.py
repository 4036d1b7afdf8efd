"""Computing what is missing, beside any number of processes that do the same."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import platform
import random
import secrets
import socket
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from array_api_compat import is_dask_array

from gpuseg.cluster import Cluster, connect
from gpuseg.pipeline import _arrays, _keys, _values, _watch
from gpuseg.pipeline._results import Result, Stored
from gpuseg.pipeline._steps import active
from gpuseg.pipeline._store import VALUE, Draft, Fenced, Name

if TYPE_CHECKING:
    from gpuseg.pipeline.run import Run

# Waiting for other processes: the first look, and the longest time between two.
_FIRST_LOOK, _LAST_LOOK = 0.002, 0.1

# What took longer than this is on the disk before it has its name.
_FLUSH = 0.25


class RunError(RuntimeError):
    """Results that could not be computed.

    Attributes
    ----------
    failures : dict of str to str
        Why, by the name of the result.
    computed : int
        How many others this process computed.
    """

    def __init__(self, failures: Mapping[str, str], computed: int = 0) -> None:
        self.failures = dict(failures)
        self.computed = computed
        shown = [f"{name}: {why}" for name, why in list(self.failures.items())[:5]]
        if len(self.failures) > 5:
            shown.append(f"and {len(self.failures) - 5} more")
        super().__init__("\n".join([f"{len(self.failures)} results failed", *shown]))


class Session:
    """What one call of `execute` knows."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self.run, self._stack = run, stack
        self._workers: Cluster | None = None
        self.before = {name: each["id"] for name, each in run.store.failures().items()}
        self.failed: dict[Name, str] = {}
        self.cause: BaseException | None = None
        self.computed = 0
        self.left = self.total = 0

    def tell(self, doing: str, chunks: int = 0, all_chunks: int = 0) -> None:
        """Show whoever watches how far this is."""
        done = self.total - self.left
        _watch.tell(_watch.Standing(doing, done, self.total, chunks, all_chunks))

    def failed_elsewhere(self, name: Name, failure: Mapping[str, Any] | None) -> bool:
        """Whether another process failed at this since we began; noted if so."""
        if failure is None or failure["id"] == self.before.get(name):
            return False
        self.failed.setdefault(name, failure["error"])
        return True

    def workers(self) -> Cluster:
        if self._workers is None:
            opened = connect(self.run.scheduler, workers=self.run.workers)
            self._workers = self._stack.enter_context(opened)
        return self._workers


def execute(run: Run, wanted: Sequence[Result]) -> int:
    """See `Run.execute`."""
    missing = _missing(run, wanted)
    if not missing:
        return 0
    with ExitStack() as stack:
        session = Session(run, stack)
        session.left = session.total = len(missing)
        # Processes that begin at different places seldom meet.
        start = random.SystemRandom().randrange(len(missing)) if len(missing) > 1 else 0
        order = list(_pass(session, [*missing[start:], *missing[:start]]))
        wait = _FIRST_LOOK
        while order:
            before = len(order)
            order = list(_pass(session, _still(session, order)))
            if len(order) == before:
                session.tell("waiting for others")
                time.sleep(wait)
                wait = min(1.5 * wait, _LAST_LOOK)
            else:
                wait = _FIRST_LOOK
    if session.failed:
        failures = {name.path: why for name, why in session.failed.items()}
        error = RunError(failures, session.computed)
        raise error from session.cause
    return session.computed


def _missing(run: Run, wanted: Sequence[Result]) -> list[Result]:
    """What must be computed, dependencies first."""
    found: dict[str, Result] = {}
    waiting = [(each, False) for each in reversed(list(wanted))]
    there: set[str] = set()
    while waiting:
        result, needed = waiting.pop()
        if result.key in found or result.key in there:
            continue
        if needed:
            found[result.key] = result
        elif run.store.exists(result.name):
            there.add(result.key)
        else:
            waiting.append((result, True))
            waiting += [(each, False) for each in result.needs if isinstance(each, Result)]
    return list(found.values())


def _still(session: Session, order: Sequence[Result]) -> list[Result]:
    """What others have neither computed nor failed at meanwhile."""
    store = session.run.store
    done = store.done(each.name for each in order)
    waiting = {each.name for each in order} - done
    for name, failure in store.failures().items():
        if name in waiting:
            session.failed_elsewhere(name, failure)
    return [each for each in order if each.name not in done]


def _pass(session: Session, order: Sequence[Result]) -> Iterator[Result]:
    """Compute what is ready and free; yields what isn't there afterwards."""
    waiting = {each.name for each in order}
    for result in order:
        session.left = len(waiting)
        broken = next((n.name for n in result.needs if n.name in session.failed), None)
        if broken is not None:
            session.failed.setdefault(result.name, f"needs {broken.path}, which failed")
        elif result.name not in session.failed and _must_wait(session, result, waiting):
            yield result
            continue
        waiting.discard(result.name)


def _must_wait(session: Session, result: Result, waiting: set[Name]) -> bool:
    if any(need.name in waiting for need in result.needs):
        return True
    return not _attempt(session, result) and result.name not in session.failed


def _attempt(session: Session, result: Result) -> bool:
    """Whether a result is there, computed here if nobody else does."""
    run = session.run
    try:
        if not run.claims.claim(result.name):
            return False
    except OSError as error:
        raise OSError(
            error.errno, f"{result.name.path} isn't in {run!r}, which can't be written: {error}"
        ) from error
    try:
        if run.store.exists(result.name):
            return True
        if session.failed_elsewhere(result.name, run.store.failure(result.name)):
            return False
        _compute(session, result)
        session.computed += 1
    except Fenced:
        return False
    except Exception as error:
        session.failed[result.name] = f"{type(error).__name__}: {error} (of {_inputs(result)})"
        session.cause = session.cause or error
        _note(run, result, error)
        return False
    finally:
        run.claims.release(result.name)
    return True


def _inputs(result: Result) -> str:
    """Arguments, for messages."""
    texts = ((name, text) for name, text in result.ingredients.items() if name != "version")
    return ", ".join(f"{name}={text[:40]}" for name, text in texts) or "no arguments"


def _note(run: Run, result: Result, error: Exception) -> None:
    failure = {
        "id": secrets.token_hex(8),
        "error": f"{type(error).__name__}: {error}",
        "ingredients": result.ingredients,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "traceback": "".join(traceback.format_exception(error)).splitlines(),
    }
    with contextlib.suppress(OSError):  # the disk may be full
        run.store.fail(result.name, failure)


def _compute(session: Session, result: Result) -> None:
    """Call the function, write what it returns, give it its name."""
    store = session.run.store
    session.tell(result.name.step)
    draft = store.draft(result.name)
    try:
        _fill(session, result, draft)
    except BaseException as error:
        if isinstance(error, FileNotFoundError) and not draft.prefix and not _is_there(draft):
            raise Fenced(result.name.path) from error
        # Chunks are worth keeping; a folder without any isn't.
        if not any(name.rpartition("/")[2].isdecimal() for name in draft.folder.names()):
            store.discard(draft)
        raise
    if result.name in session.before:
        store.forgive(result.name)


def _is_there(draft: Draft) -> bool:
    return os.path.exists(getattr(draft.folder, "path", ""))


def _fill(session: Session, result: Result, draft: Draft) -> None:
    began = time.perf_counter()
    bound = inspect.BoundArguments(result.step.signature, OrderedDict())
    for name, value in result.arguments.items():
        bound.arguments[name] = _keys.replaced(value, _loaded)
    token = active.set(None)
    try:
        value = result.step.function(*bound.args, **bound.kwargs)
        tree, parts = _values.flatten(value)
        if draft.taken_over and not any(is_dask_array(part.value) for part in parts):
            draft = session.run.store.emptied(draft, result.name)
        files = _write_parts(session, result, draft, parts)
    finally:
        active.reset(token)
    seconds = time.perf_counter() - began
    data = _dumped(tree).encode()
    size = len(data) + (draft.folder.size() if parts else 0)
    record = _record(result, seconds, size, files, data)
    session.run.store.commit(draft, result.name, record, seconds > _FLUSH)


def _loaded(result: Stored) -> Any:
    return result.value(lazy=False)


def _write_parts(
    session: Session, result: Result, draft: Draft, parts: Sequence[_values.Part]
) -> dict[str, Any]:
    """Write arrays and tables; returns sizes and checksums of the files that have none inside."""
    lazy = [part for part in parts if is_dask_array(part.value)]
    files = {}
    for part in parts:
        if part.node["$"] == "table":
            data = _values.table_bytes(part)
            part.node["path"] = f"{draft.prefix}{part.name}.parquet"
            draft.folder.write(f"{part.name}.parquet", data)
            files[part.node["path"]] = [len(data), _keys.digest(data)]
        elif not is_dask_array(part.value):
            plan = _plan(result, draft, part)
            _arrays.write_array(draft.folder, plan, part.value.reshape(part.value.shape or (1,)))
    if lazy:
        _write_lazy(session, result, draft, lazy)
    return files


def _plan(result: Result, draft: Draft, part: _values.Part, source: Any = None) -> _arrays.Plan:
    shape, dtype = part.value.shape or (1,), part.value.dtype
    # How an image is to be stored says nothing of the numbers beside it.
    storage = result.step.storage if part.value.shape else _arrays.Storage()
    plan = _arrays.make_plan(part.name, shape, dtype, source, storage)
    part.node["path"] = f"{draft.prefix}{plan.name}"
    return plan


def _write_lazy(
    session: Session, result: Result, draft: Draft, parts: Sequence[_values.Part]
) -> None:
    from gpuseg.pipeline import _chunks

    targets = []
    for part in parts:
        array = part.value if part.value.ndim else part.value.reshape(1)
        if any(size != size for size in array.shape):
            raise ValueError(f"{part.name} has chunks of unknown sizes: compute_chunk_sizes()")
        plan = _plan(result, draft, part, array.chunksize)
        done = plan.begin(draft.folder, draft.taken_over)
        targets.append(_chunks.Target(_chunks.fitted(array, plan), plan, done))

    def told(done: int, total: int) -> None:
        session.tell(result.name.step, done, total)

    _chunks.compute(targets, draft.folder, session.workers(), told)
    for target in targets:
        target.plan.finish(draft.folder)


def _record(
    result: Result, seconds: float, size: int, files: Mapping[str, Any], value: bytes
) -> bytes:
    """`result.json`, one line an entry."""
    needs = ", ".join(f'"{each.name.path}"' for each in result.needs)
    lines = (
        "{",
        f' "step": "{result.name.step}",',
        f' "key": "{result.key}",',
        f' "ingredients": {_dumped(result.ingredients)},',
        f' "needs": [{needs}],',
        f' "finished": "{datetime.now(UTC).isoformat(timespec="seconds")}",',
        f' "seconds": {seconds:.6f},',
        f' "bytes": {size},',
        f' "files": {_dumped(files)},',
        f' "digest": "{_keys.digest(value)}",',
        _where(os.getpid()),
    )
    return b"".join(["\n".join(lines).encode(), VALUE, value, b"\n}\n"])


# `json.dumps` makes an encoder a call where it is given an option.
_dumped = json.JSONEncoder(allow_nan=False).encode


@cache
def _where(process: int) -> str:
    """What is the same in all records of a process."""
    host, versions = _dumped(socket.gethostname()), _dumped(_versions())
    return f' "host": {host},\n "process": {process},\n "versions": {versions}'


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("gpuseg", "numpy", "scipy", "scikit-image", "dask", "zarr"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
