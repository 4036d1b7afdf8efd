"""Which chunks form boxes and groups when they are labelled, and the keys of their tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg._dask._label_boxes import Index

# Parts of a box, and chunks whose lines are ranked in one task, at least. Four tasks a box and two
# a group: boxes of 8 would need more than 2.5 tasks a chunk in all.
_BOX = 16
_GROUP = 16

Key = tuple[Any, ...]


class Plan:
    """Which chunks form boxes and groups, and the keys of their tasks."""

    def __init__(self, chunks: tuple[tuple[int, ...], ...], token: str) -> None:
        self.token = token
        self.starts = [np.cumsum((0, *sizes)).tolist() for sizes in chunks]
        self.numblocks: Index = tuple(len(sizes) for sizes in chunks)
        # Boxes of level k + 1 have sides[k] boxes of level k a side; chunks are level 0.
        self.grids: list[Index] = [self.numblocks]
        self.sides: list[list[int]] = []
        while not self.sides or math.prod(self.grids[-1]) > 1:
            self.sides.append(_sides(self.grids[-1]))
            pairs = zip(self.grids[-1], self.sides[-1], strict=True)
            self.grids.append(tuple(-(-count // side) for count, side in pairs))
        self.lines = list(np.ndindex(*self.numblocks[:-1]))
        self.group = -(-_GROUP // self.numblocks[-1])

    @property
    def top(self) -> int:
        return len(self.sides)

    def key(self, step: str, *at: Any) -> Key:
        return (f"label-{step}-{self.token}", *at)

    def box_of(self, level: int, index: Index) -> tuple[Index, int]:
        """Box of the next level that holds a part, and the part's place there."""
        side = self.sides[level]
        box = tuple(i // s for i, s in zip(index, side, strict=True))
        inside = [i % s for i, s in zip(index, side, strict=True)]
        return box, _flat(inside, self.layout(level + 1, box))

    def layout(self, level: int, box: Index) -> Index:
        """Parts of a box along each axis: fewer at the image's end."""
        triples = zip(box, self.sides[level - 1], self.grids[level - 1], strict=True)
        return tuple(min(side, count - i * side) for i, side, count in triples)

    def parts(self, level: int, box: Index) -> list[Index]:
        corner = [i * side for i, side in zip(box, self.sides[level - 1], strict=True)]
        return [
            tuple(a + b for a, b in zip(corner, at, strict=True))
            for at in np.ndindex(*self.layout(level, box))
        ]

    def place(self, chunk: Index) -> tuple[int, int, int]:
        """Group, line in it and column of a chunk."""
        line = _flat(chunk[:-1], self.numblocks[:-1])
        return line // self.group, line % self.group, chunk[-1]

    def groups(self) -> list[list[Index]]:
        """Chunk lines, by group."""
        size = self.group
        return [self.lines[i : i + size] for i in range(0, len(self.lines), size)]


def _flat(index: Sequence[int], shape: Index) -> int:
    """`np.ravel_multi_index`, which takes 3 us for two numbers, and a chunk asks twice."""
    flat = 0
    for i, size in zip(index, shape, strict=True):
        flat = flat * size + i
    return flat


def _sides(grid: Index) -> list[int]:
    """Parts along each axis of a box, doubled where most are left until there are enough."""
    sides = [1] * len(grid)
    while math.prod(sides) < _BOX and any(s < n for s, n in zip(sides, grid, strict=True)):
        left = [n / s for s, n in zip(sides, grid, strict=True)]
        sides[left.index(max(left))] *= 2
    return sides
