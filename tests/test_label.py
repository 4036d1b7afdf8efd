"""Labels of whole arrays: SciPy's, number for number, and scikit-image's for integer images."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.measure
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_cases import (
    MASKS,
    blobs,
    by_first_pixel,
    by_graph,
    by_scipy,
    noise,
    structure,
)
from scipy import ndimage

from gpuseg._backend import limit_threads
from gpuseg._cpu import label as engine
from gpuseg.measure import label

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">u2", ">i4"]


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"], autouse=True)
def strips(request, monkeypatch):
    """Small images in one strip, and in as many as they bear."""
    monkeypatch.setattr(engine, "_PIXELS_PER_THREAD", 1)
    with limit_threads(request.param):
        yield


def connectivities(image):
    return range(1, image.ndim + 1)


def check(found, expected):
    labels, number = found
    wanted, count = expected
    assert number == count
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, wanted)


@pytest.mark.parametrize("name", MASKS)
def test_masks(name):
    image = MASKS[name]
    for connectivity in connectivities(image):
        check(label(image, connectivity=connectivity), by_scipy(image, connectivity))


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4, max_side=70)), st.data())
@settings(max_examples=60, deadline=None)
def test_any_mask(image, data):
    connectivity = data.draw(st.integers(1, image.ndim))
    with limit_threads(data.draw(st.integers(1, 4))):
        check(label(image, connectivity=connectivity), by_scipy(image, connectivity))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_noise(share):
    for shape in ((129, 257), (20, 30, 70), (33, 64), (7, 5, 63)):
        image = noise(*shape, share=share)
        for connectivity in connectivities(image):
            check(label(image, connectivity=connectivity), by_scipy(image, connectivity))


def test_default_connectivity_is_full():
    image = blobs(50, 60)
    check(label(image), by_scipy(image, 2))
    space = blobs(10, 20, 30)
    check(label(space), by_scipy(space, 3))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_equal_values_connect(dtype):
    for shape in ((40, 150), (9, 12, 66), (3, 64), (200,)):
        coarse = np.random.default_rng(1).integers(0, 4, [-(-size // 3) for size in shape])
        image = coarse.astype(dtype)
        for axis, size in enumerate(shape):
            image = image.repeat(3, axis).take(range(size), axis)
        for connectivity in connectivities(image):
            whole = skimage.measure.label(image.astype(int), connectivity=connectivity)
            expected = by_first_pixel(whole)
            check(label(image, connectivity=connectivity), (expected, expected.max()))


@given(
    hnp.arrays(np.int8, hnp.array_shapes(max_dims=3, max_side=40), elements=st.integers(-1, 2)),
    st.integers(-2, 3),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_integers(image, background, data):
    connectivity = data.draw(st.integers(1, image.ndim))
    found = label(image, connectivity=connectivity, background=background)
    check(found, by_graph(image, connectivity, background=background))


def test_background_that_the_dtype_cannot_hold():
    for image in (np.array([[0, 0, 5], [5, 0, 0]], np.uint8), noise(30, 70)):
        found = label(image, connectivity=1, background=-1)
        check(found, by_graph(image.astype(int), 1, background=-1))


def test_background_of_a_mask_may_be_true():
    image = blobs(40, 90)
    check(label(image, background=1), by_scipy(~image, 2))
    for true in (True, np.True_, np.uint8(1)):
        check(label(image, background=true), by_scipy(~image, 2))


@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[::-1],
        lambda image: image[:, ::-1],
        lambda image: image[::2, 3:90:5],
        lambda image: image.T,
        lambda image: np.asfortranarray(image),
        lambda image: image[5:60, 7:100],
        lambda image: np.lib.stride_tricks.as_strided(image, (20, 64), (0, 1)),
    ],
)
def test_any_strides(view):
    mask = view(noise(80, 128))
    check(label(mask), by_scipy(mask, 2))
    image = view(noise(80, 128).astype(np.uint16))
    check(label(image), by_graph(image, 2))


@pytest.mark.parametrize("plane_pixels", [1, 1 << 20], ids=["plane by plane", "copied"])
@pytest.mark.parametrize(
    "view",
    [
        lambda volume: volume[:, 2:9, 3:80],
        lambda volume: volume[1:5, ::2],
        lambda volume: volume[::-1, :, 1:],
        lambda volume: volume[:, :, :1],
        lambda volume: volume.reshape(2, 3, 10, 90)[:, 1:, 3:, 5:70],
        lambda volume: volume.reshape(3, 2, 10, 90)[::2],
    ],
)
def test_blocks_cut_out_of_volumes(view, plane_pixels, monkeypatch):
    """Planes of a mask follow each other with gaps, and strips end within them."""
    monkeypatch.setattr(engine, "_PLANE_PIXELS", plane_pixels)
    mask = view(noise(6, 10, 90))
    for connectivity in connectivities(mask):
        check(label(mask, connectivity=connectivity), by_scipy(mask, connectivity))
        whole = label(np.ascontiguousarray(mask).astype(np.uint8), connectivity=connectivity)
        check(label(mask.astype(np.uint8), connectivity=connectivity), whole)


def test_read_only_image():
    image = noise(40, 80)
    image.flags.writeable = False
    check(label(image), by_scipy(image, 2))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (3, 0, 4)])
def test_no_pixels(shape):
    labels, number = label(np.zeros(shape, bool))
    assert labels.shape == shape
    assert labels.dtype == np.int32
    assert number == 0


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("step", [1, 2])
def test_out(dtype, step):
    image = noise(60, 150)
    space = np.full((60, 150 * step), -7, dtype)
    out = space[:, ::step]
    labels, number = label(image, connectivity=1, out=out)
    assert labels is out
    expected, count = by_scipy(image, 1)
    assert number == count
    np.testing.assert_array_equal(out, expected)
    assert (space[:, 1::step] == -7).all() or step == 1


def test_out_may_be_the_image():
    image = np.random.default_rng(0).integers(0, 3, (50, 100)).astype(np.int32)
    expected, count = by_graph(image, 2)
    labels, number = label(image, out=image)
    assert labels is image
    assert number == count
    np.testing.assert_array_equal(labels, expected)


def test_structure_as_scipy_takes_it():
    image = blobs(12, 20, 80)
    for connectivity in (1, 2, 3):
        given = structure(3, connectivity)
        check(label(image, structure=given), ndimage.label(image, given))
        check(label(image, structure=given.astype(int).tolist()), ndimage.label(image, given))
    for axis in range(3):
        for connectivity in (1, 2):
            flat = np.zeros((3, 3, 3), bool)
            flat[(slice(None),) * axis + (1,)] = structure(2, connectivity)
            check(label(image, structure=flat), ndimage.label(image, flat))


@pytest.mark.parametrize("axes", [0, (1,), (2,), -1, (0, 1), (1, 2), (-3, 2), (0, 1, 2)])
def test_axes(axes):
    image = blobs(9, 14, 70)
    used = [axis % 3 for axis in np.atleast_1d(axes)]
    for connectivity in range(1, len(used) + 1):
        expected = by_graph(image, connectivity, axes=used)
        check(label(image, axes=axes, connectivity=connectivity), expected)
    values = np.random.default_rng(0).integers(0, 3, (5, 6, 66))
    check(label(values, axes=axes), by_graph(values, len(used), axes=used))


def test_frames_of_a_stack_are_numbered_on():
    stack = blobs(4, 30, 40)
    labels, number = label(stack, axes=(1, 2))
    before = 0
    for frame, found in zip(stack, labels, strict=True):
        expected, count = by_scipy(frame, 2)
        np.testing.assert_array_equal(found, np.where(expected > 0, expected + before, 0))
        before += count
    assert number == before


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=9), elements=st.integers(0, 2)))
@settings(max_examples=40, deadline=None)
def test_wrap_axes(image):
    axes = range(image.ndim)
    for wrap in [(axis,) for axis in axes] + [tuple(axes)]:
        for connectivity in connectivities(image):
            options = {"wrap_axes": wrap}
            for picture in (image, image > 0):
                found = label(picture, connectivity=connectivity, **options)
                check(found, by_graph(picture, connectivity, **options))


def test_wrap_axes_of_wide_rows():
    image = noise(20, 200, share=0.4)
    for wrap in (0, 1, (0, 1)):
        found = label(image, connectivity=2, wrap_axes=wrap)
        check(found, by_graph(image, 2, wrap_axes=np.atleast_1d(wrap)))


def test_flips_and_turns_keep_the_components():
    image = noise(60, 80, share=0.6)
    labels, number = label(image, connectivity=1)
    for turned, back in (
        (image[::-1], lambda a: a[::-1]),
        (image.T, lambda a: a.T),
        (np.rot90(image), lambda a: np.rot90(a, -1)),
    ):
        found, count = label(turned, connectivity=1)
        assert count == number
        np.testing.assert_array_equal(by_first_pixel(back(found)), labels)


@pytest.mark.parametrize("shape", [(150, 300), (40, 50, 70)])
@pytest.mark.parametrize("sigma", [0, 6])
def test_first_pixels_of_many_labels_and_of_few(shape, sigma):
    image = ndimage.gaussian_filter(np.random.default_rng(0).random(shape), sigma) > 0.5
    firsts, _ = engine.outline(image, image.ndim, [])
    labels, number = ndimage.label(image, np.ones((3,) * image.ndim))
    values, expected = np.unique(labels, return_index=True)
    assert firsts.size == number
    np.testing.assert_array_equal(firsts, expected[values > 0])
