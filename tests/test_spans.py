"""Spans of regions: cutting, meeting and painting them agree with masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg._cpu.spans import by_row, clip, lengths, met, paint

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
def test_paint_lengths_and_what_is_met_are_those_of_the_masks(rows):
    masks = masks_of(rows, HEIGHT, WIDTH)
    np.testing.assert_array_equal(paint(rows, HEIGHT, WIDTH), masks.any(axis=0))
    np.testing.assert_array_equal(lengths(rows, REGIONS), masks.sum(axis=(1, 2)))
    parts = np.array([(top, left, 3, 2) for top in range(0, 9, 3) for left in range(0, 14, 2)])
    inside = [masks[:, top : top + 3, left : left + 2].any() for top, left, _, _ in parts]
    assert met(*by_row(rows, HEIGHT), parts).tolist() == inside
