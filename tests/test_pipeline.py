"""Steps, results and their storage."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import zarr
from pipeline_steps import calls, same, shifted

from gpuseg.pipeline import Run, RunError, Storage, declare, step


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


class Point(NamedTuple):
    x: int
    y: int


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
    assert repr(result).startswith("<result pipeline_steps.shifted/")
    assert result.get() == 3
    assert nested.get() == 6
    assert shifted(1, 2) == 3


@step
def nesting(value):
    return shifted(value, value)


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
    for path in (tmp_path / "a.zarr").rglob("*"):  # some clocks tick a hundred times a second
        os.utime(path, ns=(1, 1))
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
    folder = tmp_path / "run" / "pipeline_steps.shifted" / result.key[:12]
    assert sorted(each.name for each in folder.iterdir()) == [
        "result.json", "value.ome.zarr",
    ]  # fmt: skip
    record = json.loads((folder / "result.json").read_text())
    assert record["step"] == "pipeline_steps.shifted"
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
    with pytest.raises(KeyError, match=r"no result of 'x'; it has pipeline_steps.same"):
        Run(tmp_path / "run")["x"]
    with pytest.raises(TypeError, match="storage has no option 'level'; it has chunks, levels"):
        step(storage={"level": 2})
    for wrong in ({"levels": 0}, {"chunks": (0,)}, {"compression_level": 40}, {"unit": "um"}):
        with pytest.raises(ValueError, match=str(next(iter(wrong.values()))).strip("(),")):
            Storage(**wrong)
