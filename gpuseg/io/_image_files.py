"""Files that hold images alike the first one: its shape and type, and parts of any of them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np

from gpuseg.io._bytes import ByteSource, LocalFile, RemoteFile
from gpuseg.io._image_names import URL, absolute
from gpuseg.io._image_plain import PlainImage, decode_common_jpeg
from gpuseg.io._memory_file import MemoryFile
from gpuseg.io._reader import SlideError
from gpuseg.typing import NumpyArray

Index: TypeAlias = tuple[slice, ...]
Kept = TypeVar("Kept")

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ZARR_NAMES = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
# Enough for a header, and for most small files.
_HEAD_BYTES = 1 << 20

# Parsed stacks of frames: a task reads some frames of a file whose directories took longer.
_KEPT = 16
_UNREAD = "unread"
_kept: OrderedDict[Any, Any] = OrderedDict()
_kept_lock = threading.Lock()


class Files:
    """Reads files alike the first one; picklable, and used from several threads at once.

    Attributes
    ----------
    first : str
    shape, dtype
        Of each file.
    frame_axes : int
        How many of the last axes are one frame.
    stored : tuple of int or None
        Chunks in which the file keeps its axes, if it does.
    """

    def __init__(
        self, first: str, *, level: int, options: Mapping[str, Any], whole_set: bool
    ) -> None:
        self.first = first
        self._level = level
        self._options = dict(options)
        self._whole_set = whole_set
        self._folders = self._is_folder(first)
        # Until the first file has told: no file is one of many frames.
        self._stacks = False
        image = self._first = self._headers(first)
        self.shape: tuple[int, ...] = image.shape
        self.dtype: np.dtype = image.dtype
        self.frame_axes: int = image.frame_axes
        self.stored: tuple[int, ...] | None = image.stored
        self._stacks = len(self.shape) > self.frame_axes

    def difference(self, name: str) -> str:
        """How a file differs from the first one by its headers; empty if it does not."""
        image = self._headers(name)
        return difference(name, image.shape, image.dtype, self)

    def read(self, names: Sequence[str], index: Index, outs: NumpyArray) -> None:
        """Copy the part of each file that `index` selects to the entries of `outs`.

        Raises
        ------
        ValueError
            If a file has another shape or type than the first one.
        OSError
            If a file cannot be read.
        """
        whole = outs.shape[1:] == self.shape
        sources: Iterator[ByteSource | None] = self._sources(names)
        for name, source, out in zip(names, sources, outs, strict=True):
            try:
                if source is None:
                    self._same(self._zarr(name)).read_into(index, out)
                elif self._stacks:
                    self._same(self._stack(source)).read_into(source, index, out)
                else:
                    self._read_single(source, index, out, whole)
            except OSError as error:
                raise _named(name, error) from error
            finally:
                if source is not None:
                    source.close()

    def _read_single(self, source: ByteSource, index: Index, out: NumpyArray, whole: bool) -> None:
        data = _head(source)
        if data[:4] in _TIFF:
            if len(data) == source.size:
                source = MemoryFile(source.name, data)
            model = self._model()
            image = None if model is None else model.alike(source, data)
            if image is None:
                image = self._same(self._tiff(source))
            image.read_into(source, index, out)
            return
        if len(data) < source.size:
            data += next(source.read([(len(data), source.size - len(data))]))
        if whole and self.dtype == np.uint8 and decode_common_jpeg(data, out):
            return
        self._same(PlainImage(source.name, data)).read_into(index, out)

    def _model(self) -> Any:
        """First file's headers, if it is a TIFF; read again in another process."""
        if self._first is _UNREAD:
            try:
                self._first = self._headers(self.first)
            except OSError:  # moved since: then each file is parsed for itself
                self._first = None
        return self._first if hasattr(self._first, "alike") else None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_first": _UNREAD, "first": absolute(self.first)}

    def _same(self, image: Any) -> Any:
        reason = difference(image.name, image.shape, image.dtype, self)
        if reason:
            raise ValueError(reason)
        return image

    def _headers(self, name: str) -> Any:
        if self._folders:
            return self._zarr(name)
        source = self._source(name)
        try:
            data = _head(source)
            if data[:4] in _TIFF:
                if self._stacks:
                    return self._stack(source)
                return self._tiff(MemoryFile(name, data) if len(data) == source.size else source)
            if data[:4] == b"PK\x03\x04" and not self._stacks:
                self._folders = True
                return self._zarr(name)
            return PlainImage(name, data)
        except OSError as error:
            raise _named(name, error) from error
        finally:
            source.close()

    def _is_folder(self, name: str) -> bool:
        """Whether an image is a folder of files; over HTTP only its name or metadata tell."""
        if not URL.match(name):
            if not os.path.isdir(name):
                return False
            if any(os.path.exists(os.path.join(name, each)) for each in _ZARR_NAMES):
                return True
            raise SlideError(
                f"{name}: this is a folder without an OME-Zarr image; a pattern such as "
                f"{os.path.join(name, '*.tif')!r} reads the files in it"
            )
        bare = name.split("?", 1)[0].rstrip("/")
        if bare.endswith(".zarr"):
            return True
        if "." in bare.rsplit("/", 1)[-1]:
            return False
        filesystem, path = self._remote(name)
        return any(filesystem.exists(f"{path.rstrip('/')}/{each}") for each in _ZARR_NAMES)

    def _remote(self, name: str) -> tuple[Any, str]:
        import fsspec

        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(name, **self._options)
        except Exception as error:  # whatever the protocol's package raises
            raise SlideError(f"{name}: {type(error).__name__}: {error}") from error
        return found

    def _source(self, name: str) -> ByteSource:
        try:
            if URL.match(name):
                return RemoteFile(name, *self._remote(name))
            source = LocalFile(name)
        except SlideError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{name}: there is no such file") from error
        except OSError as error:
            raise SlideError(f"{name}: {error.strerror or error}") from error
        if source.size == 0:
            source.close()
            raise SlideError(f"{name}: the file is empty")
        return source

    def _sources(self, names: Sequence[str]) -> Iterator[ByteSource | None]:
        if self._folders or not names:
            yield from [None] * len(names)
        elif self._stacks or len(names) == 1 or not URL.match(names[0]):
            yield from map(self._source, names)
        else:
            yield from self._fetched(names)

    def _fetched(self, names: Sequence[str]) -> Iterator[ByteSource]:
        """Small files of a server, asked for all at once."""
        filesystem, _ = self._remote(names[0])
        paths = [self._remote(name)[1] for name in names]
        found = filesystem.cat(paths, on_error="return")
        for name, path in zip(names, paths, strict=True):
            data = found[path] if len(paths) > 1 else found
            if isinstance(data, Exception):
                raise SlideError(f"{name}: {type(data).__name__}: {data}") from data
            yield MemoryFile(name, data)

    def _tiff(self, source: ByteSource) -> Any:
        from gpuseg.io._image_tiff import TiffImage

        return TiffImage(source, self._level, self._whole_set)

    def _stack(self, source: ByteSource) -> Any:
        stamp = None
        if isinstance(source, LocalFile):
            stat = os.stat(source.name)
            stamp = stat.st_mtime_ns, stat.st_size
        key = "tiff", source.name, stamp, self._level, self._whole_set, repr(self._options)
        return _keep(key, lambda: self._tiff(source))

    def _zarr(self, name: str) -> Any:
        from gpuseg.io._image_zarr import ZarrImage

        key = "zarr", name, self._level, repr(self._options)
        return _keep(key, lambda: ZarrImage(name, self._level, self._options))


class ReadFiles:
    """Files that a function of the user reads, each in one piece; see `Files`."""

    def __init__(self, first: str, read: Callable[[str], Any]) -> None:
        self.first = first
        self._read = read
        image = read(first)
        self.shape: tuple[int, ...] = tuple(image.shape)
        self.dtype: np.dtype = image.dtype
        self.frame_axes = len(self.shape)
        self.stored: tuple[int, ...] | None = None

    def difference(self, name: str) -> str:
        """How a file differs from the first one; it is read for that."""
        image = self._read(name)
        return difference(name, image.shape, image.dtype, self)

    def read(self, names: Sequence[str], index: Index, outs: NumpyArray) -> None:
        """Copy the part of each file that `index` selects to the entries of `outs`."""
        for name, out in zip(names, outs, strict=True):
            image = self._read(name)
            reason = difference(name, image.shape, image.dtype, self)
            if reason:
                raise ValueError(reason)
            out[...] = image[index]


class ReadWhole:
    """Reads one file with the readers here, whatever its shape."""

    def __init__(self, level: int, options: Mapping[str, Any], whole_set: bool) -> None:
        self._open = partial(Files, level=level, options=dict(options), whole_set=whole_set)

    def __call__(self, name: str) -> NumpyArray:
        files = self._open(name)
        out = np.empty((1, *files.shape), files.dtype)
        files.read([name], tuple(slice(0, length) for length in files.shape), out)
        return out[0]


class Composed:
    """One function after the other; picklable as a lambda is not."""

    def __init__(self, first: Callable[[Any], Any], second: Callable[[Any], Any]) -> None:
        self._first = first
        self._second = second

    def __call__(self, value: Any) -> Any:
        return self._second(self._first(value))


def difference(name: str, shape: tuple[int, ...], dtype: np.dtype, files: Files | ReadFiles) -> str:
    """What to tell about a file that is not as the first one; empty if it is."""
    if tuple(shape) == files.shape and dtype == files.dtype:
        return ""
    return (
        f"{name} is {_describe(shape, dtype)}, but {files.first} is "
        f"{_describe(files.shape, files.dtype)}: the files of one array must be alike"
    )


def _describe(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return f"{' × '.join(map(str, shape))} {dtype}"


def _named(name: str, error: OSError) -> OSError:
    """Error that names the file: what the system raises at a descriptor does not."""
    return error if name in str(error) else SlideError(f"{name}: {error.strerror or error}")


def _head(source: ByteSource) -> bytes:
    return next(source.read([(0, min(source.size, _HEAD_BYTES))]))


def _keep(key: Any, make: Callable[[], Kept]) -> Kept:
    with _kept_lock:
        if key in _kept:
            _kept.move_to_end(key)
            found: Kept = _kept[key]
            return found
    made = make()
    with _kept_lock:
        _kept[key] = made
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
    return made
