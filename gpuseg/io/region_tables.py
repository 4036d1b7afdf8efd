"""Region tables with more rows than memory holds: Parquet, one range of labels after the other.

1. Chunks are measured, eight at a time merged, and their rows written to a scratch folder.
2. Samples of the labels there cut the range of labels where about equally many rows lie.
3. For each range its rows are read from all scratch files, merged, finished and written.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpuseg._backend import floor, implementation, threads
from gpuseg._shared.region_columns import make_columns
from gpuseg._shared.region_rows import Field, Rows
from gpuseg._shared.region_table import Request
from gpuseg._validate import check_integer
from gpuseg.io.tables import check_folder
from gpuseg.typing import Array, NumpyArray

# How many samples of its labels a file of rows is cut by.
_SAMPLES = 64


class _Part(NamedTuple):
    """Rows in the scratch folder."""

    folder: str
    number: int
    fields: tuple[Field, ...]
    lowest: int

    def array(self, name: str) -> NumpyArray:
        """Mapped into memory, or in it where it is empty."""
        path = Path(self.folder) / f"{self.number}-{name}.npy"
        try:
            mapped: NumpyArray = np.load(path, mmap_mode="r")
        except ValueError:
            mapped = np.load(path)
        return mapped

    def rows(self, low: int, high: int) -> Rows:
        """Rows of labels from `low` up to below `high`."""
        labels, pairs = self.array("labels"), self.array("pairs")
        some = slice(*np.searchsorted(labels, (low, high)))
        touching = slice(*np.searchsorted(pairs[:, 0], (low, high)))
        return Rows(
            np.array(labels[some]),
            np.array(self.array("table")[some]),
            self.fields,
            np.unique(np.sort(pairs[touching], axis=1), axis=0),
            self.lowest,
        )


def write_regions(
    labels: Array,
    image: Array | None,
    request: Request,
    destination: str | os.PathLike[str],
    rows_per_file: int,
) -> int:
    """Write a table of regions as a folder of Parquet files; returns the number of rows.

    Raises
    ------
    ImportError
        If pyarrow is missing.
    FileExistsError
        If the destination exists.
    """
    target = Path(destination)
    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError(f"writing {str(target)!r} needs pyarrow: `pip install gpuseg[parquet]`")
    if target.exists():
        raise FileExistsError(f"{str(target)!r} exists; remove it or choose another name")
    check_integer(rows_per_file, "rows_per_file", 1)
    check_folder(target)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        os.chmod(scratch, 0o755)
        whole = Path(scratch) / "table"
        whole.mkdir()
        parts = _measure(labels, image, request, scratch)
        edges = _edges(parts, rows_per_file)
        write = partial(_write_file, parts=parts, request=request, folder=whole)
        with ThreadPoolExecutor(threads()) as pool:
            counts = list(pool.map(write, range(len(edges) - 1), pairwise(edges)))
        shutil.move(whole, target)
    return sum(counts)


def _measure(labels: Array, image: Array | None, request: Request, scratch: str) -> list[_Part]:
    owner = image if image is not None and floor(image) == "_dask" else labels
    store = partial(_store, folder=scratch)
    nouns = implementation(owner, "regionprops")
    if floor(owner) == "_dask":
        parts: list[_Part] = list(nouns.stored(labels, image, request.plan, store).compute())
    else:
        parts = [store(nouns.measure(labels, image, request.plan), 0)]
    return parts


def _store(rows: Rows, number: int, *, folder: str) -> _Part:
    both = np.concatenate([rows.pairs, rows.pairs[:, ::-1]])
    for name, array in (
        ("labels", rows.labels),
        ("table", rows.table),
        ("pairs", both[np.argsort(both[:, 0], kind="stable")]),
    ):
        np.save(Path(folder) / f"{number}-{name}.npy", array)
    return _Part(folder, number, rows.fields, rows.lowest)


def _edges(parts: Sequence[_Part], rows_per_file: int) -> list[int]:
    """Labels at which files begin, and one beyond the last."""
    step = max(1, rows_per_file // _SAMPLES)
    samples = np.sort(np.concatenate([part.array("labels")[::step] for part in parts]))
    if samples.size == 0:
        return [0, 1]
    cuts = samples[:: max(1, rows_per_file // step)]
    last = max(int(labels[-1]) for part in parts if (labels := part.array("labels")).size)
    return [*sorted(set(cuts.tolist())), last + 1]


def _write_file(
    number: int,
    labels: tuple[int, int],
    *,
    parts: Sequence[_Part],
    request: Request,
    folder: Path,
) -> int:
    import pyarrow
    import pyarrow.parquet

    from gpuseg._cpu.regionprops import merge

    columns: dict[str, Any] = make_columns(merge([part.rows(*labels) for part in parts]), request)
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table, folder / f"part-{number:05d}.parquet")
    return int(table.num_rows)
