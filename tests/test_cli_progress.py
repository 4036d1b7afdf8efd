from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from gpuseg.cli import main
from gpuseg.cli.progress import Progress, duration
from gpuseg.pipeline import Run, step
from gpuseg.pipeline._watch import Standing, watcher


@pytest.fixture(autouse=True)
def lines_of_progress(monkeypatch):
    monkeypatch.setattr("gpuseg.cli.progress._EVERY_S", 5.0)


@step(version="1")
def slow(number):
    return number + 1


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(stream: io.StringIO, seconds: float, slides: int = 1, show: bool = True) -> str:
    """Twenty boxes of 16 Mpx, one each `seconds`."""
    clock = Clock()
    with Progress(slides, show=show, stream=stream, clock=clock) as progress:
        for number in range(slides):
            progress.slide(f"s{number}.svs")
            progress.update(0, 20, 0, 320_000_000)
            for box in range(1, 21):
                clock.now += seconds
                progress.update(box, 20, box * 16_000_000, 320_000_000)
    return stream.getvalue()


def test_a_log_gets_a_line_every_few_seconds():
    lines = run(io.StringIO(), 1.0).splitlines()
    assert len(lines) == 3
    assert re.sub(r"^[\d:]+", "T", lines[1]) == (
        "T  s0.svs  50%  160 of 320 Mpx  16 Mpx/s  10 s left"
    )


def test_a_short_run_says_nothing_in_a_log():
    assert run(io.StringIO(), 0.1) == ""


def test_a_log_of_many_short_slides_stays_short():
    lines = run(io.StringIO(), 1 / 64, slides=160).splitlines()
    assert len(lines) == 160 * 20 / 64 // 5 - 1
    assert "slide 145 of 160" in lines[-1]


def test_no_progress_is_no_progress():
    assert run(io.StringIO(), 10.0, show=False) == ""
    assert run(Terminal(), 10.0, show=False) == ""


def test_a_terminal_gets_a_bar_with_throughput_and_time_left():
    text = run(Terminal(), 1.0, slides=2)
    assert "slides" in text
    assert "s1.svs" in text
    assert re.search(r"[\d,]+ Mpx/s", text)


def test_what_a_former_run_has_left_is_no_part_of_the_speed():
    stream, clock = io.StringIO(), Clock()
    with Progress(1, stream=stream, clock=clock) as progress:
        progress.slide("a.svs")
        progress.update(10, 20, 160_000_000, 320_000_000)
        clock.now += 8
        progress.update(11, 20, 176_000_000, 320_000_000)
    assert "2.0 Mpx/s  1 min 12 s left" in stream.getvalue()


def test_lines_that_stay_are_printed_as_they_are():
    for stream in (io.StringIO(), Terminal()):
        with Progress(1, stream=stream) as progress:
            progress.say("a[1].svs: [bold]no[/bold]")
        assert "a[1].svs: [bold]no[/bold]" in stream.getvalue()


def test_durations():
    assert [duration(s) for s in (0, 9.94, 59.4, 60, 3599, 86400)] == [
        "0.0 s",
        "9.9 s",
        "59 s",
        "1 min 0 s",
        "59 min 59 s",
        "24 h 0 min",
    ]


SCRIPT = """
import dask.array as da
from gpuseg.pipeline import Run, step

@step(version="1")
def ones(number):
    return da.full((64, 64), number, chunks=32, dtype="u1")

@step(version="1")
def total(image):
    print("total:", int(image.sum()))
    return int(image.sum())

with Run("kept") as run:
    for number in (1, 2):
        total(ones(number))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(SCRIPT)
    return "script.py"


def test_a_run_tells_results_and_chunks(script, monkeypatch, capsys):
    monkeypatch.setattr("gpuseg.cli.progress._EVERY_S", 0.0)
    assert main(["run", script]) == 0
    out, err = capsys.readouterr()
    lines = re.sub(r"(?m)^[\d:]+", "T", err).splitlines()
    assert any("script.ones  4 of 4 chunks  " in line for line in lines)
    assert any(line.startswith("T  script.total  ") for line in lines)
    assert lines[-1].startswith("gpuseg run: 4 of 4 results are there")
    assert sorted(out.splitlines()) == ["total: 4096", "total: 8192"]
    assert main(["run", script]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_run_on_a_terminal(script, monkeypatch, capsys):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    assert main(["run", script]) == 0
    assert "of 4 results" in stream.getvalue()
    # What the script prints is not mixed with the bar where it goes into a file.
    assert sorted(capsys.readouterr().out.splitlines()) == ["total: 4096", "total: 8192"]
    assert stream.getvalue().rstrip().endswith("4 computed at the end of the script")


def test_a_run_without_progress(script, monkeypatch, capsys):
    monkeypatch.setattr("gpuseg.cli.progress._EVERY_S", 0.0)
    assert main(["run", "--no-progress", script]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_run_that_waits_for_others(tmp_path):
    seen: list[Standing] = []
    shared = Run(tmp_path / "kept")
    result = shared(slow, 3)
    assert shared.claims.claim(result.name)

    def look(now):
        seen.append(now)
        shared.claims.release(result.name)

    token = watcher.set(look)
    try:
        assert result.get() == 4
    finally:
        watcher.reset(token)
    assert [each.doing for each in seen] == ["waiting for others", result.name.step]
