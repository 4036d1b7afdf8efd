"""One strip of rows, measured by one thread: slots for its labels, bands of runs, kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpuseg._cpu import _regionprops_runs as runs_
from gpuseg._cpu import _regionprops_values as values_
from gpuseg._cpu import regionprops_windows as windows_
from gpuseg._shared.region_rows import (
    LIMB_BITS,
    LIMBS,
    Plan,
    Rows,
    layout,
    offsets,
    reduce_powers,
    template,
)
from gpuseg.typing import NumpyArray

# A band's pixels stay in the second-level cache. Wider rows are cut into tiles, so that
# products of three coordinates within a run fit int64.
_BAND_PIXELS = 1 << 18
_TILE_COLUMNS = 1 << 15
# Columns for which a strip asks at once, 64 MB; for more it grows.
_ROOM = 1 << 23
# Limbs have room for 2^31 additions; a pixel makes at most four to one limb.
_CARRY_PIXELS = 1 << 28


class Block(NamedTuple):
    """What is measured: labels (rows, columns), values (rows, columns, channels), and where.

    `around` holds the labels as (planes, rows, columns) with their halo, for kernels that look at
    neighbours; `corner` is the index in it of the first pixel measured.
    """

    plan: Plan
    labels: NumpyArray
    image: NumpyArray | None
    shape: tuple[int, ...]
    origin: tuple[int, ...]
    around: NumpyArray | None
    corner: NumpyArray


class Strip:
    """Accumulates rows `start` to `stop` of a block.

    Slots are handed out in the order in which labels are met, so that labels near each other in
    the image are near each other in memory, and none is kept for labels that are not there.
    """

    def __init__(self, block: Block, start: int, stop: int) -> None:
        self.block, self.start, self.stop = block, start, stop
        labels = block.labels[start:stop]
        self.lowest, highest = map(int, runs_.extent(labels)) if labels.size else (0, 0)
        if highest >= 2**63:
            raise ValueError(f"labels must be below 2**63, got {highest}")
        self.low = self.lowest if block.plan.everything else max(self.lowest, 1)
        # A table wherever it is no larger than the labels; it is three times as fast as hashing.
        span = highest - self.low + 1
        self.sparse = span > labels.size + 65536
        self.slots = np.full(1024 if self.sparse else max(span, 0), -1, np.int32)
        self.keys = np.zeros(1024 if self.sparse else 0, np.int64)
        self.fields = layout(block.plan, self._exponents())
        self.columns = offsets(self.fields)
        self.template = template(self.fields)
        self.count = 0
        # More labels than this there cannot be; memory is touched only as they are met.
        self.most = min(labels.size, max(span, 0))
        room = min(self.most, _ROOM // self.template.size)
        self.names = np.empty(room, np.int64)
        self.acc = np.empty((room, self.template.size), np.int64)
        self.left, self.sums = -1, np.empty(0)
        self.pairs = np.zeros((1024, 2), np.int64)
        self.pair_count = 0

    def rows(self) -> Rows:
        """Measure the strip."""
        height, width = self.stop - self.start, self.block.labels.shape[1]
        step = max(1, _BAND_PIXELS // max(1, min(width, _TILE_COLUMNS)))
        tile = min(width, _TILE_COLUMNS)
        runs = np.empty((4, min(step, height) * tile + 1), np.int32)
        pending = 0
        for top in range(self.start, self.stop, step):
            bottom = min(top + step, self.stop)
            places = _places(self.block, top, bottom)
            for left in range(0, width, tile):
                right = min(left + tile, width)
                n = self._cut(runs, top, bottom, left, right)
                self._shapes(runs, n, places, left)
                self._neighbours(runs, n, top, left)
                for channel in range(self.block.plan.channels):
                    self._values(runs, n, channel, places, (top, bottom, left, right))
            pending += (bottom - top) * width
            if pending > _CARRY_PIXELS:
                self._carry()
                pending = 0
        self._carry()
        names, acc = self.names[: self.count], self.acc[: self.count]
        if np.any(names[1:] < names[:-1]):
            order = np.argsort(names) if self.sparse else self.slots[self.slots >= 0]
            names, acc = names.take(order), acc.take(order, axis=0)
        pairs = self.pairs[self.pairs[:, 0] != 0]
        pairs = pairs[np.lexsort(pairs.T[::-1])]
        return Rows(names, acc, self.fields, pairs, self.lowest)

    def _exponents(self) -> tuple[int, int]:
        """Span of the exponents of a float image's values in this strip, from 0 up."""
        plan, image = self.block.plan, self.block.image
        if image is None or plan.dtype is None or plan.dtype.kind != "f" or not plan.value_sums():
            return 0, 0
        found = []
        step = max(1, _BAND_PIXELS // max(1, image.shape[1] * image.shape[2]))
        for top in range(self.start, self.stop, step):
            band = image[top : min(top + step, self.stop)]
            found.append(values_.exponents(_words(band.reshape(1, -1))[0]))
        spans = [span for span in found if span != (0, 0)] or [(0, 0)]
        return min(low for low, _ in spans), max(high for _, high in spans)

    def _cut(self, runs: NumpyArray, top: int, bottom: int, left: int, right: int) -> int:
        """Runs of a tile with their slots; rows of new labels are ready to be added to."""
        labels = self.block.labels[top:bottom, left:right]
        n = runs_.cut(labels, runs[0], runs[1])
        if min(self.count + n, self.most) > len(self.names):
            size = min(2 * (self.count + n), self.most)
            self.names = _grown(self.names, self.count, size)
            self.acc = _grown(self.acc, self.count, size)
        before, everything = self.count, self.block.plan.everything
        if self.sparse:
            if 2 * (self.count + n) > len(self.keys):
                size = 1 << int(4 * (self.count + n)).bit_length()
                self.keys, self.slots = np.zeros(size, np.int64), np.full(size, -1, np.int32)
                runs_.rehash(self.names, self.count, self.keys, self.slots)
            n, self.count = runs_.own_sparse(
                labels, self.keys, self.slots, everything, runs, n, self.names, self.count
            )
        else:
            n, self.count = runs_.own(
                labels, self.slots, self.low, everything, runs, n, self.names, self.count
            )
        runs_.clear(self.acc, before, self.count, self.template)
        return n

    def _shapes(self, runs: NumpyArray, n: int, places: NumpyArray, left: int) -> None:
        """Features of the runs alone."""
        acc, plan, x0 = self.acc, self.block.plan, self.block.origin[-1] + left
        lower, upper, first, second = (
            self.columns.get((name, 0), -1) for name in ("lower", "upper", "first0", "second00")
        )
        runs_.first_moments(runs, n, places, x0, acc, first, plan.limbs(1))
        if lower >= 0:
            runs_.bounds(runs, n, places, x0, acc, lower, upper)
        if second >= 0:
            runs_.second_moments(runs, n, places, x0, acc, second, plan.limbs(2))
        if ("powers", 0) in self.columns:
            primes = plan.primes
            if left != self.left:
                size = min(_TILE_COLUMNS, self.block.labels.shape[1] - left)
                self.left, self.sums = left, runs_.power_sums(x0, size, primes)
            array = np.array(primes, np.int64)
            runs_.powers(runs, n, places, self.sums, array, acc, self.columns["powers", 0])

    def _neighbours(self, runs: NumpyArray, n: int, top: int, left: int) -> None:
        """Features of the pixels' neighbourhoods."""
        block, acc = self.block, self.acc
        if block.around is None:
            return
        seen = block.around, top, block.corner + np.array([0, 0, left])
        height = block.shape[-2]
        perimeter, crofton, euler, surface = (
            self.columns.get((name, 0), -1) for name in ("perimeter", "crofton", "euler", "surface")
        )
        if perimeter >= 0:
            windows_.perimeter(runs, n, *seen, acc, perimeter)
        if len(block.shape) == 2 and (crofton >= 0 or euler >= 0):
            windows_.windows_2d(runs, n, *seen, acc, crofton, euler)
        elif euler >= 0:
            windows_.euler_3d(runs, n, *seen, height, acc, euler)
        if surface >= 0:
            windows_.surface(runs, n, *seen, height, acc, surface)
        if "neighbors" in block.plan.features:
            while True:
                found = windows_.contacts(runs, n, *seen, height, self.pairs, self.pair_count)
                if found >= 0:
                    self.pair_count = found
                    break
                larger = np.zeros((4 * len(self.pairs), 2), np.int64)
                self.pair_count = windows_.rehash_pairs(self.pairs, larger)
                self.pairs = larger

    def _values(
        self,
        runs: NumpyArray,
        n: int,
        channel: int,
        places: NumpyArray,
        tile: tuple[int, int, int, int],
    ) -> None:
        """Features of one channel's values in a tile (top, bottom, left, right)."""
        plan, acc = self.block.plan, self.acc
        assert self.block.image is not None
        top, bottom, left, right = tile
        values = self.block.image[top:bottom, left:right, channel]
        x0 = self.block.origin[-1] + left
        field = {f.name: f for f in self.fields if f.channel == channel}
        total, square, weighted, least, greatest, flags = (
            self.columns.get((name, channel), -1)
            for name in ("sum", "square", "weighted0", "minimum", "maximum", "flags")
        )
        stride = 2 if "at_minimum" in field else 0
        if plan.narrow:
            if total >= 0 or square >= 0:
                width = field["square"].width if square >= 0 else 1
                values_.narrow_sums(runs, n, values, acc, total, square, width)
            if weighted >= 0:
                width = field["weighted0"].width
                values_.narrow_weighted(runs, n, values, places, x0, acc, weighted, width)
            if stride:
                base = places @ _strides(plan.shape)[:-1] + x0
                values_.narrow_positions(runs, n, values, base, acc, least, greatest)
            elif least >= 0:
                values_.narrow_extrema(runs, n, values, acc, least, greatest)
            return
        words, kind = _words(values)
        first = {name: f.first * LIMB_BITS for name, f in field.items()}
        if total >= 0:
            values_.wide_sum(runs, n, words, kind, acc, total, first["sum"])
        if square >= 0:
            values_.wide_square(runs, n, words, kind, acc, square, first["square"])
        if weighted >= 0:
            at = weighted, field["weighted0"].width, first["weighted0"]
            values_.wide_weighted(runs, n, words, kind, places, x0, acc, *at)
        if least >= 0:
            base = places @ _strides(plan.shape)[:-1] + x0
            values_.wide_extrema(runs, n, words, kind, base, acc, least, greatest, stride)
        if flags >= 0:
            values_.flags(runs, n, words, acc, flags)

    def _carry(self) -> None:
        reduce_powers(self.acc[: self.count], self.fields, self.block.plan)
        for field in self.fields:
            if field.kind == LIMBS and field.width > 1:
                column = self.columns[field.name, field.channel]
                values_.carry(self.acc[: self.count], column, field.width)


def _grown(array: NumpyArray, count: int, size: int) -> NumpyArray:
    """Copy of the first `count` entries with room for `size`."""
    larger = np.empty((size, *array.shape[1:]), array.dtype)
    larger[:count] = array[:count]
    return larger


def _places(block: Block, top: int, bottom: int) -> NumpyArray:
    """Coordinates, in the whole array, of rows along all axes but the last: (rows, axes - 1)."""
    index = np.arange(top, bottom)
    places = np.empty((bottom - top, len(block.shape) - 1), np.int64)
    for axis in reversed(range(len(block.shape) - 1)):
        index, places[:, axis] = np.divmod(index, block.shape[axis])
        places[:, axis] += block.origin[axis]
    return places


def _strides(shape: tuple[int, ...]) -> NumpyArray:
    """Steps, in pixels, along each axis of an array in C order."""
    return np.cumprod((1, *shape[:0:-1]), dtype=np.int64)[::-1]


def _words(values: NumpyArray) -> tuple[NumpyArray, int]:
    """Values as 64-bit words, and what the words are."""
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values, np.float64).view(np.uint64), values_.FLOAT
    if values.dtype.kind == "u":
        return np.ascontiguousarray(values, np.uint64), values_.UNSIGNED
    return np.ascontiguousarray(values, np.int64).view(np.uint64), values_.SIGNED
