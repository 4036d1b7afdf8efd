"""Two label images, one pass: everything that metrics need to know of them."""

from __future__ import annotations

import math

import numpy as np

from gpuseg._backend import floor, implementation
from gpuseg.compare.comparison import Comparison
from gpuseg.typing import Array


def compare_labels(image_true: Array, image_test: Array) -> Comparison:
    """Compare a label image with a gold standard, in one pass over both.

    Parameters
    ----------
    image_true, image_test : bool or integer array
        NumPy or Dask arrays of one shape and any number of axes: objects that are known, and
        objects that were found. 0 is background; numbers need not be consecutive, and mean nothing
        beyond "the same object". A mask of bool is one object. Of a Dask and a NumPy array, the
        latter takes the former's chunks.

    Returns
    -------
    Comparison
        Metrics as attributes and methods. It holds one row for each pair of labels that meet, in
        memory; the answer is the same for every chunking and number of threads.

    Raises
    ------
    TypeError
        If an image is neither bool nor integer, is masked, or is on a device: convert it with
        `array.get()`.
    ValueError
        If shapes differ or are unknown, or a label is negative.

    Examples
    --------
    >>> import numpy as np
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> test = np.array([[7, 7, 7, 0, 5], [7, 7, 0, 0, 5]])
    >>> found = compare_labels(true, test)
    >>> found.matching(0.5)[:4]
    (0.5, 2, 0, 0)
    >>> found.dice, found.adjusted_rand()
    (0.8, 0.418...)
    """
    owner = check_pair(image_true, image_test)
    return Comparison(implementation(owner, "overlap").overlap(image_true, image_test))


def check_pair(image_true: Array, image_test: Array) -> Array:
    """Refuse what are no two label images; returns the one whose floor computes both.

    Raises
    ------
    TypeError, ValueError
    """
    for name, image in (("image_true", image_true), ("image_test", image_test)):
        if isinstance(image, np.ma.MaskedArray):
            raise TypeError(f"{name} must be a plain array, got a masked one; fill it first")
        floor(image)
        if image.dtype.kind not in "biu":
            raise TypeError(f"{name} must be bool or integer labels, got {image.dtype}")
        if image.ndim == 0 or any(math.isnan(size) for size in image.shape):
            raise ValueError(f"{name} must have axes of known sizes, got shape {image.shape}")
    if tuple(image_true.shape) != tuple(image_test.shape):
        raise ValueError(
            "image_true and image_test must have one shape, "
            f"got {tuple(image_true.shape)} and {tuple(image_test.shape)}"
        )
    kinds = [floor(image) for image in (image_true, image_test)]
    chunks = [
        floor(image._meta) if kind == "_dask" else kind
        for image, kind in zip((image_true, image_test), kinds, strict=True)
    ]
    if chunks[0] != chunks[1]:
        raise TypeError(
            "image_true and image_test must live in the same memory, got one NumPy and one CuPy "
            "array; convert one with `array.get()`"
        )
    return image_test if kinds[1] == "_dask" else image_true
