"""Benchmarks run, on tiny sizes and with their checks of equal answers."""

from __future__ import annotations

import importlib
import json

import pytest

from benchmarks import _harness
from benchmarks import run as runner
from benchmarks._harness import compare, measure_process


@pytest.fixture(autouse=True)
def _one_call_a_turn(monkeypatch):
    monkeypatch.setattr(_harness, "_TURN", 0.0)


@pytest.mark.parametrize("noun", runner.names())
def test_benchmark_runs(noun, monkeypatch):
    monkeypatch.setenv("GPUSEG_BENCH_REPEATS", "1")
    try:
        module = importlib.import_module(f"benchmarks.bench_{noun}")
    except ImportError as error:
        pytest.skip(f"a peer is not installed: {error}")
    rows = list(module.run(quick=True))
    assert rows
    json.dumps(rows)
    assert runner.table({"machine": runner.machine(), "rows": rows})


def test_contestants_alternate_and_are_checked_first():
    calls = []
    row = compare(
        "order",
        {"ours": lambda: calls.append("a"), "theirs": lambda: calls.append("b")},
        size="none",
        repeats=2,
        check=lambda answers: calls.append("check"),
    )
    assert calls == ["a", "b", "check", "a", "b", "a", "b"]
    assert list(row["ratio"]) == ["theirs"]


def test_a_turn_of_short_calls_is_several(monkeypatch):
    seconds = iter([10.0, 10.04, 10.08, 10.12])
    monkeypatch.setattr(_harness, "_TURN", 0.1)
    monkeypatch.setattr(_harness.time, "perf_counter", lambda: next(seconds))
    calls = []
    row = compare("turns", {"ours": lambda: calls.append(1)}, size="none", repeats=1)
    assert len(calls) == 1 + 3
    assert row["seconds"]["ours"] == pytest.approx(0.04)


def test_unequal_answers_stop_a_benchmark():
    def check(answers):
        assert answers["ours"] == answers["theirs"]

    with pytest.raises(AssertionError):
        compare("wrong", {"ours": lambda: 1, "theirs": lambda: 2}, size="none", check=check)


def test_readme_table_lists_losses():
    rows = [{"name": "a", "size": "1", "seconds": {"gpuseg": 2.0, "x": 1e-4}, "ratio": {"x": 5e-5}}]
    shown = runner.table({"machine": {"cores": "2", "processor": "P"}, "rows": rows})
    assert "| a | 1 | 2.00 s | x | 100 µs | 0.00 |" in shown


def test_process_is_measured(tmp_path):
    import sys

    measured = measure_process([sys.executable, "-c", "bytearray(50_000_000)"], repeats=1)
    assert measured["peak_mb"] > 50
    with pytest.raises(RuntimeError, match="boom"):
        measure_process([sys.executable, "-c", "raise SystemExit('boom')"], repeats=1)
