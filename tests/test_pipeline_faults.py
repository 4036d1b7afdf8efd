"""Stores that fail, workers and schedulers that die."""

from __future__ import annotations

import errno
import glob
import os
import signal
import subprocess
import sys
import threading
import time

import dask.array as da
import numpy as np
import pytest
from _disk import full_disk

from gpuseg.pipeline import Run, RunError, Stored, step
from gpuseg.pipeline._folders import LocalFolder
from gpuseg.pipeline._upkeep import cleanup

IMAGE = np.arange(4096).reshape(64, 64)
guard = threading.Lock()
calls: list[object] = []


@step(version="1")
def same(value):
    return value


@step(version="1", storage={"levels": 1, "compressor": None})
def chunked(array, size=16):
    def block(block, block_id=None):
        with guard:
            calls.append(block_id)
        return block * 2

    meta = np.empty((0, 0), array.dtype)
    return da.from_array(array, chunks=size).map_blocks(block, dtype=array.dtype, meta=meta)


def refuse(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_store_that_becomes_read_only(tmp_path, monkeypatch):
    run = Run(tmp_path)
    assert run(same, 1).get() == 1
    for owner, name in ((os, "mkdir"), (os, "rename"), (LocalFolder, "write_plainly")):
        monkeypatch.setattr(owner, name, refuse)
    again = Run(tmp_path)
    assert again(same, 1).get() == 1
    assert again["same"].get() == 1
    with pytest.raises(RunError, match=r"same/\w+: OSError: .*Read-only file system"):
        again(same, 2).get()
    fresh = Run(tmp_path / "fresh")
    with pytest.raises(OSError, match=r"same/\w+ isn't in <Run .*can't be written: .*Read-only"):
        fresh(same, 2).get()
    monkeypatch.undo()
    assert again(same, 2).get() == 2


@pytest.mark.parametrize("left", [b"", b"{", None])
def test_a_record_that_the_disk_never_got_is_computed_again(left, tmp_path):
    run = Run(tmp_path)
    result = run(same, [1, 2])
    result.get()
    path = tmp_path / result.name.path / "result.json"
    path.write_bytes(path.read_bytes().replace(b"[1, 2]", b"[1, \0]") if left is None else left)
    with pytest.raises(ValueError, match=r"result.json is damaged|Expecting value|control char"):
        Stored(run, result.name).get()
    with pytest.warns(RuntimeWarning, match="it is computed again"):
        assert Run(tmp_path)(same, [1, 2]).get() == [1, 2]
    assert result.get() == [1, 2]


def test_cleanup_keeps_what_a_script_took_by_name(tmp_path):
    run = Run(tmp_path)
    run(same, [1, 2]).get()
    script = Run(tmp_path)
    taken = script(same, script["same"][0])
    assert taken.get() == 1
    assert cleanup(script, script.declared.values()) == []
    assert len(run.results()) == 2


def test_a_full_disk_keeps_what_is_written(tmp_path):
    calls.clear()
    Run(tmp_path / "elsewhere")(chunked, IMAGE).get()
    run = Run(tmp_path)
    image = IMAGE.copy()
    image[:32] = 0  # these chunks are small enough to fit
    with full_disk(1800):
        with pytest.raises(RunError, match=r"8 chunks failed, the others are kept: chunk \(2, 0\)"):
            run(chunked, image).get()
        with pytest.raises(RunError, match="File too large"):
            run(same, list(range(1000))).get()
    assert run.results() == []
    calls.clear()
    assert (Run(tmp_path)(chunked, image).get().compute() == image * 2).all()
    assert sorted(calls) == [(row, column) for row in (2, 3) for column in range(4)]
    assert Run(tmp_path)(same, list(range(1000))).get()[-1] == 999
    assert run.store.drafts() == []


def test_an_interrupt_leaves_a_draft_that_is_taken_up(tmp_path, monkeypatch):
    calls.clear()
    run = Run(tmp_path)
    write, written = LocalFolder.write, []

    def stop(self, name, data):
        write(self, name, data)
        if "/c/" in name:
            written.append(name)
        if len(written) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            run(chunked, IMAGE).get()
    assert not run.claims.is_claimed(run(chunked, IMAGE).name)
    calls.clear()
    assert (run(chunked, IMAGE).get().compute() == IMAGE * 2).all()
    # A thread of the interrupted call may still have been at one of them.
    assert 0 < len(set(calls)) <= 11


def worker_killer(folder):
    """A block function that kills its worker once, in the middle of its work."""
    marker, log = str(folder / "killed"), str(folder / "log")

    def block(block, block_id=None):
        with open(log, "a") as file:
            file.write(f"{block_id}\n")
        if block_id == (1, 1) and not os.path.exists(marker):
            with open(marker, "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        return block * 2

    return block


def lazy(block, size=32):
    meta = np.empty((0, 0), IMAGE.dtype)
    return da.from_array(IMAGE, chunks=size).map_blocks(block, dtype=IMAGE.dtype, meta=meta)


def test_a_killed_worker_of_dask_costs_its_chunk(tmp_path):
    made = step(version="1", storage={"levels": 2})(lambda: lazy(worker_killer(tmp_path)))
    run = Run(tmp_path / "run", scheduler="processes", workers=1)
    assert (run(made).get().compute() == IMAGE * 2).all()
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines.count("(1, 1)") == 2
    assert len(lines) <= 4 + 3  # what Dask had not heard of yet


def test_a_killed_scheduler_leaves_what_is_written(tmp_path):
    """The cluster dies at the third chunk; the next run computes the rest without it."""
    command = (
        "import asyncio, os, sys; from distributed import Scheduler, Worker\n"
        "async def main():\n"
        "    async with Scheduler(port=0, dashboard=False) as s, "
        "Worker(s.address, nthreads=1, dashboard=False):\n"
        "        print(s.address, flush=True); await s.finished()\n"
        "asyncio.run(main())"
    )
    cluster = subprocess.Popen([sys.executable, "-c", command], stdout=-1, stderr=-3, text=True)
    address = cluster.stdout.readline().strip()
    log = str(tmp_path / "log")
    written = f"{tmp_path}/run/.gpuseg/partial/*/value.ome.zarr/0/c/*/*"

    def block(block, block_id=None):
        with open(log, "a") as file:
            file.write(f"{block_id}\n")
        if block_id == (1, 0) and os.getpid() != here:
            end = time.monotonic() + 300
            while not glob.glob(written) and time.monotonic() < end:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return block * 2

    here = os.getpid()
    made = step(version="1", storage={"levels": 1})(lambda: lazy(block))
    with pytest.raises(RunError, match=r"cluster was lost|closed|lost|cancelled"):
        Run(tmp_path / "run", scheduler=address)(made).get()
    assert cluster.wait(600) == -9
    cluster.stdout.close()
    before = (tmp_path / "log").read_text().splitlines()
    again = Run(tmp_path / "run")
    _, folder = again.store.drafts()[0]
    kept = len(list(folder.names("value.ome.zarr/0/c")))
    assert (again(made).get().compute() == IMAGE * 2).all()
    after = (tmp_path / "log").read_text().splitlines()
    assert kept >= 1
    assert len(after) - len(before) == 4 - kept
