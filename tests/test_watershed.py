"""Watershed: the forest by its definition, and scikit-image's answer up to ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import segmentation as skimage_segmentation
from skimage.feature import peak_local_max
from watershed_cases import CASES, as_bytes, by_definition, heights, plateaus, seeds, smooth, snake

from gpuseg._backend import limit_threads
from gpuseg._cpu import _watershed_block, _watershed_merge
from gpuseg._cpu import watershed as engine
from gpuseg._shared.order_keys import key_type, order_keys
from gpuseg.segmentation import watershed


@pytest.fixture
def strips(monkeypatch):
    """Several strips, also of small images."""
    monkeypatch.setattr(engine, "_PIXELS_PER_THREAD", 1)
    monkeypatch.setattr(engine, "_TILE", 100)
    # Sorted by digits, as many edges are.
    for module in (_watershed_block, _watershed_merge):
        monkeypatch.setattr(module, "_FEW", 1)


def check(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("strips")
def test_the_forest_by_definition(name):
    image, markers, mask = CASES[name]
    for connectivity in range(1, image.ndim + 1):
        expected = by_definition(image, markers, connectivity, mask)
        for threads in (1, 3):
            with limit_threads(threads):
                found = watershed(image, markers, mask=mask, connectivity=connectivity)
            check(found, expected)


IMAGES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=9).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)),
        hnp.arrays(np.int32, shape, elements=st.sampled_from([0, 0, 0, 0, 1, 2, 300])),
        hnp.arrays(bool, shape, elements=st.sampled_from([True, True, True, False])),
    )
)


@given(IMAGES, st.data())
@settings(max_examples=60, deadline=None)
def test_small_images_by_definition(case, data):
    image, markers, mask = case
    connectivity = data.draw(st.integers(1, image.ndim))
    expected = by_definition(image, markers, connectivity, mask)
    check(watershed(image, markers, mask=mask, connectivity=connectivity), expected)


DTYPES = ["bool", "int8", "uint16", "int16", "float16", "float32", "float64", "int32", "uint64"]


@pytest.mark.parametrize("dtype", [*DTYPES, ">u2", ">f8", "int64"])
def test_any_real_dtype(dtype):
    image = (smooth(20, 30, sigma=1) * 40).astype(int)
    if np.dtype(dtype).kind in "bu":
        image = image.clip(0)
    image = image.astype(dtype)
    if image.dtype.kind == "f":
        image[3, 4], image[5, 6], image[7, 8] = np.inf, -np.inf, -0.0
    markers = seeds(image.shape, 12, np.random.default_rng(0))
    check(watershed(image, markers), by_definition(image, markers, 1))


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "uint32", "uint8"])
def test_keys_are_in_the_order_of_values(dtype):
    kind = np.dtype(dtype)
    if kind.kind == "f":
        info = np.finfo(kind)
        some = [-np.inf, info.min, -1.5, -info.tiny, -0.0, 0.0, info.tiny, 1.5, info.max, np.inf]
    elif kind.kind == "b":
        some = [False, True]
    else:
        info = np.iinfo(kind)
        some = [info.min, info.min + 1, 0, 1, 7, info.max - 2, info.max - 1]
    values = np.unique(np.array(some, kind))
    keys = order_keys(values)
    assert (np.diff(keys.astype(object)) > 0).all()
    assert keys.dtype == key_type(kind)
    assert int(keys.max()) < np.iinfo(keys.dtype).max
    if kind.kind == "f":
        assert order_keys(np.array([-0.0], kind)) == order_keys(np.array([0.0], kind))


def test_the_largest_integers_are_not_taken_for_nothing():
    top = np.iinfo(np.int64).max
    image = np.array([[top, top - 5, top, top, 3]])
    np.testing.assert_array_equal(watershed(image, [(0, 0)]), [[1, 1, 1, 1, 1]])


def nuclei(side=256, seed=0):
    """Touching discs: negative distances, peaks as markers, and where they are."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side))
    mask = np.zeros((side, side), bool)
    for cy, cx, radius in zip(
        *rng.integers(5, side - 5, (2, 60)), rng.integers(6, 14, 60), strict=True
    ):
        mask |= (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    distance = ndimage.distance_transform_edt(mask)
    peaks = peak_local_max(distance, min_distance=5, labels=ndimage.label(mask)[0])
    return -distance, engine.paint(mask, peaks), mask


def against_scikit_image(name):
    if name == "nuclei":
        return nuclei()
    image = smooth(200, 220, sigma=4)
    if name == "smooth bytes":
        image = as_bytes(image)
    if name == "gradient":
        image = ndimage.gaussian_gradient_magnitude(image, 1.5)
    peaks = peak_local_max(-smooth(200, 220, sigma=4), min_distance=8)
    return image, engine.paint(image, peaks), None


@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("name", ["nuclei", "smooth", "smooth bytes", "gradient"])
def test_as_scikit_image_but_for_ties(name, connectivity):
    """Where labels differ, both reach the pixel at the same height."""
    image, markers, mask = against_scikit_image(name)
    found = watershed(image, markers, mask=mask, connectivity=connectivity)
    expected = skimage_segmentation.watershed(image, markers, connectivity=connectivity, mask=mask)
    assert found.dtype == expected.dtype
    inside = np.ones(image.shape, bool) if mask is None else mask
    differ = inside & (found != expected)
    assert differ.sum() <= 0.03 * inside.sum()
    np.testing.assert_array_equal(found > 0, expected > 0)
    labels = np.unique(np.concatenate([found[differ], expected[differ]]))
    reached = {k: heights(image, markers == k, connectivity, inside) for k in labels.tolist()}
    for at in zip(*differ.nonzero(), strict=True):
        assert reached[int(found[at])][at] == reached[int(expected[at])][at]


@pytest.mark.parametrize("shape", [(30, 40), (8, 9, 11)])
def test_as_scikit_image_where_values_differ_and_minima_are_marked(shape):
    rng = np.random.default_rng(3)
    image = rng.permutation(int(np.prod(shape))).reshape(shape)
    for connectivity in range(1, len(shape) + 1):
        for values in (image.astype(np.float64), image.astype(np.uint16)):
            markers = engine.minima(values, None, connectivity)
            found = watershed(values, markers, connectivity=connectivity)
            peer = skimage_segmentation.watershed(values, markers, connectivity=connectivity)
            check(found, peer)


@pytest.mark.parametrize("masked", [False, True])
def test_markers_of_all_kinds_as_scikit_image(masked):
    image = as_bytes(smooth(60, 80, sigma=3, seed=4))
    mask = smooth(60, 80, seed=5) > -0.05 if masked else None
    for markers in (None, 1, 25, 10**9):
        found = watershed(image, markers, mask=mask)
        wanted = skimage_segmentation.watershed(image, markers, mask=mask)
        assert found.dtype == np.int32
        assert found.max() == wanted.max()
        assert (found == wanted).mean() > 0.97
    points = [(10, 12), (30, 70), (10, 12), (55, 3)]
    labels = np.zeros(image.shape, np.int32)
    labels[30, 70], labels[55, 3], labels[10, 12] = 2, 4, 1
    for some in (points, np.array(points), np.array(points, np.uint8)):
        check(watershed(image, some, mask=mask), watershed(image, labels, mask=mask))
    assert not watershed(image, []).any()


def test_a_marker_outside_the_mask_does_not_count():
    image, mask = np.zeros((4, 6), np.uint8), np.ones((4, 6), bool)
    mask[:, 3] = False
    markers = np.zeros((4, 6), np.int32)
    markers[1, 1], markers[2, 3] = 5, 9
    expected = np.where(np.arange(6) < 3, 5, 0) * np.ones((4, 1), np.int32)
    check(watershed(image, markers, mask=mask), expected.astype(np.int32))
    check(watershed(image, markers, mask=mask.astype(np.uint8)), expected.astype(np.int32))


def test_a_flat_is_halved_between_two_markers():
    labels = watershed(np.zeros((5, 11)), [(2, 0), (2, 10)])
    np.testing.assert_array_equal((labels == 1).sum(1), [6, 6, 6, 6, 6])


@pytest.mark.usefixtures("strips")
@pytest.mark.parametrize("image", [snake(61), plateaus(80, 60), np.zeros((70, 9))], ids=len)
def test_flats_over_many_strips(image):
    markers = seeds(image.shape, 3, np.random.default_rng(0))
    expected = watershed(image, markers)
    for threads in (1, 2, 5, 16):
        with limit_threads(threads):
            check(watershed(image, markers), expected)


@pytest.mark.usefixtures("strips")
def test_strips_of_noise(rng):
    image = rng.random((200, 150))
    for count in (1, 400):
        markers = seeds(image.shape, count, rng)
        with limit_threads(1):
            expected = watershed(image, markers)
        for threads in (2, 7):
            with limit_threads(threads):
                check(watershed(image, markers), expected)


def test_layouts_and_read_only():
    image = smooth(30, 40)
    markers = seeds(image.shape, 6, np.random.default_rng(0))
    image.flags.writeable = markers.flags.writeable = False
    expected = watershed(image, markers)
    check(watershed(np.asfortranarray(image), np.asfortranarray(markers)), expected)
    double = np.repeat(np.repeat(image, 2, 0), 2, 1)
    check(watershed(double[::2, ::2], markers), expected)
    mirrored = watershed(image[:, ::-1], markers[:, ::-1])[:, ::-1]
    check(np.ascontiguousarray(mirrored), expected)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0, 2)])
def test_no_pixels(shape):
    found = watershed(np.zeros(shape), np.zeros(shape, np.uint8))
    assert (found.shape, found.dtype) == (shape, np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_labels_are_of_the_markers_dtype(dtype):
    markers = np.zeros((5, 6), dtype)
    markers[1, 1], markers[4, 4] = 3, np.iinfo(dtype).max if dtype != "uint64" else 2**62
    found = watershed(smooth(5, 6), markers)
    assert found.dtype == dtype
    assert set(np.unique(found)) == set(np.unique(markers)) - {0}


def test_blocks_know_their_faces():
    frame = _watershed_block.Frame.around((4, 5), np.dtype(np.uint8))
    block = _watershed_block.Block(frame, 1, (4, 0), (12, 5))
    block.fill(np.zeros((4, 5), np.uint8), None, None)
    np.testing.assert_array_equal(block.places(block.faces), [*range(20, 25), *range(35, 40)])


BAD = [
    ((np.zeros((3, 3), complex), [(0, 0)]), {}, TypeError, "got complex128"),
    ((np.zeros((2, 2, 2, 2)), [(0, 0)]), {}, ValueError, r"got shape \(2, 2, 2, 2\)"),
    ((np.zeros((3, 3)), [(0, 0)]), {"connectivity": 3}, ValueError, "between 1 and 2 .* got 3"),
    ((np.zeros((3, 3)), [(0, 0)]), {"connectivity": 1.0}, TypeError, "got 1.0"),
    ((np.zeros((3, 3)), np.zeros((3, 4), int)), {}, ValueError, r"got shape \(3, 4\)"),
    ((np.zeros((3, 3)), np.zeros((3, 3))), {}, TypeError, "got float64"),
    ((np.zeros((3, 3)), np.zeros((3, 3), bool)), {}, TypeError, "label a mask"),
    ((np.zeros((3, 3)), np.full((3, 3), -2)), {}, ValueError, "negative, got -2"),
    ((np.zeros((3, 3)), [(0, 3)]), {}, ValueError, r"got \(0, 3\)"),
    ((np.zeros((3, 3)), [(0.5, 1.0)]), {}, TypeError, "got float64"),
    ((np.zeros((3, 3)), [(1, 1, 1)]), {}, ValueError, r"got shape \(1, 3\)"),
    ((np.zeros((3, 3)), 0), {}, ValueError, "at least 1, got 0"),
    ((np.full((3, 3), np.nan), [(0, 0)]), {}, ValueError, "NaN .* got 9 of 9"),
    ((np.zeros((3, 3)), 4), {"mask": np.ones((3, 2), bool)}, ValueError, r"got \(3, 2\)"),
    ((np.zeros((3, 3)), 4), {"mask": np.ones((3, 3))}, TypeError, "got float64"),
    (([[0, 0]], 4), {}, TypeError, "got builtins.list"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_what_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        watershed(*arguments, **options)


def test_nan_outside_the_mask_does_not_matter():
    image = np.array([[1.0, np.nan, 2.0]])
    found = watershed(image, [(0, 0), (0, 2)], mask=~np.isnan(image))
    np.testing.assert_array_equal(found, [[1, 0, 2]])


def test_real_nuclei_as_scikit_image(test_data):
    tifffile = pytest.importorskip("tifffile")
    files = sorted((test_data / "nuclei").rglob("*.tif"))[:3]
    for file in files:
        image = tifffile.imread(file)
        if image.ndim != 2:
            continue
        mask = image > image.mean() + image.std() / 2
        distance = ndimage.distance_transform_edt(mask)
        peaks = peak_local_max(distance, min_distance=7, labels=ndimage.label(mask)[0])
        markers = engine.paint(mask, peaks)
        found = watershed(-distance, markers, mask=mask)
        expected = skimage_segmentation.watershed(-distance, markers, mask=mask)
        assert (found == expected)[mask].mean() > 0.97


def test_minima_of_any_real_numbers(rng):
    image = rng.integers(0, 9, (9, 11)).astype(np.float32)
    expected = watershed(image)
    for dtype in (np.float16, ">f2", ">i4", ">f8"):
        np.testing.assert_array_equal(watershed(image.astype(dtype)), expected)
