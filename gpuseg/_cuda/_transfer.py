"""From the host's memory to the device's."""

from __future__ import annotations

import cupy

from gpuseg.typing import Array, NumpyArray


def to_device(array: NumpyArray) -> Array:
    """Copy of `array` on the current device."""
    return cupy.asarray(array)
