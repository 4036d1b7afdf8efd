"""Results under their names: drafts, commits, failures. See docs/design/pipeline.md."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gpuseg.pipeline._folders import Folder, LocalFolder, RemoteFolder

_OURS = ".gpuseg"


class Name(NamedTuple):
    """A result's name in its run: the step and the first digits of the key."""

    step: str
    short: str

    @property
    def path(self) -> str:
        return f"{self.step}/{self.short}"

    @property
    def flat(self) -> str:
        return f"{self.step}~{self.short}"


class Draft(NamedTuple):
    """Where a result is being written; `prefix` is what its files' names begin with afterwards."""

    folder: Folder
    prefix: str
    taken_over: bool


class Fenced(Exception):
    """Another process took this draft over."""


def open_store(url: str | os.PathLike[str], options: Mapping[str, Any]) -> Store:
    """Store at a path or URL; nothing is written yet.

    Raises
    ------
    ValueError
        If a file lies there, or options are given for a path.
    """
    name = os.fspath(url)
    if name.startswith("file://"):
        name = name.removeprefix("file://")
    if "://" in name:
        return RemoteStore(RemoteFolder(name.rstrip("/"), tuple(sorted(options.items()))))
    if options:
        raise ValueError(f"storage_options are for URLs, got {dict(options)} for {name!r}")
    if os.path.isfile(name):
        raise ValueError(f"a run is a folder, got the file {name!r}")
    return LocalStore(LocalFolder(os.path.abspath(name)))


class Store:
    """What both kinds of stores share."""

    root: Folder
    ours: Folder

    def begun(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """What `run.json` says, written now if there is none."""
        if not self.ours.exists("run.json"):
            self.ours.create("run.json", json.dumps(document, indent=1).encode())
        found: dict[str, Any] = json.loads(self.ours.read("run.json") or b"{}")
        return found or dict(document)

    def folder(self, name: Name) -> Folder:
        return self.root.sub(name.path)

    def exists(self, name: Name) -> bool:
        return self.root.exists(f"{name.path}/result.json")

    def value(self, name: Name) -> bytes | None:
        """JSON of a result's value, or None if there is no such result."""
        return self._parts(name)[1] if self.exists(name) else None

    def record(self, name: Name) -> dict[str, Any]:
        """What is known of a result, but its value."""
        found: dict[str, Any] = json.loads(self._parts(name)[0])
        return found

    def _parts(self, name: Name) -> tuple[bytes, bytes]:
        try:
            return split(self.root.read(f"{name.path}/result.json"))
        except ValueError as error:
            raise ValueError(
                f"{name.path}/result.json is damaged: `gpuseg runs verify --repair` drops it"
            ) from error

    def names(self) -> Iterator[Name]:
        """All results, in the order of their names."""
        for step in sorted(self.root.children()):
            if not step.startswith("."):
                for short in sorted(self.root.children(step)):
                    name = Name(step, short)
                    if not short.startswith(".") and self.exists(name):
                        yield name

    def done(self, names: Iterable[Name]) -> set[Name]:
        """Which of these exist."""
        return {name for name in names if self.exists(name)}

    def fail(self, name: Name, failure: Mapping[str, Any]) -> None:
        self.ours.write(f"failed/{name.flat}.json", json.dumps(failure, indent=1).encode())

    def failure(self, name: Name) -> dict[str, Any] | None:
        """Why a result failed, if it has not succeeded since."""
        try:
            found: dict[str, Any] = json.loads(self.ours.read(f"failed/{name.flat}.json"))
        except (FileNotFoundError, ValueError):
            return None
        return found

    def failures(self) -> dict[Name, dict[str, Any]]:
        """What failed and has not succeeded since."""
        found = {}
        for file in self.ours.children("failed"):
            step, _, short = file.removesuffix(".json").partition("~")
            failure = self.failure(Name(step, short))
            if failure is not None:
                found[Name(step, short)] = failure
        return found

    def forgive(self, name: Name) -> None:
        self.ours.remove(f"failed/{name.flat}.json")

    def draft(self, name: Name) -> Draft:
        raise NotImplementedError

    def drafts(self) -> list[tuple[Name, Folder]]:
        """What is being computed, or was when its process died."""
        raise NotImplementedError

    def emptied(self, draft: Draft, name: Name) -> Draft:
        """The draft without what its former owner wrote."""
        raise NotImplementedError

    def discard(self, draft: Draft) -> None:
        draft.folder.remove("")

    def commit(self, draft: Draft, name: Name, record: bytes, flush: bool) -> None:
        raise NotImplementedError

    def withdraw(self, name: Name) -> None:
        """Remove a result: first its name, then its data."""
        raise NotImplementedError

    def reopen(self, name: Name) -> None:
        """Make a result a draft again, with the chunks that it has."""
        raise NotImplementedError

    def sweep(self) -> int:
        """Remove what interrupted removals left; returns how many."""
        return 0


class LocalStore(Store):
    """Results in a folder of a file system: a result is a folder that is renamed when whole."""

    def __init__(self, root: LocalFolder) -> None:
        self.root: LocalFolder = root
        self.ours: LocalFolder = root.sub(_OURS)
        self._partial = f"{self.ours.path}/partial"

    def begun(self, document: Mapping[str, Any]) -> dict[str, Any]:
        os.makedirs(self._partial, exist_ok=True)
        return super().begun(document)

    def value(self, name: Name) -> bytes | None:
        try:
            return self._parts(name)[1]
        except FileNotFoundError:
            return None

    def draft(self, name: Name) -> Draft:
        target = f"{self._partial}/{name.flat}-{secrets.token_hex(4)}"
        former = [each for each in os.listdir(self._partial) if each.startswith(f"{name.flat}-")]
        taken = False
        for each in former:
            if taken:
                shutil.rmtree(f"{self._partial}/{each}", ignore_errors=True)
                continue
            try:
                os.rename(f"{self._partial}/{each}", target)
                taken = True
            except FileNotFoundError:  # its owner has just committed it
                continue
        if not taken:
            os.mkdir(target)
        return Draft(LocalFolder(target), "", taken)

    def emptied(self, draft: Draft, name: Name) -> Draft:
        for child in draft.folder.children():
            draft.folder.remove(child)
        return draft

    def drafts(self) -> list[tuple[Name, Folder]]:
        found: list[tuple[Name, Folder]] = []
        for each in self.ours.children("partial"):
            step, _, rest = each.partition("~")
            name = Name(step, rest.partition("-")[0])
            found.append((name, LocalFolder(f"{self._partial}/{each}")))
        return found

    def commit(self, draft: Draft, name: Name, record: bytes, flush: bool) -> None:
        assert isinstance(draft.folder, LocalFolder)
        path, final = draft.folder.path, f"{self.root.path}/{name.path}"
        try:
            if draft.taken_over:
                draft.folder.remove("result.json")  # of a process that died before the rename
            LocalFolder.write_plainly(f"{path}/result.json", record)
            if flush:
                _flush(draft.folder)
            try:
                os.rename(path, final)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(final), exist_ok=True)
                os.rename(path, final)
        except FileNotFoundError as error:
            raise Fenced(name.path) from error
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(path, ignore_errors=True)  # another process was first

    def withdraw(self, name: Name) -> None:
        trash = f"{self.ours.path}/trash"
        os.makedirs(trash, exist_ok=True)
        target = f"{trash}/{secrets.token_hex(8)}"
        try:
            os.rename(f"{self.root.path}/{name.path}", target)
        except FileNotFoundError:
            return
        shutil.rmtree(target, ignore_errors=True)
        if not self.root.children(name.step):
            self.root.remove(name.step)

    def reopen(self, name: Name) -> None:
        path = f"{self._partial}/{name.flat}-{secrets.token_hex(4)}"
        os.rename(f"{self.root.path}/{name.path}", path)

    def sweep(self) -> int:
        left = self.ours.children("trash")
        self.ours.remove("trash")
        return len(left)


def _flush(folder: LocalFolder) -> None:
    """Have the disk hold every byte before the result gets its name."""
    for name in folder.names():
        file = os.open(f"{folder.path}/{name}", os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


class RemoteStore(Store):
    """Results in a bucket: a result is there when its record is, which names its data."""

    def __init__(self, root: RemoteFolder) -> None:
        self.root: RemoteFolder = root
        self.ours: RemoteFolder = root.sub(_OURS)

    def exists(self, name: Name) -> bool:
        return self.ours.exists(f"done/{name.flat}")

    def done(self, names: Iterable[Name]) -> set[Name]:
        listed = set(self.ours.children("done"))
        return {name for name in names if name.flat in listed}

    def names(self) -> Iterator[Name]:
        for each in sorted(self.ours.children("done")):
            step, _, short = each.partition("~")
            yield Name(step, short)

    def draft(self, name: Name) -> Draft:
        folder = self.folder(name)
        former = [each for each in folder.children() if not each.endswith(".json")]
        attempt = former[0] if former else secrets.token_hex(4)
        return Draft(folder.sub(attempt), f"{attempt}/", bool(former))

    def emptied(self, draft: Draft, name: Name) -> Draft:
        # Its owner may wake and finish it: nothing of it may change.
        attempt = secrets.token_hex(4)
        return Draft(self.folder(name).sub(attempt), f"{attempt}/", False)

    def drafts(self) -> list[tuple[Name, Folder]]:
        done = set(self.ours.children("done"))
        found: list[tuple[Name, Folder]] = []
        for step in self.root.children():
            for short in [] if step.startswith(".") else self.root.children(step):
                name = Name(step, short)
                if name.flat not in done:
                    attempts = [a for a in self.folder(name).children() if not a.endswith(".json")]
                    found += [(name, self.folder(name).sub(each)) for each in attempts]
        return found

    def commit(self, draft: Draft, name: Name, record: bytes, flush: bool) -> None:
        if self.exists(name) and not self._is_used(name, draft.prefix):
            self.discard(draft)  # another process was first
            return
        self.folder(name).write("result.json", record)
        self.ours.write(f"done/{name.flat}", b" ")

    def _is_used(self, name: Name, prefix: str) -> bool:
        return f'"{prefix}'.encode() in (self.value(name) or b"")

    def sweep(self) -> int:
        """Remove attempts that others were faster than."""
        found = 0
        for name in self.names():
            for each in self.folder(name).children():
                if not each.endswith(".json") and not self._is_used(name, f"{each}/"):
                    self.root.remove(f"{name.path}/{each}")
                    found += 1
        return found

    def withdraw(self, name: Name) -> None:
        self.ours.remove(f"done/{name.flat}")
        self.root.remove(name.path)

    def reopen(self, name: Name) -> None:
        self.ours.remove(f"done/{name.flat}")
        self.root.remove(f"{name.path}/result.json")


# In `result.json` the value comes last, so that neither of both parts is parsed for the other.
VALUE = b',\n "value": '


def split(data: bytes) -> tuple[bytes, bytes]:
    """What `result.json` says of a result, and its value.

    Raises
    ------
    ValueError
        If it is not what was written.
    """
    head, found, value = data.partition(VALUE)
    if not found or not value.endswith(b"\n}\n"):
        raise ValueError("it ends early")
    return head + b"}", value[:-3]


def is_network(path: str) -> bool:
    """Whether a path lies on a file system that other machines share, as far as Linux tells."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    real, best, kind = os.path.realpath(path), "", ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind in _NETWORK or kind.startswith("fuse.")


_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "beegfs", "gpfs", "ceph", "glusterfs", "9p"}
    | {"afs", "pvfs2", "orangefs", "virtiofs", "vboxsf", "prl_fs"}
)
