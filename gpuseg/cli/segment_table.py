"""One table of the objects of all images, from a table of each."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from gpuseg.io.tables import replacing


def join_csv(table: Path, parts: Sequence[Path], names: Sequence[str]) -> None:
    """Rows of all parts behind their images' names; a column that a part lacks is empty there."""
    columns: dict[str, None] = {}
    for part in parts:
        with part.open(newline="", encoding="utf-8") as file:
            columns |= dict.fromkeys(next(csv.reader(file)))
    # Names of files need not be UTF-8.
    with (
        replacing(table) as whole,
        whole.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["image", *columns])
        for part, name in zip(parts, names, strict=True):
            with part.open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                own = {column: place for place, column in enumerate(next(rows))}
                places = [own.get(column) for column in columns]
                writer.writerows(
                    [name, *("" if place is None else row[place] for place in places)]
                    for row in rows
                )


def join_parquet(table: Path, parts: Sequence[Path], names: Sequence[str]) -> None:
    """As `join_csv`; a row group an image, so that no more than one is in memory."""
    import pyarrow
    from pyarrow import parquet

    kinds = pyarrow.unify_schemas(
        [pyarrow.schema({"image": pyarrow.string()}), *map(parquet.read_schema, parts)],
        promote_options="permissive",
    )
    with replacing(table) as whole, parquet.ParquetWriter(whole, kinds) as writer:
        for part, name in zip(parts, names, strict=True):
            found = parquet.read_table(part)
            shown = name.encode(errors="backslashreplace").decode()
            columns = {"image": pyarrow.array([shown] * len(found))}
            for kind in kinds:
                if kind.name in found.column_names:
                    columns[kind.name] = found[kind.name].cast(kind.type)
                elif kind.name != "image":
                    columns[kind.name] = pyarrow.nulls(len(found), kind.type)
            writer.write_table(pyarrow.table(columns, schema=kinds))
