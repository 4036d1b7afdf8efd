"""Run a model on an image of any size, tile by tile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeGuard

import numpy as np

from gpuseg._backend import floor
from gpuseg._shared.prediction import Grid
from gpuseg._validate import check_integer
from gpuseg.segmentation._onnx import OnnxModel
from gpuseg.typing import Array

__all__ = ["predict"]


def predict(
    image: Array,
    model: Callable[[Array], Array] | str | os.PathLike[str],
    *,
    tile: int | Sequence[int],
    overlap: int | Sequence[int] = 0,
    batch: int = 1,
    halo: int | Sequence[int] = 0,
    window: Literal["hann", "linear"] = "hann",
    channel_axis: int | None = None,
) -> Array:
    """Run a model on overlapping tiles of an image, and blend what it returns.

    Tiles, batches and weights follow from the whole image: the answer is the same for every
    chunking of a Dask image, bit for bit.

    Parameters
    ----------
    image : array
        NumPy, CuPy or Dask, of two or three axes in space or any other number, and perhaps axes
        before them that the model doesn't see.
    model : callable or path
        Takes a batch of tiles, (batch, *tile) or (batch, channels, *tile) with `channel_axis`, and
        returns floats of shape (batch, *tile) or (batch, channels, *tile), where the tiles are. Or
        an ONNX file, see `OnnxModel`.
    tile : int or sequence of int
        Size of a tile along the last axes (all of them for one number). A smaller image is
        continued by its mirror image for the model.
    overlap : int or sequence of int
        What neighbouring tiles share, at most half a tile.
    batch : int
        Tiles that the model gets at a time, always as many: the last batch repeats its last tile.
    halo : int or sequence of int
        How many pixels at a tile's border, where it isn't the image's, get no weight, at most half
        the overlap: as far as the model sees, and its answer is that for the whole image. Tiles
        blend in what remains of the overlap; if nothing does, they may be of any type.
    window : {"hann", "linear"}
        How weights rise.
    channel_axis : int, optional
        Axis of the image's channels.

    Returns
    -------
    array
        Of the model's dtype, in the image's shape, and its chunks for a Dask array. If the model
        returns channels, they are on `channel_axis`, or on the first axis.

    Raises
    ------
    TypeError
        If the model returns arrays elsewhere, or of a type that cannot be blended.
    ValueError
        If an argument is out of range, or the model returns another shape.
    FileNotFoundError, ImportError, RuntimeError
        As `OnnxModel`.

    Notes
    -----
    A Dask image is not computed now, but the model is called once, on zeros.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(30.0).reshape(5, 6)
    >>> halves = predict(image, lambda tiles: tiles / 2, tile=4, overlap=2, batch=3)
    >>> np.array_equal(halves, image / 2)
    True
    """
    home = floor(image)
    if any(size != size or size < 1 for size in image.shape):
        raise ValueError(f"image must have pixels and chunks of known sizes, got {image.shape}")
    axis = _channel_axis(image, channel_axis)
    grid = _make_grid(image, axis, tile, overlap, halo, window)
    if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
        raise ValueError(f"batch must be a positive integer, got {batch!r}")
    run = OnnxModel(model) if isinstance(model, str | os.PathLike) else model
    if not callable(run):
        raise TypeError(f"model must be callable or the path of an ONNX file, got {model!r}")
    first = image if axis is None else _moved(image, axis, 0)
    if home == "_dask":
        from gpuseg._dask import predict as chunked

        result = chunked.predict(first, run, grid, int(batch))
    else:
        from gpuseg._shared import prediction

        parallel = isinstance(run, OnnxModel) and home == "_cpu"
        result = prediction.predict(first, run, grid, int(batch), parallel)
    if axis is None or result.ndim == len(grid.shape):
        return result
    return _moved(result, 0, axis)


def _moved(array: Array, source: int, destination: int) -> Array:
    order = [axis for axis in range(array.ndim) if axis != source]
    order.insert(destination, source)
    return array.transpose(order)


def _channel_axis(image: Array, channel_axis: int | None) -> int | None:
    if channel_axis is None:
        return None
    if not -image.ndim <= check_integer(channel_axis, "channel_axis") < image.ndim:
        raise ValueError(
            f"channel_axis must be an axis of the image's {image.ndim}, got {channel_axis}"
        )
    return channel_axis % image.ndim


def _make_grid(
    image: Array,
    axis: int | None,
    tile: int | Sequence[int],
    overlap: int | Sequence[int],
    halo: int | Sequence[int],
    window: str,
) -> Grid:
    shape = tuple(size for at, size in enumerate(image.shape) if at != axis)
    sizes = _each("tile", tile, len(tile) if _several(tile) else len(shape), 1)
    if not 1 <= len(sizes) <= len(shape):
        raise ValueError(
            f"tile must have 1 to {len(shape)} sizes for an image of shape {image.shape}"
            f"{'' if axis is None else f' with channels on axis {axis}'}, got {tile}"
        )
    shared, margin = _each("overlap", overlap, len(sizes), 0), _each("halo", halo, len(sizes), 0)
    if any(2 * o > t for o, t in zip(shared, sizes, strict=True)):
        raise ValueError(f"overlap must be at most half a tile, got {overlap} for tiles of {tile}")
    if any(2 * h > o for h, o in zip(margin, shared, strict=True)):
        raise ValueError(f"halo must be at most half the overlap, got {halo} and {overlap}")
    if window not in ("hann", "linear"):
        raise ValueError(f"window must be 'hann' or 'linear', got {window!r}")
    lead = len(shape) - len(sizes)
    none = (0,) * lead
    return Grid(shape, (1,) * lead + sizes, none + shared, none + margin, window, lead)


def _several(value: Any) -> TypeGuard[Sequence[int]]:
    return isinstance(value, list | tuple) or np.ndim(value) == 1


def _each(name: str, value: int | Sequence[int], number: int, least: int) -> tuple[int, ...]:
    values: Any = value if _several(value) else (value,) * number
    whole = all(isinstance(v, int | np.integer) and v >= least for v in values)
    if len(values) != number or not whole or isinstance(value, bool):
        raise ValueError(
            f"{name} must be an integer of at least {least}, or {number} of them, got {value!r}"
        )
    return tuple(int(v) for v in values)
