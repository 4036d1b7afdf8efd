"""One labeling of a chunked image in a process of its own, for its time and peak memory.

`python -m benchmarks._label_process FOLDER gpuseg|dask-image CHUNK` reads FOLDER/image.npy.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import dask.array as da
import numpy as np


def main() -> None:
    folder, who, chunk = sys.argv[1:]
    # Mapped, not loaded: the peak is the labels' and what their making takes.
    image = np.load(f"{folder}/image.npy", mmap_mode="r")
    array = da.from_array(image, chunks=int(chunk), asarray=False)
    if who == "gpuseg":
        from gpuseg.measure import label

        label(np.ones((2, 2), bool))
        da.compute(*label(da.ones((4, 4), dtype=bool, chunks=2), connectivity=1))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        labels, number = da.compute(*label(array, connectivity=1))
    else:
        from dask_image.ndmeasure import label as their_label

        da.compute(*their_label(da.ones((4, 4), dtype=bool, chunks=2)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        labels, number = da.compute(*their_label(array))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert labels.max() == number
    print(
        json.dumps({"number": int(number), "seconds": seconds, "added_mb": (peak - before) / 1024})
    )


if __name__ == "__main__":
    main()
