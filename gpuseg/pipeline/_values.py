"""What a step returns as JSON, beside which its arrays and tables lie; and back.

An object whose keys include "$" stands for what JSON lacks, or for a file:
`{"$": "array", "path": "value.ome.zarr", …}`.
"""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_cupy_array, is_dask_array

from gpuseg.pipeline import _arrays
from gpuseg.pipeline._folders import Folder
from gpuseg.pipeline._keys import LOADED
from gpuseg.typing import Array

Tree = Any


class Part(NamedTuple):
    """An array or a table that gets files of its own."""

    name: str
    value: Any
    node: dict[str, Any]


class Unstorable(TypeError):
    """A value that no file format takes; there are no pickles."""


def flatten(value: Any, where: str = "value") -> tuple[Tree, list[Part]]:
    """JSON of a value, and the arrays and tables in it.

    Raises
    ------
    Unstorable
        If there is something else in it; the message says where.
    """
    parts: list[Part] = []
    return _flat(value, where, parts), parts


def _flat(value: Any, where: str, parts: list[Part]) -> Tree:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$": "float", "value": str(value)}
    if type(value) in (list, tuple):
        items = [_flat(each, f"{where}.{n}", parts) for n, each in enumerate(value)]
        return items if type(value) is list else {"$": "tuple", "items": items}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _flat_named(value, where, parts)
    if isinstance(value, dict):
        if _is_columns(value):
            return _part("table", where, value, parts, form="columns")
        if all(type(key) is str for key in value) and "$" not in value:
            return {key: _flat(each, f"{where}.{key}", parts) for key, each in value.items()}
        pairs = [
            [_flat(key, f"{where}.key", parts), _flat(each, f"{where}.{n}", parts)]
            for n, (key, each) in enumerate(value.items())
        ]
        return {"$": "dict", "items": pairs}
    if isinstance(value, np.generic):
        item = np.asarray(value).item()
        if type(item) not in (bool, int, float, str):
            raise Unstorable(f"{where} is a {value.dtype}, which JSON can't hold")
        return {"$": "scalar", "dtype": value.dtype.str, "value": _flat(item, where, parts)}
    return _flat_part(value, where, parts)


def _flat_named(value: Any, where: str, parts: list[Part]) -> Tree:
    kind = type(value)
    if kind.__module__ == "__main__" or "<" in kind.__qualname__:
        raise Unstorable(
            f"{where} is a {kind.__qualname__}, which other scripts can't import; define it in a "
            "module, or return its _asdict()"
        )
    items = [_flat(each, f"{where}.{name}", parts) for name, each in value._asdict().items()]
    return {"$": "named", "type": f"{kind.__module__}:{kind.__qualname__}", "items": items}


def _flat_part(value: Any, where: str, parts: list[Part]) -> Tree:
    if isinstance(value, np.ma.MaskedArray):
        raise Unstorable(f"{where} is a masked array; return its data and its mask")
    if is_dask_array(value):
        inner = "cupy" if is_cupy_array(value._meta) else "numpy"
        return _part("array", where, value, parts, form="dask", chunk=inner, shape=value.shape)
    if is_cupy_array(value):
        return _part("array", where, value.get(), parts, form="cupy", shape=value.shape)
    if isinstance(value, np.ndarray):
        return _part("array", where, value, parts, form="numpy", shape=value.shape)
    home = type(value).__module__.partition(".")[0]
    if home == "zarr" and hasattr(value, "shape"):
        import dask.array as da

        return _flat_part(da.from_zarr(value, chunks=value.shards or value.chunks), where, parts)
    if home == "pandas" and hasattr(value, "columns"):
        return _part("table", where, value, parts, form="pandas")
    if home == "pyarrow" and hasattr(value, "column_names"):
        return _part("table", where, value, parts, form="arrow")
    raise Unstorable(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}; a step returns arrays, "
        "tables, and what JSON holds, in lists, tuples and dicts"
    )


def _part(kind: str, where: str, value: Any, parts: list[Part], **about: Any) -> Tree:
    node = {"$": kind, **about}
    parts.append(Part(where, value, node))
    return node


def _is_columns(value: Mapping[Any, Any]) -> bool:
    """Whether this is a table as regionprops_table makes it: numbers of one length by name."""
    return (
        bool(value)
        and all(type(name) is str for name in value)
        and all(type(each) is np.ndarray and each.ndim == 1 for each in value.values())
        and len({len(each) for each in value.values()}) == 1
        and all(each.dtype.kind in "biuf" for each in value.values())
    )


def table_bytes(part: Part) -> bytes:
    """A table as Parquet.

    Raises
    ------
    ImportError
        If pyarrow is missing.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("tables are kept as Parquet: pip install 'gpuseg[parquet]'") from error
    if part.node["form"] == "pandas":
        table = pyarrow.Table.from_pandas(part.value)
    elif part.node["form"] == "columns":
        table = pyarrow.table(part.value)
    else:
        table = part.value
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


class Reader(NamedTuple):
    """Reads the values of one result; lazily: arrays come as Dask arrays whatever they were."""

    folder: Folder
    key: str
    lazy: bool

    def value(self, tree: Tree) -> Any:
        if isinstance(tree, list):
            return [self.value(each) for each in tree]
        if not isinstance(tree, dict):
            return tree
        if "$" not in tree:
            return {name: self.value(each) for name, each in tree.items()}
        return _READERS[tree["$"]](self, tree)

    def at(self, tree: Tree, path: tuple[Any, ...]) -> Any:
        """An item of an item; arrays that aren't in it are left alone."""
        for step in path:
            if isinstance(tree, dict) and tree.get("$") in ("tuple", "named"):
                tree = tree["items"]
            if isinstance(tree, dict) and "$" in tree:
                return _indexed(self.value(tree), path)
            tree, path = tree[step], path[1:]
        return self.value(tree)

    def _array(self, node: dict[str, Any]) -> Array:
        if self.lazy or node["form"] == "dask":
            return self._dask(node)
        array = _arrays.read(self.folder, f"{node['path']}/0").reshape(node["shape"])
        return _cupy().asarray(array) if node["form"] == "cupy" else array

    def _dask(self, node: dict[str, Any]) -> Array:
        import dask.array as da
        import zarr

        stored = zarr.open_array(self.folder.zarr(f"{node['path']}/0"), mode="r")
        # dask names it by its path alone; ours changes with the content.
        name = f"{LOADED}{self.key}-{node['path']}"
        array = da.from_zarr(stored, chunks=stored.shards, name=name)
        if array.shape != tuple(node["shape"]):
            array = array.reshape(node["shape"])
        if node.get("chunk", node["form"]) == "cupy":
            array = array.map_blocks(_cupy().asarray)
        return array

    def _table(self, node: dict[str, Any]) -> Any:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(io.BytesIO(self.folder.read(node["path"])))
        if node["form"] == "pandas":
            return table.to_pandas()
        if node["form"] == "columns":
            return {name: table[name].to_numpy() for name in table.column_names}
        return table


def _cupy() -> Any:
    return importlib.import_module("cupy")


def _indexed(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _named(reader: Reader, node: dict[str, Any]) -> Any:
    module, _, name = node["type"].partition(":")
    kind: Any = importlib.import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    if not (isinstance(kind, type) and issubclass(kind, tuple)):
        raise TypeError(f"{node['type']} is no named tuple")
    return kind(*map(reader.value, node["items"]))


_READERS: dict[str, Callable[[Reader, dict[str, Any]], Any]] = {
    "array": Reader._array,
    "table": Reader._table,
    "tuple": lambda reader, node: tuple(map(reader.value, node["items"])),
    "dict": lambda reader, node: {reader.value(k): reader.value(v) for k, v in node["items"]},
    "float": lambda _, node: float(node["value"]),
    "scalar": lambda reader, node: np.dtype(node["dtype"]).type(reader.value(node["value"])),
    "named": _named,
}
