"""Shards of Zarr 3 in any number of dimensions, every chunk with its checksum."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, NamedTuple

import google_crc32c
import imagecodecs
import numpy as np

from gpuseg.typing import NumpyArray

Index = tuple[int, ...]
_codecs: Any = imagecodecs  # its types know no arrays
_ABSENT = np.iinfo(np.uint64).max

# dtype names that Zarr 3 and NumPy share.
_INTEGERS = [f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)]
DTYPES = frozenset(["bool", *_INTEGERS, "float16", "float32", "float64", "complex64", "complex128"])


class Damaged(ValueError):
    """Bytes that aren't what was written."""


class Format(NamedTuple):
    """How an array's shards are made; `chunks` divide `shards`."""

    shape: Index
    shards: Index
    chunks: Index
    dtype: str
    compressor: str | None
    level: int

    def encode(self, block: NumpyArray) -> bytes:
        """A shard of a block that may end early, at the edge of the array."""
        counts = self._counts()
        index = np.full((*counts, 2), _ABSENT, "<u8")
        parts: list[bytes] = []
        end = 0
        for at in np.ndindex(*(-(-n // c) for n, c in zip(block.shape, self.chunks, strict=True))):
            chunk = self._cut(block, at)
            if not _bits(chunk).any():
                continue
            data = self._compressed(chunk)
            parts.append(data + google_crc32c.value(data).to_bytes(4, "little"))
            index[at] = end, len(parts[-1])
            end += len(parts[-1])
        table = index.tobytes()
        return b"".join([*parts, table, google_crc32c.value(table).to_bytes(4, "little")])

    def _counts(self) -> Index:
        return tuple(s // c for s, c in zip(self.shards, self.chunks, strict=True))

    def _cut(self, block: NumpyArray, at: Index) -> NumpyArray:
        where = tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, self.chunks, strict=True))
        piece = block[where]
        if piece.shape == self.chunks:
            return np.ascontiguousarray(piece)
        chunk = np.zeros(self.chunks, block.dtype)
        chunk[tuple(slice(0, n) for n in piece.shape)] = piece
        return chunk

    def _compressed(self, chunk: NumpyArray) -> bytes:
        raw = chunk.view(np.uint8) if chunk.dtype.kind == "b" else chunk
        if self.compressor == "zstd":
            return bytes(_codecs.zstd_encode(np.ascontiguousarray(raw), level=self.level))
        if self.compressor == "gzip":
            # No time stamp: the same chunk is the same bytes.
            deflate = zlib.compressobj(self.level, zlib.DEFLATED, 31)
            return deflate.compress(raw.tobytes()) + deflate.flush()
        return raw.tobytes()

    def chunks_of(self, data: bytes) -> list[tuple[Index, bytes]]:
        """Encoded chunks of a shard, their checksums compared; those of zeros are left out.

        Raises
        ------
        Damaged
            If a checksum differs or the shard is cut short.
        """
        counts = self._counts()
        size = 16 * math.prod(counts)
        table, check = data[len(data) - size - 4 : -4], data[-4:]
        if len(data) < size + 4 or google_crc32c.value(table) != int.from_bytes(check, "little"):
            raise Damaged("its index is not what was written")
        index = np.frombuffer(table, "<u8").reshape(*counts, 2)
        found = []
        for at in np.argwhere(index[..., 0] != _ABSENT):
            start, length = (int(n) for n in index[tuple(at)])
            chunk, check = data[start : start + length - 4], data[start + length - 4 :][:4]
            if google_crc32c.value(chunk) != int.from_bytes(check, "little"):
                raise Damaged(f"its chunk {tuple(at.tolist())} is not what was written")
            found.append((tuple(at.tolist()), chunk))
        return found

    def decode(self, data: bytes, out: NumpyArray) -> None:
        """Fill `out`, which is a shard or, at the edge of the array, less."""
        out[...] = 0
        size = math.prod(self.chunks) * np.dtype(self.dtype).itemsize
        for at, packed in self.chunks_of(data):
            if self.compressor == "zstd":
                raw = _codecs.zstd_decode(packed, out=size)
            else:
                raw = zlib.decompress(packed, 31) if self.compressor == "gzip" else packed
            chunk = np.frombuffer(raw, self.dtype).reshape(self.chunks)
            target = out[
                tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, self.chunks, strict=True))
            ]
            target[...] = chunk[tuple(slice(0, n) for n in target.shape)]

    def grid(self) -> list[Index]:
        """Indices of all shards."""
        pairs = zip(self.shape, self.shards, strict=True)
        return list(np.ndindex(*(-(-size // shard) for size, shard in pairs)))

    def region(self, index: Index) -> tuple[slice, ...]:
        """Pixels of a shard."""
        triples = zip(index, self.shards, self.shape, strict=True)
        return tuple(slice(i * n, min((i + 1) * n, size)) for i, n, size in triples)

    def document(self, axes: tuple[str, ...]) -> bytes:
        """`zarr.json` of the array."""
        inner: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if self.compressor == "zstd":
            options = {"level": self.level, "checksum": False}
            inner.append({"name": "zstd", "configuration": options})
        elif self.compressor == "gzip":
            inner.append({"name": "gzip", "configuration": {"level": self.level}})
        sharding = {
            "chunk_shape": self.chunks,
            "codecs": [*inner, {"name": "crc32c"}],
            "index_codecs": [inner[0], {"name": "crc32c"}],
            "index_location": "end",
        }
        zero: Any = {"b": False, "f": 0.0, "c": [0.0, 0.0]}.get(np.dtype(self.dtype).kind, 0)
        grid = {"name": "regular", "configuration": {"chunk_shape": self.shards}}
        return dumped(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": self.shape,
                "data_type": self.dtype,
                "chunk_grid": grid,
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": zero,
                "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
                "attributes": {},
                "dimension_names": axes,
            }
        )


def parsed(document: bytes) -> Format:
    """Format of an array that `Format.document` describes."""
    found = json.loads(document)
    sharding = found["codecs"][0]["configuration"]
    codec = sharding["codecs"][1]
    compressed = codec["name"] != "crc32c"
    return Format(
        tuple(found["shape"]),
        tuple(found["chunk_grid"]["configuration"]["chunk_shape"]),
        tuple(sharding["chunk_shape"]),
        found["data_type"],
        codec["name"] if compressed else None,
        codec["configuration"]["level"] if compressed else 0,
    )


def dumped(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


def _bits(chunk: NumpyArray) -> NumpyArray:
    """The chunk as integers: -0.0 is no zero byte."""
    if chunk.dtype.kind == "c":
        return chunk.view(np.uint64 if chunk.dtype.itemsize == 16 else np.uint32)
    return chunk.view(f"u{chunk.dtype.itemsize}") if chunk.dtype.kind == "f" else chunk
