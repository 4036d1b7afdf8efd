"""Region tables against scikit-image, and the same bits however the array is cut."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import measure as skimage_measure
from skimage.measure._regionprops import COL_DTYPES

from gpuseg._backend import limit_threads
from gpuseg._region_columns import PROPERTIES
from gpuseg.measure import regionprops_table

DTYPES = [bool, np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float16, np.float64]


def blobs(shape, seed=0, labels=8):
    """Labels in blocks of 4, with holes, in several parts each."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, labels + 1, tuple(size // 4 + 1 for size in shape))
    for axis in range(len(shape)):
        coarse = coarse.repeat(4, axis)
    found = coarse[tuple(map(slice, shape))].astype(np.int32)
    found[rng.random(shape) < 0.1] = 0
    return found


def values(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype is bool:
        return rng.random(shape) < 0.3
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min // 2, info.max // 2, shape, dtype)


def known(ndim, dtype=np.uint8):
    """Properties that scikit-image has too."""
    refused = ("intensity_min", "intensity_max") if dtype is bool else ()
    return [
        name
        for name, prop in PROPERTIES.items()
        if name in COL_DTYPES and ndim in prop.ndims and name not in refused
    ]


def assert_same_bits(found, expected):
    assert list(found) == list(expected)
    for name, column in found.items():
        assert column.dtype == expected[name].dtype, name
        assert column.tobytes() == expected[name].tobytes(), name


def assert_close(found, expected, rtol=1e-9):
    assert list(found) == list(expected)
    for name, column in expected.items():
        scale = np.nanmax(np.abs(column), initial=0)
        if name == "orientation":
            # Where both axes lie along the image's, scikit-image's sign is that of its rounding.
            flipped = np.abs(np.abs(found[name] - column) - np.pi) < rtol
            column = np.where(flipped, found[name], column)
        np.testing.assert_allclose(found[name], column, rtol, rtol * scale, err_msg=name)
        assert found[name].dtype == column.dtype, name


@pytest.mark.parametrize("channels", [(), (3,)], ids=["one", "three"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("shape", [(45, 62), (13, 17, 22)], ids=["2d", "3d"])
def test_equals_scikit_image(shape, dtype, channels, container):
    labels, image = blobs(shape), values(shape + channels, dtype)
    spacing = (2.5, 2.5) if len(shape) == 2 else (3.0, 1.5, 0.5)
    names = known(len(shape), dtype)
    # scikit-image adds float16 values in float32 at best.
    exact = image.astype(np.float64) if dtype is np.float16 else image
    expected = skimage_measure.regionprops_table(labels, exact, properties=names, spacing=spacing)
    found = regionprops_table(
        container(labels), container(image), properties=names, spacing=spacing
    )
    assert_close(found, expected)


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


@settings(max_examples=100, deadline=None)
@given(
    st.data(),
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=11),
    st.sampled_from([np.uint8, np.int64, np.float32, np.float64]),
)
def test_bits_do_not_depend_on_chunks(data, shape, dtype):
    labels = data.draw(hnp.arrays(np.uint16, shape, elements=st.integers(0, 5)))
    kind = np.dtype(dtype)
    image = data.draw(hnp.arrays(kind, shape, elements=hnp.from_dtype(kind)))
    names = [name for name, prop in PROPERTIES.items() if len(shape) in prop.ndims]

    def cut(array):
        sizes = []
        for size in array.shape:
            edges = data.draw(st.sets(st.integers(1, max(1, size - 1)), max_size=4))
            edges = sorted({0, size} | {edge for edge in edges if edge < size})
            sizes.append(tuple(np.diff(edges).tolist()))
        return da.from_array(array, chunks=tuple(sizes))

    whole = regionprops_table(labels, image, properties=names)
    assert_same_bits(regionprops_table(cut(labels), cut(image), properties=names), whole)


def test_bits_do_not_depend_on_threads_or_strides():
    labels = blobs((700, 800), labels=60)
    image = values((700, 800), np.float32)
    names = [name for name, prop in PROPERTIES.items() if 2 in prop.ndims]
    tables = []
    for threads in (1, 2, 5):
        with limit_threads(threads):
            tables.append(regionprops_table(labels, image, properties=names))
    strided = np.zeros((1400, 800, 2), np.int32)[::2, :, 0]
    strided[:] = labels
    tables.append(regionprops_table(strided, np.asfortranarray(image), properties=names))
    big_endian = labels.astype(">i8"), image.astype(">f4")
    tables.append(regionprops_table(*big_endian, properties=names))
    for table in tables[1:]:
        assert_same_bits(table, tables[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_flipping_flips(axis):
    labels, image = blobs((30, 41)), values((30, 41), np.float64)
    names = [
        "area",
        "perimeter",
        "euler_number",
        "intensity_sum",
        "intensity_variance",
        "num_neighbors",
        "axis_major_length",
        "perimeter_crofton",
        "eccentricity",
    ]
    flipped = regionprops_table(np.flip(labels, axis), np.flip(image, axis), properties=names)
    table = regionprops_table(labels, image, properties=names)
    for name in names:
        exact = name != "perimeter_crofton"
        np.testing.assert_allclose(flipped[name], table[name], rtol=1e-12 if exact else 1e-9)


def test_regionprops_of_columns_stay_in_order_of_labels():
    labels = np.array([[9, 9, 3], [0, 3, 3]])
    table = regionprops_table(labels, properties=("label", "num_pixels"))
    assert table["label"].tolist() == [3, 9]
    assert table["num_pixels"].tolist() == [3, 2]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_sparse_labels_cost_no_memory(dtype, container):
    labels = blobs((60, 70), labels=30)
    sparse = labels.astype(dtype) << 35
    sparse[labels == 7] = (1 << 62) + 5
    names = ["label", "area", "centroid", "num_neighbors", "perimeter"]
    table = regionprops_table(container(sparse), properties=names)
    plain = regionprops_table(labels, properties=names)
    order = np.argsort(np.where(plain["label"] == 7, 1 << 62, plain["label"] << 35))
    for name in names[1:]:
        for column in (key for key in plain if key.startswith(name)):
            np.testing.assert_array_equal(table[column], plain[column][order])
    assert table["label"][-1] == (1 << 62) + 5


def test_many_sparse_labels():
    """More labels than the first hash table has room for."""
    labels = (np.arange(90_000, dtype=np.int64).reshape(300, 300) << 40) + 1
    table = regionprops_table(labels, properties=("label", "area", "centroid"))
    np.testing.assert_array_equal(table["label"], labels.ravel())
    assert (table["area"] == 1).all()
    np.testing.assert_array_equal(table["centroid-1"], np.arange(90_000) % 300)


def test_ids_pick_rows(container):
    labels, image = container(blobs((20, 30))), container(values((20, 30), np.uint8))
    names = (
        "label",
        "area",
        "bbox",
        "centroid",
        "intensity_sum",
        "intensity_mean",
        "intensity_max_position",
        "num_neighbors",
        "eccentricity",
        "intensity_std",
    )
    whole = regionprops_table(labels, image, properties=names)
    table = regionprops_table(labels, image, properties=names, ids=[5, 999, 2, 5])
    assert table["label"].tolist() == [5, 999, 2, 5]
    for name, column in table.items():
        np.testing.assert_array_equal(column[[0, 2, 3]], whole[name][[4, 1, 4]])
        if name in ("area", "intensity_sum") or column.dtype.kind == "i":
            assert column[1] == (999 if name == "label" else 0)
        else:
            assert np.isnan(column[1])
    assert regionprops_table(labels, properties=("area",), ids=[])["area"].shape == (0,)


def test_ids_of_an_empty_image():
    table = regionprops_table(np.zeros((5, 5), int), ids=np.array([3]))
    assert table["label"].tolist() == [3]
    assert table["bbox-2"].tolist() == [0]


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (1, 1), (1, 9), (9, 1), (1, 1, 7)])
def test_small_arrays(shape, container):
    labels = np.ones(shape, np.uint8)
    image = np.full(shape, 3.5)
    names = [name for name in known(len(shape)) if "axis_m" not in name]
    found = regionprops_table(container(labels), container(image), properties=names)
    if labels.size:
        expected = skimage_measure.regionprops_table(labels, image, properties=names)
        assert_close(found, expected)
    else:
        assert all(column.size == 0 for column in found.values())


def test_empty_columns_have_scikit_images_types():
    labels, image = np.zeros((6, 7), int), np.zeros((6, 7, 2))
    names = [name for name in known(2) if "weighted" not in name]  # scikit-image divides by 0
    found = regionprops_table(labels, image, properties=names)
    expected = skimage_measure.regionprops_table(labels, image, properties=names)
    assert {k: (v.dtype, v.shape) for k, v in found.items()} == {
        k: (v.dtype, v.shape) for k, v in expected.items()
    }


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
    import math
    from fractions import Fraction

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
    from gpuseg._region_columns import make_columns
    from gpuseg._region_request import make_request

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


def test_second_moments_beyond_int64():
    """Rows that stand for an object of 2^40 pixels still have exact moments."""
    from gpuseg._region_sums import central

    n, side = 1 << 40, 1 << 20
    first = n * (side - 1) // 2
    second = n * (side - 1) * (2 * side - 1) // 6
    limbs = [np.array([[v & 0xFFFFFFFF, v >> 32]]) for v in (first, first, second)]
    found = central(np.array([n]), tuple(limbs), np.array([float(side) ** 2]))
    assert found[0] == pytest.approx(n * (side**2 - 1) / 12, rel=1e-14)


def test_extrema_and_positions_equal_scipy(container):
    labels, image = blobs((33, 44)), values((33, 44), np.int16) // 4096
    names = ("label", "intensity_min", "intensity_min_position", "intensity_max_position")
    table = regionprops_table(container(labels), container(image), properties=names)
    for row, label in enumerate(table["label"]):
        inside = np.flatnonzero(labels == label)
        found = image.ravel()[inside]
        first = np.unravel_index(inside[np.argmin(found)], labels.shape)
        last = np.unravel_index(inside[np.argmax(found)], labels.shape)
        assert table["intensity_min"][row] == found.min()
        assert [table[f"intensity_min_position-{i}"][row] for i in (0, 1)] == list(first)
        assert [table[f"intensity_max_position-{i}"][row] for i in (0, 1)] == list(last)


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


def test_task_counts():
    labels = da.zeros((512, 512), chunks=32, dtype=np.int32)
    from gpuseg._dask.regionprops import measured
    from gpuseg._region_request import make_request

    for names, most in ((("area", "centroid"), 1.15), (("perimeter",), 2.15)):
        request = make_request(labels, None, names, None, None, "-")
        graph = dict(measured(labels, None, request.plan).__dask_graph__())
        own = [key for key in graph if str(key[0]).startswith("regionprops")]
        assert len(own) <= most * 256 + 5


def test_labels_are_loaded_once_and_the_image_only_when_asked():
    loads = []

    def load(block, name):
        loads.append(name)
        return block

    labels = da.from_array(blobs((40, 40)), chunks=10).map_blocks(load, "labels", dtype=np.int32)
    image = da.from_array(values((40, 40), np.uint8), chunks=20).map_blocks(
        load, "image", dtype=np.uint8
    )
    loads.clear()
    regionprops_table(labels, image, properties=("area", "perimeter", "num_neighbors"))
    assert loads == ["labels"] * 16
    regionprops_table(labels, image, properties=("intensity_mean",))
    assert sorted(loads) == ["image"] * 4 + ["labels"] * 32


def test_mixed_containers():
    labels, image = blobs((20, 21)), values((20, 21, 2), np.uint8)
    names = ("label", "intensity_mean", "bbox")
    whole = regionprops_table(labels, image, properties=names)
    for pair in (
        (da.from_array(labels, chunks=8), image),
        (labels, da.from_array(image, chunks=(6, 7, 1))),
    ):
        assert_same_bits(regionprops_table(*pair, properties=names), whole)


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


def test_inputs_are_not_written_to():
    labels, image = blobs((20, 20)), values((20, 20), np.float64)
    copies = labels.copy(), image.copy()
    labels.flags.writeable = image.flags.writeable = False
    regionprops_table(labels, image, properties=known(2))
    assert (labels == copies[0]).all()
    assert (image == copies[1]).all()


@pytest.mark.parametrize(
    ("labels", "image", "arguments", "error", "message"),
    [
        (np.ones((3, 3)), None, {}, TypeError, "labels must be integers, got float64"),
        (np.ones((3, 3), bool), None, {}, TypeError, "got bool: label the mask"),
        (np.ones((3, 3), object), None, {}, TypeError, "got object"),
        (np.ones(3, int), None, {}, ValueError, "2-D or 3-D, got 1-D"),
        (np.int32(3) + np.zeros((), np.int32), None, {}, (ValueError, TypeError), "got"),
        (np.ones((3, 3), int), np.ones((3, 4)), {}, ValueError, r"shape \(3, 3\).*got \(3, 4\)"),
        (np.ones((3, 3), int), np.ones((3, 3), complex), {}, TypeError, "got complex128"),
        (np.full((3, 3), -4), None, {}, ValueError, "must not be negative, got -4"),
        (np.ones((3, 3), int), None, {"properties": "area"}, TypeError, "the string 'area'"),
        (
            np.ones((3, 3), int),
            None,
            {"properties": ["areas"]},
            ValueError,
            "'areas'; there are area",
        ),
        (
            np.ones((3, 3), int),
            None,
            {"properties": ["intensity_mean"]},
            ValueError,
            "needs an image",
        ),
        (
            np.ones((3, 3, 3), int),
            None,
            {"properties": ["perimeter"]},
            ValueError,
            "not defined for 3-D",
        ),
        (
            np.ones((3, 3), int),
            None,
            {"properties": ["surface_area"]},
            ValueError,
            "not defined for 2-D",
        ),
        (
            np.ones((3, 3), int),
            None,
            {"spacing": (1, 2, 3)},
            ValueError,
            r"2 of them, got \(1, 2, 3\)",
        ),
        (np.ones((3, 3), int), None, {"spacing": -1}, ValueError, "positive and finite, got -1"),
        (np.ones((3, 3), int), None, {"spacing": "1"}, ValueError, "got '1'"),
        (
            np.ones((3, 3), int),
            None,
            {"properties": ["perimeter"], "spacing": (1, 2)},
            ValueError,
            r"same spacing along both axes, got \(1.0, 2.0\)",
        ),
        (np.ones((3, 3), int), None, {"ids": [1.5]}, TypeError, r"got \[1.5\]"),
        (np.ones((3, 3), int), None, {"ids": [0]}, ValueError, "at least 1, got 0"),
    ],
    ids=str,
)
def test_bad_input(labels, image, arguments, error, message):
    with pytest.raises(error, match=message):
        regionprops_table(labels, image, **arguments)


def test_labels_beyond_int64():
    labels = np.array([[1, 1 << 63]], np.uint64)
    with pytest.raises(ValueError, match="must be below 2\\*\\*63, got 9223372036854775808"):
        regionprops_table(labels)


def test_negative_labels_in_any_chunk():
    labels = np.ones((8, 8), np.int16)
    labels[6, 7] = -7
    with pytest.raises(ValueError, match="must not be negative, got -7"):
        regionprops_table(da.from_array(labels, chunks=3))


def test_chunks_of_unknown_size():
    labels = da.from_array(np.arange(16).reshape(4, 4), chunks=2)
    unknown = labels[labels[:, 0] > 3]
    with pytest.raises(ValueError, match="unknown size"):
        regionprops_table(unknown)
    assert regionprops_table(unknown.compute_chunk_sizes())["label"].size == 12


@pytest.mark.parametrize("name", ["bioimageanalysisnotebooks", "stardist"])
def test_real_masks(test_data, name):
    import tifffile

    folder = test_data / "nuclei" / name
    path = next(
        p for p in sorted(folder.rglob("*.tif")) if "mask2d" in p.name or "_labels_" in p.name
    )
    labels = tifffile.imread(path).astype(np.int32)
    image = ndimage.gaussian_filter(labels.astype(float), 2)
    expected = skimage_measure.regionprops_table(labels, image, properties=known(2))
    found = regionprops_table(
        da.from_array(labels, chunks=100), da.from_array(image, chunks=77), properties=known(2)
    )
    assert_close(found, expected)


def test_real_volume(test_data):
    """Nuclei of a label volume from the Image Data Resource, against scikit-image."""
    import zarr

    group = zarr.open(
        test_data / "zarr/ez_zarr/example_data_zarr3/6001240_labels_v0.5.zarr", mode="r"
    )
    labels = np.asarray(group["labels/0/2"])[0].astype(np.int32)
    raw = np.asarray(group["2"])[0]
    table = regionprops_table(
        da.from_array(labels, chunks=(50, 31, 40)),
        da.from_array(raw, chunks=64),
        properties=known(3),
        spacing=(0.5, 0.72, 0.72),
    )
    expected = skimage_measure.regionprops_table(
        labels, raw, properties=known(3), spacing=(0.5, 0.72, 0.72)
    )
    assert_close(table, expected)
