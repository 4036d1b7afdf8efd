"""One labeling of a chunked image in a process of its own, for its time and peak memory.

`python -m benchmarks._label_process FOLDER gpuseg|dask-image CHUNK` reads FOLDER/image.npy. Labels
go block by block to something that only looks at them, as they would to a disk: the memory is what
labeling itself needs.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import dask.array as da
import numpy as np


class Sink:
    """Takes blocks and keeps their largest label."""

    def __init__(self) -> None:
        self.largest = 0
        self._lock = threading.Lock()

    def __setitem__(self, where: Any, block: np.ndarray) -> None:
        largest = int(block.max())
        with self._lock:
            self.largest = max(self.largest, largest)


class Memory:
    """Most anonymous memory of this process above that at the beginning, looked at every 2 ms."""

    def __init__(self) -> None:
        self._start = self.most = _anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self.most = max(self.most, _anonymous())

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def added_mb(self) -> float:
        return (self.most - self._start) / 1024


def _anonymous() -> int:
    """Kilobytes that are no file's: the image is mapped, and its pages are not labeling's."""
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1])


def main() -> None:
    folder, who, chunk = sys.argv[1:]
    image = np.load(f"{folder}/image.npy", mmap_mode="r")
    array = da.from_array(image, chunks=int(chunk), asarray=False)
    label: Any
    if who == "gpuseg":
        from gpuseg.measure import label as ours

        label = lambda array: ours(array, connectivity=1)  # noqa: E731
    else:
        from dask_image.ndmeasure import label
    small = label(da.ones((4, 4, 4)[: image.ndim], dtype=bool, chunks=2))[0]
    da.store(small, Sink(), lock=False)
    sink = Sink()
    with Memory() as memory:
        start = time.perf_counter()
        da.store(label(array)[0], sink, lock=False)
        seconds = time.perf_counter() - start
    print(json.dumps({"number": sink.largest, "seconds": seconds, "added_mb": memory.added_mb}))


if __name__ == "__main__":
    main()
