"""Faces of labelled blocks as intervals, and what joins them: the passes of the merge, in numba.

A face is a list of intervals [start, stop) of one component each, ascending. Positions count along
the plane of the face through the whole image, its rows `PAD` positions longer than they are, so
that a neighbour one step off a row's end falls on nothing.
"""

from typing import Any

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._cpu._unions import root

# One before, one after, and one more for an interval that grows.
PAD = 3


@jit
def count_intervals(face: Any) -> int:
    """Stretches of one label in the rows of a 2-D face."""
    count = 0
    for row in range(face.shape[0]):
        before = 0
        for x in range(face.shape[1]):
            value = face[row, x]
            count += value != 0 and value != before
            before = value
    return count


@jit
def intervals(face: Any, rows: Any, start: Any, length: Any, label: Any) -> None:
    """Stretches of one label in the rows of a 2-D face; row i begins at position rows[i]."""
    at = -1
    for row in range(face.shape[0]):
        before = 0
        for x in range(face.shape[1]):
            value = face[row, x]
            if value != 0:
                if value != before:
                    at += 1
                    start[at] = rows[row] + x
                    length[at] = 0
                    label[at] = value
                length[at] += 1
            before = value


@jit
def join_touching(
    parent: Any,
    values: Any,
    start_a: Any,
    length_a: Any,
    node_a: Any,
    start_b: Any,
    length_b: Any,
    node_b: Any,
    shift: int,
    grow: int,
) -> None:
    """Union components that touch across two faces, the second moved by `shift`.

    With `grow` 1 they also touch by a corner along the row, see `_runs._join_masks`. Where
    components have values, only equal ones connect.
    """
    first = 0
    for i in range(start_a.size):
        low, high = start_a[i], start_a[i] + length_a[i] + grow
        while first < start_b.size and start_b[first] + shift + length_b[first] + grow <= low:
            first += 1
        j = first
        while j < start_b.size and start_b[j] + shift < high:
            a, b = node_a[i], node_b[j]
            if values.size == 0 or values[a] == values[b]:
                a, b = root(parent, a), root(parent, b)
                if a < b:
                    parent[b] = a
                else:
                    parent[a] = b
            j += 1


@jit
def settle(parent: Any, keys: Any, outside: Any, link: Any) -> Any:
    """Split components into those that reach `outside` and those that are complete.

    `link` of a node becomes k for the k-th component that goes on, ~k for the k-th complete one.
    Returns their nodes (the first of each) and least keys: open nodes, open keys, closed keys.
    """
    least = keys.copy()
    reaches = outside.copy()
    for node in range(parent.size):
        top = root(parent, node)
        parent[node] = top
        least[top] = min(least[top], keys[node])
        reaches[top] |= reaches[node]
    n_open = n_closed = 0
    for node in range(parent.size):
        if parent[node] != node:
            link[node] = link[parent[node]]
        elif reaches[node]:
            link[node] = n_open
            n_open += 1
        else:
            link[node] = ~n_closed
            n_closed += 1
    open_nodes = np.empty(n_open, np.int64)
    open_keys = np.empty(n_open, np.int64)
    closed_keys = np.empty(n_closed, np.int64)
    for node in range(parent.size):
        if parent[node] == node:
            if link[node] >= 0:
                open_nodes[link[node]] = node
                open_keys[link[node]] = least[node]
            else:
                closed_keys[~link[node]] = least[node]
    return open_nodes, open_keys, closed_keys


@jit
def count_lines(firsts: Any, survives: Any, width: int, column: int, counts: Any) -> None:
    """Add to counts[line, column] the components that start in each line of a block."""
    for k in range(firsts.size):
        if survives[k]:
            counts[firsts[k] // width, column] += 1


@jit
def scan_lines(counts: Any, lines: int, totals: Any) -> None:
    """Make `counts` exclusive sums within each group of `lines` lines; `totals` are the groups'."""
    for group in range(totals.size):
        total = 0
        for line in range(group * lines, (group + 1) * lines):
            for column in range(counts.shape[1]):
                count = counts[line, column]
                counts[line, column] = total
                total += count
        totals[group] = total


@jit
def rank_lines(
    firsts: Any, survives: Any, width: int, column: int, counts: Any, ranks: Any
) -> None:
    """Rank, from 1, of each component that starts in a block; 0 for those that start elsewhere."""
    for k in range(firsts.size):
        ranks[k] = 0
        if survives[k]:
            line = firsts[k] // width
            counts[line, column] += 1
            ranks[k] = counts[line, column]


@jit
def take_largest(link: Any, numbers: Any, open_numbers: Any, closed_numbers: Any) -> None:
    """Number of each component: of its parts, only the one that starts it knows it."""
    for node in range(link.size):
        k = link[node]
        if k >= 0:
            open_numbers[k] = max(open_numbers[k], numbers[node])
        else:
            closed_numbers[~k] = max(closed_numbers[~k], numbers[node])
