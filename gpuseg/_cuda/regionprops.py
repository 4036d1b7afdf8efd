"""Measure labelled regions on the GPU: launches `kernels/regionprops.cu`.

Rows come to the host, where they merge and are finished: a table is read there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cupy
import numpy as np

from gpuseg._cuda import regionprops_windows as windows
from gpuseg._cuda._source import Build
from gpuseg._shared.region_columns import make_columns
from gpuseg._shared.region_rows import (
    LIMB_BITS,
    LIMBS,
    POWERS,
    Plan,
    Rows,
    layout,
    offsets,
    reduce_powers,
    template,
)
from gpuseg._shared.region_table import Request, Table
from gpuseg.typing import Array, NumpyArray

_THREADS = 256
_TILE_ROWS = 32
# Enough blocks for passes in which a thread takes many pixels.
_BLOCKS = 4096
_NONE = np.iinfo(np.int64).min
_VALUES = {"uint8": "u8", "int8": "i8", "uint16": "u16", "int16": "i16", "words": "u64"}
_FLOAT, _SIGNED, _UNSIGNED = 0, 1, 2

# As the structs of the same names in the kernel.
_SHAPE = np.dtype(
    [(name, np.int64, 3) for name in ("size", "origin", "whole", "before", "around")]
    + [(name, np.int64) for name in ("axes", "everything", "low", "capacity", "columns")]
)
_COLUMN_NAMES = (
    *("count", "lower", "upper", "first", "first_limbs", "second", "second_limbs"),
    *("sum", "square", "square_limbs", "weighted", "weighted_limbs"),
    *("minimum", "at_minimum", "maximum", "at_maximum", "flags"),
    *("perimeter", "crofton", "euler", "surface"),
    *("first_bit", "axis", "kind", "channel", "channels"),
)
_COLUMNS = np.dtype([(name, np.int64) for name in _COLUMN_NAMES])


def _build(label: str) -> Build:
    """Kernels for labels of "int32" or "int64"."""
    values = list(_VALUES.values())
    return Build(
        "regionprops",
        (f"-DLABEL={'i32' if label == 'int32' else 'i64'}",),
        (
            *(f"wide_sum<{term}>" for term in range(3)),
            *(f"narrow<{value}>" for value in values if value != "u64"),
            *(f"positions<{value}>" for value in values),
        ),
    )


BUILDS = (_build("int32"), _build("int64"))


class _Slots(NamedTuple):
    """Where labels have their rows: by hash table, or in the order of labels from `low` on."""

    keys: Array
    values: Array
    names: Array | None
    low: int
    rows: int


def regionprops_table(
    labels: Array, image: Array | None, request: Request
) -> dict[str, NumpyArray]:
    """Columns, on the host, of the properties asked for."""
    return make_columns(measure(labels, image, request.plan), request)


def reduce(
    labels: Array,
    image: Array | None,
    request: Request,
    make: Callable[[Table], NumpyArray],
    dtype: Any,
    last: tuple[int, ...],
) -> NumpyArray:
    """What `make` finishes, on the host, from the sums of the labels in `request.ids`."""
    return make(Table(measure(labels, image, request.plan), request))


def measure(
    labels: Array,
    image: Array | None,
    plan: Plan,
    *,
    origin: Sequence[int] | None = None,
    halo: Sequence[tuple[int, int]] | None = None,
) -> Rows:
    """Rows of the labels in an array or a chunk, as `gpuseg._cpu.regionprops.measure`."""
    if labels.ndim > 3:
        raise TypeError(
            f"CuPy labels must have at most 3 axes, got {labels.ndim}: convert labels and image "
            "with `array.get()` (NumPy) to run on the CPU"
        )
    labels = cupy.ascontiguousarray(
        labels, np.int32 if labels.dtype.itemsize < 4 or labels.dtype == np.int32 else np.int64
    )
    shape = _shape(labels, plan, origin, halo)
    if labels.size == 0:
        fields = layout(plan)
        empty = np.empty((0, template(fields).size), np.int64)
        return Rows(np.empty(0, np.int64), empty, fields, np.empty((0, 2), np.int64))
    build = _build(labels.dtype.name)
    slots, lowest = _slots(build, labels, plan)
    values, kind = (None, -1) if image is None or not plan.channels else _values(image)
    fields = layout(plan, _exponents(build, values) if kind == _FLOAT else (0, 0))
    shape["low"], shape["capacity"] = slots.low, slots.keys.size
    shape["columns"] = template(fields).size
    table = cupy.empty((slots.rows, template(fields).size), np.int64)
    table[...] = cupy.asarray(template(fields))
    arguments = (slots.keys, slots.values, shape)
    columns = _columns(plan, fields, 0)
    build.kernel("shapes")((_tiles(shape),), (_THREADS,), (labels, *arguments, columns, table))
    if "powers" in plan.features:
        start = offsets(fields)["powers", 0]
        for k, prime in enumerate((0, *plan.primes)):
            column = np.int64(start + k * POWERS**labels.ndim)
            build.kernel("powers")(
                (_tiles(shape),), (_THREADS,), (labels, *arguments, np.uint64(prime), column, table)
            )
    windows.add(labels, arguments, plan, columns, table)
    for channel in range(plan.channels):
        _channel(build, labels, values, arguments, plan, fields, table, channel, kind)
    pairs = windows.contacts(labels, arguments) if "neighbors" in plan.features else None
    return _rows(slots, table, pairs, fields, lowest, plan)


def _three(values: Sequence[int], fill: int) -> list[int]:
    return [fill] * (3 - len(values)) + [int(value) for value in values]


def _shape(
    labels: Array,
    plan: Plan,
    origin: Sequence[int] | None,
    halo: Sequence[tuple[int, int]] | None,
) -> NumpyArray:
    halo = halo or [(0, 0)] * labels.ndim
    shape = np.zeros((), _SHAPE)
    size = [n - a - b for n, (a, b) in zip(labels.shape, halo, strict=True)]
    shape["size"], shape["around"] = _three(size, 1), _three(labels.shape, 1)
    shape["origin"] = _three(origin or (0,) * labels.ndim, 0)
    shape["before"] = _three([before for before, _ in halo], 0)
    shape["whole"] = _three(plan.shape, 1)
    shape["axes"], shape["everything"] = labels.ndim, plan.everything
    return shape


def _slots(build: Build, labels: Array, plan: Plan) -> tuple[_Slots, int]:
    """Slots of the labels, halo included, and the smallest label."""
    count, width = np.int64(labels.size), np.int64(labels.shape[-1])
    every = np.int64(plan.everything)
    found = cupy.asarray(np.array([-1 - _NONE, _NONE, 0], np.int64))
    grid = min(_BLOCKS, _blocks(labels.size))
    build.kernel("survey")((grid,), (_THREADS,), (labels, count, width, every, found))
    lowest, highest, runs = found.get().tolist()  # synchronize
    low = lowest if plan.everything else max(lowest, 1)
    span = max(0, highest - low + 1)
    # A row for each label in between, where that is not more than a few rows a run.
    if span <= 4 * runs + 65536:
        nothing = cupy.empty(0, np.int64)
        return _Slots(nothing, cupy.empty(0, np.int32), None, low, span), lowest
    capacity = 1 << (2 * runs).bit_length()
    keys, values = cupy.empty(capacity, np.int64), cupy.empty(capacity, np.int32)
    keys[...] = _NONE
    names, used = cupy.empty(runs, np.int64), cupy.zeros(1, np.uint32)
    arguments = (labels, count, every, np.int64(capacity), keys, values, used, names)
    build.kernel("enter")((_blocks(labels.size),), (_THREADS,), arguments)
    return _Slots(keys, values, names, 0, int(used.get()[0])), lowest  # synchronize


def _exponents(build: Build, words: Array) -> tuple[int, int]:
    """Span of the exponents of float values' last bits."""
    found = cupy.asarray(np.array([2047, 0], np.int64))
    grid = min(_BLOCKS, _blocks(words.size))
    build.kernel("exponents")((grid,), (_THREADS,), (words, np.int64(words.size), found))
    low, high = found.get().tolist()  # synchronize
    return (low - 1075, high - 1075) if high else (0, 0)


def _value_name(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "b":
        return "uint8"
    return dtype.name if dtype.name in _VALUES else "words"


def _values(image: Array) -> tuple[Array, int]:
    """Values as the kernels take them, and what their words are (-1: narrow)."""
    if image.dtype.kind == "f":
        return cupy.ascontiguousarray(image, np.float64).view(np.uint64), _FLOAT
    if _value_name(image.dtype) != "words":
        image = image.view(np.uint8) if image.dtype.kind == "b" else image
        return cupy.ascontiguousarray(image), -1
    if image.dtype.kind == "u":
        return cupy.ascontiguousarray(image, np.uint64), _UNSIGNED
    return cupy.ascontiguousarray(image, np.int64).view(np.uint64), _SIGNED


def _columns(plan: Plan, fields: Any, channel: int) -> NumpyArray:
    """Where the fields of one channel, and those of all, have their columns."""
    places = offsets(fields)
    columns = np.full((), -1, _COLUMNS)
    for name in _COLUMN_NAMES:
        columns[name] = places.get((name, channel), places.get((name, 0), -1))
    for name, key in (("first", "first0"), ("second", "second00")):
        columns[name] = places.get((key, 0), -1)
    columns["weighted"] = places.get(("weighted0", channel), -1)
    width = {field.name: field.width for field in fields}
    for name, key in (
        ("first_limbs", "first0"),
        ("second_limbs", "second00"),
        ("square_limbs", "square"),
        ("weighted_limbs", "weighted0"),
    ):
        columns[name] = width.get(key, 1)
    columns["channel"], columns["channels"] = channel, max(1, plan.channels)
    return columns


def _channel(
    build: Build,
    labels: Array,
    values: Array | None,
    arguments: Any,
    plan: Plan,
    fields: Any,
    table: Array,
    channel: int,
    kind: int,
) -> None:
    """What one channel's values tell."""
    grid = (_tiles(arguments[-1]),)

    def launch(name: str, columns: NumpyArray) -> None:
        build.kernel(name)(grid, (_THREADS,), (labels, values, *arguments, columns, table))

    columns = _columns(plan, fields, channel)
    columns["kind"] = kind
    value = _VALUES[_value_name(np.dtype(plan.dtype))]
    if plan.narrow:
        launch(f"narrow<{value}>", columns)
    else:
        launch("wide_extrema", columns)
        places = offsets(fields)
        for field in fields:
            if field.kind == LIMBS and field.name in plan.value_sums() and field.channel == channel:
                term = 0 if field.name == "sum" else 1 if field.name == "square" else 2
                one = columns.copy()
                one["sum"] = places[field.name, channel]
                one["first_bit"] = field.first * LIMB_BITS
                one["axis"] = 3 - labels.ndim + int(field.name[-1]) if term == 2 else 0
                launch(f"wide_sum<{term}>", one)
    if columns["at_minimum"] >= 0:
        launch(f"positions<{value}>", columns)


def _rows(
    slots: _Slots, table: Array, pairs: NumpyArray | None, fields: Any, lowest: int, plan: Plan
) -> Rows:
    """Rows on the host, by label; labels that only the halo holds are left out."""
    rows = table.get()  # synchronize
    if slots.names is None:
        names = np.arange(slots.low, slots.low + slots.rows, dtype=np.int64)
    else:
        names = slots.names.get()[: slots.rows]  # synchronize
    reduce_powers(rows, fields, plan)
    touching = np.empty((0, 2), np.int64)
    if pairs is not None:
        touching = np.unique(np.sort(names[pairs.astype(np.int64)], axis=1), axis=0)
    order = np.argsort(names)
    order = order[rows[order, 0] > 0]
    return Rows(names[order], rows[order], fields, touching, lowest)


def _blocks(threads: int) -> int:
    return (threads + _THREADS - 1) // _THREADS


def _tiles(shape: NumpyArray) -> int:
    """Blocks for a warp on each tile of 32 columns and rows."""
    planes, rows, columns = shape["size"].tolist()
    warps = planes * -(-rows // _TILE_ROWS) * -(-columns // 32)
    return _blocks(32 * warps)
