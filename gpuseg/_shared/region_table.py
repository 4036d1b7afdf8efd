"""A table of sums as the properties read it: exact columns, rounded sums, moments, channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gpuseg._shared.region_rows import (
    MINUS_INFINITY,
    NAN,
    PLUS_INFINITY,
    Plan,
    Rows,
    offsets,
    template,
)
from gpuseg._shared.region_sums import central, rounded, variance
from gpuseg._shared.window import native
from gpuseg.typing import NumpyArray


class Request(NamedTuple):
    """Which columns, in which units, for which labels; `plan` is what has to be accumulated."""

    plan: Plan
    properties: tuple[str, ...] = ()
    spacing: tuple[float, ...] = ()
    ids: NumpyArray | None = None
    separator: str = "-"
    multichannel: bool = False


class Table:
    """Sums of the labels found, or of those asked for.

    A label that is asked for and absent counts one pixel, so that nothing divides by zero;
    `missing` tells them apart.
    """

    def __init__(self, rows: Rows, request: Request) -> None:
        self.plan, self.multichannel = request.plan, request.multichannel
        self.ndim = len(request.plan.shape)
        self.spacing = np.array(request.spacing or (1.0,) * self.ndim)
        self.pairs = rows.pairs
        self._fields = {(field.name, field.channel): field for field in rows.fields}
        self._offsets = offsets(rows.fields)
        self.labels, self._table = rows.labels, rows.table
        self.missing = np.zeros(rows.labels.size, bool)
        if request.ids is not None:
            self.labels = request.ids
            at = np.searchsorted(rows.labels, request.ids)
            self.missing = np.append(rows.labels, 0)[at] != request.ids
            self.missing |= at == rows.labels.size
            at[self.missing] = rows.labels.size
            self._table = np.vstack([rows.table, template(rows.fields)])[at]
        self.count = np.where(self.missing, 1, self.block("count")[:, 0])

    def block(self, name: str, channel: int = 0) -> NumpyArray:
        """Columns of a field: (labels, width)."""
        start = self._offsets[name, channel]
        return self._table[:, start : start + self._fields[name, channel].width]

    def has(self, name: str) -> bool:
        """Whether a field was accumulated."""
        return (name, 0) in self._fields

    def total(self, name: str, channel: int = 0) -> NumpyArray:
        """A sum, to the nearest float64."""
        return rounded(self.block(name, channel), self._fields[name, channel].first)

    def channels(self, make: Callable[[int], NumpyArray]) -> NumpyArray:
        """Values of each channel along a last axis, which a single-channel image lacks."""
        if not self.multichannel:
            return make(0)
        return np.stack([make(channel) for channel in range(self.plan.channels)], axis=-1)

    def lower(self) -> NumpyArray:
        """First index of the bounding box along each axis."""
        return np.where(self.missing[:, None], 0, self.block("lower"))

    def upper(self) -> NumpyArray:
        """Last index of the bounding box along each axis."""
        return np.where(self.missing[:, None], 0, self.block("upper"))

    def finite(self, values: NumpyArray, channel: int) -> NumpyArray:
        """Sums with the effect of NaN and of infinities, as adding them up has it."""
        if ("flags", channel) not in self._fields:
            return values
        flags = self.block("flags", channel)[:, 0]
        both = PLUS_INFINITY | MINUS_INFINITY
        values = np.where(flags & PLUS_INFINITY, np.inf, values)
        values = np.where(flags & MINUS_INFINITY, -np.inf, values)
        return np.where((flags & NAN != 0) | (flags & both == both), np.nan, values)

    def variance(self, channel: int) -> NumpyArray:
        """Population variance of one channel."""
        total, square = self.block("sum", channel), self.block("square", channel)
        if self.plan.narrow:
            spread = central(self.count, (total, total, square), np.array(2.0**32))
            return spread / self.count
        firsts = self._fields["sum", channel].first, self._fields["square", channel].first
        values = variance(self.count, total, square, firsts)
        if ("flags", channel) in self._fields:
            values[self.block("flags", channel)[:, 0] != 0] = np.nan
        return values

    def extremum(self, name: str, channel: int) -> NumpyArray:
        """Least or greatest value, in the image's own dtype; 0 where there is none."""
        keys = np.where(self.missing, 0, self.block(name, channel)[:, 0])
        dtype = native(np.dtype(self.plan.dtype))
        if dtype.kind == "f":
            bits = np.where(keys < 0, keys ^ np.int64(0x7FFFFFFFFFFFFFFF), keys)
            flags = self.block("flags", channel)[:, 0]
            return np.where(flags & NAN, np.nan, bits.view(np.float64)).astype(dtype)
        if dtype == np.uint64:
            return np.where(self.missing, 0, keys.view(np.uint64) ^ np.uint64(1 << 63))
        return keys.astype(dtype)

    def position(self, name: str, channel: int) -> NumpyArray:
        """Index (labels, axes) of an extremum; -1 where all values are NaN."""
        flat = np.where(self.missing, 0, self.block(name, channel)[:, 0])
        nowhere = flat == np.iinfo(np.int64).max
        # Of an empty array no place is asked for but the first.
        shape = tuple(max(size, 1) for size in self.plan.shape)
        places = np.unravel_index(np.where(nowhere, 0, flat), shape)
        return np.where(nowhere[:, None], -1, np.stack(places, axis=-1))

    @cached_property
    def covariance(self) -> NumpyArray:
        """Second central moments over the number of pixels: (labels, axes, axes), in pixels."""
        moments = np.empty((self.labels.size, self.ndim, self.ndim))
        extent = (self.upper() - self.lower() + 1).astype(np.float64)
        for i in range(self.ndim):
            for j in range(i, self.ndim):
                sums = self.block(f"first{i}"), self.block(f"first{j}"), self.block(f"second{i}{j}")
                moment = central(self.count, sums, extent[:, i] * extent[:, j])
                moments[:, i, j] = moments[:, j, i] = moment / self.count
        return moments
