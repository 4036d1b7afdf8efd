"""Reading and writing: images, slides, annotations, label pyramids, tables."""

import importlib
from typing import Any

# Imported on first use: a reader of regions or tables needs no image codecs.
_HOMES = {
    "LabelPyramid": "label_pyramid",
    "Region": "regions",
    "Slide": "slides",
    "SlideError": "slides",
    "Volume": "volumes",
    "VolumeLevel": "volumes",
    "as_regions": "regions",
    "imread": "images",
    "open_slide": "slides",
    "open_volume": "volumes",
    "write_table": "tables",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"gpuseg.io.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gpuseg.io' has no attribute {name!r}")
