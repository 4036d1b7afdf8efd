"""Structure tables of atlases: BrainGlobe's JSON, Allen's CSV and nested JSON, parent ids."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuseg._shared.structures import Structures

__all__ = ["read_structures"]

# Allen's, BrainGlobe's, and those of BrainGlobe's version 3.
_IDS = ("id", "identifier")
_ACRONYMS = ("acronym", "abbreviation", "name")
_NAMES = ("safe_name", "name", "acronym", "abbreviation")
_PATHS = ("structure_id_path", "root_identifier_path")
_PARENTS = ("parent_structure_id", "parent_identifier", "parent_id", "parent")


def read_structures(source: str | os.PathLike[str] | Iterable[Mapping[str, Any]]) -> Structures:
    """Read the tree of structures that an annotation's ids belong to.

    Parameters
    ----------
    source : path or iterable of mappings
        A `.json` or `.csv` file, or its rows. JSON as BrainGlobe has it (a list of structures) or
        as Allen's ontology has it (structures with `children`). Each structure has an `id`, an
        `acronym` or a `name`, and says where it belongs by `structure_id_path` ("/997/8/567/" or a
        list of ids) or by the id of its parent (`parent_structure_id`, `parent_id` or `parent`);
        without any of them the table is flat. The words of BrainGlobe's version 3 (`identifier`,
        `abbreviation`, `root_identifier_path`) will do as well.

    Returns
    -------
    Structures
        In the table's order.

    Raises
    ------
    ValueError
        If the file is none of these, ids repeat, or a parent is not in the table.

    Examples
    --------
    >>> rows = [
    ...     {"id": 997, "acronym": "root", "structure_id_path": [997]},
    ...     {"id": 8, "acronym": "grey", "structure_id_path": [997, 8]},
    ... ]
    >>> read_structures(rows).parents
    array([-1,  0])
    """
    if isinstance(source, str | os.PathLike):
        where, rows = str(source), _read(Path(source))
    else:
        where, rows = "structures", list(source)
    ids = [_integer(_first(row, _IDS), f"{where}: id of row {n}") for n, row in enumerate(rows)]
    place = {number: row for row, number in enumerate(ids)}
    parents = [_parent(row, number, place, where) for row, number in zip(rows, ids, strict=True)]
    names = [str(_first(row, _NAMES) or own) for row, own in zip(rows, ids, strict=True)]
    acronyms = [str(_first(row, _ACRONYMS) or own) for row, own in zip(rows, ids, strict=True)]
    return Structures(ids, acronyms, names, parents)


def _read(path: Path) -> list[Mapping[str, Any]]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    if suffix == ".json":
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, Mapping):  # Allen's API wraps its answer
            found = found.get("msg", [found])
        if isinstance(found, list) and all(isinstance(row, Mapping) for row in found):
            return list(_flat(found, None))
        raise ValueError(f"{path}: a structure table is a list of structures, got {type(found)}")
    raise ValueError(f"a structure table's name must end in .json or .csv, got {str(path)!r}")


def _flat(rows: Sequence[Mapping[str, Any]], parent: int | None) -> Iterator[Mapping[str, Any]]:
    """Structures before their `children`, which learn whose they are."""
    for row in rows:
        yield row if parent is None else {"parent_structure_id": parent, **row}
        if row.get("children"):
            yield from _flat(row["children"], row["id"])


def _integer(value: Any, what: str) -> int:
    try:
        number = int(value) if isinstance(value, int) else int(float(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} must be an integer, got {value!r}") from error
    return number


def _parent(row: Mapping[str, Any], own: int, place: Mapping[int, int], where: str) -> int:
    """Row of what a structure is part of, -1 for none."""
    path = _first(row, _PATHS)
    if path is not None:
        parts = re.findall(r"[^\s/,\[\]]+", path) if isinstance(path, str) else path
        above = [_integer(part, f"{where}: path of {own}") for part in parts]
        # A part of a table leaves out ancestors: the nearest one that is there counts.
        return next((place[n] for n in reversed(above) if n != own and n in place), -1)
    value = _first(row, _PARENTS)
    parent = 0 if value is None else _integer(value, f"{where}: parent of {own}")
    if parent in (0, -1):
        return -1
    if parent not in place:
        raise ValueError(f"{where}: {own} is part of {parent}, which is not in the table")
    return place[parent]


def _first(row: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """Value of the first column that has one; pandas' mark of an empty field, NaN, is none."""
    values = (row.get(column) for column in columns)
    return next((value for value in values if value not in (None, "") and _is(value)), None)


def _is(value: Any) -> bool:
    return not isinstance(value, float) or value == value
