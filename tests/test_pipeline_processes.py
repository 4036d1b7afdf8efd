"""Many processes on one run: what they divide, what a kill costs, what a sleeper may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gpuseg.pipeline import Run, RunError, step
from gpuseg.pipeline._claims import Leases, Locks
from gpuseg.pipeline._folders import LocalFolder, RemoteFolder
from gpuseg.pipeline._store import Name, is_network

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 600  # seconds, for what takes one or two of a machine that does nothing else
NAME = Name("some.step", "0123456789ab")


@pytest.fixture(scope="module")
def soaks() -> dict[str, dict[str, float]]:
    """What some soaks, forked by one process, found."""
    options = {
        "calm": "--kills=0 --processes=16 --items=60 --side=3 --slow=0.001",
        "locks": "--kills=8 --items=40 --side=4 --slow=0.005",
        "leases": "--kills=3 --items=20 --side=3 --slow=0.005 --leases",
        "bucket": "--kills=2 --items=15 --side=3 --slow=0.005 --bucket",
    }
    command = [sys.executable, "-m", "benchmarks._pipeline_soak", " + ".join(options.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(zip(options, map(json.loads, done.stdout.splitlines()), strict=True))


def test_sixteen_processes_compute_each_item_once(soaks):
    found = soaks["calm"]
    assert found["begun"] == found["wanted"] == 2 * 60 + 4 * 9
    assert found["failed"] == 0
    assert found["identical"]
    assert found["left_over"] == 0


def test_a_kill_costs_at_most_one_chunk(soaks):
    found = soaks["locks"]
    assert found["kills"] == 8
    assert found["begun"] - found["wanted"] <= 8
    assert found["failed"] == 0
    assert found["identical"]
    assert found["left_over"] == 0


@pytest.mark.parametrize("kind", ["leases", "bucket"])
def test_leases_survive_kills_too(kind, soaks):
    assert soaks[kind]["failed"] == 0
    assert soaks[kind]["identical"]


# -- claims --------------------------------------------------------------------------------------


owners: list[Leases] = []


@pytest.fixture(autouse=True)
def no_owners():
    """Threads that renew a lease for ever end with the test."""
    yield
    for owner in owners:
        with owner._guard:
            owner._mine.clear()
    owners.clear()


def quick(folder, **named) -> Leases:
    owners.append(Leases(folder, **{"beat": 0.01, "patience": 0.05, "settle": 0.01, **named}))
    return owners[-1]


@pytest.fixture(params=["locks", "leases", "memory"])
def claims(request, tmp_path):
    """Function that makes claims of one more owner."""
    if request.param == "locks":
        return lambda: Locks(str(tmp_path / "locks"))
    if request.param == "leases":
        return lambda: quick(LocalFolder(str(tmp_path)), patience=PATIENCE)
    return lambda: quick(RemoteFolder(f"memory://{tmp_path.name}"), patience=PATIENCE)


def test_one_owner_at_a_time(claims):
    first, second = claims(), claims()
    assert not first.is_claimed(NAME)
    assert first.claim(NAME)
    assert not first.claim(NAME)
    assert not second.claim(NAME)
    assert second.is_claimed(NAME)
    assert second.claim(NAME._replace(short="0123456789ac"))
    first.release(NAME)
    assert second.claim(NAME)
    assert not first.claim(NAME)


@pytest.mark.parametrize("error", [NotImplementedError, FileExistsError])
def test_leases_on_stores_without_conditional_writes(error, tmp_path, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    pipe = MemoryFileSystem.pipe_file

    def without(self, path, value, mode="overwrite", **named):
        if mode == "create":
            raise error(path)
        pipe(self, path, value, **named)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", without)
    folder = RemoteFolder(f"memory://{tmp_path.name}")
    owner, other = quick(folder, patience=PATIENCE), quick(folder, patience=PATIENCE)
    assert owner.claim(NAME) == (error is NotImplementedError)
    assert not other.claim(NAME)


def test_threads_do_not_share_a_claim(claims):
    owner, got = claims(), []
    threads = [threading.Thread(target=lambda: got.append(owner.claim(NAME))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def test_a_lock_vanishes_with_its_process(tmp_path):
    code = (
        "import os; from gpuseg.pipeline._claims import Locks; from gpuseg.pipeline._store import "
        f"Name; assert Locks({str(tmp_path / 'locks')!r}).claim(Name(*{tuple(NAME)!r})); "
        "print('claimed', flush=True); os.read(0, 1); os.kill(os.getpid(), 9)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    assert other.stdout.readline() == "claimed\n"
    mine = Locks(str(tmp_path / "locks"))
    assert not mine.claim(NAME)
    other.communicate("x")
    assert other.returncode == -9
    assert mine.claim(NAME)


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.005)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_lease_that_stands_still_is_taken_over(kind, tmp_path):
    url = f"memory://{tmp_path.name}"
    folder = LocalFolder(str(tmp_path)) if kind == "local" else RemoteFolder(url)
    dead = quick(folder, beat=3600)
    assert dead.claim(NAME)
    heirs = [quick(folder) for _ in range(3)]
    until(lambda: any(map(Leases.claim, heirs, [NAME] * 3)))
    with dead._guard:
        dead._renew(NAME.flat, 0)
    assert NAME.flat not in dead._mine
    dead.release(NAME)
    assert heirs[0].is_claimed(NAME)


def test_one_look_does_not_tell_a_dead_owner_and_two_do(claims, monkeypatch):
    alive = claims()
    names = [NAME, NAME._replace(short="0123456789ac"), NAME._replace(short="0123456789ad")]
    assert alive.claim(names[0])
    if isinstance(alive, Leases):
        alive._folder.create(names[1].flat, b"dead 0")
        assert claims().is_claimed(names[1])
        pause, here = time.sleep, threading.current_thread()

        def until_the_owner_beats(seconds):
            if threading.current_thread() is not here:
                return pause(seconds)
            before = alive._read(names[0].flat)
            monkeypatch.setattr(time, "sleep", pause)
            return until(lambda: alive._read(names[0].flat) != before)

        monkeypatch.setattr(time, "sleep", until_the_owner_beats)
    looking = claims()
    assert looking.held(names) == {names[0]}
    assert looking.held([]) == set()


def test_a_lease_that_moves_is_not_taken_over_whatever_the_clocks_say(tmp_path, monkeypatch):
    owner = quick(LocalFolder(str(tmp_path)))
    assert owner.claim(NAME)
    other = quick(LocalFolder(str(tmp_path)), patience=PATIENCE)
    for wrong in (0, 4e9):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        os.utime(tmp_path / NAME.flat, (wrong, wrong))
        before = other._read(NAME.flat)
        until(lambda before=before: other._read(NAME.flat) != before)
        assert not other.claim(NAME)
    owner.release(NAME)
    assert other.claim(NAME)


def test_network_file_systems_are_told_from_local_ones(tmp_path, monkeypatch):
    assert not is_network(str(tmp_path))
    mounts = f"1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / {tmp_path}/n rw shared:1 - nfs4 s:/ rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    assert is_network(str(tmp_path / "n" / "run"))
    assert not is_network(str(tmp_path / "next"))
    run = Run(tmp_path / "n" / "run")
    assert isinstance(run.claims, Leases)


# -- an owner that sleeps ------------------------------------------------------------------------

gate = threading.Event()
entered = threading.Event()
calls: list[str] = []


@step(version="1")
def slow(value):
    """The first call waits for the gate; it returns something else, as a bad step may."""
    calls.append("call")
    if len(calls) == 1:
        entered.set()
        assert gate.wait(PATIENCE)
        return np.zeros((50, 60), np.uint8)
    return np.full((50, 60), value, np.uint8)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_an_owner_that_wakes_after_its_lease_was_taken_over(kind, tmp_path):
    gate.clear()
    entered.clear()
    calls.clear()
    url = tmp_path / "run" if kind == "local" else f"memory://{tmp_path.name}"
    sleeper, heir = (Run(url, claims="leases") for _ in range(2))
    for run, beat in ((sleeper, 3600), (heir, 0.01)):
        assert isinstance(run.claims, Leases)
        run._claims = quick(run.store.ours.sub("leases"), beat=beat)
    late: list[object] = []
    thread = threading.Thread(target=lambda: late.append(sleeper(slow, 7).get()))
    thread.start()
    assert entered.wait(PATIENCE)
    assert (heir(slow, 7).get() == 7).all()
    before = heir.store.root.read(f"{heir(slow, 7).name.path}/result.json")
    gate.set()
    thread.join(PATIENCE)
    assert len(calls) == 2
    assert (late[0] == 7).all()
    assert heir.store.root.read(f"{heir(slow, 7).name.path}/result.json") == before
    assert (Run(url)(slow, 7).get() == 7).all()
    assert heir.store.drafts() == []
    heir.store.sweep()
    assert len(list(heir.store.root.names(heir(slow, 7).name.path))) == 4


# -- failures ------------------------------------------------------------------------------------


@step(version="1")
def picky(value):
    calls.append(value)
    if value == 3:
        raise ValueError("no threes")
    return value


@step(version="1")
def doubled(value):
    return 2 * value


def test_what_fails_stops_nothing_else_and_is_tried_again_next_time(tmp_path):
    calls.clear()
    run = Run(tmp_path)
    results = [run(doubled, run(picky, n)) for n in range(6)]
    with pytest.raises(RunError, match="ValueError: no threes") as caught:
        run.execute()
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(caught.value.failures) == 2
    assert any("needs" in why and "which failed" in why for why in caught.value.failures.values())
    assert [each.exists() for each in results] == [True, True, True, False, True, True]
    assert sorted(calls) == list(range(6))
    failure = next(iter(run.store.failures().values()))
    assert failure["ingredients"]["value"] == "3"
    assert any("no threes" in line for line in failure["traceback"])
    calls.clear()
    with pytest.raises(RunError, match="no threes"):
        Run(tmp_path)(picky, 3).get()
    assert calls == [3]


def test_what_failed_elsewhere_meanwhile_is_not_tried_again(tmp_path):
    calls.clear()
    run, other = Run(tmp_path), Run(tmp_path)
    with pytest.raises(RunError):
        run(picky, 3).get()
    waiting = other(picky, 3)

    failures = other.store.failures
    answers = [{}]  # before the other process failed
    other.store.failures = lambda: answers.pop() if answers else failures()
    with pytest.raises(RunError, match="no threes"):
        waiting.get()
    assert calls == [3]


def test_what_failed_between_the_look_and_the_claim_is_not_tried_again(tmp_path):
    calls.clear()
    run, other = Run(tmp_path), Run(tmp_path)
    waiting, claim = other(picky, 3), other.claims.claim

    def late(name):
        with pytest.raises(RunError):
            run(picky, 3).get()
        return claim(name)

    other.claims.claim = late
    with pytest.raises(RunError, match="no threes"):
        waiting.get()
    assert calls == [3]


def test_success_forgives_an_earlier_failure(tmp_path):
    run = Run(tmp_path)
    result = run(picky, 4)
    run.store.begun({"claims": "locks"})
    run.store.fail(result.name, {"id": "x", "error": "before"})
    assert result.get() == 4
    assert run.store.failures() == {}
