"""Count cells in light-sheet volumes and in the regions of an atlas, step by step.

    python docs/examples/count_cells_in_volumes.py [FOLDER]

The steps are those of a segmentation pipeline for volumes that fit no memory:

    IN  brightness       -> a Dask array from OME-Zarr or from TIFF planes, with its voxel size
    BS  binary mask      <- a threshold, or a model tile by tile
    OS  numbered objects <- connected voxels, or basins of a watershed
    CC  counts           <- one row an object, then one row a region

FOLDER may hold cellfinder's crop of a mouse brain (`volumes/cellfinder`) and nuclei of the Image
Data Resource (`zarr/ez_zarr`); without it a volume is made up. Nothing depends on the chunks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dask.array as da
import numpy as np
from scipy.spatial.distance import cdist

from gpuseg import filters, measure, morphology
from gpuseg.atlas import Atlas, Midline, count_regions, find_cells, measure_cells
from gpuseg.io import Volume, open_volume
from gpuseg.segmentation import predict, watershed

# --- IN -> BS


def threshold(image: Any, deviations: float) -> Any:
    """What stands out from its plane at the size of a cell, if most voxels around it do so, too."""
    spots = filters.difference_of_gaussians(image.astype(np.float32), (0, 1.6, 1.6), (0, 2.5, 2.5))
    planes = {"axis": (1, 2), "keepdims": True}
    bright = spots > spots.mean(**planes) + deviations * spots.std(**planes)
    return filters.median(bright.astype(np.uint8), np.ones((3, 3, 3))) > 0


def model_prediction(image: Any, model: Any) -> Any:
    """What a model gives more than even odds: a callable here, or the path of an ONNX file."""
    return (
        predict(image, model, tile=(16, 64, 64), overlap=(4, 16, 16), halo=(1, 2, 2), batch=4) > 0.5
    )


def odds(tiles: np.ndarray) -> np.ndarray:
    """Stands for a trained network: brightness of the voxels around, as a probability."""
    around = np.stack([filters.gaussian(tile, (1, 1.5, 1.5), truncate=1) for tile in tiles])
    return 1 / (1 + np.exp((120 - around) / 10))


# --- BS -> OS


def watershed_instances(image: Any, mask: Any, spacing: Any, distance: float) -> Any:
    """Basins of the brightest voxels within a distance, in micrometres."""
    smooth = filters.gaussian(image.astype(np.float32), 1.5 / np.array(spacing))
    around = np.ones([2 * int(distance / step / 2 + 0.5) + 1 for step in spacing], bool)
    peaks = (morphology.dilation(smooth, around) == smooth) & mask
    markers, _ = measure.label(peaks)
    return watershed(-smooth, markers, mask=mask)


# --- real volumes


def count_brain(folder: Path) -> dict[str, int]:
    """Cells of cellfinder's crop: threshold, connected voxels; beside those marked by hand."""
    crop = folder / "volumes" / "cellfinder"
    volume = open_volume(str(crop / "crop_planes" / "ch0" / "*.tif"), spacing=(5, 2, 2))
    cells = find_cells(
        threshold(volume.array, 10).persist(), spacing=volume.spacing, connectivity=1
    )
    markers = ElementTree.parse(crop / "cell_classification.xml").getroot().iter("Marker")
    voxels = [[float(each.findtext(f"Marker{axis}")) for axis in "ZYX"] for each in markers]
    marked = np.array(voxels) * volume.spacing
    found = np.stack([cells[axis] for axis in "zyx"], axis=1)
    # Markers were set in the middle planes only.
    low, high = marked[:, 0].min() - 5, marked[:, 0].max() + 5
    found = found[(found[:, 0] >= low) & (found[:, 0] <= high)]
    near = cdist(marked, found) <= 10
    halves = regions(volume)
    counts = count_regions(cells, halves, shape=volume.shape, spacing=volume.spacing)
    return {
        "cells": len(cells["label"]),
        "marked by hand": len(marked),
        "found in their planes": len(found),
        "marked and found": int(near.any(axis=1).sum()),
        "left": int(counts["count_left"][0]),
        "right": int(counts["count_right"][0]),
        "outside": int(counts["own"][-1]),
    }


def regions(volume: Volume) -> Atlas:
    """An upper and a lower part, in voxels of 20 µm, with a midline."""
    assert volume.spacing is not None
    size = [int(n * step / 20) + 1 for n, step in zip(volume.shape, volume.spacing, strict=True)]
    annotation = np.full(size, 2, np.uint16)
    annotation[:, size[1] // 2 :] = 3
    structures = [
        {"id": 1, "acronym": "all"},
        {"id": 2, "acronym": "upper", "parent_structure_id": 1},
        {"id": 3, "acronym": "lower", "parent_structure_id": 1},
    ]
    return Atlas(annotation, structures, spacing=20, midline=Midline(axis=2))


def count_nuclei(folder: Path) -> dict[str, int]:
    """Nuclei of an embryo by watershed; each nucleus annotated by hand is a region."""
    path = folder / "zarr/ez_zarr/example_data_zarr3/6001240_labels_v0.5.zarr"
    volume, annotated = open_volume(path, channel="Dapi"), open_volume(path / "labels" / "0")
    image = volume.array.astype(np.float32)
    mask = filters.gaussian(image, 1 / np.array(volume.spacing)) > 140
    labels = watershed_instances(image, mask, volume.spacing, 2.0)
    cells = measure_cells(labels.persist(), spacing=volume.spacing, min_volume=100)
    ids = np.unique(annotated.array.compute())[1:]
    nuclei = [{"id": int(number), "acronym": f"nucleus {number}"} for number in ids]
    atlas = Atlas(annotated.array, nuclei, spacing=annotated.spacing)
    counts = count_regions(cells, atlas, shape=volume.shape, spacing=volume.spacing)
    return {
        "cells": len(cells["label"]),
        "annotated": len(ids),
        "annotated with one": int((counts["own"][:-1] == 1).sum()),
        "outside": int(counts["own"][-1]),
    }


# --- a volume that needs no download


def made_up(number: int = 60) -> Volume:
    """Balls of brightness 200 in noise, in chunks that cut many of them."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 60, (48, 96, 112)).astype(np.float32)
    places = np.argwhere(np.ones((3, 6, 7))) * 16 + 8
    offsets = np.indices((11, 11, 11)).reshape(3, -1).T - 5
    ball = offsets[(offsets**2).sum(axis=1) <= 20]
    centres = places[rng.choice(len(places), number, replace=False)] + rng.integers(
        -3, 3, (number, 3)
    )
    array[tuple((centres[:, None] + ball).reshape(-1, 3).T)] += 200
    return Volume("made up", da.from_array(array, chunks=(20, 40, 50)), "zyx", (5.0, 2.0, 2.0))


def count_made_up(volume: Volume) -> dict[str, int]:
    """Every way from IN to CC."""
    image, spacing = volume.array, volume.spacing
    by_threshold, by_model = image > 120, model_prediction(image, odds)
    basins = watershed_instances(image, by_threshold, (1, 1, 1), 8.0)
    cells = find_cells(by_threshold, spacing=spacing)
    counts = count_regions(cells, regions(volume), shape=volume.shape, spacing=spacing)
    return {
        "threshold": len(cells["label"]),
        "model": len(find_cells(by_model, spacing=spacing)["label"]),
        "watershed": len(measure_cells(basins, spacing=spacing)["label"]),
        "upper": int(counts["count"][1]),
        "lower": int(counts["count"][2]),
        "outside": int(counts["own"][-1]),
    }


def main(folder: str | None = None) -> dict[str, dict[str, int]]:
    """Counts of the volumes in a folder, or of the one made up."""
    if folder is None:
        found = {"made up": count_made_up(made_up())}
    else:
        found = {"brain": count_brain(Path(folder)), "nuclei": count_nuclei(Path(folder))}
    for name, counts in found.items():
        print(name, "·", ", ".join(f"{what}: {count}" for what, count in counts.items()))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
