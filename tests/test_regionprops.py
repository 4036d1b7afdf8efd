"""Region tables against scikit-image, and the same bits however the array is cut."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from region_cases import DTYPES, assert_close, assert_same_bits, blobs, known, values
from scipy import ndimage
from skimage import measure as skimage_measure

from gpuseg._backend import limit_threads
from gpuseg._shared.region_columns import PROPERTIES
from gpuseg.measure import regionprops_table


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


@pytest.mark.parametrize("shape", [(40, 44), (9, 10, 11)], ids=["2d", "3d"])
def test_bits_do_not_depend_on_other_labels(shape):
    labels, image = blobs(shape, labels=40), values(shape, np.float64)
    names = [name for name, prop in PROPERTIES.items() if len(shape) in prop.ndims]
    whole = regionprops_table(labels, image, properties=names)
    for row, label in enumerate(whole["label"][:20]):
        alone = regionprops_table(labels, image, properties=names, ids=[label])
        assert_same_bits(alone, {name: column[row : row + 1] for name, column in whole.items()})


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


def test_task_counts():
    labels = da.zeros((512, 512), chunks=32, dtype=np.int32)
    from gpuseg._dask.regionprops import measured
    from gpuseg._shared.region_request import make_request

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
        (np.ones((3, 3), int), None, {"properties": "area"}, TypeError, "names, got 'area'"),
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
            r"one for each of 2 axes, got \(1, 2, 3\)",
        ),
        (np.ones((3, 3), int), None, {"spacing": -1}, ValueError, "positive and finite, got -1"),
        (np.ones((3, 3), int), None, {"spacing": "1"}, TypeError, "got '1'"),
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


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (
            None,
            {"ids": np.array([2**63 + 5], np.uint64)},
            "got 9223372036854775813",
        ),
        (np.zeros((3, 3, 0)), {"properties": ["intensity_mean"]}, "must have channels"),
    ],
)
def test_ids_and_images_of_nothing(image, options, message):
    with pytest.raises(ValueError, match=message):
        regionprops_table(np.ones((3, 3), int), image, **options)
