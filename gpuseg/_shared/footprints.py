"""Neighbourhoods of morphology: which pixels around a pixel are looked at, step by step.

All of scikit-image's and SciPy's conventions (mirroring, even sizes, origins) are settled here, in
one form: a footprint of odd size, and of a pixel p the extreme over all p + o with o in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpuseg.typing import NumpyArray


class Step(NamedTuple):
    """One dilation (`grow`) or erosion.

    `footprint` is boolean and odd in size; `outside`, for masks, is what stands for pixels beyond
    the border.
    """

    grow: bool
    footprint: NumpyArray
    outside: bool


def sequence(footprint: Any, ndim: int) -> list[tuple[NumpyArray, int]]:
    """Footprints and how often to apply each, from scikit-image's two ways of writing them.

    Raises
    ------
    ValueError
        If the image has no axes, or a footprint has other axes than it, or no pixel.
    """
    if ndim < 1:
        raise ValueError("image must have at least one axis, got a 0-d array")
    if footprint is None:
        cross = np.indices((3,) * ndim) - 1
        footprint = np.abs(cross).sum(0) <= 1
    pairs = footprint if _is_sequence(footprint) else [(footprint, 1)]
    found = [(np.asarray(one) != 0, int(times)) for one, times in pairs]
    for one, times in found:
        if one.ndim != ndim or not one.any() or times < 1:
            raise ValueError(
                f"footprint must have the image's {ndim} axes, a pixel and at least one repeat, "
                f"got shape {one.shape} with {np.count_nonzero(one)} pixels, {times} times"
            )
    return found


def _is_sequence(footprint: Any) -> bool:
    return (
        isinstance(footprint, list | tuple)
        and len(footprint) > 0
        and all(
            isinstance(one, list | tuple) and len(one) == 2 and isinstance(one[0], np.ndarray)
            for one in footprint
        )
    )


def grey_steps(footprint: Any, ndim: int, grows: Sequence[bool]) -> tuple[Step, ...]:
    """scikit-image's grey operations: steps whose second is mirrored, even sizes padded in front.

    `grows` holds a dilation, an erosion, or both in their order.
    """
    pairs = [(_odd(one, front=True), times) for one, times in sequence(footprint, ndim)]
    steps = []
    for second, grow in enumerate(grows):
        for one, times in pairs:
            steps += [Step(grow, mirrored(one) if second else one, not grow)] * times
    return tuple(steps)


def binary_steps(footprint: Any, ndim: int, grows: Sequence[bool], mode: str) -> tuple[Step, ...]:
    """scikit-image's operations on masks: dilations are mirrored, even sizes padded at the end."""
    pairs = [(_odd(one, front=False), times) for one, times in sequence(footprint, ndim)]
    steps = []
    for grow in grows:
        outside = {"ignore": not grow, "max": True, "min": False}[mode]
        for one, times in pairs:
            steps += [Step(grow, mirrored(one) if grow else one, outside)] * times
    return tuple(steps)


def scipy_step(
    structure: npt.ArrayLike | None, ndim: int, grow: bool, outside: bool, origin: Sequence[int]
) -> Step:
    """One step as `scipy.ndimage` defines it, whose origin shifts the middle of the structure."""
    ((one, _),) = sequence(None if structure is None else np.asarray(structure), ndim)
    shifts = np.asarray(origin)
    size = np.array(one.shape)
    half = size // 2
    if not ((half + shifts >= 0) & (half + shifts < size)).all():
        raise ValueError(f"origin must stay within the structure {one.shape}, got {origin}")
    if grow:
        # SciPy mirrors the structure, with it the origin, and even sizes about their other middle.
        one = mirrored(one)
        shifts = -shifts - (size % 2 == 0)
    offsets = np.argwhere(one) - half - shifts
    reach = np.abs(offsets).max(0)
    footprint = np.zeros(2 * reach + 1, bool)
    footprint[tuple((offsets + reach).T)] = True
    return Step(grow, footprint, outside)


def mirrored(footprint: NumpyArray) -> NumpyArray:
    """The footprint turned about its middle."""
    return footprint[(slice(None, None, -1),) * footprint.ndim]


def _odd(footprint: NumpyArray, *, front: bool) -> NumpyArray:
    more = [((1, 0) if front else (0, 1)) if n % 2 == 0 else (0, 0) for n in footprint.shape]
    return np.pad(footprint, more)


def reach(steps: Sequence[Step]) -> tuple[int, ...]:
    """How far all the steps together look along each axis."""
    halves = np.array([np.array(step.footprint.shape) // 2 for step in steps])
    return tuple(halves.sum(0).tolist())


def border(step: Step, mode: str, cval: float, dtype: np.dtype[Any]) -> tuple[str, Any]:
    """SciPy's mode and value for those of scikit-image."""
    if mode == "ignore":
        mode = "min" if step.grow else "max"
    if mode not in ("min", "max"):
        return mode, cval
    if dtype.kind in "iu":
        return "constant", getattr(np.iinfo(dtype), mode)
    least: Any = False if dtype.kind == "b" else -np.inf
    most: Any = True if dtype.kind == "b" else np.inf
    return "constant", least if mode == "min" else most
