"""Threads, local processes, GPUs or a running Dask cluster: one context manager for all."""

from __future__ import annotations

import importlib.util
import logging
import math
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from itertools import count, islice, repeat
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

from gpuseg._backend import limit_threads, threads

__all__ = ["Distributed", "Threads", "connect"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# Two per worker: the next item waits at the worker while its present one is computed, and yet
# what is read ahead stays independent of the number of items. Through distributed a third one waits
# at the scheduler, for whichever worker is the first to have room.
_IN_FLIGHT, _IN_FLIGHT_FAR = 2, 3
# Bytes of a function that travels with each item.
_SMALL = 1 << 14
# How long a worker that ends early has for its last task.
_PATIENCE_S = 1.0
_ANSWER_WITHIN_S = 10
# What workers tell when the scheduler is closed between a question of theirs and its answer.
_ASKED_TOO_LATE = (
    "Failed to communicate with scheduler during heartbeat",
    "Scheduler was unaware of this worker",
)
_ASK_AGAIN_S = 1


class Threads:
    """Threads of this process; see `connect`.

    Attributes
    ----------
    workers : int
        Number of items computed at a time.
    on_gpu : bool
        Whether mapped functions should compute on the worker's GPU; always false.

    Examples
    --------
    >>> with connect(workers=3) as cluster:
    ...     cluster
    <Threads: 3>
    """

    on_gpu = False

    def __init__(self, pool: ThreadPoolExecutor, workers: int) -> None:
        self._pool = pool
        self.workers = workers

    def __repr__(self) -> str:
        return f"<Threads: {self.workers}>"

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[tuple[Item, Result], None, None]:
        """Yield `(item, function(item))` in the order in which they are completed.

        At most two items per worker are in flight. The first error is raised here; whatever has
        not begun by then, or when the iterator is closed, never runs.

        Parameters
        ----------
        function : callable
            Called with one item; it may use one thread (`gpuseg._backend.threads()` is 1 there).
        items : iterable
            Consumed as fast as results are.

        Examples
        --------
        >>> with connect(workers=2) as cluster:
        ...     sorted(cluster.map(abs, [-2, 1]))
        [(-2, 2), (1, 1)]
        """
        waiting = iter(items)
        running: dict[Future[Result], Item] = {}
        try:
            while True:
                for item in islice(waiting, _IN_FLIGHT * self.workers - len(running)):
                    running[self._pool.submit(_one_thread, function, item)] = item
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item = running.pop(future)
                    yield item, future.result()
        finally:
            for future in running:
                future.cancel()
            wait(running)


class Distributed:
    """The workers of a Dask cluster; see `connect`.

    Attributes
    ----------
    client : distributed.Client
        Connected while the context is open.
    on_gpu : bool
        Whether each worker has a GPU of its own and mapped functions should compute there.

    Examples
    --------
    >>> from distributed import LocalCluster
    >>> with LocalCluster(2, processes=False, memory_limit=0, dashboard_address=":0") as running:
    ...     with connect(running.scheduler_address) as cluster:
    ...         sorted(cluster.map(abs, [-2, 1]))
    [(-2, 2), (1, 1)]
    """

    def __init__(self, client: Any, on_gpu: bool = False) -> None:
        self.client = client
        self.on_gpu = on_gpu
        self._asked, self._workers = -math.inf, 1

    @property
    def workers(self) -> int:
        """Number of items that the cluster computes at a time, over all its workers."""
        # Some workers die, and some come later; to ask costs as much as half an item.
        if time.monotonic() - self._asked > _ASK_AGAIN_S:
            self._workers = max(1, sum(self.client.nthreads().values()))
            self._asked = time.monotonic()
        return self._workers

    def __repr__(self) -> str:
        return f"<Distributed: {self.client!r}>"

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[tuple[Item, Result], None, None]:
        """Yield `(item, function(item))` in the order in which they are completed.

        As `Threads.map`, but with three items per worker in flight. Function, items and results
        are pickled, and `gpuseg` must be installed where the workers run. An item whose worker
        dies is computed again on another one, so `function` may run more than once on an item.
        """
        from distributed import as_completed
        from distributed.protocol.pickle import dumps

        # Megabytes of regions reach each worker once, as the result of a task of their own. Unlike
        # scattered data it is computed again if its worker dies. But whatever depends on it begins
        # 20 ms later, so that what is small travels with each item. As bytes, for
        # the scheduler unpickles what it passes on, and would open slides that it may not see.
        shared: Any = dumps(function)
        if len(shared) > _SMALL:
            shared = self.client.submit(_unpickled, shared, pure=False)
        waiting = iter(items)
        running: dict[Any, Item] = {}
        completed = as_completed(with_results=True)
        # Keys of one name: the scheduler then holds back what no worker has room for.
        keys = zip(repeat(f"item-{uuid4().hex}"), count())

        def fill() -> None:
            room = _IN_FLIGHT_FAR * self.workers - len(running)
            some = list(islice(waiting, max(0, room)))
            if some:
                own = list(islice(keys, len(some)))
                futures = self.client.map(_attempt, [shared] * len(some), some, key=own, pure=False)
                running.update(zip(futures, some, strict=True))
                completed.update(futures)

        try:
            fill()
            for future, answer in completed:
                item = running.pop(future)
                if isinstance(answer, BaseException):  # nobody has computed it, or ever will
                    raise ConnectionError(f"the Dask cluster gave up: {answer}") from answer
                result, error = answer
                if error is not None:
                    raise error
                fill()
                yield item, result
        finally:
            # The scheduler is asked, even for none.
            if running:
                self.client.cancel(list(running))


Cluster: TypeAlias = Threads | Distributed


def _unpickled(function: bytes) -> Callable[..., Any]:
    from distributed.protocol.pickle import loads

    found: Callable[..., Any] = loads(function)
    return found


def _one_thread(function: Callable[[Item], Result], item: Item) -> Result:
    with limit_threads(1):
        return function(item)


def _attempt(
    function: bytes | Callable[[Item], Result], item: Item
) -> tuple[Result | None, Exception | None]:
    """Result or error: a worker logs every error that leaves a task, and it is raised anyway."""
    try:
        called = _unpickled(function) if isinstance(function, bytes) else function
        return _one_thread(called, item), None
    except Exception as error:
        error.add_note(f"On the worker:\n{traceback.format_exc()}")
        return None, error


@contextmanager
def connect(
    scheduler: str | Cluster | None = None,
    *,
    workers: int | None = None,
    threads_per_worker: int | None = None,
) -> Iterator[Cluster]:
    """Open what computes: threads, processes, GPUs or a running Dask cluster.

    While it is open, Dask arrays compute on it as well. Afterwards everything that was started
    here is closed, also on an error or Ctrl-C; a cluster that was running before goes on.

    Parameters
    ----------
    scheduler : str or Cluster, optional
        None: threads of this process. "processes": a local Dask cluster of processes with one
        thread each. "cuda": one worker for each CUDA device (needs CuPy and dask-cuda). An
        address such as "tcp://host:8786", or the path of a scheduler file (`*.json`): the Dask
        cluster running there. What an outer `connect` gave: the same, left open.
    workers : int, optional
        Number of threads, processes or GPUs; default all. Not for a running cluster.
    threads_per_worker : int, optional
        Only for "processes" (default 1) and "cuda" (default: the CPU cores divided among them,
        for they decode images while the GPUs count).

    Yields
    ------
    Cluster
        With `.map(function, items)`, an iterator of `(item, result)` in order of completion, and
        `.workers`, the number of items computed at a time.

    Raises
    ------
    ValueError
        If `scheduler` is no known name, or the counts are no positive integers or don't apply.
    RuntimeError
        If "cuda" is asked for and CuPy, dask-cuda or a device is missing.
    ConnectionError
        If nothing answers at the address, or the cluster there has no workers.

    Notes
    -----
    "processes" and "cuda" start Python processes which import the main script again, so a script
    must do its work under ``if __name__ == "__main__":``.

    Examples
    --------
    >>> with connect(workers=2) as cluster:
    ...     cluster.workers
    2
    """
    for name, value in (("workers", workers), ("threads_per_worker", threads_per_worker)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    with ExitStack() as stack:
        if scheduler is None:
            yield _threads(stack, workers, threads_per_worker)
        elif scheduler == "processes":
            yield _processes(stack, workers, threads_per_worker)
        elif scheduler == "cuda":
            yield _cuda(stack, workers, threads_per_worker)
        else:
            _refuse_counts(workers, threads_per_worker)
            yield scheduler if not isinstance(scheduler, str) else _running(stack, scheduler)


def _refuse_counts(workers: int | None, threads_per_worker: int | None) -> None:
    for name, value in (("workers", workers), ("threads_per_worker", threads_per_worker)):
        if value is not None:
            raise ValueError(f"{name} cannot be set for a cluster that is running, got {value}")


def _threads(stack: ExitStack, workers: int | None, threads_per_worker: int | None) -> Threads:
    import dask.config

    if threads_per_worker is not None:
        raise ValueError(
            "threads_per_worker applies to 'processes' and 'cuda'; set workers for threads, "
            f"got {threads_per_worker}"
        )
    count = workers or threads()
    # Dask gets a pool of its own: were it shared, a mapped function that computes a Dask array
    # would wait for the thread that it occupies.
    stack.enter_context(dask.config.set(scheduler="threads", num_workers=count))
    pool = ThreadPoolExecutor(count, thread_name_prefix="gpuseg")
    stack.callback(pool.shutdown, cancel_futures=True)
    return Threads(pool, count)


_LOCAL = {
    # Nannies tell malloc to give every free page back, and it takes the pages of arrays above
    # 128 kB from the system anew: counting 256² tiles took a third more CPU time, with 49 page
    # faults each. These let a worker keep some tens of megabytes for the next tile.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 64 << 20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 4 << 20,
    # Workers that do nothing wake up 150 times a second, and the scheduler as often. Their profiler
    # sees Python alone, and compiled code is what takes the time.
    "distributed.admin.tick.interval": "500ms",
    "distributed.worker.profile.enabled": False,
}


def _tune(stack: ExitStack) -> None:
    import dask.config

    stack.enter_context(dask.config.set(_LOCAL))


def _processes(
    stack: ExitStack, workers: int | None, threads_per_worker: int | None
) -> Distributed:
    from distributed import LocalCluster

    _tune(stack)
    local = stack.enter_context(
        LocalCluster(
            n_workers=workers or threads(),
            threads_per_worker=threads_per_worker or 1,
            processes=True,
            dashboard_address=":0",
        )
    )
    return _started(stack, local)


def _cuda(stack: ExitStack, workers: int | None, threads_per_worker: int | None) -> Distributed:
    devices = _count_devices()
    if workers is not None and workers > devices:
        raise ValueError(f"workers must be at most the number of GPUs, {devices}, got {workers}")
    count = workers or devices
    from dask_cuda import LocalCUDACluster

    _tune(stack)
    local = stack.enter_context(
        LocalCUDACluster(
            n_workers=count,
            threads_per_worker=threads_per_worker or max(1, threads() // count),
            dashboard_address=":0",
        )
    )
    return _started(stack, local, on_gpu=True)


def _count_devices() -> int:
    missing = [name for name in ("cupy", "dask_cuda") if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(
            f"scheduler 'cuda' needs {' and '.join(missing)}, not installed here: "
            "pip install 'gpuseg[cuda13]' (or [cuda12], by the driver)"
        )
    import cupy

    try:
        devices = int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"scheduler 'cuda' needs a CUDA device: {error}") from error
    if devices == 0:
        raise RuntimeError("scheduler 'cuda' needs a CUDA device, and there is none")
    return devices


def _running(stack: ExitStack, scheduler: str) -> Distributed:
    if "://" not in scheduler and not scheduler.endswith(".json"):
        raise ValueError(
            "scheduler must be None, 'processes', 'cuda', an address such as 'tcp://host:8786' "
            f"or a scheduler file (.json), got {scheduler!r}"
        )
    cluster = _client(stack, scheduler)
    try:
        cluster.client.wait_for_workers(1, timeout=_ANSWER_WITHIN_S)
    except TimeoutError as error:
        raise ConnectionError(
            f"the Dask scheduler at {scheduler!r} has no workers after {_ANSWER_WITHIN_S} s"
        ) from error
    return cluster


def _end_workers(local: Any) -> None:
    """End workers that are in the middle of a task, which nobody waits for any more.

    Dask gives a task four seconds, and then tells of it, and of results that are lost. One that
    compiles takes longer.
    """
    import asyncio

    async def close() -> None:
        nannies = list(local.workers.values())
        await asyncio.gather(*(nanny.close(timeout=_PATIENCE_S) for nanny in nannies))

    for name in ("distributed.nanny", "distributed.scheduler"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("tornado.application").addFilter(_is_news)
    local.sync(close)


def _is_news(record: logging.LogRecord) -> bool:
    """Not that a connection was closed while a result was on its way."""
    from distributed.comm import CommClosedError

    return not (record.exc_info and isinstance(record.exc_info[1], CommClosedError))


def _started(stack: ExitStack, local: Any, on_gpu: bool = False) -> Distributed:
    """Client of a cluster that lives in our process group."""
    from distributed import WorkerPlugin

    def after_an_error(kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            _end_workers(local)

    stack.push(after_an_error)

    class LeaveInterrupts(WorkerPlugin):  # type: ignore[misc]
        # A terminal's Ctrl-C reaches the workers too, which would die of it with a traceback each
        # and be started again. This process closes them, and that it does so in the middle of a
        # task, or of a question to the scheduler, is no news.
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
            logging.getLogger("distributed.worker").addFilter(
                lambda record: not str(record.msg).startswith(_ASKED_TOO_LATE)
            )

    cluster = _client(stack, local, on_gpu)
    cluster.client.register_plugin(LeaveInterrupts())
    return cluster


def _client(stack: ExitStack, where: Any, on_gpu: bool = False) -> Distributed:
    from distributed import Client

    # A scheduler file is waited for without end where it doesn't exist.
    file = isinstance(where, str) and where.endswith(".json")
    if file:
        open(where).close()
    named = {"scheduler_file": where} if file else {"address": where}
    try:
        client = Client(**named, timeout=_ANSWER_WITHIN_S)
    except OSError as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {where!r} within {_ANSWER_WITHIN_S} s: {error}"
        ) from error
    return Distributed(stack.enter_context(client), on_gpu)
