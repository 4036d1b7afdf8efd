"""What `label` refuses, and that it says what was wrong."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from label_cases import noise, structure

from gpuseg._cpu import label as engine
from gpuseg.measure import label

IMAGE = noise(20, 30)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, complex, object, "U1", "M8[s]"])
def test_neither_bool_nor_integer(dtype):
    with pytest.raises(TypeError, match="image must be bool or integer, got"):
        label(np.zeros((3, 4), dtype))
    if dtype is not object:
        with pytest.raises(TypeError, match="image must be bool or integer, got"):
            label(da.zeros((3, 4), dtype=dtype, chunks=2))


@pytest.mark.parametrize("image", [[[0, 1]], 1, None])
def test_no_array(image):
    with pytest.raises(TypeError, match="expected a NumPy, CuPy or Dask array"):
        label(image)


def test_no_axes():
    with pytest.raises(ValueError, match="image must have at least one axis, got a 0-d array"):
        label(np.array(True))
    with pytest.raises(ValueError, match="image must have at least one axis, got a 0-d array"):
        label(da.from_array(np.array(True)))


@pytest.mark.parametrize("container", [np.asarray, da.from_array])
@pytest.mark.parametrize("connectivity", [0, 3, -1])
def test_connectivity(container, connectivity):
    expected = f"connectivity must be between 1 and 2 for 2 connected axes, got {connectivity}"
    with pytest.raises(ValueError, match=expected):
        label(container(IMAGE), connectivity=connectivity)
    with pytest.raises(ValueError, match=r"connectivity must be between 1 and 1 .* got 2"):
        label(container(IMAGE), connectivity=2, axes=1)


@pytest.mark.parametrize("background", [0.5, None, "0"])
def test_background_is_an_integer(background):
    with pytest.raises(TypeError, match="background must be an integer, got"):
        label(IMAGE, background=background)
    with pytest.raises(TypeError, match="background must be an integer, got"):
        label(da.from_array(IMAGE), background=background)


def test_connectivity_is_an_integer():
    with pytest.raises(TypeError):
        label(IMAGE, connectivity=1.5)


@pytest.mark.parametrize(
    ("name", "axes", "message"),
    [
        ("axes", (), "axes must name at least one axis"),
        ("axes", 2, "axes must be between -2 and 1, got 2"),
        ("axes", (0, -3), "axes must be between -2 and 1, got -3"),
        ("axes", (1, -1), r"axes must not name an axis twice, got \(1, -1\)"),
        ("wrap_axes", 5, "wrap_axes must be between -2 and 1, got 5"),
        ("wrap_axes", (0, 0), "wrap_axes must not name an axis twice"),
    ],
)
def test_axes(name, axes, message):
    with pytest.raises(ValueError, match=message):
        label(IMAGE, **{name: axes})


def test_wrap_axes_must_connect():
    expected = r"wrap_axes must be among the connected axes \(1,\), got \(0,\)"
    with pytest.raises(ValueError, match=expected):
        label(IMAGE, axes=1, wrap_axes=0)


@pytest.mark.parametrize(
    "given",
    [
        np.eye(3),
        np.ones((3, 3)) - np.eye(3),
        np.zeros((3, 3)),
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        [[0, 1, 0], [1, 1, 0], [0, 1, 0]],
    ],
)
def test_structure_that_is_no_standard_one(given):
    with pytest.raises(ValueError, match=r"structure must be one of scipy\.ndimage"):
        label(IMAGE, structure=given)


def test_structure_of_another_shape():
    with pytest.raises(ValueError, match=r"structure must have shape \(3, 3\) .* got \(3, 3, 3\)"):
        label(IMAGE, structure=structure(3, 1))


@pytest.mark.parametrize("other", [{"connectivity": 1}, {"axes": 0}])
def test_structure_and_what_it_says(other):
    with pytest.raises(ValueError, match="give either structure or connectivity and axes"):
        label(IMAGE, structure=structure(2, 1), **other)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty((20, 30), np.uint8), TypeError, "out must be int32 or int64.* got uint8"),
        (np.empty((20, 30)), TypeError, "out must be int32 or int64.* got float64"),
        (np.empty((20, 31), np.int32), ValueError, r"out must have the image's shape \(20, 30\)"),
        (da.zeros((20, 30), dtype=np.int32), TypeError, "out must be a NumPy array"),
        ([1], TypeError, "expected a NumPy, CuPy or Dask array"),
    ],
)
def test_out(out, error, message):
    with pytest.raises(error, match=message):
        label(IMAGE, out=out)


def test_out_is_not_written_when_read_only():
    out = np.zeros(IMAGE.shape, np.int32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable, got a read-only array"):
        label(IMAGE, out=out)


def test_no_out_for_dask():
    with pytest.raises(TypeError, match="out is not for Dask arrays"):
        label(da.from_array(IMAGE), out=np.zeros(IMAGE.shape, np.int32))


def test_int32_is_too_small_for_indices_from_two_to_the_31():
    image = np.lib.stride_tricks.as_strided(np.zeros(1, bool), (2**16, 2**15), (0, 0))
    out = np.lib.stride_tricks.as_strided(np.zeros(1, np.int32), image.shape, (0, 0))
    with pytest.raises(TypeError, match=r"int64 from 2\^31 pixels on, got int32 for 2147483648"):
        label(image, out=out)


def test_chunks_of_unknown_size():
    values = da.from_array(np.arange(10), chunks=5)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        label(values[values > 3])


def test_numbers_for_other_labels():
    with pytest.raises(RuntimeError, match="the image changed while it was labelled: 1 components"):
        engine.label(IMAGE, 1, numbers=np.array([5], np.int32))
