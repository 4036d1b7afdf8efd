"""Structure tables of atlases in the forms that they come in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.atlas import Structures, read_structures

TREE = {
    "id": 997,
    "acronym": "root",
    "name": "root",
    "children": [
        {"id": 8, "acronym": "grey", "name": "groups", "children": [{"id": 567, "name": "CH"}]},
        {"id": 73, "acronym": "VS", "name": "ventricles", "children": []},
    ],
}
EXPECTED = [-1, 0, 1, 0]


def same(found: Structures) -> None:
    assert found.ids.tolist() == [997, 8, 567, 73]
    assert found.acronyms == ("root", "grey", "CH", "VS")
    assert found.parents.tolist() == EXPECTED
    assert found.depth.tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("wrapped", [TREE, [TREE], {"success": True, "msg": [TREE]}])
def test_nested_json(tmp_path, wrapped):
    (tmp_path / "ontology.json").write_text(json.dumps(wrapped))
    same(read_structures(tmp_path / "ontology.json"))


def test_brainglobes_list(tmp_path):
    rows = [
        {"id": i, "acronym": a, "name": a.upper(), "structure_id_path": p, "rgb_triplet": [0, 0, 0]}
        for i, a, p in [
            (997, "root", [997]),
            (8, "grey", [997, 8]),
            (567, "CH", [997, 8, 567]),
            (73, "VS", [997, 73]),
        ]
    ]
    (tmp_path / "structures.json").write_text(json.dumps(rows))
    same(read_structures(str(tmp_path / "structures.json")))
    same(read_structures(rows))


def test_allens_csv(tmp_path):
    (tmp_path / "tree.csv").write_text(
        "id,atlas_id,name,acronym,parent_structure_id,structure_id_path,safe_name\n"
        "997,-1,root,root,,/997/,root\n"
        '8,0,"Basic cell groups, regions",grey,997.0,/997/8/,Basic cell groups and regions\n'
        "567,70,Cerebrum,CH,8.0,/997/8/567/,Cerebrum\n"
        "73,716,ventricular systems,VS,997.0,/997/73/,ventricular systems\n"
    )
    found = read_structures(tmp_path / "tree.csv")
    same(found)
    assert found.names[1] == "Basic cell groups and regions"


def test_brainglobes_terminology(tmp_path):
    (tmp_path / "terminology.csv").write_text(
        "identifier,parent_identifier,abbreviation,name,color_hex_triplet,root_identifier_path\n"
        '997,,root,root,#ffffff,[997]\n8,997,grey,groups,#bfdae3,"[997, 8]"\n'
        '567,8,CH,Cerebrum,#b0f0ff,"[997, 8, 567]"\n73,997,VS,ventricles,#aaaaaa,"[997, 73]"\n'
    )
    same(read_structures(tmp_path / "terminology.csv"))


@pytest.mark.parametrize("column", ["parent_structure_id", "parent_id", "parent"])
def test_parents(column):
    rows = [
        {"id": 997, "acronym": "root", column: None},
        {"id": 8, "acronym": "grey", column: 997},
        {"id": 567, "acronym": "CH", column: "8.0"},
        {"id": 73, "acronym": "VS", column: 997.0},
    ]
    same(read_structures(rows))
    rows[0][column] = float("nan")
    same(read_structures(rows))


def test_rows_of_a_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "id": [997, 8, 567, 73],
            "acronym": ["root", "grey", "CH", "VS"],
            "parent": [0, 997, 8, 997],
        }
    )
    same(read_structures(frame.to_dict("records")))


def test_ancestors_that_a_part_of_a_table_leaves_out():
    found = read_structures(
        [{"id": 8, "structure_id_path": "/997/8/"}, {"id": 5, "structure_id_path": "/997/8/6/5/"}]
    )
    assert found.parents.tolist() == [-1, 0]
    assert found.acronyms == ("8", "5")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.randoms())
def test_totals_are_sums_over_descendants(numbers, random):
    parents = [random.randrange(-1, row) for row in range(len(numbers))]
    order = list(range(len(numbers)))
    random.shuffle(order)
    place = {row: at for at, row in enumerate(order)}
    found = Structures(
        [row + 1 for row in order],
        ["a"] * len(order),
        ["a"] * len(order),
        [-1 if parents[row] < 0 else place[parents[row]] for row in order],
    )
    own = np.array([numbers[row] for row in order])
    expected = own * 0
    for row, number in enumerate(numbers):
        while row >= 0:
            expected[place[row]] += number
            row = parents[row]
    assert found.total(own).tolist() == expected.tolist()
    assert found.total(np.stack([own, own], 1))[:, 1].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one, got none"),
        ([{"id": "x", "acronym": "a"}], "id of row 0 must be an integer, got 'x'"),
        ([{"acronym": "a"}], "id of row 0 must be an integer, got None"),
        ([{"id": 0, "acronym": "out"}], r"at least 1, got 0 \(out\)"),
        ([{"id": 1}, {"id": 1}], r"must differ, got \[1\] twice"),
        ([{"id": 1, "parent": 2}], "1 is part of 2, which is not in the table"),
        ([{"id": 1, "parent": 2}, {"id": 2, "parent": 1}], "part of themselves, got 1, 2"),
    ],
)
def test_what_is_no_table(rows, message):
    with pytest.raises(ValueError, match=message):
        read_structures(rows)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(ValueError, match=r"must end in .json or .csv, got 'a.xlsx'"):
        read_structures("a.xlsx")
    (tmp_path / "a.json").write_text("3")
    with pytest.raises(ValueError, match="is a list of structures"):
        read_structures(tmp_path / "a.json")
