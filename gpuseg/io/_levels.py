"""The resolutions of a slide, and the one that a caller asks for."""

from __future__ import annotations

import math
from typing import NamedTuple

from gpuseg.io._reader import Facts, SlideError

# A level is the one asked for if its pixel size is this close.
_TOLERANCE = 0.05


class Level(NamedTuple):
    """One resolution of a slide.

    `shape` and `tile` are (height, width) in pixels, `downsample` is relative to level 0, `mpp`
    is in micrometres per pixel (None where unknown).
    """

    shape: tuple[int, int]
    downsample: float
    mpp: float | None
    tile: tuple[int, int]


def make_levels(facts: Facts) -> tuple[Level, ...]:
    """Levels of a reader's grids."""
    base = facts.grids[0].shape
    own = None if facts.mpp is None else math.sqrt(facts.mpp[0] * facts.mpp[1])
    if facts.mpp is not None and facts.mpp[0] == facts.mpp[1]:
        own = facts.mpp[0]
    levels = []
    for grid in facts.grids:
        # OpenSlide's definition: the mean of both sides' ratios.
        downsample = (base[0] / grid.shape[0] + base[1] / grid.shape[1]) / 2
        mpp = None if own is None else own * downsample
        levels.append(Level(grid.shape, downsample, mpp, grid.tile))
    return tuple(levels)


def choose_level(
    name: str,
    levels: tuple[Level, ...],
    power: float | None,
    level: int,
    mpp: float | None,
    magnification: float | None,
) -> int:
    """Index of the level that is asked for; `power` is the magnification of level 0.

    Raises
    ------
    ValueError
        If there is none; the message lists what exists.
    """
    if mpp is None and magnification is None:
        if not -len(levels) <= level < len(levels):
            raise ValueError(f"level must be one of 0 to {len(levels) - 1} of {name}, got {level}")
        return level % len(levels)
    if (mpp is not None and magnification is not None) or level != 0:
        raise ValueError("give one of level, mpp and magnification, not several")
    if mpp is not None:
        kind, wanted, known = "mpp", mpp, [each.mpp for each in levels]
    else:
        kind, wanted = "magnification", magnification or 0.0
        known = [None if power is None else power / each.downsample for each in levels]
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"{kind} must be a positive number, got {wanted}")
    found = [value for value in known if value is not None]
    if not found:
        raise ValueError(f"{name} tells no {kind}; choose one of its {len(levels)} levels")
    best = min(range(len(levels)), key=lambda index: abs(math.log((known[index] or 1) / wanted)))
    if abs((known[best] or 0) / wanted - 1) > _TOLERANCE:
        listed = ", ".join(f"{value:.4g}" for value in found)
        raise ValueError(f"no level of {name} has {kind} {wanted:g} (within 5 %); it has {listed}")
    return best


def refuse_truncated(name: str, facts: Facts, level: int) -> None:
    """Raise `SlideError` if tiles of the level lie beyond the end of the file."""
    missing = facts.beyond_end[level] if facts.beyond_end else 0
    if missing:
        rows, columns = facts.grids[level].tiles
        raise SlideError(
            f"{name}: {missing} of {rows * columns} tiles of level {level} lie beyond the end of "
            'the file: it is truncated, or still being copied (on_error="skip" reads the others)'
        )
