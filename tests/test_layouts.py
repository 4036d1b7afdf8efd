"""Every operation on what lies otherwise in memory, and on what is no array of pixels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
from test_support import MODULES, _call, _host, _names

from gpuseg import measure, ndmeasure

OPERATIONS = [(module, name) for module in MODULES for name in _names(module)]


def every_second(array: np.ndarray) -> np.ndarray:
    wide = np.zeros(tuple(2 * size for size in array.shape), array.dtype)
    view = wide[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return view


def unaligned(array: np.ndarray) -> np.ndarray:
    found = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def other_bytes(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("S"))


class Tagged(np.ndarray):
    """Like a memory map, or what imageio reads: NumPy's operators, and more about the array."""


class Metres(np.ndarray):
    """Like numbers with units: operators of its own."""

    def __array_ufunc__(self, *inputs, **options):
        raise NotImplementedError("metres can't be compared with numbers")


def in_chunks(array: np.ndarray) -> Any:
    """Other bytes, and chunks without pixels."""
    chunks = [(0, 2, 0, size - 2, 0) if size != 3 else 3 for size in array.shape]
    return da.from_array(other_bytes(array), chunks=chunks)


LAYOUTS: list[Callable[[np.ndarray], Any]] = [
    np.asfortranarray,
    lambda array: array[::-1].copy()[::-1],
    every_second,
    unaligned,
    read_only,
    other_bytes,
    lambda array: array.view(Tagged),
]


def plain(array: np.ndarray) -> np.ndarray:
    """Grey values as floats, which have a byte order."""
    return array.astype(np.float32) if array.dtype == np.uint8 else array


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
        return
    np.testing.assert_array_equal(found, expected)
    assert not isinstance(found, Tagged)
    assert np.asarray(found).dtype.str == np.asarray(expected).dtype.str


@pytest.mark.parametrize(("module", "name"), OPERATIONS)
def test_answers_do_not_depend_on_the_layout(module, name):
    call = _call(module, name)
    expected = _host(call(plain))
    for layout in LAYOUTS:
        kept = []

        def wrap(array, layout=layout, kept=kept):
            kept.append((laid := layout(plain(array)), plain(array)))
            return laid

        same(_host(call(wrap)), expected)
        for after, before in kept:
            np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(("module", "name"), OPERATIONS)
def test_answers_do_not_depend_on_chunks_without_pixels(module, name):
    if name in ("threshold_li", "stain_matrix"):
        pytest.skip("not for chunks of floats")
    call = _call(module, name)
    found, expected = _host(call(lambda array: in_chunks(plain(array)))), _host(call(plain))
    if name == "relabel_sequential":  # the maps always hold 0
        found, expected = found[0], expected[0]
    same(found, expected)


@pytest.mark.parametrize(("module", "name"), OPERATIONS)
def test_what_is_no_array_of_pixels_is_refused(module, name):
    call = _call(module, name)
    for wrap, message in (
        (np.ma.masked_array, "masked"),
        (lambda array: da.from_array(np.ma.masked_array(array)), "masked"),
        (lambda array: array.view(Metres), r"a .*test_layouts.Metres; .* `numpy.asarray\(array\)`"),
        (
            lambda array: da.from_array(array.view(Metres), asarray=False),
            r"map_blocks\(numpy.asarr",
        ),
        (lambda array: array.tolist(), "expected a NumPy, CuPy or Dask array, got builtins.list"),
    ):
        with pytest.raises(TypeError, match=message):
            call(wrap)
    with pytest.raises((TypeError, ValueError), match=r"ax[ei]s|three channels|2-D or 3-D"):
        call(lambda array: array.ravel()[:1].reshape(()))


def test_matrices_are_refused():
    image, labels = np.arange(12.0).reshape(3, 4), np.arange(12).reshape(3, 4) // 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix(image)
    for name in ("median", "mean", "standard_deviation", "center_of_mass", "extrema"):
        function = getattr(ndmeasure, name)
        for arguments in ((matrix, labels, [1, 2]), (image, matrix.astype(int), [1, 2])):
            with pytest.raises(TypeError, match=r"got a numpy.matrix; .* `numpy.asarray\(array\)`"):
                function(*arguments)
    with pytest.raises(TypeError, match=r"got a numpy.matrix"):
        measure.label(matrix > 4)
    found = ndmeasure.median(image.view(Tagged), labels.view(Tagged), [1, 2])
    np.testing.assert_array_equal(found, [4, 7])
