"""Folder of an unfinished run: what it computes, and a record for each box that is done."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_MARKER = "gpuseg.json"
# All that a run puts there; see `LabelPyramid`.
_NAMES = {_MARKER, "boxes", "scratch", "image", "image.tif", "previous"}


class Checkpoint(NamedTuple):
    """An unfinished run's folder. Many processes may write records to it at a time.

    Attributes
    ----------
    folder : Path
        Holds `gpuseg.json` (what is computed), `boxes/` (records), `scratch/` (files that are
        being written) and whatever the run puts there.
    """

    folder: Path

    @property
    def scratch(self) -> Path:
        """Folder for files that are being written; see `write_atomic`."""
        return self.folder / "scratch"

    def open(self, state: Mapping[str, Any]) -> None:
        """Keep the records of an earlier run of the same `state`, or empty the folder.

        Raises
        ------
        FileExistsError
            If the folder exists and no run of gpuseg made it.
        """
        marker = self.folder / _MARKER
        if marker.exists():
            if _parsed(marker) == dict(state):
                return
        elif self.folder.exists() and not self._is_ours():
            raise FileExistsError(
                f"{self.folder} exists and isn't an unfinished run of gpuseg; move it away"
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("scratch", "boxes"):
            (self.folder / name).mkdir(parents=True)
        write_atomic(marker, json.dumps(state).encode(), self.scratch)

    def _is_ours(self) -> bool:
        """Whether a folder without marker is of a run that was stopped making or removing it."""
        return self.folder.is_dir() and {each.name for each in self.folder.iterdir()} <= _NAMES

    def path(self, top: int, left: int) -> Path:
        """File of the record of the box at a corner."""
        return self.folder / "boxes" / f"{top}_{left}.json"

    def write(self, top: int, left: int, record: Mapping[str, Any]) -> None:
        """Note that the box at a corner is done."""
        write_atomic(self.path(top, left), json.dumps(record).encode(), self.scratch)

    def records(self) -> Iterator[tuple[Path, Any]]:
        """Files and contents of all records; None for one that a power cut has cut short."""
        for path in sorted((self.folder / "boxes").iterdir()):
            yield path, _parsed(path)


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def write_atomic(path: Path, data: bytes, scratch: Path) -> None:
    """Write a file that appears whole under its name, or not at all.

    `scratch` is a folder of the same file system for the file until then.
    """
    # Not `tempfile`: its files are private to their owner, and these stay.
    unfinished = scratch / secrets.token_hex(16)
    try:
        with unfinished.open("xb") as file:
            file.write(data)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
