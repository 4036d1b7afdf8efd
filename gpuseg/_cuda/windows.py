"""Filters of a device's arrays, which it works on whole."""

from __future__ import annotations

import importlib

from gpuseg._shared.window import Window
from gpuseg.typing import Array


def apply(image: Array, window: Window) -> Array:
    """What `window` says of the whole image.

    Raises
    ------
    TypeError
        If devices have no such function.
    """
    module = importlib.import_module(f"gpuseg._cuda.{window.noun}")
    if not hasattr(module, window.name):
        raise TypeError(
            f"{window.name} is not implemented for CuPy arrays; convert it with `array.get()` "
            "(NumPy) to run on the CPU"
        )
    return getattr(module, window.name)(image, **window.options)
