"""Argument checks that public functions share; each raises before any work starts."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from gpuseg._backend import floor
from gpuseg.typing import Array


def check_pixels(image: Array) -> None:
    """Refuse what is no array of RGB or RGBA pixels.

    Raises
    ------
    TypeError
        If `image` is no NumPy, CuPy or Dask array, or a masked one.
    ValueError
        If its last axis is not 3 or 4 long.
    """
    if isinstance(image, np.ma.MaskedArray):
        raise TypeError("image must be a plain array, got a masked one; give its inverted mask too")
    floor(image)
    if image.ndim < 2 or image.shape[-1] not in (3, 4):
        raise ValueError(
            "image must have 3 (RGB) or 4 (RGBA) channels in its last axis, "
            f"got shape {tuple(image.shape)}"
        )


def check_mask(image: Array, mask: Array | None) -> None:
    """Refuse a mask that does not say in or out for each pixel of `image`, where `image` lives.

    Raises
    ------
    TypeError
        If it is neither bool nor integer, or lives elsewhere than the image.
    ValueError
        If its shape is not the image's without the last axis: nothing is broadcast.
    """
    if mask is None:
        return
    owner, home = floor(mask), floor(image)
    if mask.dtype.kind not in "biu":
        raise TypeError(f"mask must be bool or integer (0 is outside), got {mask.dtype}")
    if tuple(mask.shape) != tuple(image.shape[:-1]):
        raise ValueError(
            f"mask must have the image's shape {tuple(image.shape[:-1])}, got {tuple(mask.shape)}"
        )
    if home == "_dask":
        home, owner = _chunk_floor(image), _chunk_floor(mask)
    if home != owner:
        raise TypeError(
            f"mask must live where the image lives ({_NAMES[home]}), got a {_NAMES[owner]} array"
        )


_NAMES = {"_cpu": "NumPy", "_cuda": "CuPy", "_dask": "Dask"}


def _chunk_floor(array: Array) -> str:
    owner = floor(array)
    return floor(array._meta) if owner == "_dask" else owner


def check_labelable(image: Array, out: Array | None = None) -> None:
    """Refuse what has no connected components, and an `out` that cannot hold its labels.

    Raises
    ------
    TypeError
        If `image` is neither bool nor integer, or `out` is not int32 or int64, lives elsewhere,
        or is given for a Dask array.
    ValueError
        If the image has no axes, chunks have unknown sizes, or `out` has another shape or is
        read-only.
    """
    home = floor(image)
    if image.ndim < 1:
        raise ValueError("image must have at least one axis, got a 0-d array")
    if image.dtype.kind not in "biu":
        raise TypeError(
            f"image must be bool or integer, got {image.dtype}; compare it with a threshold "
            "(`image > 0.5`) or round it first"
        )
    if home == "_dask" and any(size != size for size in image.shape):
        raise ValueError(
            f"image must have chunks of known sizes, got shape {image.shape}; "
            "call image.compute_chunk_sizes() first"
        )
    if out is None:
        return
    if home == "_dask":
        raise TypeError("out is not for Dask arrays, whose labels are written when they are stored")
    if floor(out) != home:
        raise TypeError(f"out must be a {_NAMES[home]} array like the image, got {type(out)}")
    if out.dtype not in ("int32", "int64") or (out.dtype == "int32" and image.size >= 2**31):
        raise TypeError(
            f"out must be int32 or int64, and int64 from 2^31 pixels on, got {out.dtype} "
            f"for {image.size} pixels"
        )
    if out.shape != image.shape:
        raise ValueError(f"out must have the image's shape {image.shape}, got {out.shape}")
    if hasattr(out, "flags") and getattr(out.flags, "writeable", True) is False:
        raise ValueError("out must be writeable, got a read-only array")


def check_integer(value: Any, name: str, least: int | None = None) -> int:
    """Take an option for an integer.

    Raises
    ------
    TypeError
        If it is none: a bool is not, nor is 2.0.
    ValueError
        If it is below `least`.
    """
    number = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool | np.bool) or not isinstance(number, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(number)


def check_number(value: Any, name: str, least: float | None = None) -> Any:
    """Take an option for a real number.

    Raises
    ------
    TypeError
        If it is none.
    ValueError
        If it is below `least`, or NaN where there is a least one.
    """
    number = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool | np.bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    if least is not None and not number >= least:  # type: ignore[operator]
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return number


def check_background(value: object) -> int:
    """Take a pixel's value for the background.

    Raises
    ------
    TypeError
        If it is neither bool nor integer.
    """
    if isinstance(value, bool | np.bool | int | np.integer):
        return int(value)
    raise TypeError(f"background must be an integer, got {value!r}")


def check_landscape(image: Array) -> None:
    """Refuse what has no heights along one to three axes.

    Raises
    ------
    TypeError
        If it is no NumPy, CuPy or Dask array, or of no real numbers of at most 64 bits.
    ValueError
        If it has another number of axes, or chunks of unknown sizes.
    """
    floor(image)
    if image.dtype.kind not in "buif" or image.dtype.itemsize > 8:
        raise TypeError(
            f"image must be of real numbers of at most 64 bits, got {image.dtype}; convert it with "
            "`image.astype(numpy.float64)`"
        )
    if not 1 <= image.ndim <= 3:
        raise ValueError(
            f"image must have 1 to 3 axes, got shape {image.shape}; of a colour image take one "
            "channel, or a gradient"
        )
    if any(size != size for size in image.shape):
        raise ValueError(
            f"image must have chunks of known sizes, got shape {image.shape}; "
            "call image.compute_chunk_sizes() first"
        )


def check_grey(image: Array) -> None:
    """Refuse what has no grey values.

    Raises
    ------
    TypeError
        If it is no NumPy, CuPy or Dask array, or of neither integers nor floats.
    ValueError
        If it has no axes, is empty, or looks like RGB or RGBA.
    """
    floor(image)
    if image.dtype.kind not in "iuf":
        raise TypeError(f"image must be integer or floating, got {image.dtype}")
    if image.ndim < 1:
        raise ValueError("image must have at least one axis, got a 0-d array")
    if image.size == 0:
        raise ValueError(f"image must have pixels, got shape {tuple(image.shape)}")
    if image.ndim > 2 and image.shape[-1] in (3, 4):
        raise ValueError(
            f"image must be grey, got shape {tuple(image.shape)}, which looks like RGB: take "
            "gpuseg.color.rgb2gray(image) or one channel, image[..., 0]"
        )
