"""Region tables of CUDA kernels have the bits of the CPU's."""

from __future__ import annotations

import numpy as np
import pytest
from region_cases import DTYPES, assert_same_bits, blobs, values

from gpuseg._backend import implementation
from gpuseg._shared.region_columns import PROPERTIES
from gpuseg._shared.region_request import make_request
from gpuseg._shared.region_rows import LIMBS, offsets
from gpuseg._shared.region_sums import exact
from gpuseg.measure import regionprops_table


@pytest.mark.parametrize("dtype", [*DTYPES, np.int16, np.uint64], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(37, 45), (5, 36, 33)], ids=["2d", "3d"])
def test_device_has_the_bits_of_the_cpu(shape, dtype, xp):
    labels, image = blobs(shape, seed=9), values((*shape, 2), dtype)
    names = [name for name, prop in PROPERTIES.items() if len(shape) in prop.ndims]
    expected = regionprops_table(labels, image, properties=names)
    found = regionprops_table(xp.asarray(labels), xp.asarray(image), properties=names)
    assert_same_bits(found, expected)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint32])
def test_device_takes_sparse_labels_and_chunks(kind, xp):
    da = pytest.importorskip("dask.array")
    labels = blobs((40, 50), seed=10).astype(kind)
    if kind is np.int64:
        labels <<= 40
    image = values((40, 50), np.float32)
    names = [name for name, prop in PROPERTIES.items() if 2 in prop.ndims]
    expected = regionprops_table(labels, image, properties=names)
    chunked = (
        da.from_array(xp.asarray(labels), chunks=(17, 30), asarray=False),
        da.from_array(xp.asarray(image), chunks=(40, 20), asarray=False),
    )
    assert_same_bits(regionprops_table(*chunked, properties=names), expected)


def test_device_sums_of_every_exponent(xp):
    rng = np.random.default_rng(11)
    words = rng.integers(0, 1 << 64, (33, 34), np.uint64)
    image = words.view(np.float64)
    labels = blobs(image.shape, seed=11)
    names = [name for name, prop in PROPERTIES.items() if prop.image]
    expected = regionprops_table(labels, image, properties=names)
    found = regionprops_table(xp.asarray(labels), xp.asarray(image), properties=names)
    assert_same_bits(found, expected)
    image[np.isnan(image) | np.isinf(image)] = 5e-324
    expected = regionprops_table(labels, image, properties=names)
    found = regionprops_table(xp.asarray(labels), xp.asarray(image), properties=names)
    assert_same_bits(found, expected)


@pytest.mark.parametrize("image", ["special", "tiny"])
def test_device_special_floats(image, xp):
    """NaN, infinities and both zeros all over; the smallest numbers there are beside 1."""
    some = [1.5, np.nan, np.inf, -np.inf, -0.0] if image == "special" else [5e-324, 1.0, -0.0]
    image = np.random.default_rng(13).choice(some, (70, 70))
    labels = np.ones(image.shape, np.int32)
    labels[:40, :50] = 2
    labels[5, 5], image[5, 5] = 3, np.inf
    labels[6, 6], image[6, 6] = 4, -5e-324
    names = [name for name, prop in PROPERTIES.items() if prop.image]
    expected = regionprops_table(labels, image, properties=names)
    found = regionprops_table(xp.asarray(labels), xp.asarray(image), properties=names)
    assert_same_bits(found, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("ndim", [2, 3])
def test_device_takes_each_property_alone(ndim, dtype, xp):
    """Columns that are not wanted are not written."""
    labels = blobs((3, 17, 35)[3 - ndim :], seed=14, labels=3)
    image = values(labels.shape, dtype)
    for name, prop in PROPERTIES.items():
        if ndim in prop.ndims and (prop.image or dtype is np.uint8):
            expected = regionprops_table(labels, image, properties=(name,))
            arrays = xp.asarray(labels), xp.asarray(image)
            assert_same_bits(regionprops_table(*arrays, properties=(name,)), expected)


def test_device_sparse_labels_of_one_run_each(xp):
    labels = np.zeros((20, 33), np.int64)
    labels[::2, ::3] = (np.arange(110, dtype=np.int64).reshape(10, 11) << 45) + 7
    names = ("label", "num_pixels", "bbox")
    found = regionprops_table(xp.asarray(labels), properties=names)
    assert_same_bits(found, regionprops_table(labels, properties=names))


@pytest.mark.parametrize("ndim", [2, 3])
def test_device_rows_of_a_chunk_far_away(ndim, xp):
    """Sums of two limbs, moments modulo primes, positions: the rows themselves, with a halo."""
    da = pytest.importorskip("dask.array")
    side = 1 << (20 if ndim == 2 else 17)
    labels = blobs((9,) * (ndim - 2) + (34, 70), seed=12, labels=20)
    halo, origin = [(1, 1)] * ndim, (side - 100,) * ndim
    inner = (slice(1, -1),) * ndim
    image = values(labels[inner].shape, np.int16)
    names = [name for name, prop in PROPERTIES.items() if ndim in prop.ndims]
    plane = da.zeros((side,) * ndim, chunks=4096, dtype=np.int32)
    request = make_request(plane, plane.astype(np.int16), names, None, None, "-")
    assert len(request.plan.primes) >= 4
    assert request.plan.limbs(2) == 2
    where = {"origin": origin, "halo": halo}
    arrays = [(labels, image), (xp.asarray(labels), xp.asarray(image))]
    host, device = (
        implementation(one, "regionprops").measure(one, two, request.plan, **where)
        for one, two in arrays
    )
    assert host.fields == device.fields
    np.testing.assert_array_equal(host.labels, device.labels)
    np.testing.assert_array_equal(host.pairs, device.pairs)
    for field, column in zip(host.fields, offsets(host.fields).values(), strict=True):
        one, two = (rows.table[:, column : column + field.width] for rows in (host, device))
        # Limbs may differ by what has been carried.
        one, two = (exact(part) if field.kind == LIMBS else part for part in (one, two))
        np.testing.assert_array_equal(one, two, field.name)


def test_device_sums_of_more_than_64_bits(xp):
    """One object of so many pixels, so far away, that a moment needs its second limb."""
    da = pytest.importorskip("dask.array")
    side, size = 1 << 23, 400
    plane = da.zeros((side, side), chunks=1 << 20, dtype=np.int32)
    plan = make_request(plane, None, ("label", "inertia_tensor"), None, None, "-").plan
    labels, where = np.ones((size, size), np.int32), {"origin": (side - size,) * 2}
    host, device = (
        implementation(one, "regionprops").measure(one, None, plan, **where)
        for one in (labels, xp.asarray(labels))
    )
    largest = 0
    for field, column in zip(host.fields, offsets(host.fields).values(), strict=True):
        one, two = (rows.table[:, column : column + field.width] for rows in (host, device))
        one, two = (exact(part) if field.kind == LIMBS else part for part in (one, two))
        np.testing.assert_array_equal(one, two, field.name)
        largest = max(largest, int(np.max(one)))
    assert largest > 1 << 63


def test_device_pairs_outgrow_their_table(xp):
    """More contacts than the first hash table takes, each label touching eight others."""
    labels = np.arange(1, 150 * 160 + 1, dtype=np.int32).reshape(150, 160)
    table = regionprops_table(xp.asarray(labels), properties=("num_neighbors",))
    assert np.bincount(table["num_neighbors"]).tolist() == [0, 0, 0, 4, 0, 612, 0, 0, 23384]


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (1, 70), (70, 1)])
def test_device_small_arrays(shape, xp):
    labels, image = np.ones(shape, np.uint16), np.full(shape, 2.5, np.float32)
    names = [name for name, prop in PROPERTIES.items() if 2 in prop.ndims]
    found = regionprops_table(xp.asarray(labels), xp.asarray(image), properties=names)
    assert_same_bits(found, regionprops_table(labels, image, properties=names))


def test_device_refuses(xp):
    if xp is np:
        pytest.skip("for devices")
    labels = np.ones((4, 4), int)
    with pytest.raises(TypeError, match="one NumPy and one CuPy array"):
        regionprops_table(xp.asarray(labels), labels)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        regionprops_table(xp.asarray(-labels))
