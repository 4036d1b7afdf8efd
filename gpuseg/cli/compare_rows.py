"""Rows of `gpuseg compare`: pairs, groups, and methods judged on groups held out."""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.cli._parser import UsageError, reason
from gpuseg.cli.compare_files import Pair
from gpuseg.cli.rows import print_table
from gpuseg.io.tables import Row, table_bytes

if TYPE_CHECKING:
    from gpuseg.compare import Comparison

ALL = "(all)"


@dataclass(frozen=True)
class Scored:
    """A pair that was compared."""

    pair: Pair
    group: str
    comparison: Comparison
    row: dict[str, Any]


def grouping(pattern: str | None, table: str | None, column: str) -> Callable[[Pair], str]:
    """Function from a pair to the name of its group.

    Raises
    ------
    UsageError
        If the pattern is none, or the table lacks a column.
    """
    if pattern is not None and table is not None:
        raise UsageError("--group and --group-table exclude each other")
    if table is not None:
        known = _read_groups(table, column)

        def listed(pair: Pair) -> str:
            if pair.image not in known:
                raise ValueError(f"{pair.pred}: {table} has no row for the image {pair.image!r}")
            return known[pair.image]

        return listed
    if pattern is None:
        return lambda pair: ""
    expression = compiled("--group", pattern)

    def matched(pair: Pair) -> str:
        found = expression.search(pair.gold) or expression.search(pair.pred)
        if found is None:
            raise ValueError(
                f"{pair.pred}: --group {pattern!r} matches neither its name nor {pair.gold}"
            )
        return str(found[1] if expression.groups else found[0])

    return matched


def compiled(option: str, pattern: str) -> re.Pattern[str]:
    """Regular expression of an option.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option} is no regular expression: {pattern!r} ({error})") from None


def _read_groups(path: str, column: str) -> dict[str, str]:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--group-table: {reason(path, error)}") from None
    for name in ("image", column):
        if not rows or name not in rows[0]:
            has = ", ".join(rows[0]) if rows else "no rows"
            raise UsageError(f"--group-table: {path} needs a column {name!r}; it has {has}")
    return {row["image"]: row[column] for row in rows}


def summary(scored: Sequence[Scored]) -> list[Row]:
    """A row for each method and group, objects of all its images pooled, and one for all."""
    from gpuseg.compare import compare_counts, pool

    rows: list[Row] = []
    for method in dict.fromkeys(one.pair.method for one in scored):
        mine = [one for one in scored if one.pair.method == method]
        groups = list(dict.fromkeys(one.group for one in mine))
        for group in [*(groups if groups != [""] else []), ALL]:
            kept = [one for one in mine if group in (ALL, one.group)]
            names = [one.group if groups != [""] else one.pair.image for one in kept]
            counts = compare_counts(
                [one.row["n_true"] for one in kept], [one.row["n_test"] for one in kept], names
            )
            rows.append(
                {
                    "method": method,
                    "group": group,
                    "images": len(kept),
                    **pool([one.comparison for one in kept]).to_dict(),
                    **{f"count_{name}": value for name, value in counts.to_dict().items()},
                }
            )
    return rows


def held_out(scored: Sequence[Scored], score: str) -> list[Row]:
    """A row for each group: the method that is best on the others, and what it scores here."""
    from gpuseg.compare import leave_one_group_out

    if len({one.group for one in scored}) < 2:
        return []
    rows = leave_one_group_out(
        [math.nan if one.row[score] is None else one.row[score] for one in scored],
        [one.group for one in scored],
        [one.pair.method for one in scored],
        best="min" if score in _ERRORS else "max",
    )
    return [
        {
            "held_out": row.group,
            "images": row.images,
            "method": row.choice,
            f"{score}_others": row.score_others,
            score: row.score,
        }
        for row in rows
    ]


_ERRORS = frozenset(
    ("adapted_rand_error", "voi_split", "voi_merge", "split", "merged", "spurious", "missing",
     "splits", "merges", "hausdorff", "hausdorff_95", "average_surface_distance")
)  # fmt: skip

_WORDS = {"held_out": "held out", "method": "method", "image": "image", "group": "group"}
_NUMBERS = {
    "images": "images",
    "n_true": "gold",
    "n_test": "found",
    "f1_50": "F1 .5",
    "ap": "mean AP",
    "seg": "SEG",
    "dice": "Dice",
    "hausdorff": "Hausdorff",
    "count_q2": "Q²",
}


def show(rows: Sequence[Row]) -> None:
    """Print rows: the telling columns on a terminal, all of them as CSV to a file or a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.write(table_bytes(rows, ".csv").decode())
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    names = list(dict.fromkeys(name for row in rows for name in row))
    titles = _WORDS | _NUMBERS if len(names) > len(_NUMBERS) else {name: name for name in names}
    shown = [name for name in titles if any(row.get(name, "") != "" for row in rows)]
    if "held_out" not in shown and len({row["method"] for row in rows}) == 1:
        shown.remove("method")
    for name in shown:
        title = (_WORDS | _NUMBERS).get(name, name)
        if name in _WORDS:
            table.add_column(title, overflow="fold", min_width=5)
        else:
            table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in shown))
    print_table(table, sys.stdout)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str("" if value is None else value)
