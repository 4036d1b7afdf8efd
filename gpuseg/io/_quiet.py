"""Keeps what codecs and parsers log about damaged files from reaching the user's terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def _not_quiet(record: logging.LogRecord) -> bool:
    return not _quiet.get()


@contextmanager
def quiet() -> Iterator[None]:
    """Drop log records of tifffile and imagecodecs made by this thread within the block.

    What matters of them is raised; the same libraries, used by others, log as before.
    """
    for name in ("tifffile", "imagecodecs"):
        # Adding a filter that is there already does nothing.
        logging.getLogger(name).addFilter(_not_quiet)
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)
