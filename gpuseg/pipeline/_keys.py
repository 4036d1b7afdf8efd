"""Keys of results: what goes into one, line by line, in text that a person can compare."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xxhash
from array_api_compat import is_cupy_array, is_dask_array

from gpuseg.pipeline._versions import name_of, version_of
from gpuseg.typing import Array

# Longer lines end in a hash: an argument may be a list of a thousand names.
_LINE = 240

# Name of a Dask array that was loaded from a result; it is content-addressed already.
LOADED = "gpuseg-result-"


class Declared(NamedTuple):
    """A value that a token stands for; see `declare`."""

    value: Any
    token: str


def declare(value: Any, token: str) -> Declared:
    """Let a token stand for a value that is dear to read, or cannot be hashed.

    Two values with one token are the same value to a `Run`, whatever they hold.

    Parameters
    ----------
    value : any
        What the step's function is called with: a Dask array of terabytes, a model.
    token : str
        What is known to change whenever the value does: a name with a version, a date.

    Returns
    -------
    declared : Declared
        To be given to a step in place of the value.

    Raises
    ------
    ValueError
        If the token is empty or no string.

    Examples
    --------
    >>> declare(object(), "model of May").token
    'model of May'
    """
    if not isinstance(token, str) or not token:
        raise ValueError(f"token must be a string that is not empty, got {token!r}")
    return Declared(value, token)


@dataclasses.dataclass(frozen=True)
class File:
    """A file, folder or URL that a step reads; it counts by its state, not by its name alone.

    A `pathlib.Path` as an argument is a `File` known by size and time. A string is just a string.

    Attributes
    ----------
    path : str or path
        Handed to the step's function as it is.
    by : {"state", "content"}
        Size and time of last change (of a URL: what its server tells of changes), or the bytes.

    Examples
    --------
    >>> File("a.tif", by="checksum")
    Traceback (most recent call last):
        ...
    ValueError: by must be 'state' or 'content', got 'checksum'
    """

    path: str | os.PathLike[str]
    by: Literal["state", "content"] = "state"

    def __post_init__(self) -> None:
        if self.by not in ("state", "content"):
            raise ValueError(f"by must be 'state' or 'content', got {self.by!r}")


def digest(data: Any) -> str:
    """XXH3 of 128 bits: 64 MB in 2 ms, where SHA-256 takes 37."""
    return xxhash.xxh3_128_hexdigest(data)


def line(value: Any, found: list[Any]) -> str:
    """What one argument adds to a key; results of other steps in it are added to `found`.

    Raises
    ------
    TypeError
        If nothing is known that tells this value from others of its type.
    """
    text = _text(value, found)
    return text if len(text) <= _LINE else f"{text[: _LINE // 2]}… {digest(text.encode())}"


def _text(value: Any, found: list[Any]) -> str:
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, str, bytes):
        return repr(value)
    if hasattr(kind, "__gpuseg_result__"):
        found.append(value)
        return f"result {value.full_name}"
    if isinstance(value, Declared):
        return f"declared {value.token!r}"
    if hasattr(value, "dtype") and not isinstance(value, type):
        return _array(value)
    if isinstance(value, File | os.PathLike):
        return _file(value if isinstance(value, File) else File(value))
    if kind in (list, tuple):
        parts = ", ".join(_text(each, found) for each in value)
        return f"[{parts}]" if kind is list else f"({parts})"
    if kind is dict:
        return _pairs(value, found)
    inside: list[Any] = []
    text = _object(value, inside)
    if inside:
        # `replaced` would not find them.
        raise TypeError(f"{inside[0]!r} within a {kind.__name__}: lists, tuples and dicts take it")
    return text


def _pairs(value: Mapping[Any, Any], found: list[Any]) -> str:
    pairs = ((_text(k, found), _text(v, found)) for k, v in value.items())
    return "{" + ", ".join(f"{k}: {v}" for k, v in sorted(pairs)) + "}"


def _object(value: Any, found: list[Any]) -> str:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"{name_of(type(value))}({', '.join(_text(each, found) for each in value)})"
    if isinstance(value, set | frozenset):
        return f"set({', '.join(sorted(_text(each, found) for each in value))})"
    if isinstance(value, Mapping):
        return _pairs(value, found)
    if isinstance(value, type | np.dtype):
        return str(value)
    if isinstance(value, enum.Enum):
        return f"{name_of(type(value))}.{value.name}"
    if dataclasses.is_dataclass(value):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        parts = ", ".join(f"{name}={_text(each, found)}" for name, each in fields)
        return f"{name_of(type(value))}({parts})"
    if hasattr(value, "__gpuseg_step__"):
        return f"step {value.name} {value.version}"
    if inspect.isfunction(value):
        return f"function {name_of(value)} {version_of(value)}"
    if type(value).__module__.startswith("pandas") and hasattr(value, "columns"):
        return _frame(value)
    raise TypeError(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot be told from others of its "
        "kind; declare(value, token) lets a token stand for it"
    )


def _frame(value: Any) -> str:
    import pandas

    rows = pandas.util.hash_pandas_object(value).to_numpy()
    names = repr([(str(name), str(dtype)) for name, dtype in value.dtypes.items()])
    return f"table {value.shape} {digest(names.encode() + rows.tobytes())}"


def _array(value: Array) -> str:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("a masked array has two contents; give its data and its mask")
    if isinstance(value, np.generic):
        plain = value.item()
        same = np.dtype(type(plain)) == value.dtype if type(plain) in (bool, int, float) else False
        return repr(plain) if same else f"{value.dtype}({plain!r})"
    if np.dtype(value.dtype).hasobject:
        raise TypeError(f"an array of {value.dtype} has no content to hash; make its dtype plain")
    described = f"{value.dtype.str} {tuple(value.shape)}"
    if isinstance(value, np.ndarray) and not is_cupy_array(value):
        return f"array {described} {_content(value)}"
    if is_cupy_array(value):
        return f"cupy {described} {_content(value.get())}"  # synchronize
    if is_dask_array(value):
        return value.name if value.name.startswith(LOADED) else _dask(value, described)
    return _zarr(value, described)


def _content(array: Any) -> str:
    return digest(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _dask(value: Array, described: str) -> str:
    ones = tuple((1,) * len(sizes) for sizes in value.chunks)
    blocks = value.map_blocks(_block, dtype="U32", chunks=ones, meta=np.empty((0,) * value.ndim))
    return f"dask {described} {value.chunks!r} {_content(blocks.compute())}"


def _block(block: Array) -> Any:
    host = block.get() if is_cupy_array(block) else block
    return np.full((1,) * block.ndim, _content(host), "U32")


def _zarr(value: Any, described: str) -> str:
    """A zarr array on disk by its files' sizes and times, others by content."""
    root = getattr(getattr(value, "store", None), "root", None)
    if root is not None:
        folder = Path(root) / value.path
        return f"zarr {described} {_state(folder)}"
    if not type(value).__module__.startswith("zarr"):
        raise TypeError(
            f"arrays are of NumPy, CuPy, Dask or zarr, got {type(value).__module__}."
            f"{type(value).__qualname__}; declare(value, token) lets a token stand for it"
        )
    import dask.array as da

    return _dask(da.from_zarr(value), described)


def _file(file: File) -> str:
    name = os.fspath(file.path)
    if "://" in name:
        import fsspec

        filesystem, path = fsspec.url_to_fs(name)
        if file.by == "content":
            return f"file {name} {digest(filesystem.cat_file(path))}"
        return f"file {name} {filesystem.ukey(path)}"
    path = Path(name)
    if file.by == "state":
        return f"file {path.as_posix()} {_state(path)}"
    files = [each for each, _ in _walk(path)] if path.is_dir() else [path]
    contents = [(each.relative_to(path).as_posix(), digest(each.read_bytes())) for each in files]
    return f"file {path.as_posix()} {digest(repr(contents).encode())}"


def _state(path: Path) -> str:
    if not path.is_dir():
        stat = path.stat()
        return f"{stat.st_size} bytes, changed {stat.st_mtime_ns}"
    states = [(p.relative_to(path).as_posix(), s.st_size, s.st_mtime_ns) for p, s in _walk(path)]
    return f"{len(states)} files {digest(repr(states).encode())}"


def _walk(path: Path) -> list[tuple[Path, os.stat_result]]:
    files = sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return [(file, file.stat()) for file in files]


def key_of(name: str, ingredients: Mapping[str, str]) -> str:
    """Key of a call: hash of the step's name and all ingredients."""
    lines = [name, *(f"{each}: {text}" for each, text in ingredients.items())]
    return digest("\n".join(lines).encode())


def replaced(value: Any, load: Callable[[Any], Any]) -> Any:
    """An argument as the function gets it: results loaded, declarations and files unwrapped."""
    kind = type(value)
    if hasattr(kind, "__gpuseg_result__"):
        return load(value)
    if kind is Declared:
        return value.value
    if kind is File:
        return value.path
    if hasattr(kind, "__gpuseg_step__"):
        return value.function
    if kind in (list, tuple):
        return kind(replaced(each, load) for each in value)
    if kind is dict:
        return {k: replaced(each, load) for k, each in value.items()}
    return value


def differences(wanted: Mapping[str, str], had: Mapping[str, str]) -> Iterator[str]:
    """Lines that say which ingredients differ."""
    for name in dict.fromkeys([*wanted, *had]):
        before, now = had.get(name, "(not there)"), wanted.get(name, "(not there)")
        if before != now:
            yield f"{name}: {before} -> {now}"
