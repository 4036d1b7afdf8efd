"""Work on parts of an array by the threads given."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from gpuseg._backend import threads


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
