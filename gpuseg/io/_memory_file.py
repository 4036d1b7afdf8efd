"""A file whose bytes are in memory already."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import IO


class MemoryFile:
    """Bytes that are in memory already; see `gpuseg.io._bytes.ByteSource`."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.size = len(data)
        self.data = data

    def open(self) -> IO[bytes]:
        """Stream over the bytes."""
        return io.BytesIO(self.data)

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Parts, copied only where they are not all."""
        for offset, length in ranges:
            yield self.data[offset : offset + length]

    def close(self) -> None:
        """Nothing is open."""
