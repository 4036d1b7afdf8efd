"""Where an annotation lies: its voxels in micrometres, its two sides, and the sample within it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gpuseg.typing import NumpyArray

Triple = tuple[float, float, float]

# Codes of the sides, as BrainGlobe's hemispheres have them.
LEFT, RIGHT = 1, 2


class Midline(NamedTuple):
    """Plane that parts left from right, across one axis of the annotation.

    Attributes
    ----------
    axis : int
        Axis that goes from one side to the other.
    position : float, optional
        In micrometres of the annotation; by default the middle of its voxels. A voxel whose centre
        is on the plane is above it.
    left : {"above", "below"}
        Whether the left side is where coordinates are above the position: in BrainGlobe's "asr"
        orientation it is.

    Examples
    --------
    >>> Midline(2)
    Midline(axis=2, position=None, left='above')
    """

    axis: int
    position: float | None = None
    left: Literal["above", "below"] = "above"


class Sides(NamedTuple):
    """Side of each voxel: 0 none, 1 left, 2 right; strides of 0 where an axis doesn't matter."""

    values: NumpyArray
    strides: NumpyArray
    known: bool


def make_sides(
    shape: tuple[int, ...],
    spacing: Triple,
    origin: Triple,
    hemispheres: npt.ArrayLike | None,
    midline: Midline | None,
) -> Sides:
    """Check what tells left from right.

    Raises
    ------
    ValueError
        If both are given, the volume has another shape or other values, or the plane is no axis'.
    """
    if hemispheres is not None and midline is not None:
        raise ValueError("give hemispheres or a midline, got both")
    if hemispheres is not None:
        values = np.asarray(hemispheres)
        if values.shape != shape:
            raise ValueError(
                f"hemispheres must have the annotation's shape {shape}, got {values.shape}"
            )
        if values.dtype.kind not in "biu" or values.min() < 0 or values.max() > RIGHT:
            raise ValueError(
                "hemispheres must be integers, 1 on the left, 2 on the right and 0 on neither, "
                f"got {values.dtype} from {values.min()} to {values.max()}"
            )
        flat = np.ascontiguousarray(values, np.uint8).ravel()
        return Sides(flat, np.array([shape[1] * shape[2], shape[2], 1]), True)
    strides = np.zeros(3, np.int64)
    if midline is None:
        return Sides(np.zeros(1, np.uint8), strides, False)
    if midline.axis not in (0, 1, 2) or midline.left not in ("above", "below"):
        raise ValueError(
            f"midline must have an axis from 0 to 2 and left 'above' or 'below', got {midline}"
        )
    centres = np.arange(shape[midline.axis]) * spacing[midline.axis] + origin[midline.axis]
    position = (centres[0] + centres[-1]) / 2 if midline.position is None else midline.position
    above, below = (LEFT, RIGHT) if midline.left == "above" else (RIGHT, LEFT)
    strides[midline.axis] = 1
    return Sides(np.where(centres >= position, above, below).astype(np.uint8), strides, True)


def triple(value: Any, name: str, *, positive: bool) -> Triple:
    """One number or three, as three.

    Raises
    ------
    ValueError
        If they are no numbers, not finite, or not above 0 where that is asked.
    """
    one = value is None or not isinstance(value, Iterable)
    values = (value,) * 3 if one else tuple(value)
    real = len(values) == 3 and all(isinstance(v, numbers.Real) for v in values)
    if not real or not all(math.isfinite(v) and (v > 0 or not positive) for v in values):
        kind = "positive" if positive else "finite"
        raise ValueError(f"{name} must be a {kind} number or three (z, y, x), got {value!r}")
    return float(values[0]), float(values[1]), float(values[2])


class Affine(NamedTuple):
    """Linear part and shift of y = matrix x + shift."""

    matrix: NumpyArray
    shift: NumpyArray

    def packed(self) -> NumpyArray:
        """Both as (3, 4)."""
        return np.concatenate([self.matrix, self.shift[:, None]], axis=1)

    def then(self, scale: Sequence[float], origin: Sequence[float]) -> Affine:
        """Leads on from micrometres to steps of `scale` from `origin`."""
        factor = np.array(scale)
        return Affine(self.matrix / factor[:, None], (self.shift - np.array(origin)) / factor)

    def of_grid(self, scale: Sequence[float], origin: Sequence[float]) -> Affine:
        """Starts from steps of `scale` from `origin` instead of micrometres."""
        return Affine(
            self.matrix * np.array(scale), _applied(self.matrix, np.array(origin)) + self.shift
        )

    def determinant(self) -> float:
        (a, b, c), (d, e, f), (g, h, i) = self.matrix.tolist()
        return float(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))

    def inverse(self) -> Affine:
        """By cofactors: the same bits on every machine, which LAPACK doesn't promise."""
        (a, b, c), (d, e, f), (g, h, i) = self.matrix.tolist()
        cofactors = [
            [e * i - f * h, c * h - b * i, b * f - c * e],
            [f * g - d * i, a * i - c * g, c * d - a * f],
            [d * h - e * g, b * g - a * h, a * e - b * d],
        ]
        matrix = np.array(cofactors) / self.determinant()
        return Affine(matrix, -_applied(matrix, self.shift))


def _applied(matrix: NumpyArray, vector: NumpyArray) -> NumpyArray:
    """Product in a fixed order of additions, which BLAS doesn't promise."""
    product: NumpyArray = (matrix * vector).sum(axis=1)
    return product


def make_affine(affine: npt.ArrayLike | None) -> Affine:
    """Check a 4 x 4 matrix.

    Raises
    ------
    ValueError
        If it is none, not finite, not affine, or has no inverse.
    """
    whole = np.eye(4) if affine is None else np.asarray(affine, np.float64)
    if whole.shape != (4, 4):
        raise ValueError(f"affine must be a 4 x 4 matrix, got shape {whole.shape}")
    if not np.isfinite(whole).all():
        raise ValueError(f"affine must be finite, got {whole.tolist()}")
    if not np.array_equal(whole[3], (0, 0, 0, 1)):
        raise ValueError(f"affine must end in the row 0, 0, 0, 1, got {whole[3].tolist()}")
    found = Affine(np.ascontiguousarray(whole[:3, :3]), whole[:3, 3].copy())
    scale = float(np.prod(np.sqrt((found.matrix**2).sum(axis=0))))
    if not abs(found.determinant()) > 1e-12 * scale:
        raise ValueError(f"affine must have an inverse, got {whole.tolist()}, which is singular")
    return found
