"""Mixtures of colour channels: grey values and stains are sums over three channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpuseg._shared.window import float_dtype
from gpuseg.typing import NumpyArray

# scikit-image's luminance of contemporary phosphors, and its least transmission.
GREY_WEIGHTS = (0.2125, 0.7154, 0.0721)
LEAST = 1e-6


@dataclass(frozen=True)
class Mixture:
    """Sums of what the channels of a pixel give: `weights` has one column for each result.

    With `stains`, what a channel gives is its optical density in units of that of `LEAST`, and no
    result is below 0; otherwise its value from 0 to 1. Without `keepdim` there is one result, and
    no axis for it.
    """

    weights: NumpyArray
    stains: bool
    keepdim: bool


def result_dtype(dtype: np.dtype[Any], mixture: Mixture) -> np.dtype[Any]:
    """As scikit-image's: stains are of double precision whatever the image is."""
    return np.dtype(np.float64) if mixture.stains else float_dtype(dtype)


def given(values: NumpyArray, mixture: Mixture) -> NumpyArray:
    """What values of a channel give: scaled to 0 to 1 (-1 to 1 if signed), or their density."""
    from skimage.util import img_as_float

    values = img_as_float(values).astype(float_dtype(values.dtype), copy=False)
    if not mixture.stains:
        return values
    found: NumpyArray = np.log(np.maximum(values, values.dtype.type(LEAST))) / np.log(LEAST)
    return found
