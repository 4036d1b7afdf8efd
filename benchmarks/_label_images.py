"""Masks to label: what microscopes and scanners give, and what is hard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage


def nuclei(side: int) -> np.ndarray:
    """Discs of 6 to 15 pixels radius that cover a fifth of the image and touch now and then."""
    rng = np.random.default_rng(1)
    image = np.zeros((side, side), bool)
    for radius in range(6, 16):
        seeds = np.zeros((side, side), bool)
        seeds[tuple(rng.integers(0, side, (2, max(1, side**2 // 16_000))))] = True
        y, x = np.nonzero(seeds)
        dy, dx = np.nonzero(np.hypot(*(np.indices((2 * radius + 1,) * 2) - radius)) <= radius)
        for oy, ox in zip(dy - radius, dx - radius, strict=True):
            image[np.clip(y + oy, 0, side - 1), np.clip(x + ox, 0, side - 1)] = True
    return image


def noise(share: float) -> Callable[[int], np.ndarray]:
    """Pixels that are foreground by chance."""
    return lambda side: np.random.default_rng(0).random((side, side), np.float32) < share


def spiral(side: int) -> np.ndarray:
    """One line, one pixel wide, wound inwards with gaps of one pixel."""
    image = np.zeros((side, side), bool)
    top, left, bottom, right = 0, 0, side - 1, side - 1
    image[0] = True
    while bottom - top >= 2 and right - left >= 2:
        image[top : bottom + 1, right] = True
        image[bottom, left : right + 1] = True
        top += 2
        image[top : bottom + 1, left] = True
        right -= 2
        image[top, left : right + 1] = True
        left += 2
        bottom -= 2
    return image


def text(side: int) -> np.ndarray:
    """Repeats of scikit-image's printed page."""
    from skimage import data
    from skimage.filters import threshold_local

    page = data.page()
    ink = page < threshold_local(page, 35, offset=10)
    repeats = [-(-side // size) for size in ink.shape]
    return np.ascontiguousarray(np.tile(ink, repeats)[:side, :side])


PLANES = {
    "nuclei": nuclei,
    "random 10 %": noise(0.1),
    "random 30 %": noise(0.3),
    "random 50 %": noise(0.5),
    "random 70 %": noise(0.7),
    "spiral": spiral,
    "text": text,
}


def space(side: int) -> np.ndarray:
    """Smooth blobs that fill a fifth of the space."""
    field = np.random.default_rng(1).standard_normal((side,) * 3, np.float32)
    smooth = ndimage.gaussian_filter(field, 4, mode="wrap")
    return smooth > np.quantile(smooth[::4, ::4, ::4], 0.8)


def space_noise(share: float) -> Callable[[int], np.ndarray]:
    return lambda side: np.random.default_rng(0).random((side,) * 3, np.float32) < share


VOLUMES = {"nuclei in space": space, "random 30 % in space": space_noise(0.3)}
