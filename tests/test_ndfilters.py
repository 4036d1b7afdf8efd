"""dask-image's filters under their names: SciPy's answers for every chunking."""

from __future__ import annotations

import inspect
from functools import partial

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage

from conftest import to_numpy
from gpuseg import ndfilters

FOOTPRINT = np.array([[0, 1, 0], [1, 1, 1]], bool)
WEIGHTS = np.array([[1, 2, 0], [0, 3, 1], [4, 0, 1.5]])


def _spread(values, power=1):
    return (values.max() - values.min()) ** power


CALLS = {
    "convolve": [(WEIGHTS,), (WEIGHTS[:2], "constant", 3.0, (0, 1))],
    "correlate": [(WEIGHTS,), (WEIGHTS[:2], "wrap", 0.0, (-1, 1))],
    "gaussian_filter": [(1.5,), ([0, 2],), ([1, 0.5], (0, 1), "mirror"), (1, 0, "wrap", 0.0, 2.0)],
    "gaussian_gradient_magnitude": [(1.5,), ([1, 2], "nearest")],
    "gaussian_laplace": [(1.5,), ([1, 2], "constant", 4.0, 3.0)],
    "generic_filter": [(_spread, 3), (_spread, None, FOOTPRINT, "wrap", 0.0, 0, (2,))],
    "laplace": [(), ("wrap",)],
    "maximum_filter": [(3,), (None, FOOTPRINT, "wrap"), ((1, 4), None, "mirror", 0.0, (0, -1))],
    "median_filter": [(3,), (None, FOOTPRINT), ((2, 5), None, "wrap")],
    "minimum_filter": [(3,), (None, FOOTPRINT, "constant", -5.0), (4, None, "reflect", 0.0, 1)],
    "percentile_filter": [(30, 3), (80, None, FOOTPRINT, "nearest")],
    "prewitt": [(), (0, "wrap")],
    "rank_filter": [(2, 3), (-1, None, FOOTPRINT, "mirror")],
    "sobel": [(), (-2, "constant", 7.0)],
    "uniform_filter": [(), ((1, 4),), (5, "wrap"), (3, "constant", 2.0, (1, -1))],
}


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("name", CALLS)
def test_equals_scipy(name, dtype, container, rng):
    image = (rng.random((23, 31)) * 1000).astype(dtype)
    wrapped = container(image)
    for arguments in CALLS[name]:
        ours = getattr(ndfilters, name)(wrapped, *arguments)
        theirs = _scipy(name, image, arguments)
        assert ours.dtype == theirs.dtype == dtype
        assert isinstance(ours, da.Array) == isinstance(wrapped, da.Array)
        np.testing.assert_allclose(
            np.asarray(ours), theirs, rtol=2e-6 if dtype == np.float32 else 0
        )


def _scipy(name, image, arguments):
    """SciPy's call: it has `output` after some argument, so names are given."""
    names = list(inspect.signature(getattr(ndfilters, name)).parameters)[1:]
    return getattr(ndimage, name)(image, **dict(zip(names, arguments, strict=False)))


def test_floats_are_the_same_for_every_chunking(rng):
    image = rng.random((37, 41)) * 10.0 ** rng.integers(-8, 8, (37, 41))
    for name, arguments in (("uniform_filter", (7,)), ("gaussian_filter", (2.3,))):
        call = getattr(ndfilters, name)
        whole = call(image, *arguments)
        for chunks in (5, (37, 3), (1, 41)):
            chunked = call(da.from_array(image, chunks=chunks), *arguments)
            np.testing.assert_array_equal(chunked.compute(), whole)


def test_gaussian_is_gaussian_filter(rng):
    image = rng.random((9, 8))
    np.testing.assert_array_equal(
        ndfilters.gaussian(image, 2, 1, "wrap"), ndfilters.gaussian_filter(image, 2, 1, "wrap")
    )


def test_threshold_of_each_frame_is_that_of_the_frame(container, rng):
    from skimage.filters import threshold_local

    stack = rng.integers(0, 4000, (3, 40, 50)).astype(np.uint16)
    frames = da.from_array(stack, chunks=(1, 40, 50))
    ours = ndfilters.threshold_local(frames, frames.chunksize)
    assert ours.dtype == np.float64
    expected = [threshold_local(f.astype(float), param=np.array([39, 49]) / 6) for f in stack]
    np.testing.assert_allclose(ours.compute(), expected, rtol=1e-12)
    mean = ndfilters.threshold_local(container(stack[0]), 5, "mean", 3)
    np.testing.assert_allclose(
        np.asarray(mean), threshold_local(stack[0], 5, "mean", 3), rtol=1e-12
    )


def test_signatures_are_those_of_dask_image():
    theirs = pytest.importorskip("dask_image.ndfilters")
    assert sorted(ndfilters.__all__) == sorted(theirs.__all__)
    for name in ndfilters.__all__:
        mine = list(inspect.signature(getattr(ndfilters, name)).parameters.values())
        peer = inspect.signature(getattr(theirs, name)).parameters.values()
        peer = [p for p in peer if p.kind is not p.VAR_KEYWORD]
        assert [(p.name, p.kind) for p in mine] == [(p.name, p.kind) for p in peer], name
        assert [p.default for p in mine if p.name != "extra_keywords"] == [
            p.default for p in peer if p.name != "extra_keywords"
        ], name


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ndfilters.convolve(x, np.ones(3)), ValueError, r"2 axes .* shape \(3,\)"),
        (lambda x: ndfilters.convolve(x, np.ones((3, 3)), "odd"), ValueError, "'odd'"),
        (lambda x: ndfilters.correlate(x, np.ones((3, 3)), origin=2), ValueError, "got 2"),
        (lambda x: ndfilters.gaussian_filter(x, -1), ValueError, "sigma .* got -1"),
        (lambda x: ndfilters.gaussian_filter(x, (1, 1, 1)), ValueError, "sigma"),
        (lambda x: ndfilters.sobel(x, 2), ValueError, "axis must be one of 2, got 2"),
        (lambda x: ndfilters.median_filter(x), ValueError, "either size or footprint"),
        (lambda x: ndfilters.median_filter(x, 0), ValueError, "size must be positive, got 0"),
        (lambda x: ndfilters.median_filter(x, footprint=[1, 1]), ValueError, "2 axes"),
        (lambda x: ndfilters.generic_filter(x, 3, 3), TypeError, "got 3"),
        (lambda x: ndfilters.median_filter(x, 2.5), TypeError, "size must be an integer, got 2.5"),
        (lambda x: ndfilters.median_filter(x, 3, origin="0"), TypeError, "origin .* got '0'"),
        (lambda x: ndfilters.gaussian_filter(x, "1"), TypeError, "sigma must be a real number"),
        (lambda x: ndfilters.gaussian_filter(x, np.inf), ValueError, "sigma .* got inf"),
        (lambda x: ndfilters.gaussian_filter(x, 1, -1), ValueError, "order .* got -1"),
        (lambda x: ndfilters.gaussian_filter(x, 1, truncate=-1), ValueError, "truncate .* got -1"),
        (lambda x: ndfilters.sobel(x, 1.0), TypeError, "axis must be an integer, got 1.0"),
        (lambda x: ndfilters.rank_filter(x, 1.5, 3), TypeError, "rank must be an integer"),
        (lambda x: ndfilters.rank_filter(x, 9, 3), ValueError, "from -9 to 8, got 9"),
        (lambda x: ndfilters.rank_filter(x, -10, 3), ValueError, "from -9 to 8, got -10"),
        (lambda x: ndfilters.percentile_filter(x, 101, 3), ValueError, "-100 to 100, got 101"),
        (lambda x: ndfilters.percentile_filter(x, np.nan, 3), ValueError, "got nan"),
        (lambda x: ndfilters.median_filter(x.astype(complex), 3), TypeError, "got complex128"),
        (lambda x: ndfilters.laplace(memoryview(x)), TypeError, "builtins.memoryview"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(np.zeros((5, 6)))


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, object, "U3", "M8[s]"])
def test_linear_filters_of_what_scipy_lacks(dtype):
    image = np.zeros((4, 4), dtype)
    weights = np.ones((3, 3))
    for call in (
        lambda x: ndfilters.convolve(x, weights),
        lambda x: ndfilters.gaussian_filter(x, 1),
        lambda x: ndfilters.sobel(x),
        lambda x: ndfilters.uniform_filter(x, 3),
    ):
        for wrap in (np.asarray, partial(da.from_array, chunks=2)):
            with pytest.raises(TypeError, match="32 or 64 bits, got"):
                call(wrap(image))


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "u8", "c16"])
@pytest.mark.parametrize(("mode", "cval"), [("constant", 0.3), ("constant", 2), ("mirror", 0)])
def test_means_round_alike_for_every_chunking(dtype, mode, cval, container, rng):
    image = rng.integers(0, 2 if dtype == "?" else 200, (23, 31)).astype(dtype)
    if dtype == "c16":
        image += 1j * rng.random(image.shape)
    found = to_numpy(ndfilters.uniform_filter(container(image), 4, mode, cval))
    np.testing.assert_array_equal(found, ndfilters.uniform_filter(image, 4, mode, cval))
    expected = ndimage.uniform_filter(image, 4, mode=mode, cval=cval)
    assert found.dtype == expected.dtype
    # SciPy's own rounding may fall to the other side of an integer.
    off = 1e-12 if dtype == "c16" else cval != int(cval)
    assert np.abs(found * 1.0 - expected).max() <= off
    large = (image * 2.0**54).astype("i8") if dtype == "i8" else image
    found = to_numpy(ndfilters.uniform_filter(container(large), 5, mode, cval))
    np.testing.assert_array_equal(found, ndfilters.uniform_filter(large, 5, mode, cval))


def test_a_mean_of_one_pixel_is_a_copy(container):
    image = np.array([[0.5, -1.5], [2.0, 3.0]])
    found = ndfilters.uniform_filter(container(image), 1)
    np.testing.assert_array_equal(np.asarray(found), image)
    assert not np.shares_memory(np.asarray(found), image)
    with pytest.raises(ValueError, match="'odd'"):
        ndfilters.uniform_filter(image, 1, "odd")
