"""The merge of many chunks: tiles that repeat, and counts beyond 32 bits."""

from __future__ import annotations

import numpy as np
import pytest
from label_cases import structure
from scipy import ndimage

from benchmarks._label_merge import expected, merge, tile
from gpuseg._cpu.label import label
from gpuseg._dask._label_boxes import Problem
from gpuseg._dask._label_graph import merge_graph
from gpuseg._dask._label_numbers import Rims, scan, table
from gpuseg._dask._label_plan import Plan
from gpuseg._shared.neighbours import Neighbours


def test_simulated_chunks_are_those_of_a_real_image():
    small = tile("small")
    rows, columns = 7, 9
    chunks = tuple(np.ndindex(rows, columns))
    merged = merge(small, rows, columns, chunks)
    whole, number = ndimage.label(np.tile(small, (rows, columns)), structure(2, 2))
    assert merged.count == [number]
    for i, j in chunks:
        (numbers,) = merged.kept[i, j]
        found, _ = label(small, 2, numbers=numbers)
        size = small.shape[0]
        part = whole[i * size : (i + 1) * size, j * size : (j + 1) * size]
        np.testing.assert_array_equal(found, part)


@pytest.mark.parametrize(("rows", "columns"), [(1, 60), (60, 1), (40, 50)])
def test_number_of_many_chunks(rows, columns):
    small = tile("small")
    if min(rows, columns) > 1:
        wanted = expected(small, rows, columns)
    else:
        wanted = ndimage.label(np.tile(small, (rows, columns)), structure(2, 2))[1]
    assert merge(small, rows, columns).count == [wanted]


def test_tasks_of_a_merge_grow_with_chunks():
    for numblocks in ((16, 16), (64, 64), (1000, 1), (1, 1000), (3000,), (10, 10, 10)):
        plan = Plan(tuple((2,) * count for count in numblocks), "token")
        shape = tuple(2 * count for count in numblocks)
        problem = Problem(shape, Neighbours(1, tuple(range(len(shape))), ()), 0, False)
        tasks = merge_graph(plan, problem)
        assert len(tasks) <= 0.5 * np.prod(numblocks)
        # What a task names of others: no list of them grows with the image but the scan's.
        named = sum(len(part) for task in tasks.values() for part in task if isinstance(part, list))
        assert named <= 3 * np.prod(numblocks)


def test_more_labels_than_32_bits():
    # Two lines of chunks in each of three planes, with a billion labels each.
    many = 10**9
    groups = [Rims([], [], [np.array([many]), np.array([many])]) for _ in range(3)]
    whole = scan(groups, (3, 2, 1), [[0, 1, 2, 3], [0, 5, 10], [0, 7]])
    assert whole.number == 6 * many
    assert [int(line[0]) for group in whole.before for line in group] == [
        k * many for k in range(6)
    ]
    found = table(
        np.array([1, 0, 2], np.int32),
        np.array([0]),
        np.array([2]),
        whole.before[2][1],
        np.array([7 * many]),
        np.dtype(np.int64),
    )
    assert found.tolist() == [5 * many + 1, 7 * many, 5 * many + 2]


def test_labels_of_planes_interleave():
    # Chunks of two planes: the second line's first plane comes before the first line's second.
    totals = [[np.array([3, 10]), np.array([5, 20])]]
    groups = [Rims([], [], line) for line in totals]
    whole = scan(groups, (1, 2, 1), [[0, 2], [0, 5, 10], [0, 7]])
    assert whole.number == 38
    assert [line.tolist() for line in whole.before[0]] == [[0, 8], [3, 18]]


def test_labels_written_with_numbers_beyond_32_bits():
    image = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]], bool)
    numbers = np.array([5, 2**31, 2**40, 7], np.int64)
    found, count = label(image, 1, numbers=numbers)
    assert count == 4
    assert found.dtype == np.int64
    assert found.tolist() == [[5, 0, 2**31], [0, 0, 0], [2**40, 0, 7]]
