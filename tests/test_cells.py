"""Objects of a volume in micrometres: as many in chunks as in one piece."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from scipy import ndimage

from gpuseg.atlas import Atlas, Midline, count_regions, find_cells, measure_cells

SPACING = (5.0, 2.0, 2.0)


def balls(shape=(256, 512, 512), number=4000, seed=0) -> np.ndarray:
    """Balls of 3 to 6 voxels radius that do not touch, many of them across borders of chunks."""
    rng = np.random.default_rng(seed)
    cell = 16
    grid = [size // cell for size in shape]
    places = np.argwhere(np.ones(grid, bool))
    chosen = places[rng.choice(len(places), number, replace=False)] * cell
    volume = np.zeros(shape, bool)
    offsets = np.indices((13, 13, 13)).reshape(3, -1).T - 6
    for radius in (3, 4, 5, 6):
        some = chosen[radius - 3 :: 4] + rng.integers(radius, cell - 1 - radius, (1, 3))
        ball = offsets[(offsets**2).sum(axis=1) <= radius**2]
        volume[tuple((some[:, None] + ball).reshape(-1, 3).T)] = True
    return volume


def halves(shape, spacing=25.0) -> Atlas:
    """Two regions, one within the other and both within a background."""
    annotation = np.full(shape, 1, np.uint16)
    annotation[:, shape[1] // 3 :] = 2
    annotation[:, -2:] = 0
    rows = [{"id": 1, "acronym": "all"}, {"id": 2, "acronym": "part", "parent": 1}]
    return Atlas(annotation, rows, spacing=spacing, midline=Midline(2))


def test_four_thousand_balls():
    volume = balls()
    cells = find_cells(da.from_array(volume, chunks=128), spacing=SPACING)
    assert cells["label"].tolist() == list(range(1, 4001))
    counts = count_regions(cells, halves((52, 42, 42)), shape=volume.shape, spacing=SPACING)
    assert counts["own"].sum() == 4000
    assert counts["count"][0] + counts["own"][-1] == 4000
    assert counts["own"][-1] > 0
    np.testing.assert_allclose(cells["volume"].sum(), volume.sum() * 20.0)


@pytest.mark.parametrize("chunks", [(40, 50, 60), 17, (64, 96, 7), (1, 96, 96)])
def test_chunks_change_no_bit(chunks):
    volume = balls((64, 96, 96), 100, 1)
    image = np.random.default_rng(1).integers(0, 99, volume.shape, np.uint16)
    expected = find_cells(volume, spacing=SPACING, image=image, properties=["intensity_mean"])
    found = find_cells(
        da.from_array(volume, chunks=chunks),
        spacing=SPACING,
        image=da.from_array(image, chunks=33),
        properties=["intensity_mean"],
    )
    assert list(found) == ["label", "z", "y", "x", "volume", "intensity_mean"]
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)


def test_positions_are_scipys():
    volume = balls((64, 96, 96), 100, 2)
    labels, number = ndimage.label(volume, np.ones((3, 3, 3)))
    ids = np.arange(1, number + 1)
    centre = np.array(ndimage.center_of_mass(volume, labels, ids)) * SPACING + (1, 2, 3)
    cells = find_cells(volume, spacing=SPACING, origin=(1, 2, 3))
    np.testing.assert_allclose(np.stack([cells[k] for k in "zyx"], 1), centre)
    np.testing.assert_allclose(cells["volume"], 20 * ndimage.sum_labels(volume, labels, ids))


def test_corners_connect_or_not():
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert len(find_cells(mask, spacing=1)["label"]) == 1
    assert len(find_cells(mask, spacing=1, connectivity=2)["label"]) == 2


def test_labels_on_disk(tmp_path):
    volume = balls((64, 96, 96), 100, 3)
    expected = find_cells(volume, spacing=SPACING)
    path = tmp_path / "cells.zarr"
    for array in (volume, da.from_array(volume, chunks=40)):
        found = find_cells(array, spacing=SPACING, labels=path)
        for name, column in expected.items():
            np.testing.assert_array_equal(found[name], column, err_msg=name)
    group = zarr.open_group(path, mode="r")
    assert group["0"][...].max() == 100
    scale = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale == [{"type": "scale", "scale": list(SPACING)}]


def test_every_floor(xp, container):
    volume = balls((32, 48, 48), 15, 5)
    image = np.random.default_rng(1).integers(0, 99, volume.shape, np.uint16)
    options = {"spacing": SPACING, "properties": ["intensity_mean"], "min_volume": 3000}
    expected = find_cells(volume, image=image, **options)
    found = find_cells(
        container(xp.asarray(volume), 3), image=container(xp.asarray(image), 3), **options
    )
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)


def test_spacing_as_an_array():
    labels = np.ones((1, 1, 2), int)
    cells = measure_cells(labels, spacing=np.array(SPACING), origin=np.zeros(3))
    assert (cells["x"], cells["volume"]) == (1.0, 40.0)


def test_sizes():
    volume = balls((64, 96, 96), 100, 4)
    everything = find_cells(volume, spacing=SPACING)
    some = find_cells(volume, spacing=SPACING, min_volume=3000, max_volume=11_000)
    keep = (everything["volume"] >= 3000) & (everything["volume"] <= 11_000)
    assert 0 < keep.sum() < 100
    assert np.array_equal(some["label"], everything["label"][keep])


def test_nothing_there():
    cells = find_cells(np.zeros((3, 4, 5), bool), spacing=1)
    assert [len(column) for column in cells.values()] == [0] * 5
    assert count_regions(cells, halves((2, 6, 4)))["own"].sum() == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: find_cells(np.zeros((2, 2, 2)), spacing=1), TypeError, "bool, got float64"),
        (lambda: find_cells(np.zeros((2, 2, 2), "u1"), spacing=1), TypeError, "bool, got uint8"),
        (lambda: find_cells(np.zeros((1, 2, 2, 2), bool), spacing=1), ValueError, "pick a channel"),
        (lambda: find_cells([[[True]]], spacing=1), TypeError, "expected a NumPy, CuPy or Dask"),
        (lambda: measure_cells(np.zeros((2, 2, 2)), spacing=1), TypeError, "integers, got float64"),
        (
            lambda: measure_cells(np.zeros((2, 2, 2), int), spacing=(1, -1, 1)),
            ValueError,
            r"spacing must be a positive .* got \(1, -1, 1\)",
        ),
        (
            lambda: measure_cells(np.zeros((2, 2, 2), int), spacing=1, min_volume=5, max_volume=4),
            ValueError,
            "got 5 and 4",
        ),
        (
            lambda: measure_cells(np.zeros((2, 2, 2), int), spacing=1, properties=["hue"]),
            ValueError,
            "unknown property 'hue'",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
