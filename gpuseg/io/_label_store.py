"""Folder of a label image that is being made chunk by chunk, and the OME-Zarr it becomes.

gpuseg.json        what is made
boxes/             a file for each chunk and step that is done: outlines, numbers, marks
image/             the OME-Zarr, see `_label_levels.py`
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpuseg._dask._label_boxes import Box, Chunk, Face, Index
from gpuseg.io._checkpoint import Checkpoint, write_atomic
from gpuseg.typing import NumpyArray


class LabelStore(NamedTuple):
    """Files of an unfinished label image; many processes may write at a time."""

    folder: Path

    def begin(self, state: Mapping[str, Any]) -> None:
        """Keep what an earlier run of the same `state` has done."""
        Checkpoint(self.folder).open(state)

    def done(self, step: str) -> set[Index]:
        """Chunks of which a step is done."""
        names = (path.name.removesuffix(".npz") for path in (self.folder / "boxes").iterdir())
        found = (name.partition("-") for name in names)
        return {tuple(map(int, at.split("_"))) for name, _, at in found if name == step and at}

    def _path(self, step: str, index: Index) -> Path:
        return self.folder / "boxes" / f"{step}-{'_'.join(map(str, index))}.npz"

    def _write(self, step: str, index: Index, arrays: Mapping[str, Any]) -> None:
        data = io.BytesIO()
        np.savez(data, allow_pickle=False, **arrays)
        write_atomic(self._path(step, index), data.getvalue(), self.folder / "scratch")

    def _read(self, step: str, index: Index, name: str) -> NumpyArray:
        with np.load(self._path(step, index), allow_pickle=False) as arrays:
            return np.asarray(arrays[name])

    def write_outline(self, index: Index, outline: tuple[Box, Chunk]) -> None:
        box, chunk = outline
        faces = {
            f"face_{axis}_{-end}_{name}": values
            for (axis, end), face in box.faces.items()
            for name, values in face._asdict().items()
        }
        arrays = {"box_values": box.values, "box_keys": box.keys, **chunk._asdict(), **faces}
        self._write("outline", index, arrays)

    def read_outline(self, index: Index) -> tuple[Box, Chunk]:
        """All but the first pixels, which are read when they are wanted."""
        with np.load(self._path("outline", index), allow_pickle=False) as arrays:
            sides = {name.rpartition("_")[0] for name in arrays if name.startswith("face_")}
            faces = {
                (int(axis), -int(end)): Face(
                    *(arrays[f"face_{axis}_{end}_{f}"] for f in Face._fields)
                )
                for _, axis, end in (side.split("_") for side in sides)
            }
            shape = tuple(arrays["shape"].tolist())
            chunk = Chunk(partial(self.read_firsts, index), arrays["rim"], arrays["keys"], shape)
            return Box(arrays["box_keys"], arrays["box_values"], faces), chunk

    def read_firsts(self, index: Index) -> NumpyArray:
        return self._read("outline", index, "firsts")

    def write_ranks(self, index: Index, ranks: NumpyArray, planes: NumpyArray) -> None:
        self._write("ranks", index, {"ranks": ranks, "planes": planes})

    def read_ranks(self, index: Index) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
        """Ranks, planes and rim of a chunk."""
        ranks, planes = (self._read("ranks", index, name) for name in ("ranks", "planes"))
        return ranks, planes, self._read("outline", index, "rim")

    def drop_ranks(self, index: Index) -> None:
        self._path("ranks", index).unlink(missing_ok=True)

    def write_numbers(self, index: Index, numbers: NumpyArray) -> None:
        self._write("numbers", index, {"numbers": numbers})

    def read_numbers(self, index: Index) -> NumpyArray:
        return self._read("numbers", index, "numbers")

    def write_count(self, count: int) -> None:
        """Note that all numbers are there."""
        self._write("count", (), {"count": count})

    def read_count(self) -> int | None:
        there = self._path("count", ()).exists()
        return int(self._read("count", (), "count")) if there else None

    def mark(self, step: str, index: Index) -> None:
        self._write(step, index, {})
