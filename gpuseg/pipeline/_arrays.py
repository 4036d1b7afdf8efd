"""Arrays of results: OME-Zarr 0.5 whose shards are the chunks that a computation makes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np

from gpuseg._backend import threads
from gpuseg.io._label_levels import Layout, check_unit, make_layout
from gpuseg.pipeline._folders import Folder, LocalFolder
from gpuseg.pipeline._shards import DTYPES, Damaged, Format, Index, dumped, parsed
from gpuseg.typing import NumpyArray

# Pixels of a chunk on disk, and of a shard of an array that has no chunks of its own, at most.
_CHUNK, _SHARD = 1 << 20, 1 << 24
# Pixels of a shard that is made of 4 or 8 times as many pixels of the level before.
_COARSE = 1 << 22
# The coarsest level fits a screen.
_SCREEN = 1024


@dataclass(frozen=True)
class Storage:
    """How an array lies on disk; what it holds is the same.

    Attributes
    ----------
    chunks : tuple of int, optional
        Chunk on disk, chosen for viewing; default: the array's own chunks, halved to at most
        2^20 pixels. Several lie in one shard, which is what is written at a time.
    levels : int, optional
        Levels of the pyramid; default: until each side is at most 1024. 1: none but the array.
    compressor : {"zstd", "gzip", None}
    compression_level : int
    labels : bool, optional
        Whether coarser levels keep every second pixel (labels) or average (an image); default:
        labels where the array is bool or of integers of 32 bits or more.
    axes : str, optional
        Letters of "tczyx"; default: the last ones of them.
    scale : tuple of float, optional
        Pixel size along each axis.
    unit : str, optional
        Of the axes in space, by its name in OME-Zarr, such as "micrometer".

    Raises
    ------
    TypeError
        If the unit is no string.
    ValueError
        If a value makes no sense for any array.

    Examples
    --------
    >>> Storage(compressor="lz4")
    Traceback (most recent call last):
        ...
    ValueError: compressor must be 'zstd', 'gzip' or None, got 'lz4'
    """

    chunks: tuple[int, ...] | None = None
    levels: int | None = None
    compressor: Literal["zstd", "gzip"] | None = "zstd"
    compression_level: int = 1
    labels: bool | None = None
    axes: str | None = None
    scale: tuple[float, ...] | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        if self.compressor not in ("zstd", "gzip", None):
            raise ValueError(f"compressor must be 'zstd', 'gzip' or None, got {self.compressor!r}")
        if not 0 <= self.compression_level <= (9 if self.compressor == "gzip" else 22):
            raise ValueError(f"{self.compressor} has no level {self.compression_level}")
        if self.chunks is not None and (not self.chunks or min(self.chunks) < 1):
            raise ValueError(f"chunks must be positive, got {self.chunks}")
        if self.levels is not None and self.levels < 1:
            raise ValueError(f"levels must be at least 1, got {self.levels}")
        check_unit(self.unit)


def as_storage(options: Storage | Mapping[str, Any] | None) -> Storage:
    """Storage of what a user gives.

    Raises
    ------
    TypeError
        If an option has an unknown name.
    """
    if options is None or isinstance(options, Storage):
        return options or Storage()
    known = [field.name for field in fields(Storage)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"storage has no option {unknown[0]!r}; it has {', '.join(known)}")
    named = dict(options)
    for name in ("chunks", "scale"):
        if named.get(name) is not None:
            named[name] = tuple(named[name])
    return Storage(**named)


class Level(NamedTuple):
    """One array of a pyramid; `within`: each shard of level 0 makes one of this level."""

    format: Format
    scale: tuple[float, ...]
    within: bool


class Plan(NamedTuple):
    """An array that is to be written. Pickles."""

    name: str
    levels: tuple[Level, ...]
    axes: tuple[str, ...]
    unit: str | None
    labels: bool
    is_image: bool

    def halved(self, block: NumpyArray) -> NumpyArray:
        spatial = [axis for axis, name in enumerate(self.axes) if name in "zyx"]
        return subsample(block, spatial) if self.labels else average(block, spatial)

    def write(self, folder: Folder, index: Index, block: NumpyArray) -> None:
        """Write what a shard of level 0 makes; that shard comes last, and says that it is done."""
        base = self.levels[0].format
        expected = tuple(r.stop - r.start for r in base.region(index))
        if block.shape != expected or not np.can_cast(block.dtype, base.dtype, "safe"):
            raise ValueError(
                f"chunk {index} of {self.name} must be {base.dtype} of shape {expected}, as its "
                f"array says, got {block.dtype} of {block.shape}"
            )
        blocks = [np.asarray(block, base.dtype)]
        for level in self.levels[1:]:
            if not level.within:
                break
            blocks.append(self.halved(blocks[-1]))
        for number in reversed(range(len(blocks))):
            data = self.levels[number].format.encode(blocks[number])
            folder.write(self.path(number, index), data)

    def path(self, number: int, index: Index) -> str:
        return "/".join([self.name, str(number), "c", *map(str, index)])

    def begin(self, folder: Folder, taken_over: bool) -> set[Index]:
        """Make the array, or take an unfinished one up; returns which shards it has."""
        documents = {f"{self.name}/{k}/zarr.json": each.format.document(self.axes)
                     for k, each in enumerate(self.levels)}  # fmt: skip
        documents[f"{self.name}/zarr.json"] = self._group()
        if taken_over and all(_same(folder, *each) for each in documents.items()):
            return self.done(folder, check=isinstance(folder, LocalFolder))
        if taken_over:
            folder.remove(self.name)
        for name, data in documents.items():
            folder.write(name, data)
        return set()

    def done(self, folder: Folder, check: bool = False) -> set[Index]:
        """Shards of level 0 that are there; with `check` all that are damaged are removed."""
        found = set()
        root = f"{self.name}/0/c/"
        for name in folder.names(root.rstrip("/")):
            place = name.removeprefix(root).split("/")
            if not all(part.isdecimal() for part in place):
                folder.remove(name)  # a temporary name whose process died
                continue
            index = tuple(map(int, place))
            if check and not self._is_whole(folder, index):
                folder.remove(name)
                continue
            found.add(index)
        return found

    def _is_whole(self, folder: Folder, index: Index) -> bool:
        """Whether a crash of the machine left all levels of a shard as they were written."""
        try:
            for number, level in enumerate(self.levels):
                if level.within:
                    level.format.chunks_of(folder.read(self.path(number, index)))
        except (Damaged, FileNotFoundError):
            return False
        return True

    def finish(self, folder: Folder) -> None:
        """Make the levels that need several shards of the one before."""
        for number, level in enumerate(self.levels):
            if not level.within:
                _each(lambda i, n=number: self._coarser(folder, n, i), level.format.grid())

    def _coarser(self, folder: Folder, number: int, index: Index) -> None:
        before, level = self.levels[number - 1].format, self.levels[number].format
        factors = [2 if name in "zyx" else 1 for name in self.axes]
        triples = zip(level.region(index), factors, before.shape, strict=True)
        wanted = tuple(slice(r.start * f, min(r.stop * f, n)) for r, f, n in triples)
        finer = read(folder, f"{self.name}/{number - 1}", before, wanted)
        folder.write(self.path(number, index), level.encode(self.halved(finer)))

    def _group(self) -> bytes:
        attributes: dict[str, Any] = {}
        if self.is_image:
            attributes = {"ome": {"version": "0.5", "multiscales": [self._multiscale()]}}
            if self.labels:
                attributes["ome"]["image-label"] = {}
        return dumped({"zarr_format": 3, "node_type": "group", "attributes": attributes})

    def _multiscale(self) -> dict[str, Any]:
        kinds = {"t": "time", "c": "channel"}
        axes = [{"name": name, "type": kinds.get(name, "space")} for name in self.axes]
        for axis in axes:
            if axis["type"] == "space" and self.unit is not None:
                axis["unit"] = self.unit
        datasets = []
        for number, level in enumerate(self.levels):
            steps: list[dict[str, Any]] = [{"type": "scale", "scale": level.scale}]
            if not self.labels and number:
                # A coordinate is a pixel's centre, which moves inwards as pixels grow.
                base = self.levels[0].scale
                shift = [(s - b) / 2 for s, b in zip(level.scale, base, strict=True)]
                steps.append({"type": "translation", "translation": shift})
            datasets.append({"path": str(number), "coordinateTransformations": steps})
        kind = "subsampling" if self.labels else "mean"
        return {"name": self.name.split(".")[0], "axes": axes, "datasets": datasets, "type": kind}


def _same(folder: Folder, name: str, data: bytes) -> bool:
    try:
        return folder.read(name) == data
    except FileNotFoundError:
        return False


def _each(work: Any, items: Iterable[Any]) -> None:
    todo = list(items)
    if len(todo) < 2:
        for item in todo:
            work(item)
        return
    with ThreadPoolExecutor(threads()) as pool:
        for _ in pool.map(work, todo):
            pass


def make_plan(
    name: str, shape: Index, dtype: np.dtype[Any], source: Index | None, storage: Storage
) -> Plan:
    """How an array is to lie on disk; `source` are its largest chunks, where it has any.

    Raises
    ------
    TypeError
        If Zarr has no such dtype.
    ValueError
        If the storage options don't fit the array.
    """
    if dtype.name not in DTYPES:
        raise TypeError(f"{name}: arrays are stored as {', '.join(sorted(DTYPES))}, got {dtype}")
    is_image = 2 <= len(shape) <= 5 and dtype.kind != "c" and min(shape) > 0
    if is_image:
        layout = make_layout(shape, shape, (), storage.axes, storage.scale, storage.unit)
    else:
        layout = Layout(shape, shape, tuple(f"d{n}" for n in range(len(shape))), (), None)
    chunks, shards = _cut(shape, layout.axes, source, storage)
    labels = storage.labels
    if labels is None:
        labels = dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize >= 4)
    if dtype.kind in "iu" and dtype.itemsize == 8:
        labels = True  # no wider integer to average in
    packing = (dtype.name, storage.compressor, storage.compression_level)
    levels = [Level(Format(shape, shards, chunks, *packing), layout.scale, True)]
    wanted = storage.levels if is_image else 1
    while _is_coarse(layout.level(len(levels) - 1)) if wanted is None else len(levels) < wanted:
        coarser = layout.level(len(levels))
        if coarser.shape == levels[-1].format.shape:
            break
        levels.append(_next(levels[-1], coarser, chunks, packing))
    suffix = "ome.zarr" if is_image else "zarr"
    return Plan(f"{name}.{suffix}", tuple(levels), layout.axes, layout.unit, labels, is_image)


def _is_coarse(layout: Layout) -> bool:
    sides = zip(layout.shape, layout.axes, strict=True)
    return any(size > _SCREEN for size, axis in sides if axis in "zyx")


def _cut(
    shape: Index, axes: Sequence[str], source: Index | None, storage: Storage
) -> tuple[Index, Index]:
    """Chunks and shards."""
    if storage.chunks is not None and len(storage.chunks) != len(shape):
        raise ValueError(f"chunks must have {len(shape)} axes like the array, got {storage.chunks}")
    if storage.chunks is not None:
        chunks = tuple(min(c, max(1, n)) for c, n in zip(storage.chunks, shape, strict=True))
        return chunks, _shards(shape, chunks, source)
    if source is None:
        spatial = sum(axis in "zyx" for axis in axes)
        side = {0: _CHUNK, 1: _CHUNK, 2: 1024, 3: 96}.get(spatial, 32)
        sides = [side if axis in "zyx" or not spatial else 1 for axis in axes]
        if not spatial:
            sides = [max(1, round(_CHUNK ** (1 / len(shape))))] * len(shape)
        chunks = tuple(max(1, min(n, s)) for n, s in zip(shape, sides, strict=True))
        return chunks, _shards(shape, chunks, None)
    halves = [max(1, size) for size in source]
    while math.prod(halves) > _CHUNK:
        even = [size if size % 2 == 0 else 0 for size in halves]
        if not any(even):
            break
        halves[even.index(max(even))] //= 2
    return tuple(halves), tuple(max(1, size) for size in source)


def _shards(shape: Index, chunks: Index, source: Index | None, most: int = _SHARD) -> Index:
    """Whole chunks, about as many pixels as the source's chunks have or some millions."""
    if source is not None:
        shards = tuple(c * max(1, s // c) for c, s in zip(chunks, source, strict=True))
        limit = max(_SHARD, math.prod(source))
        return shards if math.prod(shards) <= limit else chunks
    grown = list(chunks)
    while True:
        small = [n for n in range(len(shape)) if grown[n] < shape[n]]
        if not small or math.prod(grown) * 2 > most:
            return tuple(grown)
        axis = min(small, key=lambda n: grown[n] / chunks[n])
        grown[axis] *= 2


def _next(before: Level, layout: Layout, chunks: Index, packing: Any) -> Level:
    """The level after one: of shards that each shard before makes for itself, where it can."""
    former, scale = before.format, layout.scale
    shards, within = [], before.within
    for axis, size in enumerate(layout.shape):
        shard, chunk = former.shards[axis], chunks[axis]
        if size == former.shape[axis] and layout.axes[axis] not in "zyx":
            shards.append(shard)
        elif shard >= former.shape[axis]:
            shards.append(chunk * -(-size // chunk))
        elif shard % (2 * chunk) == 0:
            shards.append(shard // 2)
        else:
            within = False
    if not within:
        coarse = _shards(layout.shape, chunks, None, _COARSE)
        return Level(Format(layout.shape, coarse, chunks, *packing), scale, False)
    return Level(Format(layout.shape, tuple(shards), chunks, *packing), scale, True)


def subsample(block: NumpyArray, axes: Sequence[int]) -> NumpyArray:
    """Every second pixel."""
    return block[tuple(slice(None, None, 2 if n in axes else 1) for n in range(block.ndim))]


def average(block: NumpyArray, axes: Sequence[int]) -> NumpyArray:
    """Mean of 2 pixels along each axis, of those there are at an odd end; integers round half up.

    >>> average(np.array([[1, 2, 9], [3, 4, 10]], np.uint8), (0, 1))
    array([[ 3, 10]], dtype=uint8)
    """
    kind, wide = block.dtype.kind, block.dtype
    if kind in "biu":
        wide = np.dtype(np.uint32 if kind != "i" and wide.itemsize < 4 else np.int64)
    elif wide == np.float16:
        wide = np.dtype(np.float32)
    total = block.astype(wide)
    for axis in axes:
        odd = total.shape[axis] % 2
        first = [slice(None)] * total.ndim
        second = [slice(None)] * total.ndim
        first[axis], second[axis] = slice(0, None, 2), slice(1, None, 2)
        half = total[tuple(first)].copy()
        inside = [slice(None)] * total.ndim
        inside[axis] = slice(0, half.shape[axis] - odd)
        half[tuple(inside)] += total[tuple(second)]
        if odd:
            inside[axis] = slice(half.shape[axis] - 1, None)
            half[tuple(inside)] *= 2
        total = half
    if kind in "biu":
        total = (total + (1 << len(axes) >> 1)) >> len(axes)
    else:
        total /= 1 << len(axes)
    return total.astype(block.dtype)


def write_array(folder: Folder, plan: Plan, array: NumpyArray) -> None:
    """Write an array that is in memory."""
    plan.begin(folder, False)
    base = plan.levels[0].format
    _each(lambda index: plan.write(folder, index, array[base.region(index)]), base.grid())
    plan.finish(folder)


def read(
    folder: Folder, path: str, form: Format | None = None, wanted: tuple[slice, ...] | None = None
) -> NumpyArray:
    """Pixels of a stored array, all or a window.

    Raises
    ------
    Damaged
        If a chunk isn't what was written; the message names the file.
    """
    form = form or parsed(folder.read(f"{path}/zarr.json"))
    wanted = wanted or tuple(slice(0, n) for n in form.shape)
    out = np.empty([s.stop - s.start for s in wanted], form.dtype)
    firsts = [w.start // s for w, s in zip(wanted, form.shards, strict=True)]
    counts = [-(-w.stop // s) - f for w, s, f in zip(wanted, form.shards, firsts, strict=True)]

    def fill(at: Index) -> None:
        index = tuple(f + i for f, i in zip(firsts, at, strict=True))
        name = "/".join([path, "c", *map(str, index)])
        region = form.region(index)
        try:
            data = folder.read(name)
            pairs = list(zip(region, wanted, strict=True))
            if all(w.start <= r.start and r.stop <= w.stop for r, w in pairs):
                target = tuple(slice(r.start - w.start, r.stop - w.start) for r, w in pairs)
                form.decode(data, out[target])
                return
            block = np.empty([r.stop - r.start for r in region], form.dtype)
            form.decode(data, block)
        except FileNotFoundError as error:
            raise Damaged(f"{name} is missing") from error
        except Damaged as error:
            raise Damaged(f"{name}: {error}") from None
        lows = [max(r.start, w.start) for r, w in pairs]
        highs = [min(r.stop, w.stop) for r, w in pairs]
        triples = list(zip(lows, highs, pairs, strict=True))
        target = tuple(slice(a - w.start, b - w.start) for a, b, (_, w) in triples)
        out[target] = block[tuple(slice(a - r.start, b - r.start) for a, b, (r, _) in triples)]

    _each(fill, np.ndindex(*counts))
    return out
