"""Metadata that makes the levels on disk an OME-Zarr 0.5 label image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpuseg.io._shards import Level

Colormap = Sequence[tuple[int, int, int]]


def write_metadata(
    root: Path,
    levels: Sequence[Level],
    mpp: tuple[float, float] | None,
    colormap: Colormap,
    names: Sequence[str],
    downsampling: str,
    ours: dict[str, Any],
) -> None:
    """Write `zarr.json` of the group and of each level, whose shards are in place.

    Written out rather than by zarr-python: the shards were made for just these codecs.
    """
    for level in levels:
        level.folder.mkdir(parents=True, exist_ok=True)
        _dump(level.folder / "zarr.json", _array(level))
    attributes = {
        "ome": {
            "version": "0.5",
            "multiscales": [_multiscale(levels, mpp, downsampling)],
            "image-label": {
                "colors": [
                    {"label-value": value, "rgba": [*colour, 255]}
                    for value, colour in enumerate(colormap)
                ],
                "properties": [
                    {"label-value": value, "name": name} for value, name in enumerate(names)
                ],
            },
        },
        "gpuseg": ours,
    }
    _dump(root / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})


def _multiscale(
    levels: Sequence[Level], mpp: tuple[float, float] | None, downsampling: str
) -> dict[str, Any]:
    axes = [{"name": name, "type": "space"} for name in "yx"]
    if mpp is not None:
        axes = [{**axis, "unit": "micrometer"} for axis in axes]
    y, x = mpp or (1.0, 1.0)
    datasets = []
    for number, level in enumerate(levels):
        factor = 2**number
        # A coordinate is a pixel's centre, so the first one moves inwards as pixels grow.
        shift = (factor - 1) / 2
        transformations = [
            {"type": "scale", "scale": [y * factor, x * factor]},
            {"type": "translation", "translation": [y * shift, x * shift]},
        ]
        datasets.append({"path": level.folder.name, "coordinateTransformations": transformations})
    described = {
        "mode": "most frequent label of 2 x 2 pixels, of equally frequent ones the largest",
        "any": "largest label of 2 x 2 pixels",
    }
    return {
        "name": "labels",
        "axes": axes,
        "datasets": datasets,
        "type": downsampling,
        "metadata": {"method": "gpuseg", "description": described[downsampling]},
    }


def _array(level: Level) -> dict[str, Any]:
    inner = [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    sharding = {
        "chunk_shape": [level.chunk] * 2,
        "codecs": inner,
        "index_codecs": index,
        "index_location": "end",
    }
    grid = {"name": "regular", "configuration": {"chunk_shape": [level.shard] * 2}}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(level.shape),
        "data_type": "uint8",
        "chunk_grid": grid,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
        "dimension_names": ["y", "x"],
    }


def _dump(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
