"""A tiled pyramidal TIFF out of the levels on disk, whose chunks become its tiles as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from gpuseg.io._label_zarr import Colormap
from gpuseg.io._shards import Level


def write_tiff(
    path: Path,
    levels: Sequence[Level],
    mpp: tuple[float, float] | None,
    colormap: Colormap,
    ours: dict[str, Any],
) -> None:
    """Write a paletted BigTIFF: one page a level, the coarser ones marked as reduced.

    Copies encoded tiles one at a time, so memory doesn't grow with the slide.
    """
    palette = np.zeros((3, 256), np.uint16)
    # A TIFF palette has 16 bits a component: 255 becomes 65535.
    palette[:, : len(colormap)] = np.asarray(colormap, np.uint16).T * 257
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, level in enumerate(levels):
            resolution: dict[str, Any] = {}
            if mpp is not None:
                y, x = mpp
                per_cm = (1e4 / (x * 2**number), 1e4 / (y * 2**number))
                resolution = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
            tiff.write(
                level.encoded_chunks(),
                shape=level.shape,
                dtype=np.uint8,
                tile=(level.chunk, level.chunk),
                compression="adobe_deflate",
                photometric="palette",
                colormap=palette,
                subfiletype=1 if number else 0,
                software=f"gpuseg {ours['version']}",
                description=None if number else json.dumps({"gpuseg": ours}),
                metadata=None,
                **resolution,
            )
