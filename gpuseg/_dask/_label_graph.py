"""The tasks between the two passes over the chunks: steps B, C and D as a graph of keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from gpuseg._dask._label_boxes import Box, Index, Kept, Problem, merge
from gpuseg._dask._label_numbers import (
    Lifted,
    Place,
    Rims,
    Scan,
    lift,
    pick_rims,
    rank,
    rim_numbers,
    scan,
    spread,
)
from gpuseg._dask._label_plan import Key, Plan
from gpuseg.typing import NumpyArray

Graph = dict[Key, Any]


def merge_graph(plan: Plan, problem: Problem) -> Graph:
    """Tasks that turn outlines into what `relabel` needs of ranks, scan and spread numbers."""
    return {**_merges(plan, problem), **_ranks(plan, problem.shape[-1]), **_descent(plan)}


def _kept(merged: tuple[Box, Kept]) -> Kept:
    return merged[1]


def _merges(plan: Plan, problem: Problem) -> Graph:
    """Steps B and C, from chunks to the whole."""
    graph: Graph = {}
    for level in range(1, plan.top + 1):
        for box in np.ndindex(*plan.grids[level]):
            step = ("merge", level - 1) if level > 1 else ("outline",)
            parts = [plan.key(*step, *part) for part in plan.parts(level, box)]
            layout, last = plan.layout(level, box), level == plan.top
            task = partial(merge, layout=layout, problem=problem, last=last)
            graph[plan.key("merge", level, *box)] = (task, parts)
            graph[plan.key("kept", level, *box)] = (_kept, plan.key("merge", level, *box))
    return graph


def _ranks(plan: Plan, width: int) -> Graph:
    """Step D over lines of chunks, and the scan over them all."""
    graph: Graph = {}
    groups = plan.groups()
    for group, lines in enumerate(groups):
        found: dict[Key, int] = {}
        places = [
            [_place(plan, (*line, k), found) for k in range(plan.numblocks[-1])] for line in lines
        ]
        task = partial(rank, lines=places, width=width)
        graph[plan.key("rank", group)] = (task, list(found))
        graph[plan.key("rims", group)] = (pick_rims, plan.key("rank", group))
    total = partial(scan, numblocks=plan.numblocks, starts=plan.starts)
    graph[plan.key("scan")] = (total, [plan.key("rims", group) for group in range(len(groups))])
    return graph


def _place(plan: Plan, chunk: Index, found: dict[Key, int]) -> Place:
    """Where a chunk is among the boxes `found`, to which its own are added."""
    path, part, at = [], 0, chunk
    for level in range(plan.top):
        at, inside = plan.box_of(level, at)
        part = inside if level == 0 else part
        path.append(found.setdefault(plan.key("kept", level + 1, *at), len(found)))
    return Place(path[0], part, tuple(path[1:]))


def _descent(plan: Plan) -> Graph:
    """Step D, from the chunks that know numbers to the boxes that need them, and back."""
    graph: Graph = {}
    for level in range(1, plan.top + 1):
        for box in np.ndindex(*plan.grids[level]):
            kept, lifted = plan.key("kept", level, *box), plan.key("lift", level, *box)
            parts = plan.parts(level, box)
            if level > 1:
                known = [plan.key("lift", level - 1, *part) for part in parts]
                graph[lifted] = (_lift_boxes, kept, known)
            else:
                places = [plan.place(part) for part in parts]
                groups = sorted({place[0] for place in places})
                where = [(groups.index(place[0]), *place) for place in places]
                sides = [plan.key("rims", group) for group in groups]
                task = partial(_lift_chunks, where=where)
                graph[lifted] = (task, kept, sides, plan.key("scan"))
            down = plan.key("spread", level, *box)
            if level < plan.top:
                above, part = plan.box_of(level, box)
                pick = partial(_spread_part, part=part)
                graph[down] = (pick, kept, lifted, plan.key("spread", level + 1, *above))
            else:
                graph[down] = (spread, kept, lifted, None)
    return graph


def _lift_boxes(kept: Kept, parts: Sequence[Lifted]) -> Lifted:
    return lift(kept, [part.open for part in parts])


def _lift_chunks(
    kept: Kept,
    groups: Sequence[Rims],
    whole: Scan,
    where: Sequence[tuple[int, int, int, int]],
) -> Lifted:
    return lift(kept, rim_numbers(groups, whole, where))


def _spread_part(
    kept: Kept, lifted: Lifted, above: Sequence[NumpyArray], part: int
) -> list[NumpyArray]:
    return spread(kept, lifted, above[part])
