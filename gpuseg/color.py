"""Grey values and stains of colour images of any size, in scikit-image's words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg._backend import floor, implementation
from gpuseg._shared.color import GREY_WEIGHTS, Mixture
from gpuseg._shared.window import float_dtype
from gpuseg._validate import check_integer
from gpuseg.typing import Array, NumpyArray

__all__ = ["rgb2gray", "rgb2hed", "separate_stains", "stain_matrix"]


def rgb2gray(rgb: Array, *, channel_axis: int = -1) -> Array:
    """Luminance of an RGB image, as `skimage.color.rgb2gray` weighs it.

    Parameters
    ----------
    rgb : array
        NumPy, CuPy or Dask array with three channels: integers, which are scaled to 0 to 1, or
        floats.
    channel_axis : int
        Axis of the channels.

    Returns
    -------
    array
        Without the channels: 0.2125 R + 0.7154 G + 0.0721 B, as float32 for float16 and float32
        images, otherwise float64.

    Raises
    ------
    TypeError
        If the image is complex, or none of these arrays.
    ValueError
        If it has no three channels.

    Examples
    --------
    >>> import numpy as np
    >>> rgb2gray(np.array([[[255, 255, 255], [255, 0, 0]]], np.uint8)).round(4)
    array([[1.    , 0.2125]])
    """
    return _mixed(rgb, Mixture(np.array(GREY_WEIGHTS)[:, None], False, False), channel_axis)


def rgb2hed(rgb: Array, *, channel_axis: int = -1) -> Array:
    """Haematoxylin, eosin and DAB of an RGB image, as `skimage.color.rgb2hed` separates them.

    Parameters
    ----------
    rgb, channel_axis
        As in `rgb2gray`.

    Returns
    -------
    array
        As of `separate_stains`.

    Raises
    ------
    TypeError, ValueError
        As `rgb2gray`.

    Examples
    --------
    >>> import numpy as np
    >>> rgb2hed(np.array([[[90, 60, 120]]], np.uint8)).round(3)
    array([[[0.102, 0.017, 0.03 ]]])
    """
    from skimage.color import hed_from_rgb

    return separate_stains(rgb, hed_from_rgb, channel_axis=channel_axis)


def separate_stains(rgb: Array, conv_matrix: npt.ArrayLike, *, channel_axis: int = -1) -> Array:
    """Amounts of stains in an RGB image, as `skimage.color.separate_stains` does.

    Parameters
    ----------
    rgb, channel_axis
        As in `rgb2gray`.
    conv_matrix : (3, 3) array_like
        From optical densities of red, green and blue (rows) to stains (columns): one of
        scikit-image's, such as `skimage.color.hdx_from_rgb`, or that of `stain_matrix`.

    Returns
    -------
    array
        float64, of the image's shape, the stains in place of the channels; at least 0.

    Raises
    ------
    TypeError
        As `rgb2gray`.
    ValueError
        As `rgb2gray`, or if the matrix is not 3×3 and finite.

    Notes
    -----
    Transmissions below 10^-6 count as that, and densities are in units of its density. Answers
    differ from scikit-image's by rounding alone, and not with the size of the image or its chunks.

    Examples
    --------
    >>> import numpy as np
    >>> from skimage.color import hdx_from_rgb
    >>> separate_stains(np.array([[[90, 60, 120]]], np.uint8), hdx_from_rgb).round(3)
    array([[[0.112, 0.033, 0.   ]]])
    """
    matrix = np.asarray(conv_matrix, np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise ValueError(f"conv_matrix must be 3×3 and finite, got {conv_matrix!r}")
    return _mixed(rgb, Mixture(matrix, True, True), channel_axis)


def stain_matrix(*vectors: npt.ArrayLike) -> NumpyArray:
    """Matrix for `separate_stains` from the colours of two or three stains.

    Parameters
    ----------
    *vectors : array_like (3,)
        Optical density of each stain in red, green and blue, in any unit, as ImageJ, QuPath or
        HistomicsTK write it. Two stains get the direction across both as a third one, for what
        they don't explain.

    Returns
    -------
    (3, 3) array of float64

    Raises
    ------
    ValueError
        If there are not two or three of them, with three values each, that are independent.

    References
    ----------
    A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical staining by color
    deconvolution", Anal. Quant. Cytol. Histol. 23(4), 2001.

    Examples
    --------
    >>> stain_matrix([0.65, 0.70, 0.29], [0.27, 0.57, 0.78]).round(2)
    array([[ 1.21, -0.7 ,  0.63],
           [ 0.68,  0.02, -0.71],
           [-0.92,  1.51,  0.3 ]])
    """
    rows = [np.asarray(vector, np.float64) for vector in vectors]
    if len(rows) not in (2, 3) or any(
        row.shape != (3,) or not row.any() or not np.isfinite(row).all() for row in rows
    ):
        raise ValueError(
            f"stains must be two or three, of three densities each, all finite, got {vectors}"
        )
    rows = [row / np.linalg.norm(row) for row in rows]
    if len(rows) == 2:
        across = np.cross(rows[0], rows[1])
        rows.append(across / max(float(np.linalg.norm(across)), 1e-300))
    stains = np.array(rows)
    if abs(np.linalg.det(stains)) < 1e-9:
        raise ValueError(f"stains must differ in colour, got {vectors}")
    inverse: NumpyArray = np.linalg.inv(stains)
    return inverse


def _mixed(rgb: Array, mixture: Mixture, channel_axis: int) -> Array:
    floor(rgb)
    float_dtype(rgb.dtype)
    check_integer(channel_axis, "channel_axis")
    if not -rgb.ndim <= channel_axis < rgb.ndim or rgb.shape[channel_axis] != 3:
        raise ValueError(
            f"rgb must have three channels in axis {channel_axis}, got shape {tuple(rgb.shape)}: "
            "leave a fourth one out, as rgb[..., :3], and don't convert what is grey"
        )
    axis = channel_axis % rgb.ndim
    order = [other for other in range(rgb.ndim) if other != axis]
    found = implementation(rgb, "color").mix(rgb.transpose([*order, axis]), mixture)
    if not mixture.keepdim:
        return found
    back = list(range(rgb.ndim - 1))
    back.insert(axis, rgb.ndim - 1)
    return found.transpose(back)
