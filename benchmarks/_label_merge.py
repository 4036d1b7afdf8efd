"""Merge the labels of images that exist nowhere: real merge code, chunks that repeat one tile.

An image of R x C equal tiles has a + bR + cC + dRC components where no object is longer than a
tile, so four small ones, which SciPy labels, say what the large one must have. Run as a program,
`python -m benchmarks._label_merge ROWS COLUMNS TILE`, for time and peak memory of one process.
"""

from __future__ import annotations

import json
import sys
import time
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from dask.local import get_sync
from scipy import ndimage

from gpuseg._dask._label_boxes import Box, Chunk, Index, Problem, outline
from gpuseg._dask._label_plan import Plan
from gpuseg._jobs.label_to_zarr import stored_graph
from gpuseg._shared.neighbours import Neighbours


class Tiled(NamedTuple):
    """Stands in for `LabelStore`: outlines come from one tile; of the results a few are kept."""

    tile: np.ndarray
    grid: Index
    problem: Problem
    kept: dict[Index, list[np.ndarray]]
    count: list[int]

    def read_outline(self, index: Index) -> tuple[Box, Chunk]:
        """The tile's outline, moved to a chunk."""
        box, chunk = _outline(self)
        shape = self.problem.shape
        pixels = np.divmod(chunk.firsts[chunk.rim - 1].astype(np.int64), self.tile.shape[1])
        corner = [i * size for i, size in zip(index, self.tile.shape, strict=True)]
        keys = (pixels[0] + corner[0]) * shape[1] + pixels[1] + corner[1]
        faces = {
            (axis, end): face._replace(start=face.start + corner[1 - axis])
            for (axis, end), face in box.faces.items()
            if 0 <= index[axis] + (1 if end else -1) < self.grid[axis]
        }
        moved = chunk._replace(firsts=partial(self.read_firsts, index), keys=keys)
        return box._replace(keys=keys, faces=faces), moved

    def read_firsts(self, index: Index) -> np.ndarray:
        return _outline(self)[1].firsts.copy()

    def write_ranks(self, index: Index, ranks: np.ndarray, planes: np.ndarray) -> None:
        if index in self.kept:
            self.kept[index] = [ranks, planes]

    def read_ranks(self, index: Index) -> tuple[np.ndarray, ...]:
        chunk = _outline(self)[1]
        if index in self.kept:
            return (*self.kept[index], chunk.rim)
        return np.zeros(chunk.firsts.size, np.int32), np.zeros(1, np.int64), chunk.rim

    def write_numbers(self, index: Index, numbers: np.ndarray) -> None:
        if index in self.kept:
            self.kept[index] = [numbers]

    def drop_ranks(self, index: Index) -> None:
        pass

    def write_count(self, count: int) -> None:
        self.count.append(count)


_OUTLINES: dict[int, tuple[Box, Chunk]] = {}


def _outline(tiled: Tiled) -> tuple[Box, Chunk]:
    """Outline of a tile with neighbours on all sides, whose corner is the image's."""
    if id(tiled.tile) not in _OUTLINES:
        around = [3 * size for size in tiled.tile.shape]
        middle = tiled.problem._replace(shape=tuple(around))
        box, chunk = outline(tiled.tile, tiled.tile.shape, middle)
        faces = {
            (axis, end): face._replace(start=face.start - tiled.tile.shape[1 - axis])
            for (axis, end), face in box.faces.items()
        }
        _OUTLINES[id(tiled.tile)] = box._replace(faces=faces), chunk
    return _OUTLINES[id(tiled.tile)]


# Between centres, and largest radius, in pixels: about 1000 and 25,000 objects in 2048².
_TILES = {"nuclei": (2048, 64, 24), "dots": (2048, 13, 3), "small": (192, 12, 5)}


@cache
def tile(name: str) -> np.ndarray:
    """Discs scattered on a torus, so that some go on in the next tile."""
    side, spacing, radius = _TILES[name]
    rng = np.random.default_rng(0)
    tile = np.zeros((side, side), bool)
    for y, x in np.ndindex(side // spacing, side // spacing):
        at = spacing * np.array([y, x]) + rng.integers(0, spacing // 2, 2)
        size = rng.integers(1, radius + 1)
        dy, dx = np.nonzero(np.hypot(*(np.indices((2 * size + 1,) * 2) - size)) <= size)
        tile[(at[0] + dy) % side, (at[1] + dx) % side] = True
    return tile


def expected(image: np.ndarray, rows: int, columns: int) -> int:
    """Components of the tiles, from those of 3 x 3 to 4 x 4."""
    whole = {
        (r, c): ndimage.label(np.tile(image, (r, c)), np.ones((3, 3)))[1]
        for r in (3, 4)
        for c in (3, 4)
    }
    base, right, down = whole[3, 3], whole[3, 4] - whole[3, 3], whole[4, 3] - whole[3, 3]
    both = whole[4, 4] - whole[3, 3] - right - down
    r, c = rows - 3, columns - 3
    return base + r * down + c * right + r * c * both


def merge(image: np.ndarray, rows: int, columns: int, keep: tuple[Index, ...] = ()) -> Tiled:
    """Merge the labels of rows x columns chunks; numbers of the chunks `keep` stay."""
    shape = (rows * image.shape[0], columns * image.shape[1])
    problem = Problem(shape, Neighbours(2, (0, 1), ()), 0, False)
    chunks = ((image.shape[0],) * rows, (image.shape[1],) * columns)
    store = Tiled(image, (rows, columns), problem, {index: [] for index in keep}, [])
    graph, last = stored_graph(Plan(chunks, "simulated"), problem, store)  # type: ignore[arg-type]
    get_sync(graph, last)
    return store


def _peak_kb() -> int:
    """Most resident memory; `getrusage` would begin with that of the process that started this."""
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def main() -> None:
    rows, columns, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    image = tile(name)
    merge(image, 4, 4)
    start = time.perf_counter()
    (number,) = merge(image, rows, columns).count
    seconds = time.perf_counter() - start
    peak = _peak_kb()
    if number != expected(image, rows, columns):
        raise SystemExit(f"{number} components instead of {expected(image, rows, columns)}")
    print(
        json.dumps(
            {"chunks": rows * columns, "number": number, "seconds": seconds, "peak_mb": peak / 1024}
        )
    )


if __name__ == "__main__":
    main()
