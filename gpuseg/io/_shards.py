"""One level of a label pyramid on disk, in shards: files of square chunks with an index.

A shard is what the sharding codec of Zarr 3 makes of it: the encoded chunks one after another,
then for each its offset and size (two little-endian uint64, all ones for a chunk that is left out
because it is 0 throughout), then the index's CRC32C. A shard without any chunk is no file at all.
Written without zarr-python, which took twice as long for the same pyramid (20480², 2 threads).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gpuseg.io._checkpoint import write_atomic

LabelImage = npt.NDArray[np.uint8]
Codec = Literal["zstd", "deflate"]
_ABSENT = np.iinfo(np.uint64).max


def _codecs() -> Any:
    """The module imagecodecs, whose types know no arrays; counting in memory does without it."""
    import imagecodecs

    return imagecodecs


class Level(NamedTuple):
    """Where one level lies, and how it is cut.

    Attributes
    ----------
    folder : Path
        The level's array; shard (row, column) is its file `c/row/column`.
    shape : (int, int)
        Height and width of the level.
    shard, chunk : int
        Sides of both, in pixels of the level; chunks divide shards.
    codec : "zstd" or "deflate"
        How chunks are encoded: zstd for Zarr; zlib's format, for TIFF.
    within : bool
        Whether a box of level 0 holds whole shards of this level, one of each.
    """

    folder: Path
    shape: tuple[int, int]
    shard: int
    chunk: int
    codec: Codec
    within: bool

    def shards(self) -> tuple[int, int]:
        """Rows and columns of shards."""
        return -(-self.shape[0] // self.shard), -(-self.shape[1] // self.shard)

    def path(self, row: int, column: int) -> Path:
        """File of a shard."""
        return self.folder / "c" / str(row) / str(column)

    def write(self, row: int, column: int, labels: LabelImage, scratch: Path) -> tuple[int, int]:
        """Write a shard whole or not at all; returns its size and CRC32, (0, 0) if it has no file.

        `scratch` is a folder of the same file system for the unfinished file.
        """
        data = self._encoded(labels)
        path = self.path(row, column)
        if data:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data, scratch)
        else:
            path.unlink(missing_ok=True)
        return len(data), zlib.crc32(data)

    def _encoded(self, labels: LabelImage) -> bytes:
        side = self.shard // self.chunk
        index = np.full((side, side, 2), _ABSENT, "<u8")
        parts: list[bytes] = []
        end = 0
        for row in range(-(-labels.shape[0] // self.chunk)):
            for column in range(-(-labels.shape[1] // self.chunk)):
                chunk = self._cut(labels, row * self.chunk, column * self.chunk)
                if not chunk.any():
                    continue
                parts.append(encode(chunk, self.codec))
                index[row, column] = end, len(parts[-1])
                end += len(parts[-1])
        if not parts:
            return b""
        table = index.tobytes()
        return b"".join([*parts, table, crc32c(table).to_bytes(4, "little")])

    def _cut(self, labels: LabelImage, top: int, left: int) -> LabelImage:
        """A chunk, padded with 0 where it reaches over the level's edge."""
        piece = labels[top : top + self.chunk, left : left + self.chunk]
        if piece.shape == (self.chunk, self.chunk):
            return np.ascontiguousarray(piece)
        chunk = np.zeros((self.chunk, self.chunk), np.uint8)
        chunk[: piece.shape[0], : piece.shape[1]] = piece
        return chunk

    def read(self, top: int, left: int, height: int, width: int) -> LabelImage:
        """A window whose corner lies on a shard's, cropped to the level."""
        height, width = min(height, self.shape[0] - top), min(width, self.shape[1] - left)
        labels = np.zeros((height, width), np.uint8)
        for y in range(0, height, self.shard):
            for x in range(0, width, self.shard):
                place = labels[y : y + self.shard, x : x + self.shard]
                self._fill(place, (top + y) // self.shard, (left + x) // self.shard)
        return labels

    def _fill(self, place: LabelImage, row: int, column: int) -> None:
        path = self.path(row, column)
        if not path.exists():
            return
        with path.open("rb") as file:
            index = self._index(file)
            for r, c in np.argwhere(index[..., 0] != _ABSENT):
                chunk = decode(_part(file, *index[r, c]), self.codec, self.chunk)
                target = place[r * self.chunk :, c * self.chunk :][: self.chunk, : self.chunk]
                target[:] = chunk[: target.shape[0], : target.shape[1]]

    def _index(self, file: BinaryIO) -> npt.NDArray[np.uint64]:
        side = self.shard // self.chunk
        file.seek(-(16 * side * side + 4), os.SEEK_END)
        index: npt.NDArray[np.uint64] = np.frombuffer(file.read(16 * side * side), "<u8")
        return index.reshape(side, side, 2)

    def encoded_chunks(self) -> Iterator[bytes]:
        """All chunks of the level, encoded, row by row; empty ones included."""
        side = self.shard // self.chunk
        empty = encode(np.zeros((self.chunk, self.chunk), np.uint8), self.codec)
        rows, columns = -(-self.shape[0] // self.chunk), -(-self.shape[1] // self.chunk)
        for shard_row in range(self.shards()[0]):
            with ExitStack() as stack:
                shards = []
                for shard_column in range(self.shards()[1]):
                    path = self.path(shard_row, shard_column)
                    file = stack.enter_context(path.open("rb")) if path.exists() else None
                    shards.append((file, self._index(file) if file else None))
                for row in range(shard_row * side, min(rows, (shard_row + 1) * side)):
                    for column in range(columns):
                        file, index = shards[column // side]
                        place = None if index is None else index[row % side, column % side]
                        if file is None or place is None or place[0] == _ABSENT:
                            yield empty
                        else:
                            yield _part(file, *place)


def _part(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(int(offset))
    return file.read(int(size))


def encode(chunk: LabelImage, codec: Codec) -> bytes:
    """Encode a chunk at level 1 of its codec."""
    if codec == "zstd":
        return bytes(_codecs().zstd_encode(chunk, level=1))
    # libdeflate: 410 Mpx/s on labels, zlib 300.
    return bytes(_codecs().deflate_encode(chunk, level=1, raw=False))


def decode(data: bytes, codec: Codec, chunk: int) -> LabelImage:
    """A chunk from its bytes."""
    size = chunk * chunk
    if codec == "zstd":
        raw = _codecs().zstd_decode(data, out=size)
    else:
        raw = _codecs().deflate_decode(data, out=size, raw=False)
    labels: LabelImage = np.frombuffer(raw, np.uint8).reshape(chunk, chunk)
    return labels


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    """CRC-32 with Castagnoli's polynomial, of the kilobyte that an index is.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
