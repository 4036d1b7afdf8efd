"""The tree of an atlas' structures: who is part of whom, and sums that go up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from gpuseg.typing import NumpyArray


class Structures:
    """Structures of an atlas, in the order of their table.

    Attributes
    ----------
    ids : (N,) int64 array
        What the annotation's voxels hold; 0 is none of them.
    acronyms, names : tuple of str
    parents : (N,) int64 array
        Row of the structure that each is part of, -1 for none.
    depth : (N,) int64 array
        Number of structures above.

    Raises
    ------
    ValueError
        If ids repeat or are below 1, or a structure is part of itself.

    Examples
    --------
    >>> tree = Structures([997, 8, 567], ["root", "grey", "CH"], ["", "", ""], [-1, 0, 1])
    >>> tree.depth
    array([0, 1, 2])
    >>> tree.total(np.array([0, 2, 5]))
    array([7, 7, 5])
    """

    def __init__(
        self,
        ids: Sequence[int],
        acronyms: Sequence[str],
        names: Sequence[str],
        parents: Sequence[int],
    ) -> None:
        self.ids = np.asarray(ids, np.int64)
        self.acronyms, self.names = tuple(acronyms), tuple(names)
        self.parents = np.asarray(parents, np.int64)
        if self.ids.size == 0:
            raise ValueError("structures must be at least one, got none")
        if self.ids.min() < 1:
            raise ValueError(
                f"ids of structures must be at least 1, got {self.ids.min()} "
                f"({self.acronyms[int(self.ids.argmin())]}); 0 is outside of all"
            )
        found, counts = np.unique(self.ids, return_counts=True)
        if found.size < self.ids.size:
            raise ValueError(f"ids of structures must differ, got {found[counts > 1][:5]} twice")
        self.depth = self._depth()

    def __len__(self) -> int:
        return self.ids.size

    def __repr__(self) -> str:
        return f"<Structures: {len(self)}, {self.depth.max() + 1} levels>"

    def _depth(self) -> NumpyArray:
        depth, above = np.zeros(len(self), np.int64), self.parents.copy()
        for _ in range(len(self)):
            rising = above >= 0
            if not rising.any():
                return depth
            depth += rising
            above[rising] = self.parents[above[rising]]
        stuck = [self.acronyms[row] for row in np.flatnonzero(above >= 0)[:5]]
        raise ValueError(f"structures must not be part of themselves, got {', '.join(stuck)}")

    def total(self, own: NumpyArray) -> NumpyArray:
        """Sums over each structure and all that are part of it: (N, ...) like `own`."""
        sums = own.copy()
        for depth in range(int(self.depth.max()), 0, -1):
            rows = np.flatnonzero(self.depth == depth)
            np.add.at(sums, self.parents[rows], sums[rows])
        return sums

    @cached_property
    def sorted(self) -> tuple[NumpyArray, NumpyArray]:
        """The ids in increasing order, and the row of each."""
        order = np.argsort(self.ids)
        return self.ids[order], order
