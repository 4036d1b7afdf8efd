"""One run at a time writes a table or a label image."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs from writing `path` meanwhile, by a lock on a file beside it.

    The lock is the operating system's: it ends with its process, however that ends, and a file that
    is left behind locks nothing. Where there are no such locks (Windows, some network file systems)
    nothing is locked.

    Raises
    ------
    BlockingIOError
        If another run writes it; the message says which.
    """
    beside = path.with_name(path.name + ".lock")
    descriptor = _acquired(beside, path)
    try:
        yield
    finally:
        if descriptor is not None:
            # While it is still ours: who opened it before finds that it has lost its name.
            beside.unlink(missing_ok=True)
            os.close(descriptor)


def _acquired(beside: Path, path: Path) -> int | None:
    while fcntl is not None:
        try:
            descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            # No such folder, or not ours to write to: who writes there says so better.
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(descriptor, 200, 0).decode(errors="replace")
            os.close(descriptor)
            raise BlockingIOError(
                f"{path} is being written by another run ({who or 'unknown'}); wait for it, or "
                "name another file"
            ) from None
        except OSError:
            os.close(descriptor)
            return None
        if _is_named(descriptor, beside):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return descriptor
        os.close(descriptor)
    return None


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
