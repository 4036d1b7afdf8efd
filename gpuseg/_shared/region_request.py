"""What a call of `regionprops_table` asks for, checked before any work starts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gpuseg._backend import floor
from gpuseg._shared.region_columns import PROPERTIES
from gpuseg._shared.region_rows import Plan
from gpuseg._shared.region_table import Request
from gpuseg._shared.window import per_axis
from gpuseg.typing import Array, NumpyArray

# Coordinates below it leave room for the product of two and a run's length in int64.
_LARGEST_SIDE = 1 << 23


def make_request(
    labels: Array,
    image: Array | None,
    properties: Sequence[str],
    spacing: float | Sequence[float] | None,
    ids: Any,
    separator: str,
) -> Request:
    """Check the arguments of `regionprops_table`."""
    check_labels(labels)
    if labels.ndim not in (2, 3):
        raise ValueError(f"labels must be 2-D or 3-D, got {labels.ndim}-D")
    if image is not None:
        check_image(labels, image, channels=True)
    names = _check_properties(properties, labels.ndim, image is not None)
    steps = check_spacing(spacing, labels.ndim)
    if not isinstance(separator, str):
        raise TypeError(f"separator must be a string, got {separator!r}")
    for name in names:
        if PROPERTIES[name].isotropic and len(set(steps)) > 1:
            raise ValueError(f"{name} needs the same spacing along both axes, got {steps}")
        if PROPERTIES[name].unit and set(steps) != {1.0}:
            raise ValueError(f"{name} needs a spacing of 1, got {steps}")
    features = frozenset().union(*(PROPERTIES[name].features for name in names))
    if "second" in features and max(labels.shape, default=0) > _LARGEST_SIDE:
        raise ValueError(
            f"second moments need sides of at most {_LARGEST_SIDE} pixels, got shape {labels.shape}"
        )
    multichannel = image is not None and image.ndim > labels.ndim
    channels = (image.shape[-1] if multichannel else 1) if image is not None else 0
    wanted = any(PROPERTIES[name].image for name in names)
    plan = Plan(
        tuple(labels.shape),
        features,
        np.dtype(image.dtype) if image is not None and wanted else None,
        channels if wanted else 0,
    )
    return Request(plan, names, steps, check_ids(ids), separator, multichannel)


def check_labels(labels: Array) -> None:
    """Refuse labels that are no array of integers, or whose size is not known."""
    floor(labels)
    if labels.ndim < 1:
        raise ValueError("labels must have at least one axis, got a 0-d array")
    if labels.dtype.kind == "b":
        raise TypeError(
            "labels must be integers, got bool: label the mask with `gpuseg.measure.label`, or "
            "measure it as one region with `labels.astype(numpy.uint8)`"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if any(math.isnan(size) for size in labels.shape):
        raise ValueError(
            f"labels have chunks of unknown size, shape {labels.shape}: call "
            "`labels.compute_chunk_sizes()` first"
        )


def check_image(labels: Array, image: Array, *, channels: bool) -> None:
    """Refuse an image that cannot be measured under the labels."""
    kinds = {floor(labels), floor(image)}
    if "_cuda" in kinds and len(kinds) > 1 and "_dask" not in kinds:
        raise TypeError(
            "labels and image must live in the same memory, got one NumPy and one CuPy array; "
            "convert one with `cupy.asarray(...)` or `array.get()`"
        )
    if image.dtype.kind not in "buif" or image.dtype.itemsize > 8:
        raise TypeError(
            f"image must be of booleans, integers or floats of at most 64 bits, got {image.dtype}; "
            "convert it with `image.astype(numpy.float64)`"
        )
    if image.ndim > labels.ndim and image.shape[-1] == 0:
        raise ValueError(f"image must have channels, got shape {tuple(image.shape)}")
    fits = tuple(image.shape[: labels.ndim]) == tuple(labels.shape)
    if not fits or image.ndim > labels.ndim + channels:
        raise ValueError(
            f"image must have the labels' shape {tuple(labels.shape)}"
            f"{' and at most one more axis, of channels' if channels else ''}, "
            f"got {tuple(image.shape)}"
        )


def check_ids(ids: Any) -> NumpyArray | None:
    """Labels to report, as int64."""
    if ids is None:
        return None
    found = np.asarray(ids)
    if found.size == 0:
        return np.empty(0, np.int64)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise TypeError(f"ids must be a sequence of integers, got {ids!r}")
    if found.min() < 1:
        raise ValueError(f"ids must be labels of at least 1, got {int(found.min())}")
    if found.max() >= 2**63:
        raise ValueError(f"ids must be below 2**63, got {int(found.max())}")
    return found.astype(np.int64)


def _check_properties(names: Sequence[str], ndim: int, image: bool) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"properties must be a sequence of names, got {names!r}")
    for name in names:
        if not isinstance(name, str) or name not in PROPERTIES:
            close = difflib.get_close_matches(str(name), PROPERTIES, 3) or list(PROPERTIES)
            raise ValueError(f"unknown property {name!r}; there are {', '.join(close)}")
        if PROPERTIES[name].image and not image:
            raise ValueError(f"property {name!r} needs an image")
        if ndim not in PROPERTIES[name].ndims:
            raise ValueError(f"property {name!r} is not defined for {ndim}-D labels")
    return tuple(names)


def check_spacing(spacing: float | Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Size of a pixel along each axis; 1 unless given."""
    if spacing is None:
        return (1.0,) * ndim
    values = tuple(float(step) for step in per_axis(spacing, ndim, "spacing"))
    if not all(math.isfinite(step) and step > 0 for step in values):
        raise ValueError(f"spacing must be positive and finite, got {spacing!r}")
    return values
