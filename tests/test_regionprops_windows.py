"""What looks at neighbours: outlines, surfaces, topology, contacts, across chunks too."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from region_cases import assert_close, blobs, known
from scipy import ndimage
from skimage import measure as skimage_measure

from gpuseg._shared.region_columns import PROPERTIES
from gpuseg.measure import regionprops_table


@pytest.mark.parametrize("shape", [(40, 40), (14, 15, 16)])
def test_neighbours_are_those_of_dilation(shape, container):
    labels = blobs(shape, seed=3, labels=25)
    table = regionprops_table(container(labels), properties=("label", "num_neighbors"))
    box = np.ones((3,) * len(shape), bool)
    for label, count in zip(table["label"], table["num_neighbors"], strict=True):
        around = np.unique(labels[ndimage.binary_dilation(labels == label, box)])
        assert count == np.setdiff1d(around, [0, label]).size


def test_surface_area_counts_what_its_formula_says(container):
    """By brute force: entries of lines along 13 directions, each weighted by its cell."""
    from scipy.spatial import SphericalVoronoi

    labels, spacing = blobs((11, 12, 13), labels=4), np.array([2.0, 1.0, 0.7])
    directions = np.array([d for d in np.ndindex(3, 3, 3) if d != (1, 1, 1)]) - 1
    steps = directions * spacing
    lengths = np.linalg.norm(steps, axis=1)
    share = SphericalVoronoi(steps / lengths[:, None]).calculate_areas() / (4 * np.pi)
    table = regionprops_table(
        container(labels), properties=("label", "surface_area"), spacing=spacing.tolist()
    )
    padded = np.pad(labels, 1)
    for label, area in zip(table["label"], table["surface_area"], strict=True):
        mask = padded == label
        entries = [np.sum(mask & ~np.roll(mask, d, (0, 1, 2))) for d in directions]
        assert area == pytest.approx(4 * np.sum(share * entries * spacing.prod() / lengths))


def test_surface_area_of_a_ball():
    grid = np.mgrid[-25:26, -25:26, -50:51] * np.array([1, 1, 0.5])[:, None, None, None]
    ball = (np.sum(grid**2, axis=0) < 20.0**2).astype(np.uint8)
    (area,) = regionprops_table(ball, properties=("surface_area",), spacing=(1, 1, 0.5)).values()
    assert area[0] == pytest.approx(4 * np.pi * 400, rel=0.02)


@pytest.mark.parametrize("chunks", [7, (5, 64), (64, 3)])
def test_objects_across_many_chunks(chunks):
    """A spiral through every chunk, a comb, and a frame around the image."""
    labels = np.zeros((64, 64), np.int64)
    for k in range(0, 30, 4):
        labels[k, k : 64 - k] = labels[k : 64 - k, 63 - k] = 1
        labels[63 - k, k : 64 - k] = labels[k + 2 : 64 - k, k] = 1
    labels[30:34, 30:34] = 2
    labels[2, 2:62:2] = 3
    names = [name for name in known(2) if not PROPERTIES[name].image]
    expected = skimage_measure.regionprops_table(labels, properties=names)
    found = regionprops_table(da.from_array(labels, chunks=chunks), properties=names)
    assert_close(found, expected)
