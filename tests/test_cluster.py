"""Threads, processes and running clusters compute the same, end with the block, and say why not."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

import gpuseg.cluster
from gpuseg import _backend
from gpuseg.cluster import connect

# Functions that travel to other processes are defined inside the tests: these are pickled by
# value, whereas a test module cannot be imported there.


@pytest.fixture(scope="module")
def processes():
    with connect("processes", workers=2) as cluster:
        yield cluster


@pytest.fixture(params=["threads", "processes"])
def cluster(request):
    if request.param == "processes":
        yield request.getfixturevalue("processes")
    else:
        with connect(workers=2) as opened:
            yield opened


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_every_item_is_answered_once(cluster, count):
    def square(item):
        return item * item

    assert cluster.workers == 2
    answers = list(cluster.map(square, iter(range(count))))
    assert sorted(answers) == [(item, item * item) for item in range(count)]


def test_few_items_are_in_flight(cluster):
    taken = []
    ahead = []

    def items():
        for item in range(50):
            taken.append(item)
            yield item

    for done, _ in enumerate(cluster.map(abs, items())):
        ahead.append(len(taken) - done)
    assert taken == list(range(50))
    # Two or three per worker, and those that are completed and not yet handed over.
    assert max(ahead) <= 2 * 2 * cluster.workers


def test_a_mapped_function_has_one_thread_to_itself(cluster):
    def allowed(_):
        from gpuseg._backend import threads

        return threads()

    assert {result for _, result in cluster.map(allowed, range(4))} == {1}
    assert _backend.threads() >= 1


def test_the_error_of_an_item_is_raised_with_its_place(cluster):
    def divide(item):
        return 1 / item

    with pytest.raises(ZeroDivisionError) as caught:
        list(cluster.map(divide, [1, 2, 0, 3]))
    notes = "".join(getattr(caught.value, "__notes__", []))
    assert isinstance(cluster, gpuseg.cluster.Threads) or "in divide" in notes
    assert sorted(cluster.map(abs, [-1])) == [(-1, 1)]


@pytest.mark.parametrize("workers", [1, 2])
def test_after_an_error_or_a_break_nothing_begins(workers):
    began, threads = [], set()

    def fail(item):
        threads.add(threading.current_thread())
        began.append(item)
        if item == 3:
            raise OSError("tile 3")
        return item

    with connect(workers=workers) as cluster:
        with pytest.raises(OSError, match="tile 3"):
            list(cluster.map(fail, range(100)))
        after_the_error = len(began)
        if workers == 1:  # the other one of two may do any number while one is failing
            assert after_the_error <= 3 + 2
        answers = cluster.map(fail, range(4, 100))
        next(answers)
        answers.close()
        assert len(began) - after_the_error <= 2 * workers
        whole = len(began)
        assert list(cluster.map(abs, [-1])) == [(-1, 1)]
        assert len(began) == whole
    assert threads
    assert not any(thread.is_alive() for thread in threads)


def test_dask_arrays_compute_on_it():
    def where(block):
        return np.full(block.shape, os.getpid())

    array = da.zeros((4, 4), chunks=2, dtype=np.int64).map_blocks(where, dtype=np.int64)
    with connect(workers=1):
        assert dask.config.get("num_workers") == 1
        assert set(np.unique(array.compute())) == {os.getpid()}
    with connect("processes", workers=1):
        assert os.getpid() not in np.unique(array.compute())
    assert dask.config.get("num_workers", None) is None


def test_a_mapped_function_may_compute_a_dask_array():
    def total(item):
        return int(da.ones((4, 4), chunks=2, dtype=int).sum().compute()) * item

    with connect(workers=1) as cluster:
        assert dict(cluster.map(total, [1, 2])) == {1: 16, 2: 32}


def test_a_few_items_are_shared_out(processes, tmp_path):
    """Each waits until both processes have one: a process of its own could not end."""
    folder, patience = str(tmp_path), 300

    def where(item):
        with open(f"{folder}/{os.getpid()}", "w"):
            pass
        end = time.monotonic() + patience
        while len(os.listdir(folder)) < 2:
            assert time.monotonic() < end, "one worker has all the items"
            time.sleep(0.01)
        return os.getpid()

    assert len({pid for _, pid in processes.map(where, range(4))}) == 2


def test_the_items_of_a_killed_worker_are_done_again(tmp_path):
    """A large function reaches the workers in another way."""

    def dying(died, ballast):
        def die_once(item):
            if item == 5 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return len(ballast) - item

        return die_once

    with connect("processes", workers=2) as cluster:
        for weight in (0, 1 << 20):
            died = tmp_path / str(weight)
            answers = cluster.map(dying(died, bytes(weight)), range(12))
            assert dict(answers) == {item: weight - item for item in range(12)}
            assert died.exists()


def test_an_outer_cluster_is_used_and_left_open():
    with connect(workers=2) as outer:
        with connect(outer) as inner:
            assert inner is outer
        assert list(outer.map(abs, [-1])) == [(-1, 1)]
        with (
            pytest.raises(ValueError, match=r"workers cannot be set.* got 3"),
            connect(outer, workers=3),
        ):
            pass


def test_a_running_cluster_is_joined_and_left_running(tmp_path):
    # A worker that is this process would stand still where earlier tests have used much memory.
    with LocalCluster(
        n_workers=1,
        threads_per_worker=3,
        processes=False,
        memory_limit=0,
        dashboard_address=":0",
    ) as running:
        with connect(running.scheduler_address) as cluster:
            assert cluster.workers == 3
            assert sorted(cluster.map(abs, [-2, 1])) == [(-2, 2), (1, 1)]
            file = tmp_path / "scheduler.json"
            cluster.client.write_scheduler_file(str(file))
        with connect(str(file)) as cluster:
            assert list(cluster.map(abs, [-7])) == [(-7, 7)]


def test_nothing_at_the_address_is_a_clear_error(monkeypatch, tmp_path):
    with socket.socket() as taken, monkeypatch.context() as patch:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        patch.setattr(gpuseg.cluster, "_ANSWER_WITHIN_S", 0.3)
        with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at '{address}'"):
            connect(address).__enter__()
    with pytest.raises(FileNotFoundError, match=r"missing\.json"):
        connect(str(tmp_path / "missing.json")).__enter__()


def test_a_scheduler_without_workers_is_a_clear_error(monkeypatch):
    wait = Client.wait_for_workers
    monkeypatch.setattr(Client, "wait_for_workers", lambda self, n, timeout: wait(self, n, 0.1))
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as running,
        pytest.raises(ConnectionError, match="has no workers"),
    ):
        connect(running.scheduler_address).__enter__()


def test_a_missing_gpu_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(gpuseg.cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"needs cupy and dask_cuda.*pip install 'gpuseg\[cuda"):
        connect("cuda").__enter__()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheduler": "thread"}, "scheduler must be .* got 'thread'"),
        ({"workers": 0}, "workers must be a positive integer, got 0"),
        ({"workers": 1.5}, "workers must be a positive integer, got 1.5"),
        ({"threads_per_worker": 2}, "threads_per_worker applies to .* got 2"),
        ({"scheduler": "tcp://host:1", "workers": 2}, "workers cannot be set .* got 2"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        connect(**arguments).__enter__()


# A terminal sends the signal to the whole group, workers included. Here it comes between two calls
# of distributed: within them, and within destructors, Python may tell of it and go on.
INTERRUPTED = """
import os, signal, sys, time
from gpuseg.cluster import connect

scheduler, seconds, begun = sys.argv[1:]

def slow(item):
    if item > 1:
        open(f"{begun}/{item}", "w").close()
        time.sleep(float(seconds))
    return item

if __name__ == "__main__":
    # What runs the tests in the background may have had the signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with connect(scheduler or None, workers=2) as cluster:
            for item, _ in cluster.map(slow, range(100_000)):
                print(item, flush=True)
                while len(os.listdir(begun)) < 2:
                    time.sleep(0.01)
                os.killpg(os.getpgrp(), signal.SIGINT)
                time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted")
"""


# A worker in the middle of a long task is not waited for.
@pytest.mark.parametrize(
    ("scheduler", "seconds"), [("", "0.1"), ("processes", "0.1"), ("processes", "900")]
)
def test_ctrl_c_ends_it_quietly(tmp_path, scheduler, seconds):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    (tmp_path / "begun").mkdir()
    done = subprocess.run(
        [sys.executable, str(script), scheduler, seconds, str(tmp_path / "begun")],
        capture_output=True,
        text=True,
        timeout=600,
        start_new_session=True,
        # What clusters of other tests leave behind is removed by whoever sees it first.
        env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
    )
    assert done.stderr == ""
    assert done.stdout in ("0\ninterrupted\n", "1\ninterrupted\n")
    assert done.returncode == 0


def test_workers_do_not_tell_that_their_scheduler_is_closed(processes):
    """It closes first, and a worker that is slow to follow may ask it once more."""

    def told(item):
        logger, records = logging.getLogger("distributed.worker"), []
        handler = logging.Handler()
        handler.emit = records.append
        logger.addHandler(handler)
        try:
            logger.error("Failed to communicate with scheduler during heartbeat.")
            logger.error("Something else")
        finally:
            logger.removeHandler(handler)
        return [record.getMessage() for record in records]

    assert dict(processes.map(told, [0])) == {0: ["Something else"]}


def test_connections_that_end_early_are_not_told_of(caplog):
    """A result may be on its way when the block ends with an error."""
    with pytest.raises(ZeroDivisionError), connect("processes", workers=1):
        raise ZeroDivisionError
    caplog.clear()
    for error in (CommClosedError("Stream is closed"), ValueError("another")):
        logging.getLogger("tornado.application").error("callback", exc_info=error)
    assert [str(record.exc_info[1]) for record in caplog.records] == ["another"]


def test_a_function_that_a_worker_cannot_read_is_an_error(processes):
    class Unreadable:
        def __init__(self, padding: int = 0) -> None:
            self.padding = bytes(padding)

        def __call__(self, item: int) -> int:
            return item

        def __reduce__(self):
            def opened(padding: bytes):
                raise FileNotFoundError("a.svs: there is no such file")

            return opened, (self.padding,)

    # What is large travels by itself.
    for padding in (0, 1 << 20):
        with pytest.raises(FileNotFoundError, match=r"a.svs: there is no such file"):
            list(processes.map(Unreadable(padding), range(5)))
    assert sorted(processes.map(abs, range(3))) == [(0, 0), (1, 1), (2, 2)]


def test_the_scheduler_opens_nothing(processes):
    """Only workers need see the files."""

    class Opened:
        def __call__(self, item: int) -> int:
            return item

        def __reduce__(self):
            def opened():
                import distributed

                distributed.get_worker()
                return abs

            return opened, ()

    assert sorted(processes.map(Opened(), [-1, -2])) == [(-2, 2), (-1, 1)]


def test_workers_find_relative_paths_wherever_they_are(processes, tmp_path, monkeypatch):
    from gpuseg import positive_pixel_count as ppc
    from gpuseg.io import imread

    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    monkeypatch.chdir(tmp_path)  # the workers have begun elsewhere
    tifffile.imwrite("a.tif", image, tile=(128, 128), photometric="rgb")
    params = ppc.Parameters()
    counted = ppc.count_slide("a.tif", params, scheduler=processes)[0]
    assert counted == ppc.count(image, params)
    with connect(processes):
        np.testing.assert_array_equal(imread("a.ti*").compute()[0], image)
        np.testing.assert_array_equal(imread("a.tif", preprocess=lambda x: x).compute()[0], image)


def test_workers_segment_relative_paths_wherever_they_are(processes, tmp_path, monkeypatch, capsys):
    import gpuseg.cluster
    from gpuseg.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpuseg.cluster, "connect", lambda *_, **__: nullcontext(processes))
    y, x = np.mgrid[:64, :64]
    image = np.where((y - 30) ** 2 + (x - 30) ** 2 < 100, 900, 100).astype(np.uint16)
    os.mkdir("images")
    tifffile.imwrite("images/a.tif", image)
    tifffile.imwrite("images/b.tif", image)
    assert main(["segment", "images/*.tif", "--recipe", "nuclei", "--out", "run"]) == 0
    assert "2 images: 2 segmented; 2 objects in run" in capsys.readouterr().err
    assert sorted(os.listdir("run/labels")) == ["a.tif", "b.tif"]
    with open("run/summary.csv") as file:
        assert file.read().splitlines()[1].startswith("images/a.tif,nuclei,64 x 64")
