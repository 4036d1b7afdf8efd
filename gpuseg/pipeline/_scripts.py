"""Scripts that declare results: run for them, or only read for what they want."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from gpuseg.pipeline._results import NotReady
from gpuseg.pipeline.run import Run, declaring, opened


class Script(NamedTuple):
    """Runs that a script made; `stopped` at a value that isn't there yet, if it was only read."""

    runs: list[Run]
    stopped: str | None


def run_script(path: str, arguments: Sequence[str] = ()) -> Script:
    """Run a script as `python path arguments…` would.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    return _loaded(path, arguments, False)


def read_script(path: str, arguments: Sequence[str] = ()) -> Script:
    """Run a script up to the first value that isn't there; nothing is computed."""
    return _loaded(path, arguments, True)


def _loaded(path: str, arguments: Sequence[str], only_read: bool) -> Script:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no script {path!r}")
    runs: list[Run] = []
    stopped = None
    tokens = opened.set(runs), declaring.set(only_read)
    try:
        with _arguments(path, arguments):
            runpy.run_path(path, run_name="__main__")
    except NotReady as wanted:
        stopped = str(wanted)
    finally:
        opened.reset(tokens[0])
        declaring.reset(tokens[1])
    return Script(runs, stopped)


@contextmanager
def _arguments(path: str, arguments: Sequence[str]) -> Iterator[None]:
    before, folders = sys.argv, sys.path[:]
    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before, folders
