"""Sums of regions are exact: of floats in any order, of wide integers, far from the origin."""

from __future__ import annotations

import math
from fractions import Fraction

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from region_cases import assert_close, assert_same_bits, blobs, values
from skimage import measure as skimage_measure

from gpuseg.measure import regionprops_table


def test_nan_and_infinities_come_through(container):
    labels = np.array([[1, 1, 2, 2], [3, 3, 4, 4], [5, 5, 6, 6]])
    image = np.array(
        [[1, np.nan, 2, np.inf], [np.inf, -np.inf, -np.inf, 1], [np.nan, np.nan, 0, -0.0]]
    )
    names = (
        "intensity_mean",
        "intensity_sum",
        "intensity_min",
        "intensity_max",
        "intensity_std",
        "intensity_max_position",
    )
    table = regionprops_table(container(labels), container(image), properties=names)
    np.testing.assert_array_equal(
        table["intensity_sum"], [np.nan, np.inf, np.nan, -np.inf, np.nan, 0]
    )
    np.testing.assert_array_equal(table["intensity_mean"], table["intensity_sum"] / 2)
    np.testing.assert_array_equal(table["intensity_min"], [np.nan, 2, -np.inf, -np.inf, np.nan, 0])
    np.testing.assert_array_equal(table["intensity_max"], [np.nan, np.inf, np.inf, 1, np.nan, 0])
    np.testing.assert_array_equal(table["intensity_std"], [np.nan] * 5 + [0])
    assert table["intensity_max_position-1"].tolist() == [0, 3, 0, 3, -1, 2]


def test_float_sums_survive_cancellation():
    """Exact where any order of float64 additions fails."""
    image = np.array([[1e300, 1.0, 5e-324, -1e300, 3.0, -5e-324, 0.1]])
    labels = np.ones(image.shape, np.int32)
    table = regionprops_table(labels, image, properties=("intensity_sum", "intensity_mean"))
    assert table["intensity_sum"].tolist() == [4.1]
    assert table["intensity_mean"].tolist() == [4.1 / 7]


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e280, 1e280)))
def test_float_sums_are_correctly_rounded(image):

    labels = np.ones((1, image.size), np.int32)
    names = ("intensity_sum", "intensity_variance")
    table = regionprops_table(labels, image[None], properties=names)
    assert table["intensity_sum"][0] == math.fsum(image)
    whole = [Fraction(value) for value in image.tolist()]
    mean = sum(whole) / len(whole)
    spread = sum((value - mean) ** 2 for value in whole) / len(whole)
    expected = float(spread) if spread < Fraction(2) ** 1023 else np.inf
    assert table["intensity_variance"][0] == expected or spread >= Fraction(2) ** 1023


def test_wide_integers_do_not_overflow(container):
    for dtype in (np.uint64, np.int64, np.uint32):
        info = np.iinfo(dtype)
        image = np.tile(np.array([[info.max, info.max - 1]], dtype), (8, 8))
        labels = np.ones(image.shape, np.int32)
        names = ("intensity_sum", "intensity_variance", "centroid_weighted", "intensity_max")
        table = regionprops_table(container(labels), container(image), properties=names)
        assert table["intensity_sum"][0] == float(32 * (2 * int(info.max) - 1) * 2)
        assert table["intensity_variance"][0] == 0.25
        assert table["intensity_max"][0] == float(info.max)
        assert table["centroid_weighted-0"][0] == pytest.approx(3.5, rel=1e-12)
        if dtype is np.int64:
            down = regionprops_table(labels, -image - 1, properties=names)
            assert down["intensity_sum"][0] == float(-32 * (2 * int(info.max) + 1) * 2)
            assert down["intensity_variance"][0] == 0.25


def test_far_from_the_origin_nothing_cancels():
    """A disc measured at the far corner of a plane of 10^12 pixels, as a chunk of it."""
    from gpuseg._cpu.regionprops import measure
    from gpuseg._shared.region_columns import make_columns
    from gpuseg._shared.region_request import make_request

    y, x = np.mgrid[-20:21, -20:21]
    disc = (y**2 + 0.3 * x * y + 2 * x**2 < 300).astype(np.int32)
    plane = da.zeros((1 << 20, 1 << 20), chunks=1 << 12, dtype=np.int32)
    names = ("inertia_tensor", "orientation", "axis_minor_length", "centroid")
    request = make_request(plane, None, names, None, None, "-")
    far = (1 << 20) - 41
    rows = measure(disc, None, request.plan, origin=(far, far))
    expected = regionprops_table(disc, properties=names)
    for name, column in make_columns(rows, request).items():
        assert column - far * name.startswith("centroid") == pytest.approx(expected[name], rel=1e-9)


@pytest.mark.parametrize("spacing", [1.0, 0.25])
@pytest.mark.parametrize("shape", [(45, 62), (13, 17, 22)], ids=["2d", "3d"])
def test_moments_equal_scikit_image(shape, spacing, container):
    labels = blobs(shape, seed=4)
    steps = tuple(spacing * (axis + 1) for axis in range(len(shape)))
    for name in ("moments", "moments_central", "moments_normalized", "moments_hu"):
        if name == "moments_hu" and (len(shape) == 3 or spacing != 1):
            continue
        scale = {} if name == "moments_hu" else {"spacing": steps}
        expected = skimage_measure.regionprops_table(labels, properties=(name,), **scale)
        found = regionprops_table(container(labels), properties=(name,), **scale)
        assert list(found) == list(expected)
        for key, column in expected.items():
            # What cancels is compared with what it is a difference of.
            powers = [int(power) for power in key.split("-")[1:]]
            size = np.prod([(n * s) ** p for n, s, p in zip(shape, steps, powers, strict=False)])
            atol = 1e-12 * labels.size * size if "central" in name else 1e-11
            np.testing.assert_allclose(found[key], column, 1e-9, atol, err_msg=key)


def test_moments_of_large_objects_are_exact():
    """Sums beyond 2^64, and beyond what one or two primes tell apart."""
    labels = np.zeros((3, 5000), np.uint8)
    labels[1, 100:] = 1
    labels[2, 4000:] = 1
    table = regionprops_table(da.from_array(labels, chunks=(2, 700)), properties=("moments",))
    inside = np.argwhere(labels) - [1, 100]
    for j, k in np.ndindex(4, 4):
        exact = sum(int(y) ** j * int(x) ** k for y, x in inside)
        assert table[f"moments-{j}-{k}"][0] == float(exact)
    cube = regionprops_table(np.ones((130, 120, 140), np.int32), properties=("moments",))
    for powers in ((3, 3, 3), (0, 0, 0), (1, 2, 3)):
        exact = np.prod(
            [sum(i**p for i in range(n)) for n, p in zip((130, 120, 140), powers, strict=True)],
            dtype=object,
        )
        assert cube["moments-{}-{}-{}".format(*powers)][0] == float(exact)


def test_central_moments_far_from_the_origin():
    """Exact however far: a disc in the corner of a plane as in the middle of a small image."""
    from gpuseg._cpu.regionprops import measure
    from gpuseg._shared.region_columns import make_columns
    from gpuseg._shared.region_request import make_request

    y, x = np.mgrid[-20:21, -20:21]
    disc = (y**2 + 0.3 * x * y + 2 * x**2 < 300).astype(np.int32)
    plane = da.zeros((1 << 20, 1 << 20), chunks=1 << 12, dtype=np.int32)
    names = ("moments", "moments_central", "moments_hu")
    request = make_request(plane, None, names, None, None, "-")
    assert len(request.plan.primes) == 4
    far = (1 << 20) - 41
    rows = measure(disc, None, request.plan, origin=(far, far))
    assert_same_bits(make_columns(rows, request), regionprops_table(disc, properties=names))


def test_second_moments_beyond_int64():
    """Rows that stand for an object of 2^40 pixels still have exact moments."""
    from gpuseg._shared.region_sums import central

    n, side = 1 << 40, 1 << 20
    first = n * (side - 1) // 2
    second = n * (side - 1) * (2 * side - 1) // 6
    limbs = [np.array([[v & 0xFFFFFFFF, v >> 32]]) for v in (first, first, second)]
    found = central(np.array([n]), tuple(limbs), np.array([float(side) ** 2]))
    assert found[0] == pytest.approx(n * (side**2 - 1) / 12, rel=1e-14)


def test_float32_sums_are_exact():
    """scikit-image adds float32 in float32; ours is what float64 would give."""
    labels, image = blobs((40, 50)), values((40, 50), np.float64).astype(np.float32)
    names = ["label", "intensity_mean", "intensity_std", "centroid_weighted"]
    expected = skimage_measure.regionprops_table(labels, image.astype(float), properties=names)
    assert_close(regionprops_table(labels, image, properties=names), expected, 1e-12)


def test_integer_means_have_scikit_images_bits():
    labels, image = blobs((64, 64)), values((64, 64), np.uint16)
    names = ["label", "area", "bbox", "centroid", "intensity_mean", "intensity_max"]
    expected = skimage_measure.regionprops_table(labels, image, properties=names)
    assert_same_bits(regionprops_table(labels, image, properties=names), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64])
@pytest.mark.parametrize("width", [1, 2, 63, 64, 65, 127, 128, 130])
def test_runs_of_rows_of_every_width(width, dtype):
    """Rows are compared 64 pixels at a time; the last word overlaps the one before."""
    rng = np.random.default_rng(width)
    labels = np.repeat(rng.integers(0, 5, (9, 2 * width)), 2, axis=1)[:, 1 : width + 1]
    labels[3], labels[4] = 2, 0
    image = rng.integers(0, 256, labels.shape, np.uint8)
    names = ("label", "area", "intensity_sum", "centroid")
    table = regionprops_table(labels.astype(dtype), image, properties=names)
    ids = np.unique(labels[labels > 0])
    np.testing.assert_array_equal(table["label"], ids)
    for k, number in enumerate(ids):
        where = np.nonzero(labels == number)
        assert table["area"][k] == where[0].size
        assert table["intensity_sum"][k] == image[where].sum()
        assert table["centroid-0"][k] == where[0].sum() / where[0].size
        assert table["centroid-1"][k] == where[1].sum() / where[1].size
