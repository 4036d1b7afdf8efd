"""Steps and their keys, results and their storage."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.pipeline import File, Run, RunError, Storage, declare, step

calls: list[object] = []


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


@step
def shifted(image, by=1):
    calls.append(by)
    return image + by


@step(version="1")
def same(value):
    calls.append("same")
    return value


@pytest.fixture(params=["local", "memory", "leases"])
def run(request, tmp_path) -> Run:
    """A run on each kind of store, and with each kind of claims."""
    if request.param == "memory":
        return Run(f"memory://{tmp_path.name}-{id(request)}")
    claims = "leases" if request.param == "leases" else None
    return Run(tmp_path / "run", claims=claims)


def test_nothing_runs_until_asked_and_then_once(run):
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    result = run(shifted, image, 2)
    assert calls == []
    assert not result.exists()
    for _ in range(2):
        got = result.get()
        assert got.dtype == np.uint8
        assert (got == image + 2).all()
    assert (np.asarray(run(shifted, image, by=2)) == image + 2).all()
    assert calls == [2]


def test_another_process_finds_it(run):
    run(shifted, np.ones(3), 2).get()
    calls.clear()
    again = Run(run.store.root.path if hasattr(run.store.root, "path") else run.store.root.url)
    assert again(shifted, np.ones(3), 2).get().tolist() == [3, 3, 3]
    assert again["shifted"].get().tolist() == [3, 3, 3]
    assert calls == []


def test_steps_of_steps(run):
    first = run(shifted, np.zeros(2), 1)
    second = run(shifted, first, 10)
    total = run(same, {"a": [first, second], "n": 3})
    value = total.get()
    assert value["n"] == 3
    assert [each.tolist() for each in value["a"]] == [[1, 1], [11, 11]]
    assert calls == [1, 10, "same"]
    assert run["same"].record["needs"] == [first.name.path, second.name.path]


def test_items_of_results(run):
    pair = run(same, (np.arange(3), {"count": 7}))
    assert pair[1]["count"].get() == 7
    assert pair[0].get().tolist() == [0, 1, 2]
    assert run(shifted, pair[0], 5).get().tolist() == [5, 6, 7]
    assert run(shifted, pair[0]).key != run(shifted, pair).key
    with pytest.raises(TypeError, match="take its items by number"):
        _, _ = pair


def test_with_a_run_steps_are_declared_and_elsewhere_called(run):
    assert shifted(1, 2) == 3
    with run:
        result = shifted(1, 2)
        nested = nesting(3)
    assert repr(result).startswith(f"<result {__name__}.shifted/")
    assert result.get() == 3
    assert nested.get() == 6
    assert shifted(1, 2) == 3


@step
def nesting(value):
    return shifted(value, value)


# -- keys ----------------------------------------------------------------------------------------


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
    with pytest.raises(TypeError, match=rf"argument 'value' of {__name__}.same: .*{reason}"):
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
    """A module of this text."""
    import importlib.util
    import linecache

    path = tmp_path / f"{name}.py"
    path.write_text(text)
    linecache.checkcache(str(path))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
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


# -- files ---------------------------------------------------------------------------------------


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


# -- arrays --------------------------------------------------------------------------------------


def test_dask_arrays_count_by_content(tmp_path):
    run, image = Run(tmp_path / "run"), np.arange(20).reshape(4, 5)
    one, two = (da.from_array(image, chunks=2, name=name) for name in ("one", "two"))
    assert run(shifted, one).key == run(shifted, two).key
    assert run(shifted, one + 1).key != run(shifted, one).key
    assert run(shifted, declare(one, "v1")).key != run(shifted, declare(one, "v2")).key
    lazy = run(shifted, image).lazy()
    assert run(shifted, lazy).ingredients["image"].startswith("gpuseg-result-")
    assert (run(shifted, lazy).get().compute() == image + 2).all()


def test_zarr_arrays_count_by_their_files(tmp_path):
    run = Run(tmp_path / "run")
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(4, 4), chunks=(2, 2), dtype="i4")
    stored[:] = 1
    before = run(same, stored)
    assert np.asarray(before).sum() == 16
    stored[0, 0] = 5
    assert run(same, stored).key != before.key
    memory = zarr.create_array({}, shape=(2,), dtype="i4")
    memory[:] = 3
    key = run(same, memory).key
    memory[:] = 4
    assert run(same, memory).key != key


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3), np.uint8),
        np.array(5.5),
        np.arange(7, dtype=">i2"),
        np.array([[True, False]]),
        np.array([-0.0, 0.0, np.nan, np.inf], np.float32).reshape(2, 2),
        np.arange(8, dtype=np.complex64).reshape(2, 4),
        np.full((3, 3), 2**64 - 1, np.uint64),
        np.arange(24).reshape(1, 2, 3, 4, 1)[:, ::-1],
        np.zeros((1,) * 6, np.float16),
        np.arange(2**21, dtype=np.uint16).reshape(1024, 2048),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back_as_they_were(array, run):
    for kind in (lambda a: a, lambda a: da.from_array(a, chunks="auto")):
        result = run(same, declare(kind(array), str(kind)))
        got = result.get()
        assert type(got) is type(kind(array))
        for each in (np.asarray(got), result.lazy().compute()):
            assert each.shape == array.shape
            assert each.dtype == array.dtype.newbyteorder("=")
            assert each.tobytes() == array.astype(each.dtype).tobytes()


def test_cupy_arrays_come_back_to_the_device(xp, tmp_path):
    if xp is np:
        pytest.skip("see the test above")
    run = Run(tmp_path)
    image = xp.asarray(np.arange(6, dtype=np.int32).reshape(2, 3))
    got = run(same, image).get()
    assert isinstance(got, xp.ndarray)
    assert got.get().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert run(same, image).key != run(same, image.get()).key


def test_values_come_back_as_they_were(run):
    value = {
        "text": "ä",
        "none": None,
        "floats": [1.5, math.inf, -math.inf],
        "tuple": (1, (2, [3])),
        "numbers": np.float32(0.1),
        3: "by number",
        "point": Point(1, 2),
        "big": 2**70,
    }
    got = run(same, declare(value, "a")).get()
    assert got == value
    assert type(got["numbers"]) is np.float32
    assert type(got["point"]) is Point
    assert math.isnan(run(same, declare(math.nan, "b")).get())
    assert run(same, declare({"$": 1}, "c")).get() == {"$": 1}


def test_tables_come_back_as_they_were(run):
    frame = pd.DataFrame({"label": np.arange(3, dtype=np.uint64), "name": ["a", "b", None]})
    frame.index = pd.Index([5, 6, 7], name="id")
    columns = {"label": np.arange(3, dtype=np.int32), "area": np.array([1.5, 2, np.nan])}
    table = pa.table({"x": [1, None, 3]})
    value = run(same, declare([frame, columns, table], "tables")).get()
    pd.testing.assert_frame_equal(value[0], frame)
    assert {name: each.dtype for name, each in value[1].items()} == {
        "label": np.int32,
        "area": np.float64,
    }
    np.testing.assert_array_equal(value[1]["area"], columns["area"])
    assert value[2].equals(table)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "value.a.1 is a builtins.object; a step returns arrays, tables"),
        (np.array(["a", None]), r"value.a.1: arrays are stored as .*, got object"),
        (np.ma.array([1]), "value.a.1 is a masked array"),
        (np.complex64(1), "value.a.1 is a complex64, which JSON can't hold"),
        (Path("x"), "value.a.1 is a pathlib"),
    ],
)
def test_results_that_no_file_holds_are_refused(value, reason, tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(RunError, match=reason):
        run(same, declare({"a": [1, value]}, "x")).get()
    assert run.results() == []
    assert run.store.drafts() == []


def test_layout_is_one_to_browse(tmp_path):
    run = Run(tmp_path / "run")
    result = run(shifted, np.ones((3, 3)), by=2)
    result.get()
    folder = tmp_path / "run" / f"{__name__}.shifted" / result.key[:12]
    assert sorted(each.name for each in folder.iterdir()) == [
        "result.json", "value.ome.zarr",
    ]  # fmt: skip
    record = json.loads((folder / "result.json").read_text())
    assert record["step"] == f"{__name__}.shifted"
    assert record["ingredients"]["by"] == "2"
    assert record["ingredients"]["image"].startswith("array <f8 (3, 3) ")
    assert record["seconds"] > 0
    assert record["bytes"] == sum(
        each.stat().st_size for each in folder.rglob("*")
        if each.is_file() and each.name != "result.json"
    ) + len(json.dumps(record["value"]))  # fmt: skip
    assert set(record) >= {"key", "finished", "host", "versions", "needs"}


def test_wrong_runs_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="a run is a folder, got the file"):
        Run(tmp_path / "file")
    with pytest.raises(ValueError, match="claims must be 'locks' or 'leases', got 'x'"):
        Run(tmp_path, claims="x")
    with pytest.raises(ValueError, match="locks are for local folders, got 'memory://x'"):
        Run("memory://x", claims="locks")
    with pytest.raises(ValueError, match="storage_options are for URLs"):
        Run(tmp_path, storage_options={"anon": True})
    Run(tmp_path / "run")(same, 1).get()
    with pytest.raises(ValueError, match="is run with locks, got claims='leases'"):
        Run(tmp_path / "run", claims="leases")(same, 2).get()
    with pytest.raises(KeyError, match=rf"no result of 'x'; it has {__name__}.same"):
        Run(tmp_path / "run")["x"]
    with pytest.raises(TypeError, match="storage has no option 'level'; it has chunks, levels"):
        step(storage={"level": 2})
    for wrong in ({"levels": 0}, {"chunks": (0,)}, {"compression_level": 40}):
        with pytest.raises(ValueError, match=str(next(iter(wrong.values()))).strip("(),")):
            Storage(**wrong)
