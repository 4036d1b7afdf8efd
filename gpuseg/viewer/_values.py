"""Layers of results of pipelines, from a result or from a run's folder."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from gpuseg.viewer._arrays import LayerData, points_layer

_Opened = Callable[[str], Any]


class NothingToShow(TypeError):
    """A result that napari has no layer for, such as a number."""


def is_run(path: str) -> bool:
    """Whether a folder is a run of `gpuseg.pipeline`."""
    return os.path.isfile(os.path.join(path, ".gpuseg", "run.json"))


def is_result(path: str) -> bool:
    """Whether a folder is a result in a run."""
    try:
        return {"step", "key", "value"} <= _record(path).keys()
    except (OSError, ValueError, AttributeError):
        return False


def _record(folder: str) -> dict[str, Any]:
    """What `result.json` says, the value among it."""
    found: dict[str, Any] = json.loads(_read(folder, "result.json"))
    return found


def run_layers(path: str) -> list[LayerData]:
    """Layers of all results of a run, those computed first below the others.

    Raises
    ------
    ValueError
        If it holds nothing to show.
    """
    found = []
    for step in sorted(os.listdir(path)):
        for short in [] if step.startswith(".") else sorted(os.listdir(os.path.join(path, step))):
            folder = os.path.join(path, step, short)
            if is_result(folder):
                # Several may be finished within a second, which is what the record tells.
                written = os.stat(os.path.join(folder, "result.json")).st_mtime_ns
                found.append((str(_record(folder)["finished"]), written, folder))
    layers = [layer for *_, folder in sorted(found) for layer in stored_layers(folder)]
    if not layers:
        raise ValueError(f"the run {path!r} holds no arrays or tables of objects to show")
    return layers


def stored_layers(folder: str) -> list[LayerData]:
    """Layers of one result's folder."""
    step, short = os.path.abspath(folder).split(os.sep)[-2:]

    def opened(path: str) -> Any:
        import zarr

        return zarr.open(os.path.join(folder, path), mode="r")

    tree = _record(folder)["value"]
    return _tree_layers(tree, f"{_short(step)} {short[:6]}", opened, lambda p: _read(folder, p))


def result_layers(result: Any) -> list[LayerData]:
    """Layers of a result, which is computed if it isn't there; of an item of it, that item's.

    Raises
    ------
    NothingToShow
        If it holds no array of two axes and no table of objects.
    """
    if not result.exists():
        result.run.execute([result])
    folder, name = result.folder, result.name

    def opened(path: str) -> Any:
        import zarr

        return zarr.open(folder.zarr(path), mode="r")

    called = f"{_short(name.step)} {name.short[:6]}"
    layers = _tree_layers(_tree(result), called, opened, folder.read)
    if not layers:
        raise NothingToShow(f"{result!r} holds no arrays or tables of objects to show")
    return layers


def _tree(result: Any) -> Any:
    """Its value, or an item of that, as `result.json` describes it."""
    tree = json.loads(result.run.store.value(result.name))
    for item in result.at:
        tree = tree["items"] if isinstance(tree, dict) and tree.get("$") in _HOLDERS else tree
        tree = tree[item]
    return tree


_HOLDERS = ("tuple", "named")


def _short(step: str) -> str:
    return step.rpartition(".")[2]


def _read(folder: str, name: str) -> bytes:
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def _tree_layers(
    tree: Any, name: str, opened: _Opened, read: Callable[[str], bytes]
) -> list[LayerData]:
    """Layers of the arrays and tables in a value, as `result.json` describes it."""
    from gpuseg.viewer._files import zarr_layers

    nodes = list(_nodes(tree))
    found: list[LayerData] = []
    for node in nodes:
        part = node["path"].rpartition("/")[2].removeprefix("value").partition(".ome.zarr")[0]
        part = part.removesuffix(".zarr").removesuffix(".parquet").strip(".")
        called = f"{name} {part}" if part and len(nodes) > 1 else name
        if node["$"] == "array" and node["path"].endswith(".ome.zarr"):
            found += zarr_layers(opened(node["path"]), called)
        elif node["$"] == "table":
            columns = _columns(read(node["path"]))
            if "centroid-0" in columns:
                places, options, kind = points_layer(columns)
                found.append((places, {**options, "name": called}, kind))
    return found


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if tree.get("$") in ("array", "table"):
            yield tree
            return
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _columns(data: bytes) -> dict[str, Any]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(data))
    return {name: table[name].to_numpy() for name in table.column_names}
