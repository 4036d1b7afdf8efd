"""Parts are worked on once each, by the caller and its helpers, and what fails is raised."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from gpuseg._backend import limit_threads
from gpuseg._cpu._strips import shared, strips

PATIENCE = 300  # seconds


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("parts", [0, 1, 3, 40])
def test_results_are_in_order(threads, parts):
    with limit_threads(threads):
        assert shared(lambda k: k * k, range(parts)) == [k * k for k in range(parts)]


def test_caller_and_helper_work_at_once():
    both = threading.Barrier(2, timeout=PATIENCE)
    with limit_threads(2):
        found = shared(lambda _: (both.wait(), threading.get_ident())[1], range(2))
    assert len(set(found)) == 2
    assert threading.get_ident() in found


FORKED = """
import os, sys, threading
from gpuseg._backend import limit_threads
from gpuseg._cpu._strips import shared

with limit_threads(2):
    shared(str, range(2))
    child = os.fork()
    both = threading.Barrier(2, timeout=float(sys.argv[1]))
    shared(lambda _: both.wait(), range(2))
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="for systems that fork")
def test_a_forked_process_has_helpers_of_its_own():
    """Of a process that has no other threads, whose locks the child would find taken."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, str(PATIENCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("culprit", ["caller", "helper"])
def test_an_error_ends_the_work(culprit):
    both, caller = threading.Barrier(2, timeout=PATIENCE), threading.get_ident()
    done = []

    def work(k):
        if k < 2:
            both.wait()
            if (threading.get_ident() == caller) == (culprit == "caller"):
                raise ValueError("no such part")
        done.append(k)

    with limit_threads(2), pytest.raises(ValueError, match="no such part"):
        shared(work, range(100))
    assert len(done) == len(set(done))


def test_strips_cover_everything_once_and_begin_at_multiples():
    found = []
    with limit_threads(3):
        strips(lambda start, stop: found.append((start, stop)), 103, 4, 8)
    assert sorted(found) == [(0, 24), (24, 48), (48, 72), (72, 103)]
