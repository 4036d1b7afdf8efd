"""Pixels on the surfaces of objects, as lists that chunks give for themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpuseg.typing import NumpyArray


class Points(NamedTuple):
    """Labels (points,) and indices (points, axes) of pixels, both int64."""

    labels: NumpyArray
    places: NumpyArray


def join(parts: Sequence[Points]) -> Points:
    """Points of several chunks."""
    labels, places = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Points(labels, places)


def by_label(points: Points) -> Points:
    """Points sorted by label, those of one label in raster order: whatever the chunks were."""
    order = np.lexsort((*points.places.T[::-1], points.labels))
    return Points(points.labels[order], points.places[order])
