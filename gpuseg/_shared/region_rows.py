"""What is accumulated for each label: a plan, and rows of int64 that merge by label.

A `Plan` is decided once, from shapes and dtypes alone, so that every chunk of an image lays out
its rows alike. All that a chunk contributes is a `Rows`: sorted labels, and one int64 row each.
`docs/design/regionprops.md` says why sums held this way depend on no order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gpuseg.typing import NumpyArray

# How a column merges. LIMBS columns add like SUM, once aligned on their binary exponents.
SUM, LIMBS, FLAGS, MINIMUM, MAXIMUM, AT_MINIMUM, AT_MAXIMUM = range(7)

_HIGHEST, _LOWEST = np.iinfo(np.int64).max, np.iinfo(np.int64).min
# What a column of each kind holds before anything is merged into it.
EMPTY = (0, 0, 0, _HIGHEST, _LOWEST, _HIGHEST, _HIGHEST)

# Values of a FLAGS column: what a label's pixels hold besides finite numbers.
NAN, PLUS_INFINITY, MINUS_INFINITY = 1, 2, 4

# Limb k of a sum counts multiples of 2^(32 k), so that limbs of all chunks are aligned; k is
# negative for fractions.
LIMB_BITS = 32
# A float64 mantissa is cut here so that products of its parts fit 64 bits.
HALF_MANTISSA = 27

# Moments up to the third power of each coordinate outgrow any word: they are kept modulo 2^64 and
# modulo as many of these primes (the largest below 2^31) as the size of the array asks for.
POWERS = 4
PRIMES = (2147483647, 2147483629, 2147483587, 2147483579, 2147483563, 2147483549, 2147483543)

# Pixels that a feature's kernel looks at on each side of its own.
HALO = {"perimeter": 2, "crofton": 1, "euler": 1, "surface": 1, "neighbors": 1}
WINDOW_COLUMNS = {"perimeter": 3, "crofton": 5, "euler": 1, "surface": 13}


class Field(NamedTuple):
    """Consecutive columns of a row, merged by `kind`; `first` is the index of the first limb."""

    name: str
    channel: int
    kind: int
    width: int = 1
    first: int = 0


class Rows(NamedTuple):
    """Labels in increasing order, their rows (labels, columns), and pairs of touching labels.

    `lowest` is the smallest label met, so that negative ones can be refused afterwards.
    """

    labels: NumpyArray
    table: NumpyArray
    fields: tuple[Field, ...]
    pairs: NumpyArray
    lowest: int = 0


class Plan(NamedTuple):
    """What to accumulate for labels of `shape` and an image of `dtype` with `channels`.

    `features` are names of groups of columns; `everything` measures label 0 and negative labels
    like any other, instead of skipping them.
    """

    shape: tuple[int, ...]
    features: frozenset[str]
    dtype: np.dtype[np.generic] | None = None
    channels: int = 0
    everything: bool = False

    @property
    def halo(self) -> int:
        """Pixels around a chunk that the features look at."""
        return max((HALO[name] for name in self.features & HALO.keys()), default=0)

    @property
    def narrow(self) -> bool:
        """Whether sums over a row of pixels surely fit int64: 8- and 16-bit integers."""
        return self.dtype is not None and self.dtype.kind in "bui" and self.dtype.itemsize <= 2

    def limbs(self, degree: int, largest: int = 1) -> int:
        """Width of a sum of `largest * coordinate**degree` over all pixels, if rows fit int64."""
        extent = max(1, *self.shape)
        return 1 if math.prod(self.shape) * largest * extent**degree < 2**63 else 2

    @property
    def primes(self) -> tuple[int, ...]:
        """Primes by which, with 2^64, the largest possible moments are told apart."""
        bits = (math.prod(self.shape) * math.prod(self.shape) ** (POWERS - 1)).bit_length() + 1
        # Each prime tells a little less than 31 bits; the last one covers the sign.
        return PRIMES[: max(0, -(-(bits - 64) // 30))]

    def value_sums(self) -> list[str]:
        """Names of the sums kept for each channel."""
        names: list[str] = [name for name in ("sum", "square") if name in self.features]
        if "weighted" in self.features:
            names += [f"weighted{axis}" for axis in range(len(self.shape))]
        return names


def layout(plan: Plan, exponents: tuple[int, int] = (0, 0)) -> tuple[Field, ...]:
    """Fields of a row; `exponents` spans those of the last bits of the float values met."""
    ndim, has = len(plan.shape), plan.features.__contains__
    found = [Field("count", 0, SUM)]
    if has("bbox"):
        found += [Field("lower", 0, MINIMUM, ndim), Field("upper", 0, MAXIMUM, ndim)]
    if has("first"):
        found += [Field(f"first{i}", 0, LIMBS, plan.limbs(1)) for i in range(ndim)]
    if has("second"):
        pairs = [f"second{i}{j}" for i in range(ndim) for j in range(i, ndim)]
        found += [Field(name, 0, LIMBS, plan.limbs(2)) for name in pairs]
    if has("powers"):
        found.append(Field("powers", 0, SUM, POWERS**ndim * (1 + len(plan.primes))))
    found += [Field(name, 0, SUM, width) for name, width in WINDOW_COLUMNS.items() if has(name)]
    for channel in range(plan.channels):
        for name in plan.value_sums():
            first, width = _window(plan, name, exponents)
            found.append(Field(name, channel, LIMBS, width, first))
        for name, kind in (("minimum", MINIMUM), ("maximum", MAXIMUM)):
            if has("extrema"):
                found.append(Field(name, channel, kind))
            if has("positions"):
                found.append(Field(f"at_{name}", channel, kind + AT_MINIMUM - MINIMUM))
        if plan.dtype is not None and plan.dtype.kind == "f":
            found.append(Field("flags", channel, FLAGS))
    return tuple(found)


def _window(plan: Plan, name: str, exponents: tuple[int, int]) -> tuple[int, int]:
    """First limb and number of limbs of a sum of values."""
    kind = "weighted" if name.startswith("weighted") else name
    if plan.narrow:
        # The largest magnitude of 8 and 16 bits, signed or not.
        largest = 1 << (8 * np.dtype(plan.dtype).itemsize)
        degree, power = {"sum": (0, 1), "square": (0, 2), "weighted": (1, 1)}[kind]
        return 0, plan.limbs(degree, largest**power)
    # Highest exponent at which `_regionprops_values.add` is called, which then fills three limbs.
    if np.dtype(plan.dtype).kind in "ui":
        return 0, {"sum": 0, "square": 64, "weighted": 32}[kind] // LIMB_BITS + 3
    low, high = exponents
    if kind == "square":
        low, high = 2 * low, 2 * high + 2 * HALF_MANTISSA
    elif kind == "weighted":
        high += HALF_MANTISSA
    first = low // LIMB_BITS
    return first, high // LIMB_BITS + 3 - first


def offsets(fields: tuple[Field, ...]) -> dict[tuple[str, int], int]:
    """First column of each field, by name and channel."""
    found, column = {}, 0
    for field in fields:
        found[field.name, field.channel] = column
        column += field.width
    return found


def kinds(fields: tuple[Field, ...]) -> NumpyArray:
    """Kind of each column."""
    return np.repeat([f.kind for f in fields], [f.width for f in fields]).astype(np.int8)


def template(fields: tuple[Field, ...]) -> NumpyArray:
    """Row of a label that no pixel has."""
    return np.array(EMPTY, np.int64)[kinds(fields)]


def common_layout(layouts: list[tuple[Field, ...]]) -> tuple[Field, ...]:
    """Layout that holds all limbs of several layouts of one plan."""
    if all(fields == layouts[0] for fields in layouts):
        return layouts[0]
    merged = []
    for same in zip(*layouts, strict=True):
        first = min(field.first for field in same)
        last = max(field.first + field.width for field in same)
        merged.append(same[0]._replace(first=first, width=last - first))
    return tuple(merged)


def widen(rows: Rows, fields: tuple[Field, ...]) -> NumpyArray:
    """Table of `rows` in a layout with more limbs."""
    if rows.fields == fields:
        return rows.table
    table = np.zeros((len(rows.table), sum(field.width for field in fields)), np.int64)
    source, target = offsets(rows.fields), offsets(fields)
    for old, new in zip(rows.fields, fields, strict=True):
        start = target[new.name, new.channel] + old.first - new.first
        column = source[old.name, old.channel]
        table[:, start : start + old.width] = rows.table[:, column : column + old.width]
    return table


def reduce_powers(table: NumpyArray, fields: tuple[Field, ...], plan: Plan) -> None:
    """Bring moments modulo primes below these, in place, so that 2^31 more can be added."""
    if "powers" not in plan.features:
        return
    start = offsets(fields)["powers", 0]
    size = POWERS ** len(plan.shape)
    for k, prime in enumerate(plan.primes, 1):
        table[:, start + k * size : start + (k + 1) * size] %= prime
