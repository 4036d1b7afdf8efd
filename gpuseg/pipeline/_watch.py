"""How far a run is, for whoever looks on."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple


class Standing(NamedTuple):
    """What is computed now.

    Attributes
    ----------
    doing : name of a step, or what is waited for
    done, total : results that exist or failed, of those that were asked for
    chunks, all_chunks : of the present result's arrays, 0 of 0 if they have none
    """

    doing: str
    done: int
    total: int
    chunks: int
    all_chunks: int


# Told now and then by the thread that computes.
watcher: ContextVar[Callable[[Standing], None] | None] = ContextVar("watcher", default=None)


def tell(standing: Standing) -> None:
    """Call the watcher, if there is one."""
    told = watcher.get()
    if told is not None:
        told(standing)
