"""A picture of what was found: the image beside itself with every object outlined."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.report._sheet import scale_bar, sheet
from gpuseg.typing import Array, NumpyArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["objects_picture"]

# Neighbours have neighbouring numbers: colours of neighbouring numbers are far apart in hue, and
# all are bright on dark tissue as on pale one. (Wong's palette without black, and three more.)
_COLOURS = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167),
     (120, 94, 240), (220, 38, 127), (100, 220, 100)], np.uint8,
)  # fmt: skip
_LONGEST = 1200  # pixels of a panel's longer side


def objects_picture(
    image: Array,
    labels: Array,
    *,
    title: str,
    subtitle: str = "",
    mpp: float | None = None,
) -> Image.Image:
    """Draw an image beside itself with the outlines of its objects.

    Parameters
    ----------
    image : (M, N), (M, N, 3) or (P, M, N) array
        Grey images are stretched between their 1st and 99.8th percentile; of a volume the largest
        values along its first axis are shown.
    labels : (M, N) or (P, M, N) array of int
        Of a volume the largest labels along its first axis.
    title, subtitle : str
        Written above.
    mpp : float, optional
        Micrometres per pixel; draws a scale bar.

    Returns
    -------
    picture : PIL.Image.Image
        RGB; images above 1200 pixels are shown smaller.

    Raises
    ------
    ValueError
        If the shapes don't fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((60, 80), np.uint8)
    >>> image[20:40, 20:50] = 200
    >>> objects_picture(image, (image > 0).astype(int), title="one").mode
    'RGB'
    """
    from PIL import Image

    if image.shape[: labels.ndim] != labels.shape:
        raise ValueError(
            f"labels must have the image's shape, got {labels.shape} and {image.shape}"
        )
    if labels.ndim == 3:
        image, labels = image.max(axis=0), labels.max(axis=0)
    step = max(1, math.ceil(max(labels.shape) / _LONGEST))
    small = _host(labels[::step, ::step])
    pixels = _stretched(_host(image[::step, ::step]))
    panels = [Image.fromarray(each) for each in (pixels, outlined(pixels, small))]
    # A small image is enlarged by whole steps, so that the text has room to be read.
    enlarge = max(1, 480 // max(small.shape))
    size = (small.shape[1] * enlarge, small.shape[0] * enlarge)
    panels = [panel.resize(size, Image.Resampling.BOX) for panel in panels]
    if mpp is not None:
        for panel in panels:
            scale_bar(panel, mpp * step / enlarge)
    return sheet(panels, title, subtitle, lambda room, size: 0).image


def outlined(pixels: NDArray[np.uint8], labels: NumpyArray) -> NDArray[np.uint8]:
    """Lay outlines, one pixel wide and inside the objects, over an image."""
    inner = np.zeros(labels.shape, bool)
    for axis in range(2):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(2))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(2))
        differ = labels[low] != labels[high]
        inner[low] |= differ
        inner[high] |= differ
    inner &= labels > 0
    drawn = pixels.copy()
    drawn[inner] = _COLOURS[labels[inner] % len(_COLOURS)]
    return drawn


def _host(array: Any) -> NumpyArray:
    found = array.compute() if hasattr(array, "compute") else array
    return found.get() if hasattr(found, "get") else np.asarray(found)


def _stretched(image: NumpyArray) -> NDArray[np.uint8]:
    if image.ndim == 3 and image.dtype == np.uint8:
        return np.ascontiguousarray(image[..., :3])
    values = image[..., :3].astype(np.float32) if image.ndim == 3 else image.astype(np.float32)
    low, high = (float(v) for v in np.percentile(values, (1, 99.8)))
    grey = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    # Dim objects are to be seen beside bright ones.
    bytes_ = np.round(255 * np.sqrt(grey)).astype(np.uint8)
    return bytes_ if image.ndim == 3 else np.repeat(bytes_[..., None], 3, axis=2)
