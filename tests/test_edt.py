"""Distances and nearest seeds against SciPy and brute force, however the array is cut."""

from __future__ import annotations

import math

import dask
import dask.array as da
import numpy as np
import pytest
from emulator import Schedule, scheduled, standin
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import segmentation as skimage_segmentation

from conftest import HAS_DEVICE, to_numpy
from gpuseg._backend import limit_threads
from gpuseg._shared.edt import Metric, metric
from gpuseg.morphology import distance_transform_edt
from gpuseg.segmentation import expand_labels

SHAPES = [(70,), (1,), (21, 38), (1, 33), (34, 1), (7, 9, 11), (1, 1, 40), (3, 1, 5)]
SPACINGS = {"unit": None, "integer": (3, 1, 2), "decimal": (2, 0.65, 0.4), "odd": (1.1, 0.9999, 3)}


def noise(shape, density=0.9, seed=0):
    return np.random.default_rng(seed).random(shape) < density


def steps_of(name, ndim):
    return None if SPACINGS[name] is None else SPACINGS[name][-ndim:]


def scipy_edt(mask, spacing):
    return ndimage.distance_transform_edt(mask, sampling=spacing)


def brute(seeds, units, limit):
    """Number of the nearest seed, the first in raster order where several are as near."""
    sources = np.argwhere(seeds)
    found = np.full(seeds.shape, -1)
    for place in np.ndindex(seeds.shape):
        squares = (((sources - place) * units) ** 2).sum(axis=1)
        if squares.size and squares.min() <= limit:
            found[place] = np.ravel_multi_index(tuple(sources[squares.argmin()]), seeds.shape)
    return found


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_distances_are_scipys(shape, spacing, xp, container):
    steps = steps_of(spacing, len(shape))
    for density in (0.5, 0.97):
        mask = noise(shape, density)
        mask.flat[mask.size // 2] = False
        found = distance_transform_edt(container(xp.asarray(mask)), spacing=steps)
        assert found.dtype == float
        expected = scipy_edt(mask, steps)
        if spacing in ("unit", "integer"):
            np.testing.assert_array_equal(to_numpy(found), expected)
        else:
            np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-15)


@pytest.mark.parametrize("spacing", ["unit", "decimal"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nearest_of_all_and_first_of_the_nearest(shape, spacing, xp, container):
    steps = steps_of(spacing, len(shape))
    units = np.array(metric(shape, steps or (1.0,) * len(shape)).units[3 - len(shape) :])
    for density in (0.6, 0.95):
        mask = noise(shape, density, seed=1)
        expected = brute(~mask, units, math.inf)
        both = distance_transform_edt(
            container(xp.asarray(mask)), spacing=steps, return_indices=True
        )
        distances, places = map(to_numpy, both)
        assert (places.dtype, places.shape) == (np.int32, (len(shape), *shape))
        there = expected >= 0
        found = np.ravel_multi_index(tuple(np.where(there, places, 0)), shape)
        np.testing.assert_array_equal(found[there], expected[there])
        assert (places[:, ~there] == -1).all()
        assert np.isinf(distances[~there]).all()
        alone = distance_transform_edt(mask, spacing=steps)
        np.testing.assert_array_equal(distances, alone)


@given(
    mask=hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, max_side=12)),
    steps=st.lists(st.sampled_from([0.1, 0.65, 1, 2, 3]), min_size=3, max_size=3),
    limit=st.sampled_from([math.inf, 0, 0.3, 1, 2.6, 5]),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_any_mask_any_chunks(mask, steps, limit, data):
    da = pytest.importorskip("dask.array")
    steps = steps[: mask.ndim]
    options = {"spacing": steps, "max_distance": limit, "return_indices": True}
    distances, places = distance_transform_edt(mask, **options)
    measured = metric(mask.shape, steps, limit)
    expected = brute(~mask, np.array(measured.units[3 - mask.ndim :]), measured.limit)
    there = expected >= 0
    np.testing.assert_array_equal(
        np.ravel_multi_index(tuple(np.where(there, places, 0)), mask.shape)[there], expected[there]
    )
    assert (np.isfinite(distances) == there).all()
    assert (distances[there] <= limit).all()
    chunks = tuple(data.draw(st.integers(1, size)) for size in mask.shape)
    chunked = da.from_array(mask, chunks=chunks)
    both = distance_transform_edt(chunked, **options)
    for found, same in zip(both, (distances, places), strict=True):
        np.testing.assert_array_equal(found.compute(scheduler="synchronous"), same)
    options["return_indices"] = False
    found = distance_transform_edt(chunked, **options).compute(scheduler="synchronous")
    np.testing.assert_array_equal(found, distances)


DEVICE = pytest.mark.gpu if HAS_DEVICE else pytest.mark.emulator


@DEVICE
@given(
    labels=hnp.arrays(
        np.uint16,
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=40),
        elements=st.sampled_from([0] * 9 + [1, 2, 3]),
    ),
    steps=st.sampled_from([(1, 1, 1), (2, 0.65, 1), (1.1, 0.9999, 3)]),
    limit=st.sampled_from([math.inf, 1, 2.6, 7]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_any_labels_on_a_device_under_any_schedule(labels, steps, limit, seed):
    cp = pytest.importorskip("cupy") if HAS_DEVICE else standin
    options = {"spacing": steps[: labels.ndim], "max_distance": limit, "return_indices": True}
    expected = *distance_transform_edt(labels == 0, **options), None
    with scheduled(Schedule.drawn(seed)):
        found = distance_transform_edt(cp.asarray(labels == 0), **options)
        grown = expand_labels(cp.asarray(labels), limit, steps[: labels.ndim])
    for one, two in zip(found, expected, strict=False):
        np.testing.assert_array_equal(one.get(), two)
    places = expected[1]
    sources = labels[tuple(np.maximum(places, 0))]
    np.testing.assert_array_equal(grown.get(), np.where(places[0] < 0, 0, sources))


@pytest.mark.parametrize("wide", [False, True], ids=["i32", "i64"])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (40_000, 1, 20_000)], ids=["small", "large"])
def test_every_build_of_the_kernels(wide, spacing, xp, monkeypatch):
    """Numbers of pixels in 32 or 64 bits; squares in 32-bit integers or in float64."""
    if wide:
        monkeypatch.setattr(Metric, "dtype", np.dtype(np.int64))
    labels = np.where(noise((5, 6, 35), 0.985), 0, np.arange(1050).reshape(5, 6, 35) % 250 + 1)
    expected = scipy_edt(labels == 0, spacing)
    distances, places = distance_transform_edt(
        xp.asarray(labels == 0), spacing=spacing, return_indices=True
    )
    np.testing.assert_array_equal(to_numpy(distances), expected)
    for dtype in (np.uint8, np.int16, np.uint32, np.int64):
        found = to_numpy(expand_labels(xp.asarray(labels.astype(dtype)), math.inf, spacing))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, labels[tuple(to_numpy(places))])


def test_halves_of_a_tie(xp):
    """The first in raster order: left of right, above below, and above before left."""
    mask = np.ones((9, 9), bool)
    mask[4, 1] = mask[4, 7] = mask[1, 4] = mask[7, 4] = False
    _, (rows, columns) = distance_transform_edt(xp.asarray(mask), return_indices=True)
    assert (int(rows[4, 4]), int(columns[4, 4])) == (1, 4)
    assert (int(rows[5, 4]), int(columns[5, 4])) == (7, 4)
    mask[1, 4] = True
    _, (rows, columns) = distance_transform_edt(xp.asarray(mask), return_indices=True)
    assert (int(rows[4, 4]), int(columns[4, 4])) == (4, 1)


def test_no_background(xp, container):
    for shape in ((4, 5), (40,), (2, 3, 4)):
        mask = container(xp.asarray(np.ones(shape, bool)))
        distances, places = distance_transform_edt(mask, return_indices=True)
        assert np.isposinf(to_numpy(distances)).all()
        assert (to_numpy(places) == -1).all()
        assert not to_numpy(distance_transform_edt(~mask)).any()


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0), (2, 0, 4)])
def test_empty(shape, xp):
    mask = xp.asarray(np.ones(shape, bool))
    distances, places = distance_transform_edt(mask, return_indices=True)
    assert (distances.shape, places.shape) == (shape, (len(shape), *shape))
    assert expand_labels(xp.asarray(np.ones(shape, np.int32)), 2).shape == shape


def test_any_memory(xp):
    """Integers, strides, byte order and read-only memory are taken; the input is left alone."""
    base = noise((40, 60), 0.95)
    mask = base[::-2, 3:50:3].T
    expected = scipy_edt(mask, None)
    given_mask = xp.asarray(base)[::-2, 3:50:3].T
    np.testing.assert_array_equal(to_numpy(distance_transform_edt(given_mask)), expected)
    for dtype in (np.uint8, np.int64, np.uint16):
        numbers = xp.asarray(mask.astype(dtype) * 3)
        np.testing.assert_array_equal(to_numpy(distance_transform_edt(numbers)), expected)
        assert (to_numpy(numbers) == mask * 3).all()
    if xp is np:
        fixed = mask.astype(">i4")
        fixed.flags.writeable = False
        np.testing.assert_array_equal(distance_transform_edt(fixed), expected)
        np.testing.assert_array_equal(expand_labels(fixed, 2), expand_labels(mask.astype(int), 2))


@pytest.mark.parametrize("shape", [(600, 700), (20, 150, 160)], ids=str)
def test_threads_share_rows_columns_and_planes(shape):
    mask = noise(shape, 0.999)
    with limit_threads(1):
        one = distance_transform_edt(mask, return_indices=True)
    with limit_threads(3):
        three = distance_transform_edt(mask, return_indices=True)
    np.testing.assert_array_equal(one[0], scipy_edt(mask, None))
    for first, second in zip(one, three, strict=True):
        np.testing.assert_array_equal(first, second)


def test_distances_of_thousands_of_pixels():
    """Envelopes of few seeds far apart, and of none in most columns."""
    mask = np.ones((3000, 40), bool)
    mask[5, 3] = mask[2990, 20] = mask[1500, 39] = False
    np.testing.assert_array_equal(distance_transform_edt(mask), scipy_edt(mask, None))
    np.testing.assert_array_equal(distance_transform_edt(mask.T), scipy_edt(mask.T, None))


def test_limit_is_met_exactly(xp):
    """0.1 is a tenth: three pixels of it are no farther than 0.3, as the distances say."""
    mask = np.ones((1, 9), bool)
    mask[0, 0] = False
    found = distance_transform_edt(xp.asarray(mask), spacing=0.1, max_distance=0.3)
    assert to_numpy(found).tolist() == [[0.0, 0.1, 0.2, 0.3, *[math.inf] * 5]]
    for limit in (math.sqrt(8), math.nextafter(math.sqrt(8), 0)):
        mask = np.ones((5, 5), bool)
        mask[2, 2] = False
        found = to_numpy(distance_transform_edt(xp.asarray(mask), max_distance=limit))
        np.testing.assert_array_equal(np.isfinite(found), scipy_edt(mask, None) <= limit)


@pytest.mark.parametrize("limit", [1, 4.5, 30, math.inf])
def test_chunks_of_a_device(limit, xp):
    da = pytest.importorskip("dask.array")
    labels = np.where(noise((38, 45), 0.97), 0, np.arange(38 * 45).reshape(38, 45) % 200 + 1)
    wrapped = da.from_array(xp.asarray(labels), chunks=(13, 20), asarray=False)
    expected = distance_transform_edt(labels == 0, max_distance=limit)
    found = distance_transform_edt(wrapped == 0, max_distance=limit)
    assert found.chunks == wrapped.chunks
    found = found.compute()
    assert type(found) is type(xp.asarray(labels))
    np.testing.assert_array_equal(to_numpy(found), expected)
    grown = expand_labels(wrapped, limit)
    assert grown.chunks == wrapped.chunks
    np.testing.assert_array_equal(to_numpy(grown), expand_labels(labels, limit))


def test_graphs_grow_with_chunks_and_passes_keep_chunks_small():
    da = pytest.importorskip("dask.array")
    mask = da.ones((6000, 6000), chunks=500, dtype=bool)
    graph = distance_transform_edt(mask)
    assert graph.chunks == mask.chunks
    # Blocks between passes are whole along one axis and narrow along the other.
    assert len(dict(graph.__dask_graph__())) < 12 * mask.npartitions
    near = distance_transform_edt(mask, max_distance=20)
    assert len(dict(near.__dask_graph__())) < 6 * mask.npartitions


def test_real_nuclei(test_data):
    da = pytest.importorskip("dask.array")
    import tifffile

    path = sorted((test_data / "nuclei/stardist").rglob("mask2d.tif"))[0]
    labels = tifffile.imread(path).astype(np.int32)
    found = distance_transform_edt(labels)
    np.testing.assert_array_equal(found, scipy_edt(labels, None))
    chunked = da.from_array(labels, chunks=(100, 170))
    np.testing.assert_array_equal(distance_transform_edt(chunked).compute(), found)
    grown = expand_labels(labels, 7)
    np.testing.assert_array_equal(expand_labels(chunked, 7).compute(), grown)
    expected = skimage_segmentation.expand_labels(labels, 7)
    np.testing.assert_array_equal(grown > 0, expected > 0)
    assert (grown == expected).mean() > 0.98


BAD = [
    ((np.ones((3, 3)),), {}, TypeError, "bool or integer, got float64"),
    ((np.ones((), bool),), {}, ValueError, "at least one axis, got a 0-d array"),
    ((np.ones((2,) * 4, bool),), {}, ValueError, "1 to 3 axes, got 4"),
    ((np.ones((3, 3), bool),), {"spacing": 0}, ValueError, "positive, one or 2 numbers, got 0"),
    ((np.ones((3, 3), bool),), {"spacing": (1, 2, 3)}, ValueError, r"got \(1, 2, 3\)"),
    ((np.ones((3, 3), bool),), {"max_distance": -1}, ValueError, "at least 0, got -1"),
    ((np.ones((3, 3), bool),), {"max_distance": math.nan}, ValueError, "at least 0, got nan"),
    ((np.ones((3, 3), bool),), {"return_distances": False}, ValueError, "got neither"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message):
        distance_transform_edt(*arguments, **options)


def test_labels_of_four_axes_or_unknown_chunks_are_refused():
    with pytest.raises(ValueError, match="1 to 3 axes, got 4"):
        expand_labels(np.ones((2,) * 4, int))
    da = pytest.importorskip("dask.array")
    unknown = da.ones(8, dtype=int, chunks=4)
    unknown = unknown[unknown > 0]
    for tool in (expand_labels, distance_transform_edt):
        with pytest.raises(ValueError, match="known size"):
            tool(unknown)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 0, 4)])
def test_nothing_in_chunks(shape):
    mask = da.zeros(shape, dtype=bool, chunks=2)
    distances, indices = dask.compute(distance_transform_edt(mask, return_indices=True))[0]
    assert distances.shape == shape
    assert indices.shape == (len(shape), *shape)
