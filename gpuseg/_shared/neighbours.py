"""Which pixels are neighbours: `connectivity`, `structure`, `axes` and `wrap_axes` in one form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpuseg._validate import check_integer


class Neighbours(NamedTuple):
    """Neighbours differ along at most `connectivity` of `axes`; the ends of `wrap_axes` meet."""

    connectivity: int
    axes: tuple[int, ...]
    wrap_axes: tuple[int, ...]


def resolve(
    ndim: int,
    connectivity: int | None = None,
    structure: npt.ArrayLike | None = None,
    axes: Sequence[int] | int | None = None,
    wrap_axes: Sequence[int] | int | None = None,
) -> Neighbours:
    """Check what a user gave for an array of `ndim` axes.

    Raises
    ------
    ValueError
        If the array has no axes, an argument is out of range, or two arguments say the same.
    """
    if ndim < 1:
        raise ValueError("image must have at least one axis, got a 0-d array")
    if structure is not None:
        if connectivity is not None or axes is not None:
            raise ValueError("give either structure or connectivity and axes, got both")
        connectivity, used = _of_structure(np.asarray(structure), ndim)
    else:
        used = _axes(axes, ndim, "axes") if axes is not None else tuple(range(ndim))
        if not used:
            raise ValueError("axes must name at least one axis, got none")
        if connectivity is None:
            connectivity = len(used)
        connectivity = check_integer(connectivity, "connectivity")
        if not 1 <= connectivity <= len(used):
            raise ValueError(
                f"connectivity must be between 1 and {len(used)} for {len(used)} connected axes, "
                f"got {connectivity}"
            )
    wrapped = _axes(wrap_axes, ndim, "wrap_axes") if wrap_axes is not None else ()
    if not set(wrapped) <= set(used):
        raise ValueError(f"wrap_axes must be among the connected axes {used}, got {wrapped}")
    return Neighbours(connectivity, used, wrapped)


def _axes(axes: Sequence[int] | int, ndim: int, name: str) -> tuple[int, ...]:
    many = isinstance(axes, list | tuple) or np.ndim(axes) > 0
    named: Any = axes if many else (axes,)
    found = [check_integer(axis, name) for axis in named]
    for axis in found:
        if not -ndim <= axis < ndim:
            raise ValueError(f"{name} must be between {-ndim} and {ndim - 1}, got {axis}")
    unique = sorted({axis % ndim for axis in found})
    if len(unique) < len(found):
        raise ValueError(f"{name} must not name an axis twice, got {tuple(found)}")
    return tuple(unique)


def _of_structure(structure: npt.NDArray[np.generic], ndim: int) -> tuple[int, tuple[int, ...]]:
    """Connectivity and axes of one of SciPy's standard structures, also flat along some axes."""
    if structure.shape != (3,) * ndim:
        raise ValueError(
            f"structure must have shape {(3,) * ndim} for an image with {ndim} axes, "
            f"got {structure.shape}"
        )
    given = structure.astype(bool)
    offsets = np.abs(np.indices(given.shape) - 1)
    axes = tuple(axis for axis in range(ndim) if (given & (offsets[axis] > 0)).any())
    outside = sum(offsets[axis] for axis in range(ndim) if axis not in axes)
    for connectivity in range(1, len(axes) + 1):
        if np.array_equal(given, (offsets.sum(0) <= connectivity) & (outside == 0)):
            return connectivity, axes
    raise ValueError(
        "structure must be one of scipy.ndimage.generate_binary_structure, or that of fewer axes "
        f"within zeros; got {given.astype(int).tolist()}"
    )
