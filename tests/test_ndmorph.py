"""dask-image's morphology under its names: SciPy's answers for every chunking."""

from __future__ import annotations

import inspect

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from gpuseg import ndmorph

NAMES = ndmorph.__all__
CROSS = ndimage.generate_binary_structure(2, 1)
FLAT = np.zeros((3, 3, 3), bool)
FLAT[1] = CROSS
STRUCTURES = [None, np.ones((3, 3)), np.array([[0, 1, 1, 0], [1, 1, 0, 1]]), np.ones((1, 5))]


@pytest.mark.parametrize("border_value", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_equals_scipy(name, border_value, container, rng):
    image = rng.random((26, 33)) < 0.7
    free = rng.random((26, 33)) < 0.5
    for structure in STRUCTURES:
        for options in ({}, {"iterations": 2}, {"mask": free, "iterations": 2}):
            options = options | {"structure": structure, "border_value": border_value}
            wrapped = options | ({"mask": container(free)} if "mask" in options else {})
            ours = getattr(ndmorph, name)(container(image), **wrapped)
            assert ours.dtype == bool
            np.testing.assert_array_equal(
                np.asarray(ours), getattr(ndimage, name)(image, **options)
            )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("origin", [1, (0, -1), (-1, 1)])
def test_origins(name, origin, container, rng):
    image = (rng.random((14, 19)) < 0.7).astype(np.float32)
    structure = np.ones((3, 4))
    ours = getattr(ndmorph, name)(container(image), structure, origin=origin)
    theirs = getattr(ndimage, name)(image, structure, origin=origin)
    np.testing.assert_array_equal(np.asarray(ours), theirs)


@settings(max_examples=25)
@given(
    image=arrays(bool, st.tuples(*[st.integers(1, 9)] * 2)),
    structure=arrays(bool, st.tuples(*[st.integers(1, 4)] * 2)).filter(np.any),
    name=st.sampled_from(NAMES),
    border_value=st.integers(0, 1),
)
def test_any_structure(image, structure, name, border_value):
    ours = getattr(ndmorph, name)(image, structure, border_value=border_value)
    theirs = getattr(ndimage, name)(image, structure, border_value=border_value)
    np.testing.assert_array_equal(ours, theirs)


def test_flat_structures_keep_frames_apart(rng):
    stack = rng.random((4, 20, 30)) < 0.6
    opened = ndmorph.binary_opening(da.from_array(stack, chunks=(1, 20, 30)), structure=FLAT)
    expected = [ndimage.binary_opening(frame, CROSS) for frame in stack]
    np.testing.assert_array_equal(opened.compute(), expected)


def test_signatures_are_those_of_dask_image():
    theirs = pytest.importorskip("dask_image.ndmorph")
    for name in NAMES:
        mine, peer = (inspect.signature(getattr(m, name)).parameters for m in (ndmorph, theirs))
        assert [(p.name, p.default) for p in mine.values()] == [
            (p.name, p.default) for p in peer.values()
        ]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"iterations": 0}, ValueError, "iterations must be at least 1, got 0"),
        ({"iterations": 1.5}, TypeError, "iterations must be an integer, got 1.5"),
        ({"border_value": "no"}, TypeError, "border_value must be an integer, got 'no'"),
        ({"structure": np.ones(3)}, ValueError, "2 axes"),
        ({"mask": np.ones((3, 3), bool)}, ValueError, r"\(5, 6\), got \(3, 3\)"),
        ({"mask": False}, ValueError, "got False"),
        ({"origin": 2}, ValueError, "origin must stay within"),
        ({"origin": (1, 1, 1)}, ValueError, "origin must be a number or one for each of 2"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        ndmorph.binary_erosion(np.ones((5, 6), bool), **options)


def test_masks_that_are_no_arrays():
    with pytest.raises(TypeError, match=r"builtins\.list"):
        ndmorph.binary_erosion(np.ones((3, 3), bool), mask=[1])
