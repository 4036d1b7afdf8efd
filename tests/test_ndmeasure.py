"""dask-image's names against SciPy, for every container."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import ndimage

from conftest import to_numpy
from gpuseg import ndmeasure

FUNCTIONS = [
    "sum_labels",
    "mean",
    "variance",
    "standard_deviation",
    "minimum",
    "maximum",
    "minimum_position",
    "maximum_position",
    "center_of_mass",
    "median",
]


def regions(shape=(23, 31), seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 7, tuple(size // 4 + 1 for size in shape))
    labels = coarse.repeat(4, 0).repeat(4, -1)[tuple(map(slice, shape))].astype(np.int32)
    return labels, rng.normal(50, 20, shape).astype(np.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("index", [None, 3, [1, 2, 3, 5], [0, 4]], ids=str)
def test_equals_scipy(name, index, container):
    labels, image = regions()
    expected = getattr(ndimage, name)(image, labels, index)
    found = to_numpy(getattr(ndmeasure, name)(container(image), container(labels), index))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.shape == np.shape(expected)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.uint64, np.float32])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "position" not in name])
def test_dtypes(name, dtype, container):
    labels, image = regions(seed=1)
    image = (image > 50) if dtype is bool else image.astype(dtype)
    expected = getattr(ndimage, name)(image, labels, [1, 2, 6])
    found = to_numpy(getattr(ndmeasure, name)(container(image), container(labels), [1, 2, 6]))
    # SciPy adds squares of float32 values in float32.
    tolerance = 1e-4 if dtype is np.float32 and name in ("variance", "standard_deviation") else 1e-9
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    if name in ("minimum", "maximum"):
        assert found.dtype == dtype


def test_first_of_equal_extrema(container):
    labels = np.array([[1, 1, 2, 1], [2, 1, 2, 2]])
    image = np.array([[3, 5, 0, 5], [9, 3, 0, 9]], np.uint8)
    arrays = container(image), container(labels), [1, 2]
    assert to_numpy(ndmeasure.minimum_position(*arrays)).tolist() == [[0, 0], [0, 2]]
    assert to_numpy(ndmeasure.maximum_position(*arrays)).tolist() == [[0, 1], [1, 0]]


def test_area_counts_the_background_when_asked(container):
    labels = np.array([[1, 1, 0], [1, 0, 3], [0, 7, 0]])
    image = np.zeros(labels.shape)
    area = ndmeasure.area(container(image), container(labels), [0, 1, 2, 3])
    assert to_numpy(area).tolist() == [4, 3, 0, 1]
    assert to_numpy(ndmeasure.area(container(image), container(labels))) == 5
    assert to_numpy(ndmeasure.area(container(image))) == 9


def test_whole_image_without_labels(container):
    _, image = regions()
    assert to_numpy(ndmeasure.mean(container(image))) == pytest.approx(image.mean(), rel=1e-14)
    low, high, at_low, at_high = map(to_numpy, ndmeasure.extrema(container(image)))
    assert (low, high) == (image.min(), image.max())
    assert image[tuple(at_low)] == low
    assert image[tuple(at_high)] == high


def test_labels_that_are_not_there(container):
    labels, image = (container(part) for part in regions())
    missing = [99, 1]
    for name in ("mean", "variance", "standard_deviation", "median"):
        assert np.isnan(to_numpy(getattr(ndmeasure, name)(image, labels, missing))[0])
    for name in ("area", "sum", "minimum", "maximum"):
        assert to_numpy(getattr(ndmeasure, name)(image, labels, missing))[0] == 0
    assert np.isnan(to_numpy(ndmeasure.center_of_mass(image, labels, missing))[0]).all()
    assert (to_numpy(ndmeasure.maximum_position(image, labels, missing))[0] == 0).all()


def test_negative_labels_can_be_indexed():
    labels = np.array([-2, -2, 0, 1])
    image = np.array([1.0, 3.0, 5.0, 7.0])
    assert ndmeasure.mean(image, labels, [-2, 0, 1]).tolist() == [2.0, 5.0, 7.0]
    assert ndmeasure.mean(image, labels) == ndimage.mean(image, labels)


def test_index_keeps_its_shape(container):
    labels, image = regions()
    index = np.array([[1, 2], [3, 4]])
    found = to_numpy(ndmeasure.mean(container(image), container(labels), index))
    np.testing.assert_allclose(found, ndimage.mean(image, labels, index))


def test_one_to_four_axes(container):
    rng = np.random.default_rng(3)
    for shape in [(17,), (5, 4, 6), (3, 4, 2, 5)]:
        labels = rng.integers(0, 4, shape)
        image = rng.integers(0, 200, shape).astype(np.uint8)
        found = to_numpy(ndmeasure.center_of_mass(container(image), container(labels), [1, 2, 3]))
        np.testing.assert_allclose(found, ndimage.center_of_mass(image, labels, [1, 2, 3]))


def test_histogram(container):
    labels, image = regions(seed=4)
    limits = 0.5, 99.5, 7
    found = to_numpy(ndmeasure.histogram(container(image), *limits, container(labels), [0, 2, 9]))
    for label, row in zip([0, 2, 9], found, strict=True):
        expected, _ = np.histogram(image[labels == label], 7, (0.5, 99.5))
        assert row.tolist() == expected.tolist()
    whole = to_numpy(ndmeasure.histogram(container(image), *limits))
    assert whole.tolist() == ndimage.histogram(image, *limits).tolist()


def test_histogram_on_its_edges(container):
    image = np.array([0, 1, 2, 3, 4, 5])
    found = ndmeasure.histogram(container(image), 1, 4, 3, container(np.ones(6, int)), 1)
    assert to_numpy(found).tolist() == np.histogram(image, 3, (1, 4))[0].tolist()
    with pytest.raises(ValueError, match="min must be below max, and both finite, got 4 and 4"):
        ndmeasure.histogram(image, 4, 4, 3)


def test_labeled_comprehension(container):
    labels, image = regions(seed=5)

    def mixed(values, positions):
        return positions[np.argmax(values)] + values.min()

    arguments = [[3, 1, 99], mixed, float, -1.0, True]
    expected = ndimage.labeled_comprehension(image, labels, *arguments)
    found = ndmeasure.labeled_comprehension(container(image), container(labels), *arguments)
    assert to_numpy(found).tolist() == expected.tolist()


def test_comprehension_sees_raster_order(container):
    labels, image = regions(seed=5)
    found = ndmeasure.labeled_comprehension(
        container(image), container(labels), [1, 4], tuple, object, None
    )
    for label, values in zip([1, 4], to_numpy(found), strict=True):
        assert values == tuple(image[labels == label])


def test_label_takes_what_is_not_0(container):
    image = np.array([[0.5, 0.0, 2.0], [0.0, -1.0, 0.0]])
    for structure in (None, np.ones((3, 3))):
        labels, number = ndmeasure.label(container(image), structure)
        expected, count = ndimage.label(image, structure)
        assert to_numpy(labels).tolist() == expected.tolist()
        assert int(number) == count


def test_find_objects(container):
    labels, _ = regions(seed=6)
    labels[labels == 2] = 1 << 20
    found = ndmeasure.find_objects(container(labels))
    expected = ndimage.find_objects(np.where(labels == 1 << 20, 2, labels))
    assert sorted(found) == [1, 3, 4, 5, 6, 1 << 20]
    assert found[1 << 20] == expected[1]
    assert [found[k] for k in (1, 3, 4, 5, 6)] == [expected[k - 1] for k in (1, 3, 4, 5, 6)]


def test_containers_stay():
    labels, image = regions()
    assert isinstance(ndmeasure.mean(image, labels, [1]), np.ndarray)
    assert isinstance(ndmeasure.mean(da.from_array(image), labels, [1]), da.Array)
    assert isinstance(ndmeasure.mean(image, da.from_array(labels), [1]), da.Array)


def test_one_pass_answers_many():
    loads = []

    def load(block):
        loads.append(block.shape)
        return block

    labels, image = regions((40, 40))
    chunked = da.from_array(image, chunks=10).map_blocks(load, meta=image[:0, :0])
    index = np.arange(6) + 1
    names = "mean", "sum", "minimum", "maximum", "standard_deviation", "maximum_position"
    lazy = [
        getattr(ndmeasure, name)(chunked, da.from_array(labels, chunks=20), index) for name in names
    ]
    answers = dask.compute(*lazy, scheduler="synchronous")
    assert len(loads) == 16
    np.testing.assert_allclose(answers[0], ndimage.mean(image, labels, index))
    graph = dask.base.collections_to_expr(lazy).optimize().__dask_graph__()
    assert sum(str(key).startswith("('regionprops-chunk") for key in graph) == 4


def test_task_count_does_not_depend_on_labels():
    labels = da.zeros((256, 256), chunks=16, dtype=np.int32)
    image = da.zeros((256, 256), chunks=16)
    sizes = [
        len(dict(ndmeasure.mean(image, labels, np.arange(1, n)).__dask_graph__()))
        for n in (10, 100_000)
    ]
    assert sizes[0] == sizes[1] <= 4.2 * 256


def test_bad_input():
    labels, image = regions()
    with pytest.raises(ValueError, match=r"shape \(23, 31\)"):
        ndmeasure.mean(image[1:], labels)
    with pytest.raises(TypeError, match="labels must be integers, got float64"):
        ndmeasure.mean(image, image)
    with pytest.raises(TypeError, match=r"index must be of integers, got \[1.5\]"):
        ndmeasure.mean(image, labels, [1.5])
    with pytest.raises(TypeError, match="got complex128"):
        ndmeasure.mean(image.astype(complex), labels)


def test_device(xp):
    """Tables are read on the host, wherever the pixels are."""
    labels, image = regions((21, 37), seed=8)
    arrays = xp.asarray(image), xp.asarray(labels)
    for name in ("area", "mean", "variance", "maximum_position", "center_of_mass"):
        expected = getattr(ndmeasure, name)(image, labels, [0, 2, 5, 99])
        found = getattr(ndmeasure, name)(*arrays, [0, 2, 5, 99])
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected)
    assert ndmeasure.mean(arrays[0]) == ndmeasure.mean(image)
    assert ndmeasure.find_objects(arrays[1]) == ndmeasure.find_objects(labels)
    if xp is not np:
        with pytest.raises(TypeError, match=r"not implemented for CuPy arrays; .*\.get\(\)"):
            ndmeasure.median(*arrays, [1])
        with pytest.raises(TypeError, match="at most 3 axes, got 4"):
            ndmeasure.mean(xp.asarray(np.ones((2, 2, 2, 2))))


def test_bool_labels():
    labels, image = regions()
    assert ndmeasure.mean(image, labels > 3) == pytest.approx(image[labels > 3].mean())


def test_seed_pipeline_on_real_frames(test_data):
    """The blog's recipe and its published number of nuclei, measured with our names."""
    import tifffile
    from skimage.filters import threshold_local

    paths = sorted((test_data / "nuclei/bbbc039/images").glob("*.tif"))[:3]
    images = np.stack([tifffile.imread(path) for path in paths])
    smoothed = ndimage.gaussian_filter(images, [0, 1, 1])
    binary = np.stack(
        [frame > threshold_local(frame, np.array(frame.shape) // 2 * 2 + 1) for frame in smoothed]
    )
    cross = np.zeros((3, 3, 3))
    cross[1] = ndimage.generate_binary_structure(2, 1)
    opened = ndimage.binary_opening(binary, cross)
    lazy, number = ndmeasure.label(da.from_array(opened, chunks=(1, 300, -1)), cross)
    labels, count = ndimage.label(opened, cross)
    assert int(number) == count
    index = np.arange(number) + 1
    chunked = da.from_array(images, chunks=(1, -1, -1)), lazy
    area, mean = dask.compute(ndmeasure.area(*chunked, index), ndmeasure.mean(*chunked, index))
    assert area.tolist() == np.bincount(labels.ravel())[1:].tolist()
    np.testing.assert_allclose(mean, ndimage.mean(images, labels, index), rtol=1e-14)


def test_large_unsigned_labels_are_told_apart():
    labels = np.array([[1, 2, 2], [3, 3, 3]]) + 2**53
    image = np.array([[4, 1, 3], [5, 6, 7]], float)
    ids = np.array([1, 2, 3]) + 2**53
    for dtype in (np.int64, np.uint64):
        for wrap in (np.asarray, lambda array: da.from_array(array, chunks=2)):
            here, values = wrap(labels.astype(dtype)), wrap(image)
            found = (
                ndmeasure.median(values, here, ids),
                ndmeasure.histogram(values, 0, 8, 2, here, ids),
            )
            median, counts = dask.compute(*found)
            np.testing.assert_array_equal(median, [4, 2, 6])
            np.testing.assert_array_equal(counts, [[0, 1], [2, 0], [0, 3]])
    with pytest.raises(ValueError, match=r"below 2\*\*63, got 9223372036854775809"):
        ndmeasure.median(image, np.full(image.shape, 2**63 + 1, np.uint64), [1])


@pytest.mark.parametrize("dtype", [">u8", ">i2", ">f4"])
def test_extremes_in_other_byte_orders(dtype):
    image = np.array([[5, 2], [9, 7]], dtype)
    found = ndmeasure.extrema(image, np.array([[1, 1], [2, 2]]), [1, 2, 3])
    np.testing.assert_array_equal(found[0], [2, 7, 0])
    np.testing.assert_array_equal(found[1], [5, 9, 0])
    assert found[0].dtype == found[1].dtype == image.dtype.newbyteorder("=")


def test_nothing_has_no_extremes(container):
    image = container(np.zeros((0, 4)))
    at = ndmeasure.maximum_position(image, container(np.zeros((0, 4), int)), [1])
    np.testing.assert_array_equal(to_numpy(at), [[0, 0]])


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((2, 2), complex), TypeError, "got complex128"),
        (np.array([["a"]]), TypeError, "got <U1"),
        ([[1]], TypeError, "builtins.list"),
        (np.ma.masked_array([1, 2], [0, 1]), TypeError, "masked"),
        (np.array(1), ValueError, "0-d"),
        (da.from_array(np.arange(4))[da.from_array(np.arange(4)) > 1], ValueError, "unknown size"),
    ],
    ids=["complex", "letters", "list", "masked", "0-d", "unknown chunks"],
)
def test_what_cannot_be_measured(image, error, message):
    for name in ("mean", "maximum", "median", "center_of_mass", "extrema"):
        with pytest.raises(error, match=message):
            getattr(ndmeasure, name)(image)
    with pytest.raises(error, match=message):
        ndmeasure.histogram(image, 0, 1, 2)


def test_histograms_of_no_labels(container):
    labels, image = regions()
    found = ndmeasure.histogram(container(image), 0, 5, 2, container(labels), [])
    assert to_numpy(found).shape == (0, 2)
