"""Counts and voxels of an atlas' structures as the columns of a table."""

from __future__ import annotations

import numpy as np

from gpuseg._shared.structures import Structures
from gpuseg.typing import NumpyArray

OUTSIDE = "outside"

_SIDES = ("left", "right")


def make_table(
    counts: NumpyArray, voxels: NumpyArray, voxel_mm3: float, structures: Structures, sides: bool
) -> dict[str, NumpyArray]:
    """Columns with a row a structure and one of what is in none.

    Parameters
    ----------
    counts, voxels : (N + 1, 3) arrays of int64
        Of each code (0 is outside, else the structure's row + 1) and side (none, left, right).
    voxel_mm3 : float
        Volume of a voxel.
    structures : Structures
    sides : bool
        Whether there are columns of left and right.
    """
    ids, parents = structures.ids, structures.parents
    table = {
        "id": np.append(ids, 0),
        "acronym": np.array([*structures.acronyms, OUTSIDE]),
        "name": np.array([*structures.names, "outside of all structures"]),
        "parent": np.append(np.where(parents < 0, 0, ids[parents]), 0),
        "depth": np.append(structures.depth, 0),
        "own": np.append(counts[1:].sum(axis=1), counts[0].sum()),
    }
    # Whole numbers until here: the parts of a structure add up to it.
    cells = np.concatenate([structures.total(counts[1:]), counts[:1]])
    size = structures.total(voxels[1:]) * voxel_mm3
    volume = np.concatenate([size, np.full((1, 3), np.nan)])
    parts: list[tuple[str, NumpyArray, NumpyArray]] = [("", cells.sum(axis=1), volume.sum(axis=1))]
    if sides:
        parts += [
            (f"_{name}", cells[:, side], volume[:, side]) for side, name in enumerate(_SIDES, 1)
        ]
    for suffix, number, _ in parts:
        table[f"count{suffix}"] = number
    for suffix, _, mm3 in parts:
        table[f"volume_mm3{suffix}"] = mm3
    for suffix, number, mm3 in parts:
        empty = ~(mm3 > 0)
        density = number / np.where(empty, 1.0, mm3)
        table[f"density{suffix}"] = np.where(empty, np.nan, density)
    return table
