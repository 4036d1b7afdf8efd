"""Labels of arbitrary images on the GPU floor, under arbitrary schedules of its emulator."""

from __future__ import annotations

import numpy as np
import pytest
from emulator import Schedule, scheduled, standin
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from conftest import HAS_DEVICE
from gpuseg.measure import label

pytestmark = pytest.mark.gpu if HAS_DEVICE else pytest.mark.emulator


@given(
    image=hnp.arrays(
        st.sampled_from([np.bool_, np.uint8, np.int16]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=40),
        elements=st.integers(0, 1),
    ),
    connectivity=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_any_image_under_any_schedule(image: np.ndarray, connectivity: int, seed: int):
    cp = pytest.importorskip("cupy") if HAS_DEVICE else standin
    connectivity = min(connectivity, image.ndim)
    expected, count = ndimage.label(
        image, ndimage.generate_binary_structure(image.ndim, connectivity)
    )
    with scheduled(Schedule.drawn(seed)):
        labels, number = label(cp.asarray(image), connectivity=connectivity)
    assert number == count
    np.testing.assert_array_equal(labels.get(), expected)
