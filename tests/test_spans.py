"""Spans of regions: cutting, merging and painting them agree with masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg._cpu.spans import by_row, clip, lengths, paint, union

HEIGHT, WIDTH, REGIONS = 9, 14, 4


@st.composite
def spans(draw):
    """Spans of several regions; those of one region don't overlap in a row."""
    density = draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return of_masks(rng.random((REGIONS, HEIGHT, WIDTH)) < density)


def of_masks(masks):
    found = []
    for region, mask in enumerate(masks):
        for row, line in enumerate(mask):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
            found += [(region, row, a, b) for a, b in edges.reshape(-1, 2)]
    return np.array(found, np.int32).reshape(-1, 4)


def masks_of(rows, height, width, regions=REGIONS):
    found = np.zeros((regions, height, width), int)
    for region, row, start, stop in rows:
        assert start < stop
        found[region, row, start:stop] += 1
    assert found.max(initial=0) <= 1
    return found.astype(bool)


@settings(max_examples=60, deadline=None)
@given(spans(), st.integers(0, 8), st.integers(0, 13), st.integers(1, 9), st.integers(1, 14))
def test_clip_is_a_window_of_the_mask(rows, top, left, height, width):
    height, width = min(height, HEIGHT - top), min(width, WIDTH - left)
    whole = masks_of(rows, HEIGHT, WIDTH)
    part = clip(*by_row(rows, HEIGHT), top, left, height, width)
    np.testing.assert_array_equal(
        masks_of(part, height, width), whole[:, top : top + height, left : left + width]
    )
    assert (np.diff(part[:, 1]) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(spans())
def test_union_paint_and_lengths_are_those_of_the_masks(rows):
    masks = masks_of(rows, HEIGHT, WIDTH)
    before = rows.copy()
    merged = union(by_row(rows, HEIGHT)[0], 0)
    np.testing.assert_array_equal(masks_of(merged, HEIGHT, WIDTH, 1)[0], masks.any(axis=0))
    np.testing.assert_array_equal(paint(rows, HEIGHT, WIDTH), masks.any(axis=0))
    np.testing.assert_array_equal(lengths(rows, REGIONS), masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("count", [0, 1])
def test_union_leaves_its_argument_alone(count):
    rows = np.array([[3, 1, 2, 5]], np.int32)[:count]
    assert union(rows, 7).tolist() == [[7, 1, 2, 5]][:count]
    assert rows.tolist() == [[3, 1, 2, 5]][:count]
