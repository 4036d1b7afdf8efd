"""Nearest seed of every pixel on the GPU: launches `kernels/edt.cu`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from gpuseg._cuda._source import Build
from gpuseg._shared.edt import Metric, within
from gpuseg.typing import Array, NumpyArray

_THREADS = 256
_LABELS = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
_TYPES = {"i32": np.int32, "i64": np.int64, "double": np.float64}
_LARGEST = 2**31 - 1


def _build(index: str, value: str) -> Build:
    """Kernels for numbers of pixels and for squared distances of these types."""
    options = (f"-DINDEX={index}", f"-DVALUE={value}", "--fmad=false")
    return Build("edt", options, tuple(f"take<{label}>" for label in _LABELS.values()))


BUILDS = (_build("i32", "i32"), _build("i32", "double"), _build("i64", "double"))


def transform(
    mask: Array, metric: Metric, distances: bool, indices: bool
) -> tuple[Array | None, Array | None]:
    """Distances to the nearest pixel that is 0 and its place, as far as they are asked for."""
    out = cupy.empty(mask.shape, np.float64) if distances else None
    source = sources(mask == 0, metric, out, numbers=indices)
    return out, places(source, metric) if indices else None


def near(mask: Array, metric: Metric, inner: Sequence[tuple[int, int]] | None) -> Array:
    """Distances within the metric's limit, inf beyond; `inner` of it is returned."""
    out = cupy.empty(mask.shape, np.float64)
    sources(mask == 0, metric.of(mask.shape), out, numbers=False)
    return within(out, inner)


def expand(labels: Array, metric: Metric, inner: Sequence[tuple[int, int]] | None = None) -> Array:
    """Labels of the nearest labelled pixel within the metric's limit; `inner` of them."""
    metric = metric.of(labels.shape)
    labels = cupy.ascontiguousarray(labels)
    out = cupy.empty_like(labels)
    if labels.size:
        source = sources(labels != 0, metric)
        label = f"u{labels.dtype.itemsize}"
        _launch(
            metric, f"take<{_LABELS[labels.dtype.itemsize]}>", labels.size,
            labels.view(label), source, metric.dtype.type(labels.size), out.view(label),
        )  # fmt: skip
    return within(out, inner)


def sources(
    seeds: Array, metric: Metric, out: Array | None = None, *, numbers: bool = True
) -> Array:
    """Number, in raster order, of the nearest seed of each pixel; -1 where there is none.

    Its distance is written to `out` (float64), inf where there is none. Without `numbers` what is
    returned is undefined.
    """
    source = rows(seeds, metric)
    for axis in range(seeds.ndim - 2, 0, -1):
        source = along(source, axis, metric)
    return along(source, 0, metric, out=out, numbers=numbers)


def rows(seeds: Array, metric: Metric) -> Array:
    """Position in its row of the nearest seed of each pixel, -1 where there is none."""
    source = cupy.empty(seeds.shape, metric.dtype)
    if source.size:
        pixels = cupy.ascontiguousarray(seeds).view(np.uint8)
        width = seeds.shape[-1]
        count = source.size // width
        kind = metric.dtype.type
        _launch(metric, "rows", count * 32, pixels, kind(count), kind(width), source)
    return source


def along(
    source: Array,
    axis: int,
    metric: Metric,
    corner: Sequence[int] | None = None,
    out: Array | None = None,
    *,
    numbers: bool = True,
) -> Array:
    """Nearest seeds, now also along `axis`.

    Parameters
    ----------
    source : (..., n, ...) contiguous array of integers
        A block of an array of the metric's shape, whole along `axis`; later axes are done.
    corner : sequence of int, optional
        First pixel of the block; 0 by default.
    out : float64 array of the same shape, optional
        Where to write distances along the axes that are done.
    numbers : bool
        False where only those are wanted.
    """
    if source.size == 0:
        return source
    found = cupy.empty(source.shape if numbers else 0, source.dtype)
    distance = cupy.empty(0, np.float64) if out is None else out
    height = cupy.empty(source.shape, _TYPES[_value(metric)])
    wanted = (out is not None) + 2 * numbers
    block = _pass(source.shape, axis, metric, corner or (0,) * source.ndim, wanted)
    _launch(metric, "heights", source.size, source, block, height)
    _launch(metric, "lines", source.size, source, height, block, found, distance)
    return found


def places(source: Array, metric: Metric) -> Array:
    """Coordinates (axes, ...) of numbered pixels (int32); -1 for -1."""
    out = cupy.empty((source.ndim, *source.shape), np.int32)
    if source.size:
        kind, (_, height, width) = metric.dtype.type, metric.shape
        sizes = map(kind, (source.size, height, width, source.ndim))
        _launch(metric, "places", source.size, cupy.ascontiguousarray(source), *sizes, out)
    return out


def _value(metric: Metric) -> str:
    """Type of squared distances; doubles hold integers too."""
    small = metric.exact and metric.largest < _LARGEST and metric.dtype == np.int32
    return "i32" if small else "double"


def _launch(metric: Metric, name: str, threads: int, *arguments: Any) -> None:
    index = "i32" if metric.dtype == np.int32 else "i64"
    kernel = _build(index, _value(metric)).kernel(name)
    kernel((-(-threads // _THREADS),), (_THREADS,), arguments)


def _pass(
    shape: tuple[int, ...], axis: int, metric: Metric, corner: Sequence[int], wanted: int
) -> NumpyArray:
    """The kernels' `struct Pass`."""
    if len(shape) == 1:
        shape, axis, corner = (1, *shape), 0, (0, *corner)
    done, front = shape[axis + 1 :], 3 - len(shape)
    full = metric.shape[front + axis + 1 :]
    index, value = metric.dtype.type, _TYPES[_value(metric)]
    block = np.zeros((), _pass_dtype(index, value))
    block["size"] = math.prod(shape[:axis]), shape[axis], math.prod(done)
    block["width"], block["full"], block["stride"] = done[-1], full[-1], math.prod(full)
    block["top"], block["left"] = corner[-2] if len(done) == 2 else 0, corner[-1]
    block["wanted"] = wanted
    block["unit"], block["unit_y"], block["unit_x"] = metric.units[front + axis], *metric.units[1:]
    # No seed is farther than every limit.
    none, most = (_LARGEST, _LARGEST - 1) if value is np.int32 else (math.inf, sys.float_info.max)
    block["limit"] = min(metric.limit, most)
    block["none"], block["divisor"], block["never"] = none, metric.divisor, math.inf
    return block


def _pass_dtype(index: Any, value: Any) -> np.dtype[Any]:
    places = ("width", "top", "left", "full", "stride", "wanted")
    values = ("unit", "unit_y", "unit_x", "limit", "none")
    return np.dtype(
        [
            ("size", index, 3),
            *((name, index) for name in places),
            *((name, value) for name in values),
            ("divisor", np.float64),
            ("never", np.float64),
        ],
        align=True,
    )
