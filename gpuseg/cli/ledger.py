"""What is already counted: a JSON Lines file beside the table.

Each line is one of

- ``{"slide": …, "made_from": {…}, "outputs": […], "rows": […]}``: a slide that was counted. It is
  appended, and on the disk, before the next slide begins. The last line about a slide counts.
- ``{"table_sha256": …}``: a table that is about to take its name. A table of any other content was
  changed by somebody else, and is not written over.

The table is a view of the ledger; rows survive a crash of any kind, and a torn last line costs one
slide.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpuseg.cli._parser import UsageError
from gpuseg.cli.inputs import is_url, slide_key
from gpuseg.io.tables import Row, replacing, table_bytes

# What fsspec's file systems (HTTP, S3, Google, Azure) call a time of change or a checksum.
_CHANGES = (
    *("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime", "updated"),
    *("Content-MD5", "Digest", "md5Hash"),
)
# A table of thousands of slides isn't written again after each: at most this share of the time.
_WRITING = 0.05


class Ledger:
    """Rows of the slides counted so far, and the table made of them."""

    def __init__(self, table: Path) -> None:
        """Read the ledger of `table`, if there is one.

        Raises
        ------
        UsageError
            If a table is there that no ledger knows, or the ledger can't be read.
        """
        self.table = table
        self.path = table.with_name(table.name + ".gpuseg.jsonl")
        self._entries: dict[str, dict[str, Any]] = {}
        self._tables: set[str] = set()
        self._wrote_at, self._write_took = 0.0, 0.0
        if self.path.exists():
            self._read()
        if table.exists() and _sha256(table.read_bytes()) not in self._tables:
            raise UsageError(
                f"{str(table)!r} exists, and this version of it was not written by gpuseg; move it "
                "away or name another"
            )

    def _read(self) -> None:
        lines = self.path.read_bytes().split(b"\n")
        # A whole file ends in a newline; what follows the last one was cut off by a crash.
        torn = lines.pop()
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if "table_sha256" in entry:
                    self._tables.add(entry["table_sha256"])
                else:
                    self._entries[entry["slide"]] = entry
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    f"line {number} of {str(self.path)!r} is no line of a ledger; delete the file "
                    "to count everything again"
                ) from None
        if torn:
            with self.path.open("rb+") as file:
                file.truncate(self.path.stat().st_size - len(torn))

    def rows(self, slide: str, made_from: dict[str, Any], outputs: Sequence[Path]) -> Any:
        """Rows of a slide if nothing that they were made from has changed, else None.

        The outputs wanted now must have been made by then, and still exist.
        """
        entry = self._entries.get(slide_key(slide))
        if entry is None or entry["made_from"] != made_from or made_from["input"] is None:
            return None
        made = set(entry["outputs"])
        if not all(str(path.absolute()) in made and path.exists() for path in outputs):
            return None
        return entry["rows"]

    def all_rows(self) -> list[Row]:
        """Rows of all slides, in the order in which they were counted."""
        return [row for entry in self._entries.values() for row in entry["rows"]]

    def made(self) -> list[tuple[Row, list[Path]]]:
        """First row and outputs of each slide, in the order in which they were counted."""
        known = [entry for entry in self._entries.values() if entry["rows"]]
        return [(entry["rows"][0], [Path(path) for path in entry["outputs"]]) for entry in known]

    def forget(self, slide: str) -> None:
        """Leave the former rows of a slide that is counted again out of the table."""
        self._entries.pop(slide_key(slide), None)

    def add(
        self, slide: str, made_from: dict[str, Any], outputs: Sequence[Path], rows: Sequence[Row]
    ) -> None:
        """Remember a slide's rows, on the disk."""
        key = slide_key(slide)
        made = [str(path.absolute()) for path in outputs]
        entry = {"slide": key, "made_from": made_from, "outputs": made, "rows": list(rows)}
        self._append(entry)
        self._entries[key] = entry

    def write_table(self, order: Sequence[str], *, at_once: bool = False) -> None:
        """Write the table, unless that was done just now and takes long.

        Parameters
        ----------
        order : sequence of str
            Slides whose rows come first, in this order. Rows of others, from former runs, follow.
        at_once : bool
            Write in any case.
        """
        began = time.monotonic()
        if not self._entries:
            return
        if not at_once and (began - self._wrote_at) * _WRITING < self._write_took:
            return
        keys = dict.fromkeys(slide_key(slide) for slide in order)
        keys.update(dict.fromkeys(self._entries))
        rows = [row for k in keys if k in self._entries for row in self._entries[k]["rows"]]
        content = table_bytes(rows, self.table.suffix.lower())
        digest = _sha256(content)
        if digest not in self._tables:
            self._append({"table_sha256": digest})
            self._tables.add(digest)
        if not self.table.exists() or self.table.read_bytes() != content:
            with replacing(self.table) as part:
                part.write_bytes(content)
        self._wrote_at = time.monotonic()
        self._write_took = self._wrote_at - began

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
        with self.path.open("ab") as file:
            # A name that is no UTF-8 has lone surrogates; backslashes make JSON's escapes of them.
            file.write(line.encode(errors="backslashreplace"))
            file.flush()
            os.fsync(file.fileno())


def state_of(slide: str) -> dict[str, Any] | None:
    """Size and time of last change of a slide, whatever it consists of.

    None for a URL whose server tells neither: such a slide is always counted again.

    Raises
    ------
    OSError
        If it does not exist or can't be reached.
    """
    if is_url(slide):
        return _state_of_url(slide)
    paths = [Path(slide)]
    if paths[0].suffix.lower() == ".mrxs":  # its data lie in a folder of the same name
        paths.append(paths[0].with_suffix(""))
    size, changed, files = 0, 0, 0
    for path in paths:
        for stat in _stats(path):
            size, files = size + stat.st_size, files + 1
            changed = max(changed, stat.st_mtime_ns)
    return {"size": size, "mtime_ns": changed, "files": files}


def _stats(path: Path) -> list[os.stat_result]:
    if not path.is_dir():
        return [path.stat()]
    return [(Path(folder) / name).stat() for folder, _, names in os.walk(path) for name in names]


def _state_of_url(url: str) -> dict[str, Any] | None:
    import fsspec

    filesystem, path = fsspec.url_to_fs(url)
    try:
        info = filesystem.info(path)
    except FileNotFoundError:
        return None  # a store such as OME-Zarr need not have a file of that name itself
    state = {name: str(info[name]) for name in ("size", *_CHANGES) if info.get(name)}
    return state if set(state) - {"size"} else None


def content_of(files: Sequence[str]) -> dict[str, str]:
    """Checksum of each of the (small) files, by name.

    Raises
    ------
    OSError
        If one can't be read.
    """
    import fsspec

    digests = {}
    for name in files:
        with fsspec.open(name, "rb") if is_url(name) else open(name, "rb") as file:
            digests[name] = _sha256(file.read())
    return digests


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
