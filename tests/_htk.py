"""HistomicsTK's positive pixel formula in plain NumPy, written from its documentation."""

import numpy as np

# Boundaries nearer than this are left out: there rounding, ours or arctan2's, may decide.
HUE_TIE = 1e-9


def hsi(image, max_value=255):
    """Hue, saturation and intensity, each operation in float64 in HistomicsTK's order."""
    red, green, blue = (image[..., k].astype(np.float64) / max_value for k in range(3))
    hue = np.arctan2(3**0.5 * (green - blue), 2 * red - green - blue) / (2 * np.pi) % 1
    intensity = ((red + green) + blue) / 3
    lowest = np.minimum(red, np.minimum(green, blue))
    saturation = np.where(intensity != 0, 1 - lowest / np.maximum(intensity, 1e-10), 0)
    return hue, saturation, intensity


def labels(image, params, max_value=255):
    """Labels (uint8), and where the hue is too near its boundary to be sure."""
    hue, saturation, intensity = hsi(image, max_value)
    distance = np.abs((hue - params.hue_value + 0.5) % 1 - 0.5)
    tie = np.abs(distance - params.hue_width / 2) < HUE_TIE
    positive = (
        (distance <= params.hue_width / 2)
        & (saturation >= params.saturation_minimum)
        & (intensity < params.intensity_upper_limit)
        & (intensity >= params.intensity_lower_limit)
    )
    classes = np.where(
        intensity >= params.intensity_weak_threshold,
        1,
        np.where(intensity < params.intensity_strong_threshold, 3, 2),
    )
    return np.where(positive, classes, 0).astype(np.uint8), tie & (params.hue_width < 1)
