"""Distances between surfaces against SciPy's distance transform and scikit-image."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import hausdorff_distance

from gpuseg._cpu import surfaces as cpu
from gpuseg.compare import compare_labels, surface_distances


def by_transform(true, test, spacing):
    """Hausdorff, its 95th percentile and the mean, as MedPy computes them."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (true, test)]
    values = np.concatenate(
        [
            ndimage.distance_transform_edt(~edges[1], sampling=spacing)[edges[0]],
            ndimage.distance_transform_edt(~edges[0], sampling=spacing)[edges[1]],
        ]
    )
    return values.max(), np.percentile(values, 95), values.mean()


def volumes(shape, seed=0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape), 2)
    true = ndimage.label(smooth > np.quantile(smooth, 0.6))[0]
    return true, np.roll(true, 1, axis=0) * (rng.random(shape) > 0.02)


@pytest.mark.parametrize("shape", [(40, 44), (14, 16, 18), (50,)])
@pytest.mark.parametrize("spacing", [None, 0.5, "uneven"])
def test_equals_distance_transform(shape, spacing, container):
    true, test = volumes(shape)
    spacing = (2.0, 0.5, 0.7)[: len(shape)] if spacing == "uneven" else spacing
    steps = spacing if spacing is not None else 1.0
    found = surface_distances(container(true), container(test), spacing=spacing)
    matches = compare_labels(true, test).matches()
    np.testing.assert_array_equal(found.true, matches.true)
    np.testing.assert_array_equal(found.test, matches.test)
    assert found.true.size
    for a, b, *distances in zip(*found, strict=True):
        sampling = np.broadcast_to(steps, len(shape))
        assert distances == pytest.approx(by_transform(true == a, test == b, sampling), abs=1e-9)


def test_masks_and_a_tree_for_large_ones(monkeypatch):
    true, test = (image > 0 for image in volumes((60, 70), 3))
    found = surface_distances(true, test)
    expected = by_transform(true, test, (1, 1))
    assert [float(column[0]) for column in found[2:]] == pytest.approx(expected)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (true, test)]
    assert found.hausdorff[0] == pytest.approx(hausdorff_distance(*edges))
    monkeypatch.setattr(cpu, "_ALL_PAIRS", 0)
    by_tree = surface_distances(true, test)
    np.testing.assert_allclose(np.stack(by_tree), np.stack(found))


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_chunking_changes_nothing(rows, columns, seed):
    true, test = np.random.default_rng(seed).integers(0, 3, (2, 12, 15))
    pairs = [(1, 1), (1, 2), (2, 2), (9, 1), (9, 9)]
    whole = surface_distances(true, test, pairs=pairs)
    chunked = surface_distances(
        da.from_array(true, chunks=(rows, columns)), da.from_array(test, chunks=5), pairs=pairs
    )
    np.testing.assert_array_equal(np.stack(chunked), np.stack(whole))


def test_absent_objects():
    image = np.array([[1, 1, 0], [0, 0, 2]])
    found = surface_distances(image, image, pairs=[(1, 9), (9, 2), (9, 9), (2, 2)])
    expected = [np.inf, np.inf, 0, 0]
    for column in found[2:]:
        assert column.tolist() == expected
    nothing = np.zeros((3, 3), bool)
    assert surface_distances(nothing, nothing).hausdorff.tolist() == [0]
    assert surface_distances(nothing, ~nothing).hausdorff.tolist() == [np.inf]
    none = surface_distances(nothing.astype(int), nothing.astype(int))
    assert [column.size for column in none] == [0] * 5


def test_pairs_share_objects():
    """One found object beside two true ones, in any order."""
    true = np.array([[1, 1, 0, 2, 2, 0]])
    test = np.array([[3, 3, 3, 3, 3, 0]])
    found = surface_distances(true, test, pairs=[(2, 3), (1, 3)])
    assert found.hausdorff.tolist() == [3, 3]


BAD = [
    ({"pairs": [1, 2]}, ValueError, r"pairs of labels, got \[1, 2\]"),
    ({"pairs": [(0.5, 1)]}, ValueError, "pairs of labels"),
    ({"spacing": (1, 2, 3)}, ValueError, r"got \(1, 2, 3\)"),
    ({"spacing": 0}, ValueError, "got 0"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        surface_distances(np.ones((3, 3), int), np.ones((3, 3), int), **options)


def test_bad_images():
    with pytest.raises(ValueError, match=r"got \(3, 3\) and \(3, 4\)"):
        surface_distances(np.ones((3, 3), bool), np.ones((3, 4), bool))
    with pytest.raises(TypeError, match="image_test must be bool or integer"):
        surface_distances(np.ones((3, 3), int), np.ones((3, 3)), pairs=[(1, 1)])


def test_no_kernel(xp):
    if xp is np:
        pytest.skip("for devices")
    image = xp.asarray(np.ones((3, 3), bool))
    with pytest.raises(TypeError, match="not implemented for CuPy arrays"):
        surface_distances(image, image)
