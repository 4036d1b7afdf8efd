"""What makes two calls of a step the same: values, files, code."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_steps import calls, same, shifted

from gpuseg.pipeline import File, Run, declare, step


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


def test_calls_that_mean_the_same_have_one_key(tmp_path):
    run = Run(tmp_path)
    assert run(shifted, 1).key == run(shifted, 1, 1).key == run(shifted, by=1, image=1).key
    assert run(shifted, 1, np.int64(5)).key == run(shifted, 1, 5).key
    assert run(shifted, np.arange(6).reshape(2, 3).T).key == (
        run(shifted, np.ascontiguousarray(np.arange(6).reshape(2, 3).T)).key
    )
    assert run(same, {"a": 1, "b": 2}).key == run(same, {"b": 2, "a": 1}).key
    assert run(same, {1, 2, 30}).key == run(same, {30, 2, 1}).key


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Settings:
    sigma: float
    names: list[str]


class Point(NamedTuple):
    y: int
    x: int


DIFFERENT = [
    [None, False, 0, 0.0, -0.0, "0", b"0", "", [], (), {}, math.nan, np.float32(0), 0j],
    [[1, 2], (1, 2), [[1], 2], [1, [2]], {1, 2}, {1: 2}, "1, 2", Point(1, 2)],
    [Colour.RED, Colour.BLUE, Settings(1.0, []), Settings(1, []), Settings(1.0, ["a"])],
    [np.zeros(2), np.zeros(3), np.zeros(2, "f4"), np.zeros((2, 1)), np.zeros(2, ">f8")],
    [np.zeros(2, "M8[s]"), np.zeros(2, [("a", "f4"), ("b", "f4")]), np.zeros(())],
    [math.sin, "x" * 500, "x" * 501, np.dtype("u1"), np.uint8, Path, pd.DataFrame({"a": [1]})],
    [pd.DataFrame({"a": [2]}), pd.DataFrame({"b": [1]}), declare(1, "t"), declare(1, "u")],
]


def test_values_that_differ_have_keys_that_differ(tmp_path):
    run = Run(tmp_path)
    values = [each for group in DIFFERENT for each in group if each is not math.sin]
    assert len({run(same, each).key for each in values}) == len(values)
    assert run(same, declare(object(), "t")).key == run(same, declare(1, "t")).key


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
                    | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
       st.data())  # fmt: skip
def test_keys_tell_json_values_apart(value, data):
    run = Run("/nowhere")
    other = data.draw(st.sampled_from([[value], {"": value}, (value,), str(value)]))
    assert run(same, value).key == run(same, value).key
    assert (run(same, value).key == run(same, other).key) == (
        type(value) is type(other) and value == other
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (threading.Lock(), "a _thread.lock cannot be told"),
        (object(), "declare"),
        ([1, {"deep": iter([])}], "list_iterator"),
        (np.array([object()]), "array of object has no content"),
        (np.ma.array([1], mask=[True]), "masked array has two contents"),
        (np.sin, "ufunc cannot be told"),
    ],
)
def test_unhashable_arguments_are_named(value, reason, tmp_path):
    with pytest.raises(TypeError, match=rf"argument 'value' of pipeline_steps.same: .*{reason}"):
        Run(tmp_path)(same, value)


def test_arguments_that_do_not_fit(tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'bye'"):
        Run(tmp_path)(shifted, 1, bye=2)
    for wrong in (3, [].append, Point(1, 2).index, functools.partial(same, 1), Point):
        with pytest.raises(TypeError, match=r"a step is a function, got|no source"):
            Run(tmp_path)(wrong)
    with pytest.raises(ValueError, match="token must be a string that is not empty, got ''"):
        declare(1, "")


def test_results_of_other_runs_are_refused(tmp_path):
    other = Run(tmp_path / "a")(same, 1)
    with pytest.raises(ValueError, match=r"belongs to <Run .*a'>; get"):
        Run(tmp_path / "b")(same, other)


def test_results_are_not_hidden_in_what_is_not_unwrapped(tmp_path):
    run = Run(tmp_path)
    inner = run(same, 1)
    for value in (Point(inner, 1), Settings(inner, []), frozenset({inner})):
        with pytest.raises(TypeError, match=r"argument 'value' .*<result .* within a \w+: lists"):
            run(same, value)
    assert run(same, {"a": (inner, [inner])}).get() == {"a": (1, [1])}


def script(tmp_path: Path, text: str, name: str = "made"):
    """A module of this text, also where two texts are of one length and one moment."""
    import importlib.util
    import linecache

    path = tmp_path / f"{name}.py"
    path.write_text(text)
    linecache.cache.pop(str(path), None)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    Path(spec.cached).unlink(missing_ok=True)
    spec.loader.exec_module(module)
    return module


BASE = """
from gpuseg.pipeline import step
FACTOR = 2
def helper(x):
    return x * FACTOR
def unused(x):
    return x
class Box:
    def __init__(self, x):
        self.x = x
{decorator}
def f(x):
    return helper(Box(x).x) + 1
"""


@pytest.mark.parametrize(
    ("change", "recomputes"),
    [
        (("x) + 1", "x) + 2"), True),
        (("self.x = x", "self.x = x + 1"), True),
        (("FACTOR = 2", "FACTOR = 3"), True),
        (("x * FACTOR", "FACTOR * x"), True),
        (("def unused(x):\n    return x", "def unused(x):\n    return -x"), False),
        (("@step", "@step(storage={'levels': 1})"), False),
    ],
)
def test_edited_code_is_another_step(change, recomputes, tmp_path):
    run = Run(tmp_path / "run")
    text = BASE.format(decorator="@step")
    before = run(script(tmp_path, text).f, 1).key
    after = run(script(tmp_path, text.replace(*change)).f, 1).key
    assert (before != after) == recomputes


def test_pinned_code_stays_the_same_step(tmp_path):
    run = Run(tmp_path / "run")
    text = BASE.format(decorator="@step(version='1')")
    before = run(script(tmp_path, text).f, 1).key
    assert run(script(tmp_path, text.replace("+ 1", "+ 2")).f, 1).key == before
    assert run(script(tmp_path, text.replace("'1'", "'2'")).f, 1).key != before


def test_two_versions_of_a_step_in_one_run(tmp_path):
    run = Run(tmp_path / "run")
    text = BASE.format(decorator="@step")
    first = run(script(tmp_path, text).f, 1)
    assert first.get() == 3
    second = run(script(tmp_path, text.replace("+ 1", "+ 2")).f, 1)
    assert (second.get(), first.get()) == (4, 3)
    with pytest.raises(KeyError, match=r"has 2 results of 'f', name one: made.f/.*version="):
        run["f"]
    assert run[first.name.path].get() == 3
    assert {each.get() for each in run.results("made.f")} == {3, 4}


def test_keys_are_the_same_in_every_process(tmp_path):
    text = (
        "from gpuseg.pipeline import Run, step\n"
        "KNOWN = frozenset({'otsu', 'li', 'yen', 'mean'})\n"
        "def f(x, names):\n    return x in KNOWN, names\n"
        "if __name__ == '__main__':\n"
        "    print(Run('/nowhere')(f, 1, {'p', 'q', 'r', 'otsu', 'li'}).key)\n"
    )
    (tmp_path / "keys.py").write_text(text)
    keys = set()
    for seed in "12":
        command = [sys.executable, str(tmp_path / "keys.py")]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        keys.add(subprocess.run(command, env=environment, check=True, stdout=-1).stdout)
    module = script(tmp_path, text, "keys")
    keys.add(f"{Run('/nowhere')(module.f, 1, set('pqr') | {'otsu', 'li'}).key}\n".encode())
    assert len(keys) == 1


def test_captured_values_count(tmp_path):
    def power(n):
        def f(x):
            return x**n

        return f

    run = Run(tmp_path)
    assert run(power(2), 3).key != run(power(3), 3).key
    assert run(power(2), 3).key == run(power(2), 3).key
    assert (run(power(2), 3).get(), run(power(3), 3).get()) == (9, 27)
    with pytest.raises(TypeError, match=r"captured 'n': a _thread.lock"):
        run(power(threading.Lock()), 3)


def test_what_has_no_source_needs_a_version(tmp_path):
    with pytest.raises(TypeError, match="no source that could be hashed; pin"):
        step(math.sqrt)
    assert Run(tmp_path)(step(version="1")(math.sqrt), 9).get() == 3.0


def test_names_do_not_depend_on_how_a_script_is_run(tmp_path):
    module = script(tmp_path, BASE.format(decorator="@step"), "study")
    assert module.f.name == "study.f"
    plain = module.unused
    plain.__module__ = "__main__"
    assert Run(tmp_path)(plain, 1).name.step == "study.unused"


@step(version="1")
def length(path):
    calls.append("length")
    return len(Path(path).read_bytes())


def test_files_count_by_their_state(tmp_path):
    run, path = Run(tmp_path / "run"), tmp_path / "a.txt"
    path.write_bytes(b"abc")
    assert run(length, path).get() == 3
    by_content = run(length, File(str(path), by="content"))
    os.utime(path, ns=(1, 1))
    assert run(length, path).get() == 3
    assert calls == ["length"] * 2
    path.write_bytes(b"abd")
    assert run(length, File(str(path), by="content")).key != by_content.key
    assert run(length, str(path)).key != run(length, path).key
    with pytest.raises(FileNotFoundError, match=r"b.txt"):
        run(length, tmp_path / "b.txt")
    with pytest.raises(ValueError, match="by must be 'state' or 'content', got 'size'"):
        File("a", by="size")


def test_folders_and_urls_count_too(tmp_path):
    run, folder = Run(tmp_path / "run"), tmp_path / "f"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_bytes(b"1")
    keys = {run(same, folder).key, run(same, File(folder, by="content")).key}
    (folder / "deep" / "a").write_bytes(b"2")
    keys |= {run(same, File(folder, by="content")).key}
    (folder / "b").write_bytes(b"")
    keys |= {run(same, folder).key}
    assert len(keys) == 4
    import fsspec

    urls = set()
    for content in (b"1", b"22"):
        fsspec.filesystem("memory").pipe_file("/files/a", content)
        urls |= {run(same, File("memory://files/a", by=by)).key for by in ("state", "content")}
    assert len(urls) == 4
