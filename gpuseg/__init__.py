"""Segment and measure biological images of any size, on CPU, GPU and Dask, with one answer."""

import importlib
from typing import Any

# Imported on first use: `import gpuseg` itself touches neither cupy, dask nor numba.
_SUBMODULES = (
    "atlas",
    "cluster",
    "color",
    "compare",
    "feature",
    "filters",
    "imread",
    "io",
    "measure",
    "morphology",
    "ndfilters",
    "ndmeasure",
    "ndmorph",
    "pipeline",
    "positive_pixel_count",
    "recipes",
    "segmentation",
    "viewer",
)

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("gpuseg")
        except PackageNotFoundError:  # a bare checkout on the path
            return "0+unknown"
    if name in _SUBMODULES:
        return importlib.import_module(f"gpuseg.{name}")
    raise AttributeError(f"module 'gpuseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
