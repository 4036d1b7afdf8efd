"""One process of bench_pipeline: `python -m benchmarks._pipeline_process KIND SIDE`."""

from __future__ import annotations

import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import zarr

from gpuseg._backend import threads
from gpuseg.pipeline import Run, step

SHARD, CHUNK, LEVELS = 2048, 1024, 5
ROWS, COLUMNS = np.ogrid[:SHARD, :SHARD]
# Discs on a grid of 26 pixels, as many objects as in a slide of nuclei.
CELL = (ROWS % 26 - 13) ** 2 + (COLUMNS % 26 - 13) ** 2 < 100
NUMBER = ((ROWS // 26) * 100 + COLUMNS // 26 + 1).astype(np.int32)
made: list[tuple[int, ...]] = []
guard = threading.Lock()


def block(index: tuple[int, ...]) -> np.ndarray:
    with guard:
        made.append(index)
    return np.where(CELL, NUMBER + np.int32((index[0] * 64 + index[1]) * 10_000), np.int32(0))


@step(version="1", storage={"levels": LEVELS, "chunks": (CHUNK, CHUNK), "labels": True})
def labels(side: int) -> da.Array:
    return da.map_blocks(
        lambda block_id=None: block(block_id),
        chunks=((SHARD,) * (side // SHARD),) * 2,
        dtype=np.int32,
        meta=np.empty((0, 0), np.int32),
    )


def ours(folder: str, side: int) -> str:
    result = Run(folder)(labels, side)
    result.run.execute([result])
    return f"{result.folder.path}/value.ome.zarr"


def theirs(folder: str, side: int) -> str:
    arrays = [
        zarr.create_array(
            f"{folder}/{level}", shape=(side >> level,) * 2, chunks=(CHUNK,) * 2, dtype="i4",
            compressors=zarr.codecs.ZstdCodec(level=1),
        )
        for level in range(LEVELS)
    ]  # fmt: skip
    with ThreadPoolExecutor(threads()) as pool:

        def first(index: tuple[int, int]) -> None:
            y, x = (n * SHARD for n in index)
            arrays[0][y : y + SHARD, x : x + SHARD] = block(index)

        list(pool.map(first, np.ndindex(side // SHARD, side // SHARD)))
        for level in range(1, LEVELS):
            finer, coarser, size = arrays[level - 1], arrays[level], min(SHARD, side >> level)

            def next_one(index: tuple[int, int], finer=finer, coarser=coarser, size=size) -> None:
                y, x = (n * size for n in index)
                wanted = finer[2 * y : 2 * (y + size), 2 * x : 2 * (x + size)]
                coarser[y : y + size, x : x + size] = wanted[::2, ::2]

            list(pool.map(next_one, np.ndindex(*((side >> level) // size,) * 2)))
    return folder


def main() -> None:
    kind, side = sys.argv[1], int(sys.argv[2])
    if kind == "nothing":
        return
    with tempfile.TemporaryDirectory() as folder:
        path = {"ours": ours, "zarr": theirs}[kind](folder, side)
        assert sorted(made) == sorted(set(made))
        assert len(made) == (side // SHARD) ** 2
        last = zarr.open_array(f"{path}/{LEVELS - 1}", mode="r")[-64:, -64:]
        index = ((side - 1) // SHARD,) * 2
        assert np.array_equal(
            last, block(index)[:: 1 << LEVELS - 1, :: 1 << LEVELS - 1][-64:, -64:]
        )


if __name__ == "__main__":
    main()
