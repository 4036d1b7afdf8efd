"""Byte ranges of a local file or of a URL, from any thread."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import IO, Any, Protocol

from gpuseg.io._reader import SlideError

# Ranges of one request to a server: neighbours closer than the gap are fetched together, and a
# batch holds a bounded number of bytes, so that a box of large tiles does not fill the memory.
_GAP_BYTES = 64 << 10
# Neighbours in a local file that are read at once: every system call lets go of the interpreter,
# and 16 tiles that fetch their bytes one by one are 5 % slower.
_RUN_BYTES, _RUN_GAP_BYTES = 256 << 10, 1 << 10
_BATCH_BYTES = 32 << 20


class ByteSource(Protocol):
    """Where the bytes of a slide come from."""

    name: str
    size: int

    def open(self) -> IO[bytes]:
        """Seekable stream for parsing headers."""

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Bytes of each (offset, length), in order; shorter where the file ends."""

    def close(self) -> None:
        """Close what is open."""


class LocalFile:
    """`os.pread` on one descriptor: no lock, no seek, safe from any thread."""

    _descriptor: int | None = None

    def __init__(self, path: str) -> None:
        self.name = path
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self._descriptor).st_size

    def open(self) -> IO[bytes]:
        """Second, buffered handle on the file."""
        return open(self.name, "rb")

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Slices of runs."""
        for first, stop, run in self.runs(ranges):
            start = ranges[first][0]
            for offset, length in ranges[first:stop]:
                whole = stop - first == 1
                yield run if whole else run[offset - start : offset - start + length]

    def runs(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, bytes]]:
        """One system call for each run of neighbours."""
        for first, stop in _runs(ranges):
            if self._descriptor is None:
                raise SlideError(f"{self.name}: the slide is closed")
            start = ranges[first][0]
            size = ranges[stop - 1][0] + ranges[stop - 1][1] - start
            yield first, stop, os.pread(self._descriptor, size, start)

    def close(self) -> None:
        """Close the descriptor."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class RemoteFile:
    """Ranges through fsspec: neighbouring ones in one request, nothing cached."""

    def __init__(self, url: str, filesystem: Any, path: str) -> None:
        self.name = url
        self._filesystem = filesystem
        self._path = path
        self.size = int(filesystem.info(path)["size"] or 0)
        if not self.size:
            raise SlideError(f"{url}: the server does not tell the file's size, or it is empty")

    def open(self) -> IO[bytes]:
        """Stream that fetches blocks as the parser walks from directory to directory."""
        stream: IO[bytes] = self._filesystem.open(
            self._path, "rb", block_size=256 << 10, cache_type="blockcache"
        )
        return stream

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Batches of merged ranges, one request for each run of neighbours."""
        for batch in _batches(ranges):
            spans = merge_ranges(batch, _GAP_BYTES)
            chunks = self._fetch(spans)
            for offset, length in batch:
                yield _cut(spans, chunks, offset, length)

    def _fetch(self, spans: list[tuple[int, int]]) -> list[bytes]:
        """Bytes of each (start, stop); a request that fails is repeated twice."""
        chunks: dict[int, Any] = {}
        for pause in (0.2, 1.0, None):
            wanted = [i for i in range(len(spans)) if not isinstance(chunks.get(i), bytes)]
            answers = self._filesystem.cat_ranges(
                [self._path] * len(wanted),
                [spans[i][0] for i in wanted],
                [min(spans[i][1], self.size) for i in wanted],
                on_error="return",
            )
            chunks.update(zip(wanted, answers, strict=True))
            failed = [chunks[i] for i in wanted if not isinstance(chunks[i], bytes)]
            if not failed:
                break
            if pause is None:
                raise SlideError(f"{self.name}: {type(failed[0]).__name__}: {failed[0]}")
            time.sleep(pause)
        for i, (start, stop) in enumerate(spans):
            if len(chunks[i]) > stop - start:
                # Harmless for a plain image; a slide would be sent again for each box.
                if not len(chunks[i]) == self.size <= _BATCH_BYTES:
                    raise SlideError(f"{self.name}: the server ignores range requests")
                chunks[i] = chunks[i][start:stop]
        return [chunks[i] for i in range(len(spans))]

    def close(self) -> None:
        """Nothing is kept open."""


def read_runs(
    source: ByteSource, ranges: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int, bytes]]:
    """Ranges as they are fetched: numbers of a first and last + 1 one, and bytes that hold them.

    The first begins at the first byte, the others as much later as they do in the file.
    """
    if isinstance(source, LocalFile):
        yield from source.runs(ranges)
    else:
        for number, data in enumerate(source.read(ranges)):
            yield number, number + 1, data


def _runs(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """First and last + 1 of ranges that follow each other in the file, or nearly so."""
    first = 0
    for i in range(1, len(ranges) + 1):
        if i < len(ranges):
            (offset, length), (after, size) = ranges[i - 1], ranges[i]
            near = 0 <= after - offset - length <= _RUN_GAP_BYTES
            if near and after + size - ranges[first][0] <= _RUN_BYTES:
                continue
        yield first, i
        first = i


def _batches(ranges: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    batch: list[tuple[int, int]] = []
    held = 0
    for offset, length in ranges:
        if batch and held + length > _BATCH_BYTES:
            yield batch
            batch, held = [], 0
        batch.append((offset, length))
        held += length
    if batch:
        yield batch


def merge_ranges(ranges: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Disjoint (start, stop), ascending, that cover every (offset, length).

    Examples
    --------
    >>> merge_ranges([(100, 10), (0, 10), (12, 8)], gap=4)
    [(0, 20), (100, 110)]
    """
    merged: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        if merged and offset <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], offset + length))
        else:
            merged.append((offset, offset + length))
    return merged


def _cut(spans: list[tuple[int, int]], chunks: Sequence[bytes], offset: int, length: int) -> bytes:
    index = bisect_right(spans, offset, key=lambda span: span[0]) - 1
    start = offset - spans[index][0]
    return bytes(chunks[index][start : start + length])
