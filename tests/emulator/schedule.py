"""Whose turn it is: in order, or drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Schedule:
    """How a launch interleaves its threads.

    Attributes
    ----------
    seed
        0 runs blocks and threads in order, each until it waits; else both orders are drawn.
    resident
        Blocks that run at the same time.
    preempt
        Mean number of memory accesses after which a thread loses its turn; 0 never.
    step_limit
        Basic blocks that a thread may run in one launch before it counts as hanging.
    """

    seed: int = 0
    resident: int = 1
    preempt: int = 0
    step_limit: int = 2_000_000

    def __str__(self) -> str:
        order = f"seed {self.seed}" if self.seed else "in order"
        preempt = f", preempted every {self.preempt}" if self.preempt else ""
        return f"{order}, {self.resident} resident{preempt}"

    @classmethod
    def drawn(cls, seed: int) -> Schedule:
        """Schedule whose number of blocks and rate of preemption are drawn too."""
        draw = Random(seed)
        return cls(seed + 1, draw.choice((1, 2, 3, 4)), draw.choice((4, 8, 16, 64, 0)))


_current = Schedule()


def current() -> Schedule:
    """Schedule of the next launch, in any thread: blocks of a Dask array run in a pool."""
    return _current


@contextmanager
def scheduled(schedule: Schedule) -> Iterator[Schedule]:
    """Run the launches within the block under `schedule`."""
    global _current
    before, _current = _current, schedule
    try:
        yield schedule
    finally:
        _current = before
