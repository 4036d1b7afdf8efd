"""Side-by-side timing: contestants alternate in one run, medians are kept, answers come first."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]

_TURN = 0.1


def compare(
    name: str,
    contestants: Mapping[str, Callable[[], Any]],
    *,
    size: str,
    unit_count: float | None = None,
    unit: str = "px",
    repeats: int = 5,
    check: Callable[[Mapping[str, Any]], None] | None = None,
    goal: float | None = None,
) -> Row:
    """Median wall time of each contestant; the first one is ours.

    Every contestant runs once unmeasured: that warms caches, and its results go to `check`,
    which raises where the answers differ. Then they take turns, so that a drift of the machine's
    speed meets all alike. A turn is one call, or as many as take a tenth of a second: what a call
    of milliseconds takes after a peer's seconds on one core depends on when the machine wakes its
    other cores. `goal` is the smallest ratio to the best peer that counts as reached.
    """
    answers = {who: run() for who, run in contestants.items()}
    if check is not None:
        check(answers)
    answers.clear()
    times: dict[str, list[float]] = {who: [] for who in contestants}
    for _ in range(repeats):
        for who, run in contestants.items():
            times[who].append(_turn(run))
    seconds = {who: statistics.median(values) for who, values in times.items()}
    return row(
        name, seconds, size=size, repeats=repeats, unit_count=unit_count, unit=unit, goal=goal
    )


def _turn(run: Callable[[], Any]) -> float:
    """Seconds a call."""
    start, calls = time.perf_counter(), 0
    while True:
        run()
        calls += 1
        seconds = time.perf_counter() - start
        if seconds >= _TURN:
            return seconds / calls


def row(
    name: str,
    seconds: Mapping[str, float],
    *,
    size: str,
    repeats: int,
    unit_count: float | None = None,
    unit: str = "px",
    goal: float | None = None,
    peak_mb: Mapping[str, float] | None = None,
    measured_in: str = "s",
    more_is_better: bool = False,
) -> Row:
    """One line of results; `seconds` (or what is measured instead) by contestant, ours first."""
    ours = next(iter(seconds))
    result: Row = {
        "name": name,
        "size": size,
        "repeats": repeats,
        "seconds": dict(seconds),
        "ratio": {
            who: seconds[ours] / s if more_is_better else s / seconds[ours]
            for who, s in seconds.items()
            if who != ours and (s if more_is_better else seconds[ours])
        },
    }
    if unit_count is not None:
        result["throughput"] = {who: unit_count / s for who, s in seconds.items()}
        result["unit"] = unit
    if goal is not None:
        result["goal"] = goal
    if measured_in != "s":
        result["measured_in"] = measured_in
    if peak_mb is not None:
        result["peak_mb"] = dict(peak_mb)
    return result


# Peak memory counts from the fork, when a process still has its parent's pages: a benchmark that
# imported everything would see its own. So a small process starts and watches the measured one.
_WATCHER = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:])
wall = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
os.write(int(sys.argv[1]), json.dumps([code, wall, peak]).encode())
"""


def measure_process(
    argv: Sequence[str], *, repeats: int = 5, environment: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Median wall time and peak resident memory (its own and its children's) of a whole process.

    Raises
    ------
    RuntimeError
        If the process fails; the message carries the end of what it printed.
    """
    walls, peaks = [], []
    for _ in range(repeats):
        source, sink = os.pipe()
        finished = subprocess.run(
            [sys.executable, "-SEc", _WATCHER, str(sink), *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            pass_fds=(sink,),
        )
        os.close(sink)
        with os.fdopen(source) as answer:
            code, wall, peak = json.loads(answer.read())
        if code != 0:
            printed = finished.stdout.decode(errors="replace")
            raise RuntimeError(f"{argv} failed: {printed[-2000:]}")
        walls.append(wall)
        peaks.append(peak / (1024 if sys.platform != "darwin" else 1024**2))
    return {"wall_s": statistics.median(walls), "peak_mb": statistics.median(peaks)}
