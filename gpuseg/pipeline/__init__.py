"""Remembered pipelines: steps that are computed once, resumed after a kill, shared by processes."""

import importlib
from typing import Any

# Imported on first use: `gpuseg.pipeline` itself needs neither NumPy nor Dask.
_HOMES = {
    "File": "_keys",
    "Result": "_results",
    "Run": "run",
    "RunError": "_execute",
    "Step": "_steps",
    "Storage": "_arrays",
    "Stored": "_results",
    "random_settings": "_sweeps",
    "declare": "_keys",
    "step": "_steps",
    "sweep": "_sweeps",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"gpuseg.pipeline.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gpuseg.pipeline' has no attribute {name!r}")
