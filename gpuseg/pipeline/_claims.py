"""Claims on results, so that no two processes compute the same; see docs/design/pipeline.md."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterable
from typing import Protocol

from gpuseg.pipeline._folders import Folder
from gpuseg.pipeline._store import Name

# A lease whose counter stands still for `_PATIENCE` has lost its owner. An owner that is alive
# moves it four times in that time, which leaves room for a slow bucket.
BEAT, PATIENCE, SETTLE = 5.0, 20.0, 1.0


class Claims(Protocol):
    """One owner at a time for each result, by the best of the store's knowledge."""

    def claim(self, name: Name) -> bool:
        """Become the owner, unless there is one; never waits for it."""

    def release(self, name: Name) -> None:
        """Cease to be the owner."""

    def is_claimed(self, name: Name) -> bool:
        """Whether anyone, we ourselves included, is the owner, as far as one look tells."""

    def held(self, names: Iterable[Name]) -> set[Name]:
        """Those whose owner is alive; it may take a while to find out."""


# The kernel's locks belong to a process, not to a thread or an object, and closing any descriptor
# of the file drops all of them: one descriptor a file for as long as the process lives.
_files: dict[str, int] = {}
_held: set[tuple[int, str, int]] = set()
_guard = threading.Lock()


class Locks:
    """Locks of the kernel on single bytes of a file: they vanish with their process."""

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)

    def _file(self) -> int:
        if self._path not in _files:
            _files[self._path] = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        return _files[self._path]

    def claim(self, name: Name) -> bool:
        import fcntl

        byte = int(name.short, 16)
        # A child that was forked holds none of its parent's locks.
        mine = (os.getpid(), self._path, byte)
        with _guard:
            if mine in _held:
                return False
            try:
                fcntl.lockf(self._file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except (BlockingIOError, PermissionError):
                return False
            _held.add(mine)
            return True

    def release(self, name: Name) -> None:
        import fcntl

        byte = int(name.short, 16)
        with _guard:
            fcntl.lockf(self._file(), fcntl.LOCK_UN, 1, byte)
            _held.discard((os.getpid(), self._path, byte))

    def is_claimed(self, name: Name) -> bool:
        if not os.path.exists(self._path):
            return False
        if self.claim(name):
            self.release(name)
            return False
        return True

    def held(self, names: Iterable[Name]) -> set[Name]:
        return {name for name in names if self.is_claimed(name)}


class Leases:
    """Objects with an owner and a counter that the owner's thread moves; no clock is compared."""

    def __init__(
        self,
        folder: Folder,
        *,
        beat: float = BEAT,
        patience: float = PATIENCE,
        settle: float = SETTLE,
    ) -> None:
        self._folder = folder
        self._owner = secrets.token_hex(8)
        self._beat, self._patience, self._settle = beat, patience, settle
        self._mine: dict[str, int] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def _text(self, count: int) -> bytes:
        return f"{self._owner} {count}".encode()

    def claim(self, name: Name) -> bool:
        key = name.flat
        with self._guard:
            if key in self._mine:
                return False
        if self._folder.create(key, self._text(0)) or self._taken_over(key):
            with self._guard:
                self._mine[key] = 0
                # None, ended, or left behind by a fork.
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._keep, daemon=True)
                    self._thread.start()
            return True
        return False

    def _taken_over(self, key: str) -> bool:
        if not self._is_dead(key):
            return False
        # Others may see the same; the last one to write is the owner.
        self._folder.write(key, self._text(0))
        time.sleep(self._settle)
        return self._read(key) == self._text(0)

    def _is_dead(self, key: str) -> bool:
        """Whether a lease has stood still for long, by the time that passes here."""
        now, text = time.monotonic(), self._read(key)
        if text is None:
            return False  # released just now: the next look may claim it
        before, since = self._seen.get(key, (None, now))
        if text != before:
            self._seen[key] = text, now
            return False
        return now - since > self._patience

    def _read(self, key: str) -> bytes | None:
        try:
            return self._folder.read(key)
        except FileNotFoundError:
            return None

    def _keep(self) -> None:
        while True:
            time.sleep(self._beat)
            with self._guard:
                if not self._mine:
                    self._thread = None
                    return
                for key, count in list(self._mine.items()):
                    # An unreachable store is no reason to stop; if it lasts, others take over.
                    with contextlib.suppress(OSError):
                        self._renew(key, count)

    def _renew(self, key: str, count: int) -> None:
        text = self._read(key)
        if text is None or not text.startswith(self._owner.encode()):
            del self._mine[key]  # taken over while this process stood still
            return
        self._folder.write(key, self._text(count + 1))
        self._mine[key] = count + 1

    def release(self, name: Name) -> None:
        key = name.flat
        with self._guard:
            count = self._mine.pop(key, None)
            if count is not None and self._read(key) == self._text(count):
                self._folder.remove(key)

    def is_claimed(self, name: Name) -> bool:
        """Whether there is a lease that hasn't been seen standing still for long."""
        return self._read(name.flat) is not None and not self._is_dead(name.flat)

    def held(self, names: Iterable[Name]) -> set[Name]:
        before = {name: self._read(name.flat) for name in names}
        if not any(before.values()):
            return set()
        time.sleep(1.5 * self._beat)
        return {name for name, text in before.items() if text and self._read(name.flat) != text}
