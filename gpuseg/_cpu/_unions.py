"""Union-find: what all forests of nodes share."""

from typing import Any

from gpuseg._cpu._jit import jit


@jit
def root(parent: Any, node: int) -> int:
    """Where the parents of a node end; the way there is halved."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
