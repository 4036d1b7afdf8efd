"""Argument checks that public functions share; each raises before any work starts."""

from __future__ import annotations

from gpuseg._backend import floor
from gpuseg.typing import Array


def check_pixels(image: Array) -> None:
    """Refuse what is no array of RGB or RGBA pixels.

    Raises
    ------
    TypeError
        If `image` is no NumPy, CuPy or Dask array.
    ValueError
        If its last axis is not 3 or 4 long.
    """
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
