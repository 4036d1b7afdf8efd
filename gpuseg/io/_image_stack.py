"""Many image files as one array-like that Dask slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from gpuseg._backend import limit_threads
from gpuseg.io._image_files import Files, ReadFiles
from gpuseg.io._image_names import absolute
from gpuseg.typing import Array, NumpyArray

# A task costs about as much as decoding ten thousand pixels. Frames below the first size are
# grouped until a chunk has about the second; larger ones are chunks of their own, so that a
# chunk's shape is a frame's wherever that costs nothing.
_SMALL_BYTES = 256 << 10
_CHUNK_BYTES = 2 << 20

Part: TypeAlias = slice | int | list[int] | NumpyArray


class ImageStack:
    """Files on leading axes `lead`, then the axes of a file.

    Indexed with slices, integers and lists, each on its own axis.

    An empty `lead` says that there is one file, whose axes are all. `to_device` makes of a NumPy
    array what the chunks are.
    """

    def __init__(
        self,
        names: Sequence[str],
        lead: tuple[int, ...],
        files: Files | ReadFiles,
        to_device: Callable[[NumpyArray], Array] | None,
    ) -> None:
        self._names = list(names)
        self._lead = lead
        self._files = files
        self._to_device = to_device
        self.shape = (*lead, *files.shape)
        self.dtype = files.dtype
        self.ndim = len(self.shape)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_names": [absolute(name) for name in self._names]}

    def plan_chunks(self, nframes: int | None) -> tuple[int, ...]:
        """Size of a chunk along each axis.

        With `nframes` that is the size along the first axis, and the others are whole.
        """
        files = self._files
        inner = (
            files.stored
            or (1,) * (len(files.shape) - files.frame_axes)
            + (files.shape[len(files.shape) - files.frame_axes :])
        )
        sizes = [1] * len(self._lead) + [
            min(size, length) for size, length in zip(inner, files.shape, strict=True)
        ]
        if nframes is not None:
            first = self.shape[0] if nframes == -1 else min(nframes, self.shape[0])
            return (first, *(sizes[1:] if files.stored else self.shape[1:]))
        held = math.prod(sizes) * self.dtype.itemsize
        if held >= _SMALL_BYTES:
            return tuple(sizes)
        room = _CHUNK_BYTES // held
        for axis in reversed(range(self.ndim)):
            pieces = -(-self.shape[axis] // sizes[axis])
            if pieces > room:
                # As many chunks, of nearly the same size.
                sizes[axis] *= -(-pieces // -(-pieces // room))
                break
            sizes[axis] = self.shape[axis]
            room //= pieces
        return tuple(sizes)

    def __getitem__(self, index: Any) -> Array:
        """Read what `index` selects; whole chunks, or less where Dask has fused a slice."""
        parts = _complete(index, self.ndim)
        lead, inner = parts[: len(self._lead)], parts[len(self._lead) :]
        flat = np.zeros((), np.intp)
        for part, length in zip(lead, self._lead, strict=True):
            flat = flat[..., None] * length + np.asarray(_positions(part, length), np.intp)
        places = [_positions(part, n) for part, n in zip(inner, self._files.shape, strict=True)]
        spans = [slice(min(p), max(p) + 1) if len(p) else slice(0, 0) for p in places]
        out = np.empty((flat.size, *(span.stop - span.start for span in spans)), self.dtype)
        with limit_threads(1):
            self._files.read([self._names[i] for i in flat.ravel()], tuple(spans), out)
        picked = out.reshape(*flat.shape, *out.shape[1:])
        for axis, (place, span) in enumerate(zip(places, spans, strict=True), flat.ndim):
            if len(place) < picked.shape[axis] or not _is_run(place):
                picked = picked.take(np.asarray(place, np.intp) - span.start, axis)
        # Integers last: beside a list NumPy would move the axes.
        picked = picked[tuple(0 if isinstance(part, int) else slice(None) for part in parts)]
        return self.to_chunk(picked)

    def to_chunk(self, array: NumpyArray) -> Array:
        """Array as the chunks are: NumPy, or on the device."""
        return array if self._to_device is None else self._to_device(array)


def _complete(index: Any, ndim: int) -> list[Part]:
    given = list(index) if isinstance(index, tuple) else [index]
    parts: list[Part] = [int(part) if isinstance(part, Integral) else part for part in given]
    return parts + [slice(None)] * (ndim - len(given))


def _positions(part: Part, length: int) -> Sequence[int]:
    if isinstance(part, slice):
        return range(*part.indices(length))
    chosen = np.atleast_1d(np.asarray(part))
    if chosen.dtype == bool:
        chosen = np.flatnonzero(chosen)
    return [int(position) % length for position in chosen]


def _is_run(places: Sequence[int]) -> bool:
    return isinstance(places, range) and places.step == 1
