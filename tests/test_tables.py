from __future__ import annotations

import builtins
import csv
import importlib.util
import json
import os
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from gpuseg.io.tables import check_table, replacing, table_bytes, write_table

ROWS = [
    {"slide": 'a, "b"\n.svs', "region": "Tümor 1", "NumberPositive": 2**60, "mean": 1 / 3},
    {"slide": "b.svs", "NumberPositive": 0, "area": None, "skipped": True},
]


def test_csv_reads_back_with_the_csv_module(tmp_path: Path):
    write_table(tmp_path / "t.csv", ROWS)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert list(first) == ["slide", "region", "NumberPositive", "mean", "area", "skipped"]
    assert first["slide"] == ROWS[0]["slide"]
    assert first["region"] == "Tümor 1"
    assert int(first["NumberPositive"]) == 2**60
    assert float(first["mean"]) == 1 / 3
    assert second["area"] == second["region"] == ""


def test_json_is_an_array_of_the_rows(tmp_path: Path):
    write_table(tmp_path / "t.json", [*ROWS, {"slide": "c", "mean": float("nan")}])
    read = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert read == [*ROWS, {"slide": "c", "mean": None}]


def test_parquet_keeps_types_and_marks_what_is_missing(tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    write_table(tmp_path / "t.parquet", ROWS)
    frame = pandas.read_parquet(tmp_path / "t.parquet")
    assert frame["NumberPositive"].tolist() == [2**60, 0]
    assert frame["NumberPositive"].dtype == "int64"
    assert frame["mean"].iloc[0] == 1 / 3
    assert frame["region"].isna().tolist() == [False, True]


def test_names_that_are_no_utf8_are_written_with_an_escape(tmp_path: Path):
    rows = [{"slide": os.fsdecode(b"a\xff.svs")}]
    assert table_bytes(rows, ".csv").decode().splitlines()[1] == r"a\udcff.svs"
    assert json.loads(table_bytes(rows, ".json")) == rows
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "t.parquet", rows)
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == [{"slide": r"a\udcff.svs"}]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_a_table_without_rows_is_a_file_all_the_same(tmp_path: Path, suffix: str):
    write_table(tmp_path / f"t{suffix}", [])
    assert (tmp_path / f"t{suffix}").exists()


@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1),
            st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
            min_size=1,
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_numbers_survive_every_text_form(rows: list[dict[str, float]]):
    assert json.loads(table_bytes(rows, ".json")) == rows
    lines = table_bytes(rows, ".csv").decode().splitlines()
    for row, read in zip(rows, csv.DictReader(lines), strict=True):
        assert {k: type(row[k])(v) for k, v in read.items() if v != ""} == row


@pytest.mark.parametrize("name", ["t", "t.xlsx", "t.csv.gz"])
def test_a_suffix_that_names_no_format_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=rf"must end in .csv, .json or .parquet, got '.*{name}'"):
        check_table(tmp_path / name)


def test_a_folder_is_no_table(tmp_path: Path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(ValueError, match="must be a file, got the folder"):
        check_table(tmp_path / "t.csv")


def test_a_missing_folder_is_named_before_the_work(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"the folder of '.*nowhere/t.csv' does not exist"):
        check_table(tmp_path / "nowhere" / "t.csv")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot be written to"):
        check_table(tmp_path / "t.csv")
    tmp_path.chmod(0o700)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"needs pyarrow: `pip install gpuseg\[parquet\]`"):
        check_table(tmp_path / "t.parquet")


def test_text_tables_need_no_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    imported = builtins.__import__

    def refuse(name: str, *args, **kwargs):
        assert name.split(".")[0] not in ("pyarrow", "pandas")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    write_table(tmp_path / "t.csv", ROWS)
    write_table(tmp_path / "t.json", ROWS)


def test_a_failure_leaves_the_former_table_and_nothing_else(tmp_path: Path):
    write_table(tmp_path / "t.json", ROWS)
    before = (tmp_path / "t.json").read_bytes()
    with pytest.raises(TypeError):
        write_table(tmp_path / "t.json", [{"slide": object()}])
    assert (tmp_path / "t.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


def test_replacing_keeps_the_suffix_that_writers_go_by(tmp_path: Path):
    with replacing(tmp_path / "x.png") as part:
        assert part.suffix == ".png"
        part.write_bytes(b"1")
        assert not (tmp_path / "x.png").exists()
    assert (tmp_path / "x.png").read_bytes() == b"1"


def table_of_arrays():
    return {
        "name": np.array(["a", "b,c"]),
        "count": np.array([1, 2**60]),
        "share": np.array([0.1, np.nan]),
        "kept": np.array([True, False]),
    }


def test_columns_as_csv_and_json():
    text = table_bytes(table_of_arrays(), ".csv").decode()
    assert text == 'name,count,share,kept\na,1,0.1,True\n"b,c",1152921504606846976,nan,False\n'
    rows = json.loads(table_bytes(table_of_arrays(), ".json"))
    assert rows[1] == {"name": "b,c", "count": 2**60, "share": None, "kept": False}


def test_columns_as_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    write_table(tmp_path / "a.parquet", table_of_arrays())
    found = pandas.read_parquet(tmp_path / "a.parquet")
    for name, column in table_of_arrays().items():
        np.testing.assert_array_equal(found[name].to_numpy(), column)


def test_columns_of_several_lengths():
    with pytest.raises(ValueError, match=r"must have one length, got \{'a': 1, 'b': 2\}"):
        table_bytes({"a": np.zeros(1), "b": np.zeros(2)}, ".csv")
