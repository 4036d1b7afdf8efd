"""Tables out: rows to CSV, JSON or Parquet, whole or not at all."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gpuseg.typing import NumpyArray

Value = str | int | float | bool | None
Row = Mapping[str, Value]
Columns = Mapping[str, NumpyArray]

SUFFIXES = (".csv", ".json", ".parquet")


def check_table(path: str | os.PathLike[str]) -> Path:
    """Path of a table that `write_table` will be able to write; call it before the work starts.

    Parameters
    ----------
    path : str or path
        Where the table is wanted.

    Returns
    -------
    path : Path

    Raises
    ------
    ValueError
        If the suffix is none of `.csv`, `.json` and `.parquet`, or names a folder.
    ImportError
        If `.parquet` is wanted and pyarrow is missing.
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> check_table("counts.xlsx")
    Traceback (most recent call last):
        ...
    ValueError: a table's name must end in .csv, .json or .parquet, got 'counts.xlsx'
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a table's name must end in .csv, .json or .parquet, got {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"a table must be a file, got the folder {str(path)!r}")
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ImportError(
            f"writing {str(path)!r} needs pyarrow: `pip install gpuseg[parquet]`, or end it in .csv"
        )
    check_folder(path)
    return path


def check_folder(path: Path) -> None:
    """Raise if the folder that will hold `path` does not exist or cannot be written.

    Raises
    ------
    FileNotFoundError, PermissionError
        The message names the folder.
    """
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder of {str(path)!r} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"the folder of {str(path)!r} cannot be written to")


def columns(rows: Sequence[Row]) -> list[str]:
    """Names of all columns, in the order in which the rows bring them.

    Examples
    --------
    >>> columns([{"slide": "a.svs", "NumberPositive": 3}, {"slide": "b.svs", "region": "tumor"}])
    ['slide', 'NumberPositive', 'region']
    """
    return list(dict.fromkeys(name for row in rows for name in row))


def table_bytes(rows: Sequence[Row] | Columns, suffix: str) -> bytes:
    """Rows, or columns of one length, as the content of a file.

    Integers and floats are written so that they read back as the same numbers; a missing value
    is an empty field, `null` or a Parquet null, and so is a float that is not finite in JSON.

    Parameters
    ----------
    rows : sequence of mappings, or mapping of arrays
        Column name to str, int, float, bool or None; rows may lack columns. Or column name to a
        1-D array.
    suffix : {".csv", ".json", ".parquet"}

    Returns
    -------
    content : bytes

    Examples
    --------
    >>> print(table_bytes([{"slide": "a.svs", "positive": 0.1}], ".csv").decode())
    slide,positive
    a.svs,0.1
    """
    if isinstance(rows, Mapping):
        return _columns_bytes(rows, suffix)
    names = columns(rows)
    if suffix == ".csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return _utf8(text.getvalue())
    if suffix == ".json":
        return _utf8(_json(rows))
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({name: [_readable(row.get(name)) for row in rows] for name in names})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _utf8(text: str) -> bytes:
    """Text as UTF-8; names of files need not be any, and get an escape for each odd byte."""
    return text.encode(errors="backslashreplace")


def _readable(value: Value) -> Value:
    return _utf8(value).decode() if isinstance(value, str) else value


def _columns_bytes(table: Columns, suffix: str) -> bytes:
    """As `table_bytes`, without a mapping for each row: a table of cells has millions."""
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of a table must have one length, got {lengths}")
    lists = [column.tolist() for column in table.values()] if suffix != ".parquet" else []
    if suffix == ".csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*lists, strict=True))
        return text.getvalue().encode()
    if suffix == ".json":
        return _json(
            [dict(zip(table, row, strict=True)) for row in zip(*lists, strict=True)]
        ).encode()
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(dict(table)), buffer)
    return buffer.getvalue()


def _json(rows: Sequence[Row]) -> str:
    """Array of objects, one row a line: it diffs, and any JSON reader takes it."""

    def finite(value: Value) -> Value:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    lines = (
        json.dumps({name: finite(value) for name, value in row.items()}, ensure_ascii=False)
        for row in rows
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"


def write_table(path: str | os.PathLike[str], rows: Sequence[Row] | Columns) -> None:
    """Write rows or columns as CSV, JSON (an array of objects) or Parquet, by the name's suffix.

    The table appears under its name when it is whole: a crash leaves the former one.

    Parameters
    ----------
    path : str or path
        Ends in `.csv`, `.json` or `.parquet`.
    rows : sequence of mappings, or mapping of arrays
        Column name to str, int, float, bool or None; or column name to a 1-D array, such as
        `gpuseg.measure.regionprops_table` gives them.

    Raises
    ------
    ValueError, ImportError, FileNotFoundError
        As `check_table`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(f"{folder}/counts.json", [{"slide": "a.svs", "NumberPositive": 3}])
    ...     print(Path(f"{folder}/counts.json").read_text())
    [
    {"slide": "a.svs", "NumberPositive": 3}
    ]
    """
    path = check_table(path)
    with replacing(path) as part:
        part.write_bytes(table_bytes(rows, path.suffix.lower()))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; it takes the place of `path` when the block ends.

    An exception within the block removes what was written and leaves `path` as it was.
    """
    # The suffix stays last: Pillow and others choose the format by it.
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
