"""Remembered steps beside jug, joblib and the bare zarr loop."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._harness import Row, compare, measure_process, row
from gpuseg.pipeline import Run, random_settings, step, sweep
from gpuseg.pipeline._arrays import Storage, make_plan
from gpuseg.pipeline._claims import Locks
from gpuseg.pipeline._reports import status
from gpuseg.pipeline._store import Name

ROOT = Path(__file__).resolve().parent.parent


@step
def doubled(value: int, by: int = 2) -> int:
    return value * by


def plain(value: int, by: int = 2) -> int:
    return value * by


def by_gpuseg(folder: str) -> Callable[[int], Any]:
    run = Run(folder)
    return lambda value: run(doubled, value).get()


def by_jug(folder: str) -> Callable[[int], Any]:
    jug = importlib.import_module("jug")
    jug.task.Task.store = importlib.import_module("jug.backends.file_store").file_store(folder)

    def call(value: int) -> Any:
        task = jug.Task(plain, value)
        if not task.can_load():
            assert task.lock()
            try:
                task.run()
            finally:
                task.unlock()
        return task.value()

    return call


def by_joblib(folder: str) -> Callable[[int], Any]:
    joblib = importlib.import_module("joblib")
    cached: Callable[[int], Any] = joblib.Memory(folder, verbose=0).cache(plain)
    return cached


def calls(folder: str, number: int, repeats: int) -> list[Row]:
    """A thousand calls, all new, or all remembered."""
    makers = {"gpuseg": by_gpuseg, "jug": by_jug, "joblib": by_joblib}
    present = {}
    for who, make in makers.items():
        try:
            present[who] = make(f"{folder}/{who}")
        except ImportError:
            continue
    fresh = count()

    def new(call: Callable[[int], Any]) -> Any:
        return [call(next(fresh)) for _ in range(number)][:0]

    def old(call: Callable[[int], Any]) -> Any:
        return [call(-value) for value in range(number)]

    def check(answers: Any) -> None:
        assert all(answer == [-2 * value for value in range(number)] for answer in answers.values())

    size = f"{number} calls of one number"
    common: dict[str, Any] = {"size": size, "unit_count": number, "unit": "calls"}
    return [
        compare("step remembered", {w: lambda c=c: old(c) for w, c in present.items()},
                repeats=repeats, check=check, **common),
        compare("step computed", {w: lambda c=c: new(c) for w, c in present.items()},
                repeats=repeats, **common),
    ]  # fmt: skip


def claims(folder: str, number: int, repeats: int) -> Row:
    """Claim, rename of what is written, release: beside jug's lock file."""
    locks = Locks(f"{folder}/locks")
    names = [Name("a.b", f"{n:012x}") for n in range(number)]
    pairs = [(Path(folder, f"t{n}"), Path(folder, f"c{n}")) for n in range(number)]

    def ours() -> None:
        for source, _ in pairs:
            source.touch()
        began = time.perf_counter()
        for name, (source, target) in zip(names, pairs, strict=True):
            locks.claim(name)
            source.replace(target)
            locks.release(name)
        taken.append(time.perf_counter() - began)

    taken: list[float] = []
    for _ in range(repeats):
        ours()
    seconds = {"gpuseg": sorted(taken)[repeats // 2]}
    try:
        file_store = importlib.import_module("jug.backends.file_store")
        lock = file_store.file_store(f"{folder}/jug").getlock
        began = time.perf_counter()
        for name in names:
            each = lock(name.short.encode())
            each.get()
            each.release()
        seconds["jug's lock alone"] = time.perf_counter() - began
    except ImportError:
        pass
    return row("claim and completion", seconds, size=f"{number} chunks", repeats=repeats,
               unit_count=number, unit="chunks")  # fmt: skip


def many_chunks(folder: str, side: int, repeats: int) -> Row:
    """Status of a run whose array is being written."""
    import zarr

    run = Run(f"{folder}/chunks")
    run.store.begun({"claims": "locks"})
    draft = run.store.draft(Name("a.b", "0123456789ab"))
    plan = make_plan("value", (side, side), np.dtype("u1"), (1, 1), Storage(levels=1))
    plan.begin(draft.folder, False)
    level = Path(f"{folder}/chunks/.gpuseg/partial").iterdir().__next__() / plan.name / "0"
    for y in range(side):
        (level / "c" / str(y)).mkdir(parents=True)
        for x in range(side):
            (level / "c" / str(y) / str(x)).touch()
    array = zarr.open_array(str(level), mode="r")
    contestants: dict[str, Callable[[], Any]] = {"gpuseg": lambda: status(run)[0]["chunks"]}
    if side <= 40:  # 80 s for 100,000 chunks
        contestants["zarr, nchunks_initialized"] = lambda: array.nchunks_initialized

    def check(answers: Any) -> None:
        assert answers["gpuseg"] == f"{side * side} of {side * side}"

    return compare("status of a run", contestants, size=f"{side * side} chunks", check=check,
                   unit_count=side * side, unit="chunks", repeats=repeats)  # fmt: skip


def parameters(folder: str, side: int, repeats: int) -> Row:
    """4 Gaussians × 25 thresholds."""
    from skimage.filters import gaussian

    image = np.random.default_rng(0).random((side, side), np.float32)
    smooth = step(version="1")(gaussian)
    share = step(version="1")(lambda image, level: float((image > level).mean()))
    grid = {"sigma": [1, 2, 4, 8], "level": [0.4 + n / 125 for n in range(25)]}
    number = count()

    def ours() -> Any:
        run = Run(f"{folder}/sweep{next(number)}")
        rows = sweep(run, lambda sigma, level: run(share, run(smooth, image, sigma), level), grid)
        return {(r["sigma"], r["level"]): r["score"] for r in rows}

    def theirs() -> Any:
        return {(s, t): float((gaussian(image, s) > t).mean())
                for s in grid["sigma"] for t in grid["level"]}  # fmt: skip

    def check(answers: Any) -> None:
        ours, *others = answers.values()
        assert all(each == ours for each in others)

    return compare("sweep", {"gpuseg": ours, "loop": theirs}, size=f"4 × 25, {side}²",
                   repeats=repeats, check=check, unit_count=100, unit="settings")  # fmt: skip


def pyramid(side: int, repeats: int) -> Row:
    """A label image of 5 levels: whole processes, with their memory."""
    measured = {
        who: measure_process(
            [sys.executable, "-m", "benchmarks._pipeline_process", kind, str(side)],
            repeats=repeats, environment={"PYTHONPATH": str(ROOT)},
        )
        for who, kind in {"gpuseg": "ours", "zarr loop": "zarr", "imports": "nothing"}.items()
    }  # fmt: skip
    base = measured.pop("imports")
    seconds = {who: each["wall_s"] - base["wall_s"] for who, each in measured.items()}
    peaks = {who: each["peak_mb"] - base["peak_mb"] for who, each in measured.items()}
    return row("labels to OME-Zarr", seconds, size=f"{side}² int32, 5 levels", repeats=repeats,
               unit_count=side * side, peak_mb=peaks, goal=1 / 1.1)  # fmt: skip


def killed(kills: int, items: int) -> Row:
    """Four processes and so many kills, beside none: what is computed again."""
    found = {}
    for number in (kills, 0):
        command = ["-m", "benchmarks._pipeline_soak", f"--kills={number}", f"--items={items}",
                   "--take-over"]  # fmt: skip
        done = subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=ROOT)
        found[number] = json.loads(done.stdout)
    hurt, calm = found[kills], found[0]
    assert hurt["identical"]
    assert hurt["failed"] == hurt["left_over"] == 0
    assert hurt["begun"] - hurt["wanted"] <= kills
    assert calm["begun"] == calm["wanted"]
    assert max(hurt["take_over"], calm["take_over"]) < 1
    seconds = {"gpuseg": hurt["seconds"], "gpuseg, no kills": calm["seconds"]}
    size = f"4 processes, {kills} kills, {hurt['begun'] - hurt['wanted']} of {hurt['wanted']} again"
    return row("run under kills", seconds, size=size, repeats=1)


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else 5
    assert len(random_settings({"a": (0, 1)}, 3)) == 3
    with tempfile.TemporaryDirectory() as folder:
        rows = calls(folder, 20 if quick else 1000, repeats)
        rows.append(claims(folder, 50 if quick else 5000, repeats))
        rows.append(many_chunks(folder, 6 if quick else 316, repeats))
        if not quick:
            rows.append(many_chunks(f"{folder}/few", 40, repeats))
        rows.append(parameters(folder, 64 if quick else 1024, repeats))
    if not quick:
        rows.append(pyramid(16384, 3))
        rows.append(killed(100, 300))
    return rows
