"""One block of a watershed: its arrays in a frame of one pixel, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gpuseg._cpu import _watershed_basins as basins
from gpuseg._cpu._watershed_merge import OUTSIDE, SEED, Edges, Part
from gpuseg._shared.order_keys import key_type, raw_bits
from gpuseg.typing import NumpyArray

Index = tuple[int, ...]

# Fewer pixels than this are sorted faster by comparison.
_FEW = 1 << 14


@dataclass
class Frame:
    """Keys, ways and depths of an array with one pixel more on each side."""

    keys: NumpyArray
    way: NumpyArray
    depth: NumpyArray
    node: NumpyArray

    @classmethod
    def around(cls, shape: Index, dtype: np.dtype[Any]) -> Frame:
        """A frame with nothing in it."""
        framed = tuple(size + 2 for size in shape)
        kind = key_type(dtype)
        return cls(
            np.full(framed, np.iinfo(kind).max, kind),
            np.full(framed, basins.OUT, np.uint8),
            np.zeros(framed, np.int32),
            np.empty(framed, np.int32),
        )

    def rows(self, first: int, last: int) -> Frame:
        """The part around rows (or planes) `first` to `last` of the array."""
        arrays = (self.keys, self.way, self.depth, self.node)
        return Frame(*(array[first : last + 2] for array in arrays))

    def window(self, first: Index, last: Index) -> Frame:
        """A frame of the part from `first` to `last`, with what is around it beyond."""
        region = tuple(slice(a, b + 2) for a, b in zip(first, last, strict=True))
        keys, depth = (np.ascontiguousarray(array[region]) for array in (self.keys, self.depth))
        way = self.way[region].copy()
        for axis in range(way.ndim):
            for end in (slice(0, 1), slice(-1, None)):
                face = way[(slice(None),) * axis + (end,)]
                face[face != basins.OUT] = basins.HALO
        return Frame(keys, way, depth, np.empty(keys.shape, np.int32))


class Block:
    """Some pixels of an image, at `origin` in the `whole`, whose neighbours' keys are around them.

    Attributes
    ----------
    values : array
        Labels of its seeds, in raster order.
    """

    def __init__(self, frame: Frame, connectivity: int, origin: Index, whole: Index) -> None:
        self.frame, self.origin, self.whole = frame, origin, whole
        self.shape = tuple(size - 2 for size in frame.keys.shape)
        self.keys, self.way, self.depth, self.node = (
            array.reshape(-1) for array in (frame.keys, frame.way, frame.depth, frame.node)
        )
        self.steps = basins.neighbours(frame.keys.shape, connectivity)
        plane = self.keys.size // frame.keys.shape[0]
        self.span = (plane, self.keys.size - plane)
        self.nothing = self.keys.dtype.type(np.iinfo(self.keys.dtype).max)
        self.values: NumpyArray = np.empty(0, np.int64)
        self.flat: NumpyArray = np.empty(0, np.int32)
        self.pairs: NumpyArray = np.empty((0, 2), np.int32)
        self.link: NumpyArray = np.empty(0, np.int32)

    def fill(self, image: NumpyArray, markers: NumpyArray | None, mask: NumpyArray | None) -> None:
        """Copy the block's own pixels into the frame."""
        none = np.empty((0, 0), bool)
        seeds = none if markers is None else _rows(markers != 0)
        inside = none if mask is None else _rows(mask)
        bits, signed = raw_bits(image)
        where = (self.starts(), self.keys, self.way)
        seeded, odd = basins.fill(_rows(bits), signed, seeds, inside, *where)
        if odd:
            raise ValueError(
                f"image must not have NaN where it is flooded, got {odd} of {image.size} pixels; "
                "replace them, or leave them out by the mask"
            )
        if markers is not None:
            chosen = markers != 0 if mask is None else (markers != 0) & mask
            self.values = markers[chosen].astype(np.int64)
            if seeded and self.values.min() < 0:
                raise ValueError(f"markers must not be negative, got {int(self.values.min())}")

    def starts(self) -> NumpyArray:
        """Where each row of the block begins in the frame."""
        shape = self.frame.node.shape
        grid = (np.arange(self.node.size // shape[-1]) * shape[-1] + 1).reshape(shape[:-1])
        return grid[tuple(slice(1, -1) for _ in grid.shape)].reshape(-1)

    def take_values(self, markers: NumpyArray) -> None:
        """Labels of the seeds in a frame that has been filled, of the block's own markers."""
        own = tuple(slice(1, -1) for _ in self.shape)
        self.values = markers[self.frame.way[own] == basins.ROOT].astype(np.int64)

    def forget(self) -> None:
        """Keep only what it takes to write labels."""
        shape = self.frame.keys.shape
        nothing = np.empty(0, self.keys.dtype)
        self.keys, self.way, self.depth = nothing, nothing, nothing
        self.frame = Frame(nothing, nothing, nothing, self.node.reshape(shape))

    def flats(self) -> None:
        """Find pixels whose depth must be found."""
        flat = np.empty(self.span[1] - self.span[0], np.int32)
        self.flat = flat[: basins.flats(*self._pixels(), self.depth, self.steps, *self.span, flat)]

    def deepen(self, own: bool, beyond: bool) -> bool:
        """Find depths from the block's `own` pixels, or those `beyond`; whether any was found."""
        flat = self.flat
        if not own and self.span[0] == self._stride():
            # Only the first and last rows have neighbours beyond.
            first, last = np.searchsorted(
                flat, [self.span[0] + self._stride(), self.span[1] - self._stride()]
            )
            flat = flat if first >= last else np.concatenate([flat[:first], flat[last:]])
        found = np.empty(flat.size, np.int32)
        where = (*self._pixels(), self.depth, self.steps, *self.span)
        self.sources = found[: basins.shores(*where, flat, own, beyond, found)]
        return bool(self.sources.size)

    def spread(self) -> None:
        """Carry on what `deepen` found."""
        if self.sources.size == 0:
            return
        order = np.argsort(self.depth[self.sources], kind="stable")
        queue = np.empty(self.flat.size, np.int32)
        where = (*self._pixels(), self.depth, self.steps, *self.span)
        basins.spread(*where, self.sources[order], queue)

    def settle(self) -> None:
        """Say that all depths are found; neighbours look at them next."""
        basins.settle(self.depth, self.flat)
        self.flat = self.flat[:0]

    def solve(self) -> None:
        """Find the components that are certain within the block."""
        tag = np.empty(self.span[1] - self.span[0], np.int32)
        where = (self.steps, *self.span)
        self.node[: self.span[0]] = self.node[self.span[1] :] = basins.BEYOND
        nodes = basins.descend(*self._pixels(), self.depth, self.node, *where, tag)
        basins.follow(self.way, self.node, *where)
        parent = np.arange(nodes, dtype=np.int32)
        pairs = np.empty((nodes, 2), np.int32)
        grown = 0
        if nodes:
            gates = np.empty(self.keys.size, np.uint32)
            ground = (self.keys, self.depth, self.node, *where, gates)
            bound = np.arange(nodes + 1, dtype=np.int32)
            grown = basins.grow(*ground, self._ascending(gates), parent, bound, tag, pairs)
        self.pairs = pairs[:grown].copy()
        self.link = np.empty(nodes, np.int32)
        self.count = int(basins.number(parent, tag, self.link))

    def _ascending(self, gates: NumpyArray) -> NumpyArray:
        """Higher pixels of the edges that divide nodes, in the order of pixels; fills `gates`."""
        rim = np.empty(self.span[1] - self.span[0], np.int32)
        ground = (self.keys, self.depth, self.node, self.steps)
        where = (self.starts(), self.shape[-1], self.nothing, gates, rim)
        order = rim[: basins.divides(*ground, *where)]
        if self.shell.size:
            order = np.sort(np.concatenate([order, self.shell]))
        if order.size < _FEW:
            return order[np.lexsort((order, self.depth[order], self.keys[order]))]
        spare = np.empty_like(order)
        deepest = int(self.depth[order].max())
        for values, bits in (
            (self.depth, deepest.bit_length()),
            (self.keys, 8 * self.keys.itemsize),
        ):
            if basins.sorted_by(values, order, spare, bits):
                order, spare = spare, order
        return order

    def part(self) -> Part:
        """What other blocks must know."""
        faces, shell = self.faces, self.shell
        out = np.empty((shell.size * self.steps.size if self.count else 0, 2), np.int32)
        met = 0
        if self.count:
            ground = (self.keys, self.depth, self.node, self.link)
            met = basins.contacts(*ground, self.steps, *self.span, shell, out)
        edges = self._edges(self.pairs, out[:met])
        nodes, labels = self._states(faces)
        return Part(self.count, edges, self.places(faces), nodes, labels)

    def _edges(self, inner: NumpyArray, outer: NumpyArray) -> Edges:
        """Edges as columns; those within the block lead from an open component."""
        pairs = np.concatenate([inner, outer])
        (a, a_label), (b, b_label) = self._states(pairs[:, 0]), self._states(inner[:, 1])
        turned = np.flatnonzero(a[: len(inner)] < 0)
        a[turned], b[turned] = b[turned], a[turned]
        b_label[turned] = a_label[turned]
        there = self.places(pairs[:, 1])
        other = np.concatenate([b_label, there[len(inner) :]])
        b = np.concatenate([b, np.full(len(outer), OUTSIDE)])
        here = self.places(pairs[:, 0])
        one, two = (
            (self.keys[ends].astype(np.uint64), self.depth[ends].astype(np.int64), places)
            for ends, places in ((pairs[:, 0], here), (pairs[:, 1], there))
        )
        above = _lower(two, one)
        high, low = (
            [np.where(above, x, y) for x, y in zip(*ends, strict=True)]
            for ends in ((one, two), (two, one))
        )
        return Edges(a, b, other, *high, *low)

    def _states(self, pixels: NumpyArray) -> tuple[NumpyArray, NumpyArray]:
        """Component of each pixel, or `SEED` and its label."""
        node = self.node[pixels].astype(np.int64)
        links = np.append(self.link, 0)
        state = np.where(node >= 0, links[np.where(node >= 0, node, -1)], node)
        labels = np.append(self.values, 0)[np.where(state < 0, ~state, -1)]
        return np.where((state < 0) | (state == basins.NOTHING), SEED, state), labels

    @cached_property
    def faces(self) -> NumpyArray:
        """Own pixels on the sides where other blocks are."""
        sides = np.zeros(self.frame.keys.shape, bool)
        own = sides[tuple(slice(1, -1) for _ in self.shape)]
        for axis, (start, size) in enumerate(zip(self.origin, self.shape, strict=True)):
            if start > 0:
                own[(slice(None),) * axis + (0,)] = True
            if start + size < self.whole[axis]:
                own[(slice(None),) * axis + (-1,)] = True
        faces = np.flatnonzero(sides)
        return faces[self.way[faces] < basins.HALO]

    @cached_property
    def shell(self) -> NumpyArray:
        """Pixels around the block, where there is something."""
        shape = self.frame.keys.shape
        inner = np.zeros(shape, bool)
        inner[tuple(slice(1, -1) for _ in shape)] = True
        return np.flatnonzero((self.frame.keys != self.nothing) & ~inner).astype(np.int32)

    def places(self, pixels: NumpyArray) -> NumpyArray:
        """Raster index in the whole of pixels of the frame."""
        at = np.unravel_index(pixels, self.frame.keys.shape)
        moved = [x + (start - 1) for x, start in zip(at, self.origin, strict=True)]
        return np.asarray(np.ravel_multi_index(moved, self.whole), np.int64)

    def write(self, labels: NumpyArray, out: NumpyArray) -> None:
        """Write labels of pixels, given those of the open components."""
        kind = out.dtype
        link = self.link
        values = np.append(self.values, 0)
        known = np.append(labels, 0)
        opened = (link >= 0) & (link != basins.NOTHING)
        final = np.where(opened, known[np.where(opened, link, -1)], 0)
        final = np.where(link < 0, values[np.where(link < 0, ~link, -1)], final)
        basins.write(self.node, values.astype(kind), final.astype(kind), self.starts(), _rows(out))

    def _pixels(self) -> tuple[NumpyArray, NumpyArray]:
        return self.keys, self.way

    def _stride(self) -> int:
        return self.keys.size // self.frame.keys.shape[0]


def _rows(array: NumpyArray) -> NumpyArray:
    """Rows along the last axis."""
    return array.reshape(-1, array.shape[-1])


def _lower(one: Sequence[NumpyArray], other: Sequence[NumpyArray]) -> NumpyArray:
    """Where keys, depths and places come before others."""
    (key, depth, at), (other_key, other_depth, other_at) = one, other
    deeper = (depth < other_depth) | ((depth == other_depth) & (at < other_at))
    return (key < other_key) | ((key == other_key) & deeper)
