"""Work on parts of an array by the threads given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gpuseg._backend import threads

Part = TypeVar("Part")
Result = TypeVar("Result")


def strips(work: Callable[[int, int], Any], size: int, parts: int, multiple: int = 1) -> None:
    """Call `work(start, stop)` over strips of `size` entries.

    Strips begin at multiples of `multiple`.
    """
    edges = [size * i // parts // multiple * multiple for i in range(parts)] + [size]
    shared(lambda i: work(edges[i], edges[i + 1]), range(parts))


def shared(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Results of `work` for each part, in order.

    The caller is one of the threads, and each takes the next part when it is done with one: a
    thread that has just been started may wait for milliseconds until it runs, on a busy machine or
    a virtual one whose other processor sleeps. One that comes too late is not waited for.
    """
    left = deque(range(len(parts)))
    results: dict[int, Result] = {}

    def take() -> None:
        while left:
            try:
                k = left.popleft()
            except IndexError:  # another thread was faster
                return
            results[k] = work(parts[k])

    helpers = min(threads(), len(parts)) - 1
    if helpers < 1:
        take()
        return [results[k] for k in range(len(parts))]
    pool = ThreadPoolExecutor(helpers)
    pending = [pool.submit(take) for _ in range(helpers)]
    try:
        take()
    finally:
        left.clear()
        pool.shutdown(wait=False, cancel_futures=True)
        for helper in pending:
            if not helper.cancelled():
                helper.result()
    return [results[k] for k in range(len(parts))]
