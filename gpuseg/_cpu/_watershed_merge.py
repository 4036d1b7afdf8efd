"""Forests of neighbouring blocks become one: what a block must tell, and how they are joined.

A block knows all edges that leave it, so a component that does not reach out of it by its least
edge is complete; only the others go on. What must be known of them are the edges between them that
could still be in the forest, those that leave the block, and whose component each pixel of a face
is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpuseg._cpu._jit import jit
from gpuseg._cpu._unions import root
from gpuseg._cpu._watershed_basins import CLOSED, OPEN, sorted_by
from gpuseg.typing import NumpyArray

SEEDED = 3
# Fewer edges than this are sorted faster by comparison.
_FEW = 1 << 14
# The far side of an edge where it is no component.
SEED, OUTSIDE = -1, -2


class Edges(NamedTuple):
    """Edges from component `a` to component `b`, or to what `other` says if `b` is none.

    `other` is a label where `b` is `SEED`, and a pixel's place in the whole where it is `OUTSIDE`.
    The rest are key, depth and place of the higher pixel and of the lower one, by which edges are
    in order.
    """

    a: NumpyArray
    b: NumpyArray
    other: NumpyArray
    high_key: NumpyArray
    high_depth: NumpyArray
    high: NumpyArray
    low_key: NumpyArray
    low_depth: NumpyArray
    low: NumpyArray

    def take(self, which: NumpyArray) -> Edges:
        """Some of them."""
        return Edges(*(column[which] for column in self))


class Part(NamedTuple):
    """What is not decided within a block.

    The number of components; their edges; and for pixels of its faces (`places` in the whole,
    ascending) their component, or `SEED` and the label in `labels`.
    """

    number: int
    edges: Edges
    places: NumpyArray
    nodes: NumpyArray
    labels: NumpyArray


class Links(NamedTuple):
    """What became of each component of the parts: one of the whole's, or -1 and its label."""

    sizes: tuple[int, ...]
    to: NumpyArray
    labels: NumpyArray


def join(
    parts: Sequence[Part], keep: Callable[[NumpyArray], NumpyArray] | None = None
) -> tuple[Part, Links]:
    """The part that several are together, and where their components went.

    `keep` says which places still lie on the outside; without it there is no outside.
    """
    sizes = tuple(part.number for part in parts)
    starts = np.cumsum((0, *sizes))
    edges = _concatenated(parts, starts)
    places = np.concatenate([part.places for part in parts])
    nodes = np.concatenate(
        [_moved(part.nodes, start) for part, start in zip(parts, starts, strict=False)]
    )
    labels = np.concatenate([part.labels for part in parts])
    order = np.argsort(places)
    places, nodes, labels = places[order], nodes[order], labels[order]
    edges = _resolved(edges, places, nodes, labels)
    ascending = _ascending(edges)
    total = int(starts[-1])
    parent, tag = np.arange(total + 1), np.zeros(total + 1, np.int8)
    found = np.zeros(total + 1, np.int64)
    kept = np.zeros(edges.a.size, bool)
    grow(ascending, edges.a, edges.b, edges.other, parent, parent.copy(), tag, found, kept)
    roots = _roots(parent)[:-1]
    opened = (tag[:-1] == OPEN) & (roots == np.arange(total))
    to = np.where(tag[roots] == OPEN, (np.cumsum(opened) - 1)[roots], -1)
    links = Links(sizes, to, found[roots])
    if keep is None:
        empty = np.empty(0, np.int64)
        return Part(0, Edges(*(column[:0] for column in edges)), empty, empty, empty), links
    some = keep(places)
    nodes, labels = _linked(nodes[some], labels[some], links)
    rest = _linked_edges(edges.take(kept | (edges.b == OUTSIDE)), links)
    return Part(int(opened.sum()), rest, places[some], nodes, labels), links


def _ascending(edges: Edges) -> NumpyArray:
    columns = (
        edges.low, edges.low_depth, edges.low_key, edges.high, edges.high_depth, edges.high_key
    )  # fmt: skip
    if edges.a.size < _FEW:
        return np.lexsort(columns)
    order = np.arange(edges.a.size)
    spare = np.empty_like(order)
    for values in columns:
        if sorted_by(values, order, spare, int(values.max()).bit_length()):
            order, spare = spare, order
    return order


def spread(links: Links, labels: NumpyArray) -> list[NumpyArray]:
    """Labels of the components of each part, given those of the whole's."""
    known = np.append(labels, 0)
    found = np.where(links.to >= 0, known[links.to], links.labels)
    return np.split(found, np.cumsum(links.sizes)[:-1])


def _moved(nodes: NumpyArray, start: int) -> NumpyArray:
    return np.where(nodes >= 0, nodes + start, nodes)


def _concatenated(parts: Sequence[Part], starts: NumpyArray) -> Edges:
    moved = [
        part.edges._replace(a=part.edges.a + start, b=_moved(part.edges.b, start))
        for part, start in zip(parts, starts, strict=False)
    ]
    return Edges(*(np.concatenate(columns) for columns in zip(*moved, strict=True)))


def _resolved(edges: Edges, places: NumpyArray, nodes: NumpyArray, labels: NumpyArray) -> Edges:
    """Edges out of one part into another one lead to components there."""
    if places.size == 0:
        return edges
    at = np.minimum(np.searchsorted(places, edges.other), places.size - 1)
    inside = (edges.b == OUTSIDE) & (places[at] == edges.other)
    return edges._replace(
        b=np.where(inside, nodes[at], edges.b), other=np.where(inside, labels[at], edges.other)
    )


def _linked(nodes: NumpyArray, labels: NumpyArray, links: Links) -> tuple[NumpyArray, NumpyArray]:
    there = nodes >= 0
    to = np.append(links.to, -1)[np.where(there, nodes, -1)]
    known = np.append(links.labels, 0)[np.where(there, nodes, -1)]
    return np.where(there, to, nodes), np.where(there & (to < 0), known, labels)


def _linked_edges(edges: Edges, links: Links) -> Edges:
    """Edges between components of the whole, with an open one as the first."""
    b, other = _linked(edges.b, edges.other, links)
    a = links.to[edges.a]
    turned = (a < 0) & (b >= 0)
    other = np.where(turned, links.labels[edges.a], other)
    a, b = np.where(turned, b, a), np.where(turned, a, b)
    return edges._replace(a=a, b=b, other=other).take(a >= 0)


@jit
def _roots(parent: Any) -> Any:
    found = np.empty_like(parent)
    for a in range(parent.size):
        found[a] = root(parent, a)
    return found


@jit
def grow(
    order: Any,
    first: Any,
    second: Any,
    other: Any,
    parent: Any,
    bound: Any,
    tag: Any,
    label: Any,
    kept: Any,
) -> None:
    """Join components along ascending edges wherever that is certain.

    The least edge out of a closed component is. Other edges are `kept` unless lesser ones `bound`
    their ends already; all that has a seed counts as bound, to the last node.
    """
    seeds = parent.size - 1
    for i in range(order.size):
        e = order[i]
        x = root(parent, first[e])
        if second[e] == OUTSIDE:
            if tag[x] == CLOSED:
                tag[x] = OPEN
            continue
        y = root(parent, seeds if second[e] == SEED else second[e])
        if x == y:
            continue
        near, far = tag[x], SEEDED if y == seeds else tag[y]
        u = root(bound, first[e])
        v = root(bound, seeds if second[e] == SEED else second[e])
        if u == v:
            continue
        bound[u] = v
        if near != CLOSED and far != CLOSED:
            kept[e] = True
            continue
        if y == seeds:
            tag[x], label[x] = SEEDED, other[e]
            continue
        x, y = min(x, y), max(x, y)
        parent[y] = x
        if tag[x] == CLOSED:
            tag[x], label[x] = tag[y], label[y]
