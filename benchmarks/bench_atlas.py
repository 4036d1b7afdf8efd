"""Cells in regions: points one by one, NumPy's and pandas' way; a volume of balls to a table."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
from scipy import ndimage

from benchmarks._harness import Row, compare
from gpuseg.atlas import Atlas, Midline, Structures, count_regions, find_cells


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    # Allen's reference at 25 µm, halves and all.
    shape = (33, 20, 28) if quick else (528, 320, 456)
    annotation, tree = brain(shape, 70 if quick else 670)
    points = np.random.default_rng(1).uniform(0, 25 * np.array(shape) * 1.05, (500, 3))
    if not quick:
        points = np.random.default_rng(1).uniform(0, 25 * np.array(shape) * 1.05, (10**6, 3))
    return [
        _count(annotation, tree, points, repeats),
        _make(annotation, tree, 1 if quick else 3),
        _balls((32, 64, 64) if quick else (256, 512, 512), 1 if quick else 3),
    ]


def brain(shape: tuple[int, ...], number: int) -> tuple[np.ndarray, Structures]:
    """Structures as the cells of random points in an ellipsoid, with sparse ids, six deep."""
    rng = np.random.default_rng(0)
    coarse = [-(-size // 8) for size in shape]
    seeds = np.zeros(coarse, bool)
    places = rng.choice(seeds.size, min(number, seeds.size), replace=False)
    seeds.flat[places] = True
    nearest = ndimage.distance_transform_edt(~seeds, return_distances=False, return_indices=True)
    which = np.zeros(coarse, np.int64)
    which.flat[places] = np.arange(places.size)
    ids = np.sort(rng.choice(10**9, number, replace=False)) + 1
    regions = ids[which[tuple(nearest)]]
    centre = [np.linspace(-1, 1, size) ** 2 for size in coarse]
    regions[np.add.outer(np.add.outer(centre[0], centre[1]), centre[2]) > 1] = 0
    whole = np.kron(regions.astype(np.uint32), np.ones((8, 8, 8), np.uint32))
    names = [f"R{row}" for row in range(number)]
    parents = [-1, *((row - 1) // 3 for row in range(1, number))]
    cut = tuple(slice(size) for size in shape)
    return np.ascontiguousarray(whole[cut]), Structures(ids, names, names, parents)


def _count(annotation: np.ndarray, tree: Structures, points: np.ndarray, repeats: int) -> Row:
    atlas = Atlas(annotation, tree, spacing=25, origin=12.5, midline=Midline(2))
    ids, middle = tree.ids, annotation.shape[2] / 2
    few = points[: max(1, len(points) // 100)]

    def structure_of(point: np.ndarray) -> int:
        """As brainglobe-atlasapi looks one up."""
        voxel = tuple(int(value) for value in point / 25)
        return int(annotation[voxel])

    def one_by_one(some: np.ndarray) -> np.ndarray:
        counts: dict[tuple[int, bool], int] = {}
        for point in some:
            try:
                key = structure_of(point), bool(point[2] // 25 >= middle)
            except IndexError:
                key = 0, False
            counts[key] = counts.get(key, 0) + 1
        return np.array([sum(counts.get((int(i), s), 0) for s in (False, True)) for i in ids])

    def found_ids() -> tuple[np.ndarray, np.ndarray]:
        voxels = (points / 25).astype(np.int64)
        inside = (voxels < annotation.shape).all(axis=1)
        voxels = voxels[inside]
        found = annotation[voxels[:, 0], voxels[:, 1], voxels[:, 2]]
        return found, voxels[:, 2] >= middle

    def add_at() -> np.ndarray:
        found, left = found_ids()
        found, left = found[found > 0], left[found > 0]
        counts = np.zeros((ids.size, 2), np.int64)
        np.add.at(counts, (np.searchsorted(ids, found), left.astype(int)), 1)
        return counts.sum(axis=1)

    def pandas() -> np.ndarray:
        from pandas import DataFrame

        found, left = found_ids()
        sizes = DataFrame({"id": found, "left": left}).groupby(["id", "left"]).size()
        return sizes.groupby("id").sum().reindex(ids, fill_value=0).to_numpy()

    def check(answers: Mapping[str, Any]) -> None:
        ours, *others = answers.values()
        for other in others:
            np.testing.assert_array_equal(ours, other)
        np.testing.assert_array_equal(count_regions(few, atlas)["own"][:-1], one_by_one(few))

    row = compare(
        "count_regions: points in regions, left and right",
        {
            "gpuseg": lambda: count_regions(points, atlas)["own"][:-1],
            "NumPy, add.at": add_at,
            "pandas, groupby": pandas,
        },
        size=f"{len(points)} points, {ids.size} regions",
        unit_count=len(points),
        unit="points",
        repeats=repeats,
        check=check,
    )
    # The loop takes a minute for all: a hundredth of the points tells.
    start = time.perf_counter()
    one_by_one(few)
    seconds = (time.perf_counter() - start) * len(points) / len(few)
    row["seconds"]["loop over points (1 % of them)"] = seconds
    row["ratio"]["loop over points (1 % of them)"] = seconds / row["seconds"]["gpuseg"]
    return row


def _make(annotation: np.ndarray, tree: Structures, repeats: int) -> Row:
    """An atlas in memory, ready to count, with the volumes of its structures."""
    ids = tree.ids

    def ours() -> np.ndarray:
        atlas = Atlas(annotation, tree, spacing=25)
        return atlas.voxels.sum(axis=1)[1:]

    def numpy() -> np.ndarray:
        found, counts = np.unique(annotation, return_counts=True)
        sizes = dict(zip(found.tolist(), counts.tolist(), strict=True))
        return np.array([sizes.get(i, 0) for i in ids.tolist()])

    return compare(
        "Atlas: ids checked, voxels counted",
        {"gpuseg": ours, "numpy.unique": numpy},
        size="×".join(map(str, annotation.shape)),
        unit_count=annotation.size,
        unit="voxels",
        repeats=repeats,
        check=lambda answers: np.testing.assert_array_equal(*answers.values()),
    )


def _balls(shape: tuple[int, ...], repeats: int) -> Row:
    """A volume of balls to a table of cells in micrometres, in chunks and by SciPy in one piece."""
    volume = balls(shape)
    chunked = da.from_array(volume, chunks=128)
    spacing = np.array((5.0, 2.0, 2.0))

    def ours() -> np.ndarray:
        cells = find_cells(chunked > 100, spacing=spacing)
        return np.stack([cells[axis] for axis in "zyx"], axis=1)

    def scipy() -> np.ndarray:
        mask = volume > 100
        labels, number = ndimage.label(mask, np.ones((3, 3, 3)))
        ids = np.arange(1, number + 1)
        return np.array(ndimage.center_of_mass(mask, labels, ids)) * spacing

    return compare(
        "find_cells: threshold, labels, positions",
        {"gpuseg": ours, "SciPy": scipy},
        size=f"{'×'.join(map(str, shape))}, chunks of 128³",
        unit_count=volume.size,
        unit="voxels",
        repeats=repeats,
        check=lambda answers: np.testing.assert_allclose(*answers.values()),
    )


def balls(shape: tuple[int, ...]) -> np.ndarray:
    """Bright balls that don't touch, 4000 in 256 x 512 x 512 voxels, on noise."""
    rng = np.random.default_rng(0)
    places = np.argwhere(np.ones([size // 16 for size in shape], bool))
    chosen = places[rng.choice(len(places), len(places) * 4000 // 16384, replace=False)] * 16
    volume = rng.integers(0, 60, shape, np.uint16)
    offsets = np.indices((13, 13, 13)).reshape(3, -1).T - 6
    for radius in (3, 4, 5, 6):
        some = chosen[radius - 3 :: 4] + rng.integers(radius, 15 - radius, (1, 3))
        ball = offsets[(offsets**2).sum(axis=1) <= radius**2]
        volume[tuple((some[:, None] + ball).reshape(-1, 3).T)] += 200
    return volume
