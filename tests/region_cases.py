"""Label images, values and comparisons that the tests of region tables share."""

from __future__ import annotations

import numpy as np
from skimage.measure._regionprops import COL_DTYPES

from gpuseg._shared.region_columns import PROPERTIES

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
        if name in COL_DTYPES
        and ndim in prop.ndims
        and name not in refused
        # Which are small differences of large numbers; they have a test of their own.
        and not name.startswith("moments")
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
