"""Tools on label images against scikit-image and SciPy, however the array is cut."""

from __future__ import annotations

import itertools

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import morphology as skimage_morphology
from skimage import segmentation as skimage_segmentation
from skimage import util as skimage_util

from conftest import to_numpy
from gpuseg import morphology, segmentation
from gpuseg._backend import limit_threads
from gpuseg._cpu import label_tools as engine


def noise(shape=(40, 53), density=0.55, seed=0):
    return np.random.default_rng(seed).random(shape) < density


def objects(shape=(40, 53), seed=0, dtype=np.int32):
    found, _ = ndimage.label(noise(shape, 0.45, seed))
    return found.astype(dtype)


SHAPES = [(40, 53), (11, 14, 17), (60,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_size", [0, 1, 6, 10**9])
def test_remove_small(shape, max_size, container):
    for connectivity in range(1, len(shape) + 1):
        mask = noise(shape)
        options = {"max_size": max_size, "connectivity": connectivity}
        for name in ("remove_small_objects", "remove_small_holes"):
            expected = getattr(skimage_morphology, name)(mask, **options)
            found = to_numpy(getattr(morphology, name)(container(mask), **options))
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == bool


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint32])
def test_remove_small_labels_counts_all_parts(dtype, container):
    labels = np.array([[1, 1, 0, 2], [3, 0, 2, 0], [0, 2, 2, 1]], dtype)
    found = to_numpy(morphology.remove_small_objects(container(labels), max_size=3))
    np.testing.assert_array_equal(
        found, skimage_morphology.remove_small_objects(labels, max_size=3)
    )
    assert found.dtype == dtype


@pytest.mark.parametrize("shape", SHAPES)
def test_fill_holes(shape, container):
    for connectivity in range(1, len(shape) + 1):
        mask = noise(shape, 0.6 if len(shape) == 2 else 0.8, seed=connectivity)
        structure = ndimage.generate_binary_structure(len(shape), connectivity)
        expected = ndimage.binary_fill_holes(mask, structure)
        found = morphology.fill_holes(container(mask), connectivity=connectivity)
        np.testing.assert_array_equal(to_numpy(found), expected)


def test_fill_holes_of_full_and_empty_masks(container):
    for mask in (np.ones((5, 6), bool), np.zeros((5, 6), bool), np.ones((1, 1), bool)):
        np.testing.assert_array_equal(to_numpy(morphology.fill_holes(container(mask))), mask)


@pytest.mark.parametrize("buffer_size", [0, 1, 4])
@pytest.mark.parametrize("bgval", [0, 7])
def test_clear_border(buffer_size, bgval, container):
    for labels in (objects(), objects((9, 12, 11)), noise((30, 31), 0.3)):
        options = {"buffer_size": buffer_size, "bgval": bgval if labels.dtype != bool else 0}
        expected = skimage_segmentation.clear_border(labels, **options)
        found = to_numpy(segmentation.clear_border(container(labels), **options))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == labels.dtype


def test_clear_border_keeps_the_parts_inside(container):
    labels = np.array([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
    found = to_numpy(segmentation.clear_border(container(labels)))
    assert found.sum() == 1
    assert found[1, 2] == 1


def test_clear_border_of_a_mask(container):
    labels, inside = objects(seed=3), np.zeros((40, 53), bool)
    inside[5:30, 9:40] = True
    expected = skimage_segmentation.clear_border(labels, mask=inside)
    found = segmentation.clear_border(container(labels), mask=container(inside))
    np.testing.assert_array_equal(to_numpy(found), expected)


@pytest.mark.parametrize("offset", [1, 5, 250])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_relabel_sequential(offset, dtype, container):
    labels = objects(dtype=np.int64) % 120
    labels[labels % 3 == 1] = 0
    labels = labels.astype(dtype)
    expected, forward, inverse = skimage_segmentation.relabel_sequential(labels, offset)
    found, ours, back = segmentation.relabel_sequential(container(labels), offset)
    ours, back = dask.compute(ours, back)
    np.testing.assert_array_equal(to_numpy(found), expected)
    assert to_numpy(found).dtype == found.dtype
    for mine, theirs in ((ours, forward), (back, inverse)):
        np.testing.assert_array_equal(mine.in_values, theirs.in_values)
        np.testing.assert_array_equal(mine.out_values, theirs.out_values)


def test_relabel_sequential_of_sparse_labels():
    labels = np.array([[0, 1 << 60], [5, 1 << 40]])
    found, forward, inverse = segmentation.relabel_sequential(labels)
    assert found.tolist() == [[0, 3], [1, 2]]
    assert int(inverse[3]) == 1 << 60
    assert int(forward[1 << 40]) == 2


def brute_expand(labels, distance, spacing):
    """Nearest labelled pixel, the first in raster order where several are as near."""
    out = np.zeros_like(labels)
    sources = np.argwhere(labels)
    for place in np.ndindex(labels.shape):
        squares = (((sources - place) * spacing) ** 2)[:, ::-1].cumsum(1)[:, -1]
        if squares.size and np.sqrt(squares.min()) <= distance:
            out[place] = labels[tuple(sources[np.argmin(squares)])]
    return out


@settings(max_examples=40, deadline=None)
@given(
    st.data(),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9),
    st.sampled_from([0, 1, 1.5, 2, 4, np.inf]),
)
def test_expand_labels_takes_the_first_of_the_nearest(data, shape, distance):
    elements = st.sampled_from([0, 0, 0, 0, 1, 2, 3])
    labels = data.draw(hnp.arrays(np.int16, shape, elements=elements))
    spacing = data.draw(st.sampled_from([1.0, 2.0, 0.5]))
    steps = [spacing, *[1.0] * (len(shape) - 1)]
    expected = brute_expand(labels, distance, np.array(steps))
    np.testing.assert_array_equal(segmentation.expand_labels(labels, distance, steps), expected)
    chunks = tuple(data.draw(st.integers(1, size)) for size in shape)
    chunked = segmentation.expand_labels(da.from_array(labels, chunks=chunks), distance, steps)
    assert chunked.chunks == da.from_array(labels, chunks=chunks).chunks
    np.testing.assert_array_equal(chunked.compute(), expected)


@pytest.mark.parametrize("spacing", [1, (2.0, 0.7)])
def test_expand_labels_equals_scikit_image_where_one_is_nearest(spacing, container):
    labels = np.where(noise((80, 90), 0.004), np.arange(80 * 90).reshape(80, 90), 0)
    expected = skimage_segmentation.expand_labels(labels, 9, spacing)
    found = to_numpy(segmentation.expand_labels(container(labels), 9, spacing))
    mirrored = skimage_segmentation.expand_labels(labels[::-1, ::-1], 9, spacing)[::-1, ::-1]
    sure = expected == mirrored
    assert sure.mean() > 0.95
    np.testing.assert_array_equal(found[sure], expected[sure])
    np.testing.assert_array_equal(found > 0, expected > 0)


def test_expand_labels_in_strips():
    labels = np.where(noise((3000, 1000), 0.0004), np.arange(3_000_000).reshape(3000, 1000), 0)
    with limit_threads(1):
        one = segmentation.expand_labels(labels, 12)
    with limit_threads(3):
        three = segmentation.expand_labels(labels, 12)
    np.testing.assert_array_equal(one, three)
    assert (one > 0).sum() == (skimage_segmentation.expand_labels(labels, 12) > 0).sum()


@pytest.mark.parametrize("mode", ["thick", "inner", "outer"])
@pytest.mark.parametrize("background", [0, 2])
def test_find_boundaries(mode, background, container):
    for labels in (objects() % 5, objects((9, 10, 12)) % 4, noise((20, 30))):
        for connectivity in range(1, labels.ndim + 1):
            arguments = connectivity, mode, background
            expected = skimage_segmentation.find_boundaries(labels.astype(np.int32), *arguments)
            found = segmentation.find_boundaries(container(labels), *arguments)
            np.testing.assert_array_equal(to_numpy(found), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize(
    "shape",
    [(0, 5), (5, 0), (7,), (200,), (1, 70), (70, 1), (9, 64), (30, 65), (4, 5, 129), (3, 4, 5, 6)],
)
def test_outlines_of_every_width_in_strips(shape, dtype, monkeypatch):
    monkeypatch.setattr(engine, "_THREAD_PIXELS", 1)
    labels = np.random.default_rng(shape).integers(0, 4, shape).astype(dtype)
    labels = labels.repeat(3, -1)[..., : shape[-1]]
    if np.dtype(dtype).kind == "i":
        labels -= 1
    for connectivity, mode, background in itertools.product(
        range(1, len(shape) + 1), ["thick", "inner", "outer"], [0, 2, -1]
    ):
        arguments = connectivity, mode, background
        expected = np.zeros(shape, bool)
        if labels.size:
            small = labels if labels.itemsize < 8 else labels.astype(np.int32)
            expected = skimage_segmentation.find_boundaries(small, *arguments)
        with limit_threads(3):
            found = segmentation.find_boundaries(labels, *arguments)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, expected)


def outer(labels, connectivity):
    """Outer outlines by their definition: in the background, and where objects touch."""
    found = np.zeros(labels.shape, bool)
    for at in np.ndindex(labels.shape):
        steps = itertools.product((-1, 0, 1), repeat=labels.ndim)
        around = {}
        for step in steps:
            other = tuple(np.add(at, step))
            if all(0 <= x < n for x, n in zip(other, labels.shape, strict=True)):
                around[step] = int(labels[other])
        unequal = any(
            value != labels[at] and np.abs(step).sum() <= connectivity
            for step, value in around.items()
        )
        touching = len(set(around.values()) - {0}) > 1
        found[at] = unequal and (labels[at] == 0 or touching)
    return found


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize("shape", [(12, 67), (5, 6, 9)])
def test_outer_outlines_of_64_bit_labels(shape, dtype, container, rng):
    names = np.array([0, 1, 2**53, 2**53 + 1, np.iinfo(dtype).max], dtype)
    small = rng.integers(0, 5, shape) * (rng.random(shape) < 0.3)
    for connectivity in range(1, len(shape) + 1):
        found = to_numpy(
            segmentation.find_boundaries(container(names[small]), connectivity, "outer")
        )
        np.testing.assert_array_equal(found, outer(small, connectivity))
        np.testing.assert_array_equal(
            found,
            skimage_segmentation.find_boundaries(small.astype(np.int8), connectivity, "outer"),
        )


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.int8])
@pytest.mark.parametrize("values", [np.float32, np.int64, bool])
def test_map_array(dtype, values, container):
    labels = (objects() % 100).astype(dtype)
    keys = np.array([90, 3, 55, 4, 77])
    new = np.array([5, 1, 0, 9, 2]).astype(values)
    expected = skimage_util.map_array(labels, keys, new)
    found = to_numpy(segmentation.map_array(container(labels), keys, new))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_map_array_of_sparse_labels(container):
    labels = (objects().astype(np.int64) << 40) + 3
    keys = np.unique(labels)[::2]
    found = to_numpy(segmentation.map_array(container(labels), keys, np.arange(keys.size) + 1))
    np.testing.assert_array_equal(found > 0, np.isin(labels, keys))
    np.testing.assert_array_equal(keys[found[found > 0] - 1], labels[found > 0])


def test_map_array_writes_to_out():
    labels, out = objects(), np.empty((40, 53), np.float64)
    assert segmentation.map_array(labels, np.array([1]), np.array([0.5]), out) is out
    np.testing.assert_array_equal(out, np.where(labels == 1, 0.5, 0))


def test_chunks_are_read_twice_at_most():
    loads = []

    def load(block):
        loads.append(1)
        return block

    chunked = da.from_array(objects(), chunks=20).map_blocks(load, meta=np.empty((0, 0), np.int32))
    loads.clear()
    morphology.remove_small_objects(chunked, max_size=3).compute(scheduler="synchronous")
    assert len(loads) <= 2 * 6


def test_graphs_grow_with_chunks_alone():
    for tool in (
        lambda labels: morphology.remove_small_objects(labels),
        lambda labels: segmentation.relabel_sequential(labels)[0],
        lambda labels: segmentation.expand_labels(labels, 3),
        lambda labels: segmentation.find_boundaries(labels),
    ):
        sizes = []
        for side in (512, 1024):
            labels = da.zeros((side, side), chunks=32, dtype=np.int32)
            sizes.append(len(dict(tool(labels).__dask_graph__())) / (side // 32) ** 2)
        assert sizes[1] <= sizes[0] * 1.01
        assert sizes[1] < 6


BAD = [
    (morphology.remove_small_objects, (np.ones((3, 3)),), TypeError, "got float64"),
    (morphology.remove_small_holes, (np.ones((3, 3), int),), TypeError, "mask of bool, got int64"),
    (morphology.fill_holes, (np.ones((3, 3), int),), TypeError, "mask of bool, got int64"),
    (morphology.remove_small_objects, (np.full((3, 3), -1),), ValueError, "negative, got -1"),
    (segmentation.clear_border, (np.ones((3, 3), int), 3), ValueError, "got 3"),
    (segmentation.clear_border, (np.ones((3, 3), int), 0, 0, np.ones((3, 3))), TypeError, "got fl"),
    (segmentation.clear_border, (np.ones((3, 3), int), 0, 0, np.ones((3, 2), bool)), ValueError,
     r"got \(3, 2\)"),
    (segmentation.relabel_sequential, (np.ones((3, 3)),), TypeError, "got float64"),
    (segmentation.relabel_sequential, (np.ones((3, 3), int), 0), ValueError, "at least 1, got 0"),
    (segmentation.relabel_sequential, (np.full((3, 3), -2),), ValueError, "negative, got -2"),
    (segmentation.expand_labels, (np.ones((3, 3), int), -1), ValueError, "at least 0, got -1"),
    (segmentation.expand_labels, (np.ones((3, 3), int), 1, (1, 0)), ValueError, r"got \(1, 0\)"),
    (segmentation.find_boundaries, (np.ones((3, 3), int), 3), ValueError, "1 and 2, got 3"),
    (segmentation.find_boundaries, (np.ones((3, 3), int), 1, "subpixel"), ValueError, "'subpixel'"),
    (segmentation.map_array, (np.ones((3, 3)), np.ones(1), np.ones(1)), TypeError, "got float64"),
    (segmentation.map_array, (np.ones((3, 3), int), np.ones(1), np.ones(2)), ValueError, r"\(2,\)"),
    (segmentation.map_array, (da.ones((3, 3), dtype=int), np.ones(1), np.ones(1), np.ones((3, 3))),
     TypeError, "not for Dask arrays"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "error", "message"), BAD)
def test_bad_input(tool, arguments, error, message):
    with pytest.raises(error, match=message):
        tool(*arguments)


def test_no_kernels(xp):
    if xp is np:
        pytest.skip("for devices")
    with pytest.raises(TypeError, match=r"not implemented for CuPy arrays; .*\.get\(\)"):
        segmentation.find_boundaries(xp.asarray(objects()))


def test_real_nuclei(test_data):
    import tifffile

    path = sorted((test_data / "nuclei/stardist").rglob("mask2d.tif"))[0]
    labels = tifffile.imread(path).astype(np.int32)
    chunked = da.from_array(labels, chunks=(100, 170))
    np.testing.assert_array_equal(
        segmentation.clear_border(chunked).compute(), skimage_segmentation.clear_border(labels)
    )
    np.testing.assert_array_equal(
        morphology.remove_small_objects(chunked, max_size=200).compute(),
        skimage_morphology.remove_small_objects(labels, max_size=200),
    )
    np.testing.assert_array_equal(
        segmentation.find_boundaries(chunked, mode="outer").compute(),
        skimage_segmentation.find_boundaries(labels.astype(np.int32), mode="outer"),
    )


@pytest.mark.parametrize("dtype", [">u2", ">u8", ">i4"])
def test_labels_in_other_byte_orders(container, dtype):
    labels = np.array([[0, 7, 7], [300, 0, 9]], dtype)
    found, *_ = segmentation.relabel_sequential(container(labels))
    assert found.dtype == labels.dtype.newbyteorder("=")
    np.testing.assert_array_equal(to_numpy(found), [[0, 1, 1], [3, 0, 2]])


@pytest.mark.parametrize("dtype", [np.float16, ">f8", np.int8, bool])
def test_values_of_any_type(container, dtype):
    labels = np.array([[0, 7, 7], [300, 0, 9]])
    values = np.array([3, 1, 2]).astype(dtype)
    found = segmentation.map_array(container(labels), np.array([7, 9, 300]), values)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    a, b, c = values
    np.testing.assert_array_equal(to_numpy(found), np.array([[0, a, a], [c, 0, b]], dtype))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: segmentation.relabel_sequential(x, 1.5), TypeError, "offset .* got 1.5"),
        (lambda x: segmentation.clear_border(x, 1.5), TypeError, "buffer_size .* got 1.5"),
        (lambda x: segmentation.clear_border(x, bgval=300), ValueError, "fit into uint8, got 300"),
        (lambda x: segmentation.clear_border(x, mask=[1]), TypeError, "builtins.list"),
        (lambda x: segmentation.find_boundaries(x, 1.5), TypeError, "connectivity .* got 1.5"),
        (lambda x: segmentation.expand_labels(x, "2"), TypeError, "distance .* got '2'"),
        (lambda x: segmentation.map_array(x, [1.5], [2]), ValueError, r"integers, got \[1.5\]"),
        (lambda x: segmentation.map_array(x, [np.nan], [2]), ValueError, "integers, got"),
        (lambda x: segmentation.map_array(x, [1], ["a"]), TypeError, "numbers, got <U1"),
        (lambda x: segmentation.map_array(x, [1], [2], [0]), TypeError, "builtins.list"),
        (lambda x: morphology.remove_small_objects(x, max_size="2"), TypeError, "max_size"),
        (lambda x: morphology.fill_holes(x > 0, connectivity=True), TypeError, "got True"),
    ],
)
def test_options_of_other_types(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((4, 5), np.uint8))


def test_whole_floats_name_labels():
    found = segmentation.map_array(np.array([[0, 2]]), np.array([2.0]), np.array([7]))
    np.testing.assert_array_equal(found, [[0, 7]])
