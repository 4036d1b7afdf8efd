"""Stands in for cupyx and cuCIM where there is no device: SciPy and scikit-image on its arrays.

What the launchers hand over is tested so: names, arguments, and how results are put together. What
cupyx and cuCIM answer is tested on a device alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from emulator import standin

# What cupyx names otherwise, or lacks.
_MISSING = ("vectorized_filter",)


def on_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of NumPy arrays as one of the stand-in's, which alone it takes."""

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        for value in (*args, *options.values()):
            if type(value) is np.ndarray and value.ndim:
                raise TypeError(f"Unsupported type {type(value)}")
        plain = standin._plain((list(args), options))
        return standin._wrap(function(*plain[0], **plain[1]))

    return call


class _Module(ModuleType):
    """A module whose functions are those of another one, on the stand-in's arrays."""

    def __init__(self, name: str, source: ModuleType | None = None) -> None:
        super().__init__(name)
        self.source = source

    def __getattr__(self, name: str) -> Any:
        if self.source is None or name in _MISSING or name.startswith("__"):
            raise AttributeError(name)
        return on_device(getattr(self.source, name))


def install(patch: pytest.MonkeyPatch) -> None:
    """Make `import cupyx` and `import cucim` find these."""
    # Here, as a machine with a device may lack them.
    import scipy.ndimage
    import skimage.filters

    found = {
        "cupyx": _Module("cupyx"),
        "cupyx.scipy": _Module("cupyx.scipy"),
        "cupyx.scipy.ndimage": _Module("cupyx.scipy.ndimage", scipy.ndimage),
        "cucim": _Module("cucim"),
        "cucim.skimage": _Module("cucim.skimage"),
        "cucim.skimage.filters": _Module("cucim.skimage.filters", skimage.filters),
    }
    for name, module in found.items():
        patch.setitem(sys.modules, name, module)
        above, _, last = name.rpartition(".")
        if above:
            setattr(found[above], last, module)
    for name in ("bincount", "histogram", "log", "maximum", "stack"):
        patch.setattr(standin, name, on_device(getattr(np, name)), raising=False)
