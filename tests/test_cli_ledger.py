from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gpuseg.cli._parser import UsageError
from gpuseg.cli.ledger import Ledger, content_of, state_of

MADE_FROM = {"input": {"size": 3}, "parameters": {"hue_value": 0.05}}
ROW = {"slide": "a.svs", "NumberPositive": 3, "mean": 1 / 3}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "t.json"


def read(table: Path) -> list[dict[str, object]]:
    return json.loads(table.read_text())


def test_rows_are_remembered_by_what_they_were_made_from(table: Path):
    ledger = Ledger(table)
    assert ledger.rows("a.svs", MADE_FROM, []) is None
    ledger.add("a.svs", MADE_FROM, [], [ROW])
    again = Ledger(table)
    assert again.rows("a.svs", MADE_FROM, []) == [ROW]
    assert again.rows(os.path.abspath("a.svs"), MADE_FROM, []) == [ROW]
    assert again.rows("a.svs", {**MADE_FROM, "input": {"size": 4}}, []) is None
    assert again.rows("b.svs", MADE_FROM, []) is None


def test_links_to_one_slide_have_rows_of_their_own(table: Path, tmp_path: Path):
    ledger = Ledger(table)
    (tmp_path / "scan.svs").touch()
    links = [str(tmp_path / name) for name in ("case1.svs", "case2.svs")]
    for link in links:
        Path(link).symlink_to(tmp_path / "scan.svs")
        ledger.add(link, MADE_FROM, [], [{"slide": link}])
    ledger.write_table(links, at_once=True)
    assert [row["slide"] for row in read(table)] == links
    assert Ledger(table).rows(links[0], MADE_FROM, []) == [{"slide": links[0]}]


def test_names_that_are_no_utf8_are_remembered(table: Path):
    name = os.fsdecode(b"a\xff.svs")
    Ledger(table).add(name, MADE_FROM, [], [{"slide": name}])
    again = Ledger(table)
    assert again.rows(name, MADE_FROM, []) == [{"slide": name}]
    again.write_table([name], at_once=True)
    assert read(table) == [{"slide": name}]


def test_outputs_have_to_be_made_and_to_exist(table: Path, tmp_path: Path):
    made, other = tmp_path / "a.png", tmp_path / "b.png"
    made.touch()
    other.touch()
    ledger = Ledger(table)
    ledger.add("a.svs", MADE_FROM, [made], [ROW])
    assert ledger.rows("a.svs", MADE_FROM, [made]) == [ROW]
    assert ledger.rows("a.svs", MADE_FROM, []) == [ROW]
    assert ledger.rows("a.svs", MADE_FROM, [other]) is None
    made.unlink()
    assert ledger.rows("a.svs", MADE_FROM, [made]) is None


def test_the_table_follows_the_order_asked_for_and_keeps_others(table: Path):
    ledger = Ledger(table)
    for name in ("c", "a", "b"):
        ledger.add(name, MADE_FROM, [], [{"slide": name}])
    ledger.write_table(["b", "a"], at_once=True)
    assert [row["slide"] for row in read(table)] == ["b", "a", "c"]
    ledger.forget("a")
    ledger.write_table(["b", "a"], at_once=True)
    assert [row["slide"] for row in read(table)] == ["b", "c"]


def test_the_last_line_about_a_slide_counts(table: Path):
    ledger = Ledger(table)
    ledger.add("a", MADE_FROM, [], [{"n": 1}])
    ledger.add("a", MADE_FROM, [], [{"n": 2}])
    assert Ledger(table).rows("a", MADE_FROM, []) == [{"n": 2}]


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_line_torn_by_a_crash_costs_its_slide_alone(table: Path, cut: int):
    ledger = Ledger(table)
    ledger.add("a", MADE_FROM, [], [{"n": 1}])
    ledger.add("b", MADE_FROM, [], [{"n": 2}])
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(content[:-cut])
    again = Ledger(table)
    assert again.rows("a", MADE_FROM, []) == [{"n": 1}]
    assert again.rows("b", MADE_FROM, []) is None
    again.add("b", MADE_FROM, [], [{"n": 3}])
    assert Ledger(table).rows("b", MADE_FROM, []) == [{"n": 3}]


def test_a_broken_ledger_is_named_with_its_line(table: Path):
    ledger = Ledger(table)
    ledger.add("a", MADE_FROM, [], [{"n": 1}])
    ledger.path.write_bytes(b"[]\n" + ledger.path.read_bytes())
    with pytest.raises(UsageError, match=r"line 1 of '.*t.json.gpuseg.jsonl' is no line"):
        Ledger(table)


def test_a_table_made_by_others_is_not_written_over(table: Path):
    table.write_text("[]")
    with pytest.raises(UsageError, match="was not written by gpuseg"):
        Ledger(table)


def test_a_table_edited_by_hand_is_not_written_over(table: Path):
    ledger = Ledger(table)
    ledger.add("a", MADE_FROM, [], [ROW])
    ledger.write_table(["a"], at_once=True)
    Ledger(table)
    table.write_text(table.read_text() + "\n")
    with pytest.raises(UsageError, match="this version of it"):
        Ledger(table)


def test_a_lost_table_is_made_again(table: Path):
    ledger = Ledger(table)
    ledger.add("a", MADE_FROM, [], [ROW])
    ledger.write_table(["a"], at_once=True)
    table.unlink()
    Ledger(table).write_table(["a"], at_once=True)
    assert read(table) == [ROW]


def test_the_table_is_whole_after_every_slide_or_as_it_was(table: Path, monkeypatch):
    ledger = Ledger(table)
    ledger.add("a", MADE_FROM, [], [ROW])
    ledger.write_table(["a"], at_once=True)
    ledger.add("b", MADE_FROM, [], [{"slide": "b"}])

    def full_disk(self, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match="No space left"):
            ledger.write_table(["a", "b"], at_once=True)
    assert read(table) == [ROW]
    Ledger(table).write_table(["a", "b"], at_once=True)
    assert len(read(table)) == 2


def test_tables_that_take_long_are_not_written_after_each_slide(table: Path):
    ledger = Ledger(table)
    ledger.add("a", MADE_FROM, [], [ROW])
    ledger.write_table(["a"])
    assert len(read(table)) == 1
    ledger._write_took = 1e6
    ledger.add("b", MADE_FROM, [], [ROW])
    ledger.write_table(["a"])
    assert len(read(table)) == 1
    ledger.write_table(["a"], at_once=True)
    assert len(read(table)) == 2


def test_nothing_counted_is_no_table(table: Path):
    Ledger(table).write_table(["a"], at_once=True)
    assert not table.exists()


def test_state_changes_with_size_and_time(tmp_path: Path):
    slide = tmp_path / "a.svs"
    slide.write_bytes(b"123")
    first = state_of(str(slide))
    assert first == state_of(str(slide))
    os.utime(slide, ns=(1, 1))
    second = state_of(str(slide))
    assert second != first
    with slide.open("ab") as file:
        file.write(b"4")
    os.utime(slide, ns=(1, 1))
    assert state_of(str(slide)) not in (first, second)


def test_state_of_a_folder_is_that_of_its_files(tmp_path: Path):
    chunk = tmp_path / "a.zarr" / "0" / "c"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(b"1")
    before = state_of(str(tmp_path / "a.zarr"))
    chunk.write_bytes(b"22")
    assert state_of(str(tmp_path / "a.zarr")) != before


def test_state_of_mirax_includes_its_data_folder(tmp_path: Path):
    (tmp_path / "a.mrxs").write_bytes(b"1")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"12")
    assert state_of(str(tmp_path / "a.mrxs"))["size"] == 3


def test_state_of_nothing_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        state_of(str(tmp_path / "a.svs"))


def test_state_of_a_url_needs_a_time_or_a_tag():
    import fsspec

    with fsspec.open("memory://ledger/a.svs", "wb") as file:
        file.write(b"123")
    # The memory file system tells when a file was created, under a name that isn't about changes.
    assert state_of("memory://ledger/a.svs") is None


def test_state_of_a_url_is_what_its_server_tells(monkeypatch):
    import fsspec

    class Server:
        told: dict[str, object]

        def info(self, path: str) -> dict[str, object]:
            return self.told

    server = Server()
    monkeypatch.setattr(fsspec, "url_to_fs", lambda url: (server, url))
    server.told = {"name": "a.svs", "size": 3, "Last-Modified": "Fri, 20 Nov 2026 12:02:01 GMT"}
    first = state_of("https://host/a.svs")
    assert first is not None
    server.told = {**server.told, "Last-Modified": "Fri, 20 Nov 2026 12:02:02 GMT"}
    assert state_of("https://host/a.svs") not in (None, first)


def test_region_files_are_known_by_their_content(tmp_path: Path):
    file = tmp_path / "r.geojson"
    file.write_text("{}")
    first = content_of([str(file)])
    file.write_text("{ }")
    assert content_of([str(file)]) != first
