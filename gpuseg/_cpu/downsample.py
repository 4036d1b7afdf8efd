"""Halve a label image: each output pixel stands for a block of 2 × 2."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gpuseg._cpu._jit import jit

Labels = npt.NDArray[np.uint8]


def halve(labels: Labels, rule: Literal["mode", "any"]) -> Labels:
    """Half as many rows and columns, rounded up; blocks at an odd edge are smaller.

    Parameters
    ----------
    labels : (H, W) uint8
        Label image.
    rule : "mode" or "any"
        "mode": the most frequent label of the block, of equally frequent ones the largest.
        "any": the largest.

    Returns
    -------
    (⌈H/2⌉, ⌈W/2⌉) uint8

    Examples
    --------
    >>> halve(np.array([[0, 0, 1], [0, 3, 2]], np.uint8), "mode")
    array([[0, 2]], dtype=uint8)
    >>> halve(np.array([[0, 0, 1], [0, 3, 2]], np.uint8), "any")
    array([[3, 2]], dtype=uint8)
    """
    height, width = labels.shape
    out = np.empty(((height + 1) // 2, (width + 1) // 2), np.uint8)
    kernel = {"mode": _mode, "any": _any}[rule]
    for half in range(len(out)):
        # The last row, or column, of an odd edge stands for its missing neighbour as well: twice
        # each label in a block leaves its mode and its maximum as they were.
        kernel(labels[2 * half], labels[min(2 * half + 1, height - 1)], out[half])
    return out


@jit
def _mode(upper: Any, lower: Any, out: Any) -> None:
    for x in range(len(upper) // 2):
        out[x] = _mode_of(upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1])
    if len(upper) % 2:
        out[-1] = max(upper[-1], lower[-1])


@jit
def _any(upper: Any, lower: Any, out: Any) -> None:
    for x in range(len(upper) // 2):
        out[x] = max(max(upper[2 * x], upper[2 * x + 1]), max(lower[2 * x], lower[2 * x + 1]))
    if len(upper) % 2:
        out[-1] = max(upper[-1], lower[-1])


@jit(inline="always")
def _mode_of(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Mode of four, the largest of equally frequent ones."""
    # Sorted, equals are neighbours; only min, max and selects, so that it vectorises.
    low, high, left, right = min(a, b), max(a, b), min(c, d), max(c, d)
    w0, w3 = min(low, left), max(high, right)
    x, y = max(low, left), min(high, right)
    w1, w2 = min(x, y), max(x, y)
    lower = w0 if w0 == w1 else w3
    middle = w1 if w1 == w2 else lower
    return w3 if w2 == w3 else middle
