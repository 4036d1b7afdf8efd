"""Folders of files, local or on whatever fsspec reaches: all that a run asks of its storage."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LocalFolder:
    """A folder of a file system; pickles, so that Dask's workers write to it."""

    path: str

    def sub(self, name: str) -> LocalFolder:
        return LocalFolder(f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        # `open` asks the system five questions more, a third of the time of a remembered step.
        file = os.open(f"{self.path}/{name}", os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            data = os.read(file, size)
            while len(data) < size and (more := os.read(file, size - len(data))):
                data += more
            return data
        finally:
            os.close(file)

    def write(self, name: str, data: bytes) -> None:
        """Write a file that appears whole under its name, or not at all."""
        path = f"{self.path}/{name}"
        folder, _, _ = path.rpartition("/")
        unfinished = f"{folder}/.{secrets.token_hex(8)}"
        try:
            try:
                self.write_plainly(unfinished, data)
            except FileNotFoundError:
                # A draft that was taken over is gone, and must not come back.
                os.stat(self.path)
                os.makedirs(folder, exist_ok=True)
                self.write_plainly(unfinished, data)
            os.replace(unfinished, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
            raise

    @staticmethod
    def write_plainly(path: str, data: bytes) -> None:
        # Half of what `open` takes.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        finally:
            os.close(file)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; says whether that was so."""
        path = f"{self.path}/{name}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self.write_plainly(path, data)
        except FileExistsError:
            return False
        return True

    def exists(self, name: str) -> bool:
        return os.path.exists(f"{self.path}/{name}")

    def children(self, name: str = "") -> list[str]:
        """Names of files and folders within a folder."""
        try:
            return os.listdir(f"{self.path}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return []

    def names(self, name: str = "") -> Iterator[str]:
        """Names of all files below a folder, hidden ones included."""
        return (inner for inner, _ in self._entries(name))

    def size(self, name: str = "") -> int:
        """Bytes of all files below a folder."""
        return sum(entry.stat().st_size for _, entry in self._entries(name))

    def _entries(self, name: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        waiting = [name]
        while waiting:
            folder = waiting.pop()
            try:
                entries = list(os.scandir(f"{self.path}/{folder}"))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                inner = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(inner)
                else:
                    yield inner, entry

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it is there."""
        path = f"{self.path}/{name}"
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def zarr(self, name: str) -> Any:
        """What `zarr.open` takes."""
        return f"{self.path}/{name}"


@dataclass(frozen=True)
class RemoteFolder:
    """A prefix of a file system of fsspec; pickles. Each object is written whole or not at all."""

    url: str
    options: tuple[tuple[str, Any], ...] = ()

    def _at(self, name: str) -> tuple[Any, str]:
        import fsspec

        filesystem, root = fsspec.url_to_fs(self.url, **dict(self.options))
        return filesystem, f"{root}/{name}".rstrip("/")

    def sub(self, name: str) -> RemoteFolder:
        return RemoteFolder(f"{self.url}/{name}", self.options)

    def read(self, name: str) -> bytes:
        filesystem, path = self._at(name)
        data: bytes = filesystem.cat_file(path)
        return data

    def write(self, name: str, data: bytes) -> None:
        filesystem, path = self._at(name)
        self._parents(filesystem, path)
        filesystem.pipe_file(path, data)

    @staticmethod
    def _parents(filesystem: Any, path: str) -> None:
        # Buckets have no folders, but what merely looks like one may.
        if "memory" not in filesystem.protocol and filesystem.protocol[0] in ("file", "sftp"):
            filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one; says whether that was so."""
        filesystem, path = self._at(name)
        # Some stores know no condition, and some versions of their packages forget it.
        if self.exists(name):
            return False
        self._parents(filesystem, path)
        try:
            filesystem.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except NotImplementedError:
            filesystem.pipe_file(path, data)
        return True

    def exists(self, name: str) -> bool:
        filesystem, path = self._at(name)
        filesystem.invalidate_cache()
        return bool(filesystem.exists(path))

    def children(self, name: str = "") -> list[str]:
        """Names of objects and folders within a folder."""
        filesystem, path = self._at(name)
        filesystem.invalidate_cache()
        try:
            found = filesystem.ls(path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [each.rstrip("/").rpartition("/")[2] for each in found]

    def names(self, name: str = "") -> Iterator[str]:
        """Names of all objects below a folder."""
        filesystem, path = self._at(name)
        _, root = self._at("")
        filesystem.invalidate_cache()
        return (each[len(root) :].lstrip("/") for each in filesystem.find(path))

    def size(self, name: str = "") -> int:
        """Bytes of all objects below a folder."""
        filesystem, path = self._at(name)
        filesystem.invalidate_cache()
        return int(filesystem.du(path)) if filesystem.exists(path) else 0

    def remove(self, name: str) -> None:
        """Remove an object or all below a folder, if it is there."""
        filesystem, path = self._at(name)
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm(path, recursive=True)

    def zarr(self, name: str) -> Any:
        """What `zarr.open` takes."""
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(
            f"{self.url}/{name}", storage_options=dict(self.options), read_only=True
        )


Folder = LocalFolder | RemoteFolder
