"""Work on parts of an array by the threads given."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

from gpuseg._backend import threads

# Helpers of all calls to `shared`, idle in between.
_MOST = 256
_helpers: list[ThreadPoolExecutor] = []
if hasattr(os, "register_at_fork"):  # a forked process has none of them
    os.register_at_fork(after_in_child=_helpers.clear)

Part = TypeVar("Part")
Result = TypeVar("Result")


def strips(work: Callable[[int, int], Any], size: int, parts: int, multiple: int = 1) -> None:
    """Call `work(start, stop)` over strips of `size` entries.

    Strips begin at multiples of `multiple`.
    """
    edges = [size * i // parts // multiple * multiple for i in range(parts)] + [size]
    workers = min(threads(), parts)
    if workers < 2:
        for start, stop in pairwise(edges):
            work(start, stop)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


def shared(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Results of `work` for each part, in order.

    For work of a few milliseconds. The caller is one of the threads, and each takes the next part
    when it is done with one. To start a thread takes 0.1 ms, and on a busy machine, or a virtual
    one whose other processor sleeps, milliseconds for which whoever starts it waits; so helpers
    stay, and one that comes too late is not waited for.
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

    wanted = min(threads(), len(parts)) - 1
    if wanted > 0 and not _helpers:
        _helpers.append(ThreadPoolExecutor(_MOST, thread_name_prefix="strips"))
    pending = [_helpers[0].submit(take) for _ in range(wanted)]
    try:
        take()
    finally:
        left.clear()
        for helper in pending:
            if not helper.cancel():
                helper.result()
    return [results[k] for k in range(len(parts))]
