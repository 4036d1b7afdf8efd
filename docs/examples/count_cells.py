"""Cells of a volume that fits no memory: `gpuseg run count_cells.py VOLUME.zarr RUN`.

VOLUME is a zarr array, RUN a folder or a URL such as gs://bucket/run. Each step is an OME-Zarr
there, in flat chunks for a viewer; killed at any chunk, it goes on from there.
"""

import sys
from pathlib import Path

import dask.array as da

from gpuseg.measure import label
from gpuseg.pipeline import Run, step

VIEW = {"chunks": (1, 4096, 4096), "levels": 4, "labels": True}


@step(storage=VIEW)
def threshold(path, level):
    return da.from_zarr(path) > level


@step(storage=VIEW)
def objects(mask):
    return label(mask)


volume, url = sys.argv[1:]
with Run(url):
    cells, count = (objects(threshold(Path(volume), 0.4))[n] for n in (0, 1))
print(int(count.get()), "cells in", cells.lazy())
