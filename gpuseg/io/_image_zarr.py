"""Images of OME-Zarr groups with all their axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpuseg.io._ome_zarr import open_levels
from gpuseg.io._reader import SlideError
from gpuseg.typing import NumpyArray


class ZarrImage:
    """One level of the first image of an OME-Zarr group, in chunks (or shards) as stored."""

    def __init__(self, name: str, level: int, options: Mapping[str, Any]) -> None:
        arrays, axes = open_levels(name, options)
        if level >= len(arrays):
            raise SlideError(f"{name}: there is no level {level}; it has {len(arrays)}")
        self.name = name
        self._array = arrays[level]
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype = np.dtype(self._array.dtype).newbyteorder("=")
        self.stored: tuple[int, ...] | None = tuple(self._array.shards or self._array.chunks)
        in_plane = axes[-2:] == ["y", "x"]
        self.frame_axes = 2 if in_plane else len(self.shape)

    def read_into(self, index: tuple[slice, ...], out: NumpyArray) -> None:
        """Copy to `out` what `index` selects."""
        try:
            out[...] = self._array[index]
        except Exception as error:  # stores and codecs raise whatever they please
            raise SlideError(f"{self.name}: {type(error).__name__}: {error}") from error
