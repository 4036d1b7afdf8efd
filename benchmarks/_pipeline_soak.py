"""Processes that share a run and are killed: `python -m benchmarks._pipeline_soak --kills 100`.

One process forks the others, so that a hundred of them cost a hundred forks and not a hundred
imports. Every call of a step's function, and every chunk, writes a line into a log when it begins;
what was begun more often than once is what the kills cost. Prints a line of JSON; a + begins
another soak.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import dask.array as da
import numpy as np

from gpuseg.pipeline import Run, step
from gpuseg.pipeline._claims import Leases
from gpuseg.pipeline._store import split

LOG, SLOW = "", 0.01


def _began(what: str) -> None:
    file = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{what} {os.getpid()} {time.monotonic():.4f}\n".encode())
    os.close(file)
    time.sleep(SLOW)


@step(version="1")
def drawn(seed: int) -> np.ndarray:
    _began(f"drawn-{seed}")
    return np.random.default_rng(seed).integers(0, 255, (40, 40), np.uint8)


@step(version="1")
def total(image: np.ndarray) -> int:
    _began(f"total-{image[0, 0]}-{image.sum()}")
    return int(image.sum())


@step(version="1", storage={"levels": 3})
def volume(seed: int, side: int) -> da.Array:
    return da.ones((side * 16, side * 16), chunks=16, dtype=np.int32).map_blocks(
        _chunk, seed, dtype=np.int32, meta=np.empty((0, 0), np.int32)
    )


def _chunk(block: np.ndarray, seed: int, block_id: tuple[int, ...] = ()) -> np.ndarray:
    _began(f"chunk-{seed}-{block_id}")
    return block * (seed + sum(block_id))


def work(url: str, items: int, side: int, leases: bool) -> None:
    run = Run(url, workers=1)
    if leases:
        run.store.begun({"claims": "leases", "layout": 1})
        folder = run.store.ours.sub("leases")
        run._claims = Leases(folder, beat=0.04, patience=0.25, settle=0.05)
    volumes = [run(volume, seed, side) for seed in range(4)]
    totals = [run(total, run(drawn, seed)) for seed in range(items)]
    run.execute()
    assert all(each.exists() for each in [*volumes, *totals])


def soak(
    url: str, *, processes: int, kills: int, items: int, side: int, leases: bool, seed: int
) -> dict[str, float]:
    """Keep `processes` at work, kill so many of them at random moments, until all is done."""
    rng = random.Random(seed)
    alive: set[int] = set()
    killed: set[int] = set()
    codes: list[int] = []

    def start() -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(url, items, side, leases)
                code = 0
            finally:
                os._exit(code)
        alive.add(pid)

    for _ in range(processes):
        start()
    began = time.monotonic()
    while alive:
        if len(killed) < kills:
            time.sleep(rng.uniform(0, 0.05))
            victim = rng.choice(sorted(alive))
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG if len(killed) < kills else 0)
            if pid == 0:
                break
            alive.discard(pid)
            if pid in killed:
                start()
            else:
                codes.append(os.waitstatus_to_exitcode(code))
            if not alive:
                break
    seconds = time.monotonic() - began
    return {
        "wanted": 2 * items + 4 * side * side,
        "begun": len(_lines()),
        "kills": len(killed),
        "seconds": seconds,
        "failed": sum(code != 0 for code in codes),
    }


def take_over(url: str) -> float:
    """Seconds from the death of an owner to the moment when a process that waits begins."""
    began = time.monotonic()
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            Run(url)(patient, began).get()
            os._exit(0)
        pids.append(pid)
    while not os.path.exists(LOG) or not _lines():
        time.sleep(0.001)
    time.sleep(0.3)
    os.kill(int(_lines()[0][1]), signal.SIGKILL)
    killed = time.monotonic()
    for pid in pids:
        os.waitpid(pid, 0)
    return float(_lines()[1][2]) - killed


@step(version="1")
def patient(began: float) -> float:
    _began("patient")
    time.sleep(3 if len(_lines()) == 1 else 0)
    return began


def _lines() -> list[list[str]]:
    return [line.rsplit(" ", 2) for line in Path(LOG).read_text().splitlines()]


def contents(url: str) -> str:
    """Hash of all that was computed, without the records of when."""
    found = hashlib.sha256()
    for path in sorted(Path(url).rglob("*")):
        if path.is_file() and ".gpuseg" not in path.parts:
            data = path.read_bytes()
            data = split(data)[1] if path.name == "result.json" else data
            found.update(str(path.relative_to(url)).encode() + b"\0" + data)
    return found.hexdigest()


def values(url: str) -> list[tuple[str, bytes]]:
    """Names and values of all results: on a bucket the files' names differ."""
    found = [(each.name.path, np.asarray(each.get()).tobytes()) for each in Run(url).results()]
    return sorted(found)


def left_over(url: str) -> list[str]:
    """Drafts, leases, failures: what should be gone."""
    ours = Path(url) / ".gpuseg"
    folders = [ours / name for name in ("partial", "leases", "failed")]
    return [str(each.relative_to(ours)) for f in folders if f.exists() for each in f.iterdir()]


def main(argv: list[str]) -> dict[str, float]:
    """One soak; its options are those of the command line."""
    global LOG, SLOW
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--side", type=int, default=12)
    parser.add_argument("--slow", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leases", action="store_true")
    parser.add_argument("--bucket", action="store_true", help="through fsspec, with leases")
    parser.add_argument("--take-over", action="store_true")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        common = {"items": options.items, "side": options.side, "seed": options.seed}
        LOG, SLOW = f"{folder}/calm.log", 0.0
        soak(f"{folder}/calm", processes=1, kills=0, leases=False, **common)
        LOG, SLOW = f"{folder}/log", options.slow
        url = f"{'local://' if options.bucket else ''}{folder}/run"
        found = soak(url, processes=options.processes, kills=options.kills,
                     leases=options.leases or options.bucket, **common)  # fmt: skip
        same = values if options.bucket else contents
        found["identical"] = same(url) == same(f"{folder}/calm")
        found["left_over"] = len(left_over(f"{folder}/run"))
        if options.take_over:
            LOG = f"{folder}/owner.log"
            found["take_over"] = take_over(f"{folder}/owner")
    return found


if __name__ == "__main__":
    for options in " ".join(sys.argv[1:]).split("+"):
        print(json.dumps(main(options.split())))
