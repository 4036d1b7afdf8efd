"""Rows of the table, and how they look on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from gpuseg._shared.hsi import Output, Parameters
from gpuseg.cli.inputs import basename
from gpuseg.io.tables import Row, Value, table_bytes

if TYPE_CHECKING:
    from gpuseg.io.regions import Region
    from gpuseg.io.slides import Slide


# Columns that any terminal has at most.
_AMPLE = 1000


def row(
    name: str,
    slide: Slide,
    region: Region | None,
    output: Output,
    params: Parameters,
    negative: Parameters | None,
) -> dict[str, Value]:
    """Everything that is known about one count; a table of such rows explains itself."""
    return {
        "slide": name,
        "region": None if region is None else region.name,
        "classification": None if region is None else region.classification,
        "level": slide.level,
        "mpp": slide.mpp,
        "magnification": slide.magnification,
        **output._asdict(),
        **params._asdict(),
        **negative_columns(negative),
    }


def negative_columns(negative: Parameters | None) -> dict[str, Value]:
    """Parameters of the counterstain, if there is one."""
    if negative is None:
        return {}
    return {f"negative_{name}": value for name, value in negative._asdict().items()}


def show(
    rows: Sequence[Row],
    stream: TextIO | None = None,
    *,
    varied: Sequence[str] = (),
    as_table: bool | None = None,
) -> None:
    """Print rows: the telling columns on a terminal, all of them as CSV to a file or a pipe.

    `varied` names the columns that tell rows of one slide apart.
    """
    stream = stream or sys.stdout
    if not (stream.isatty() if as_table is None else as_table):
        stream.write(table_bytes(rows, ".csv").decode())
        return
    print_table(_table(rows, varied), stream)


def print_table(table: Any, stream: TextIO) -> None:
    """Print rich's table. Columns of names fold to fit a terminal, those of numbers never do.

    Rich would leave them out where it is too narrow; here its lines wrap.
    """
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(file=stream)
    folding = [column for column in table.columns if column.overflow == "fold"]
    for column in folding:
        column.width = column.min_width
    needed = Measurement.get(console, console.options.update(max_width=_AMPLE), table).maximum
    for column in folding:
        column.width = None
    console.width = max(console.width, needed)
    console.print(table)


def _table(rows: Sequence[Row], varied: Sequence[str]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption="percent of the pixels; mean intensity of the positive ones",
        caption_justify="left",
    )
    slide, region, *others = _COLUMNS
    columns = [slide, region, *others]
    if varied:
        columns = [region, *((name, _rounded(name, "g")) for name in varied), *others]
    shown = [
        (title, cells)
        for title, cells in ((title, [cell(row) for row in rows]) for title, cell in columns)
        if any(cells)
    ]
    for title, cells in shown:
        if title in ("slide", "region"):
            wide = min(10, max(map(len, cells)))
            table.add_column(title, overflow="fold", min_width=wide)
        else:
            table.add_column(title, justify="right", no_wrap=True)
    for number in range(len(rows)):
        table.add_row(*(Text(cells[number]) for _, cells in shown))
    return table


def _share(field: str) -> Any:
    from gpuseg.report.overlay import percent

    return lambda row: percent(_int(row, field), _int(row, "NumberTotalPixels")).removesuffix(" %")


def _int(row: Row, field: str) -> int:
    value = row[field]
    return value if isinstance(value, int) else 0


def _positive(row: Row) -> str:
    from gpuseg.report.overlay import percent

    names = ("NumberWeakPositive", "NumberPositive", "NumberStrongPositive")
    positive = sum(_int(row, name) for name in names)
    return percent(positive, _int(row, "NumberTotalPixels")).removesuffix(" %")


def _region(row: Row) -> str:
    words = (row["region"], row["classification"] and f"({row['classification']})")
    return " ".join(str(word) for word in words if word)


def _rounded(field: str, digits: str) -> Any:
    return lambda row: "" if row[field] is None else format(row[field], digits)


# A column that is empty in all rows isn't shown.
_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("slide", lambda row: basename(str(row["slide"]))),
    ("region", _region),
    ("pixels", _rounded("NumberTotalPixels", ",")),
    ("positive", _positive),
    ("weak", _share("NumberWeakPositive")),
    ("plain", _share("NumberPositive")),
    ("strong", _share("NumberStrongPositive")),
    ("mean", _rounded("IntensityAverage", ".3f")),
    ("positivity", _rounded("Positivity", ".3f")),
    ("mm²", _rounded("AreaTotal", ".3g")),
    ("lost", lambda row: f"{row['PixelsUnreadable']:,}" if row["PixelsUnreadable"] else ""),
)
