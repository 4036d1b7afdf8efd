"""Which pixels belong to a region, and that no cut of the slide changes it."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from region_masks import mask, masks
from scipy.spatial import Delaunay

from gpuseg._cpu.regions import pack, spans


def inside(rings, x, y):
    """Even–odd of a pixel's centre, in exact arithmetic; an edge's left and top side belong."""
    x, y, odd = x + Fraction(1, 2), y + Fraction(1, 2), False
    for ring in rings:
        points = [(Fraction(float(a)), Fraction(float(b))) for a, b in ring]
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            if (ay <= y) != (by <= y):
                odd ^= ax + (y - ay) * (bx - ax) / (by - ay) <= x
    return odd


# Quarters of a pixel make centres that lie on an edge or a corner frequent.
quarters = st.integers(-12, 60).map(lambda value: value / 4)
ring_lists = st.lists(st.lists(st.tuples(quarters, quarters), min_size=3, max_size=7), max_size=3)


@settings(max_examples=80, deadline=None)
@given(ring_lists)
def test_pixel_belongs_when_its_centre_is_inside(rings):
    expected = [[inside(rings, x, y) for x in range(14)] for y in range(13)]
    assert (mask(rings, 13, 14) == expected).all()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(ring_lists, max_size=3),
    st.lists(st.integers(1, 15), max_size=4),
    st.lists(st.integers(1, 15), max_size=4),
)
def test_boxes_put_together_are_the_whole(regions, rows, columns):
    whole = masks(regions, 16, 16)
    rows, columns = sorted({0, 16, *rows}), sorted({0, 16, *columns})
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            part = masks(regions, bottom - top, right - left, top, left)
            assert (part == whole[:, top:bottom, left:right]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1e-3))
def test_cuts_of_slanted_edges_agree_to_the_last_bit(seed, nudge):
    rng = np.random.default_rng(seed)
    ring = rng.uniform(0, 60, (9, 2)) + nudge
    whole = mask([ring], 64, 64)
    parts = [mask([ring], 1, 1, y, x)[0, 0] for y in range(20, 30) for x in range(64)]
    assert (np.reshape(parts, (10, 64)) == whole[20:30]).all()


def test_neighbours_share_no_pixel_and_leave_none_out():
    rng = np.random.default_rng(5)
    points = np.concatenate(
        [rng.uniform(0, 200, (60, 2)), [(0, 0), (0, 200), (200, 0), (200, 200)]]
    )
    triangles = [[points[corners]] for corners in Delaunay(points).simplices]
    assert (masks(triangles, 200, 200).sum(axis=0) == 1).all()


def test_spans_are_sorted_disjoint_and_not_empty():
    rng = np.random.default_rng(3)
    found = spans(pack([[rng.uniform(0, 99, (40, 2))] for _ in range(5)]), 0, 0, 99, 99)
    assert found.dtype == np.int32
    assert (np.lexsort(found.T[::-1]) == np.arange(len(found))).all()
    assert (found[:, 2] < found[:, 3]).all()
    same = (found[1:, :2] == found[:-1, :2]).all(axis=1)
    assert (found[1:, 2] >= found[:-1, 3])[same].all()


def test_comb_with_hundreds_of_teeth():
    # More edges on a row than the first buffers hold, and more new ones than insertion sorts.
    x = np.arange(601.0)
    comb = np.concatenate([np.stack([x, np.where(x % 2, 9.0, 1.0)], 1), [(600, 10), (0, 10)]])
    expected = [[inside([comb], a, b) for a in range(0, 600, 7)] for b in range(10)]
    assert (mask([comb], 10, 600)[:, ::7] == expected).all()


def test_far_from_the_origin():
    square = np.add([(0, 0), (3, 0), (3, 2), (0, 2)], (2**33, 2**34))
    found = spans(pack([[square]]), 2**34 - 1, 2**33 - 5, 4096, 4096)
    assert found.tolist() == [[0, 1, 5, 8], [0, 2, 5, 8]]


def test_nothing_to_cut():
    assert spans(pack([]), 0, 0, 10, 10).shape == (0, 4)
    assert spans(pack([[]]), 0, 0, 10, 10).shape == (0, 4)
    assert not mask([[(0, 5), (9, 5), (4, 5)]], 10, 10).any()
    # Thinner than a pixel, between two centres: in the slide, yet without pixels.
    assert not mask([[(1.6, 1), (2.4, 1), (2.4, 8), (1.6, 8)]], 10, 10).any()


def test_self_crossing_is_even_odd():
    star = [(np.sin(a) * 40 + 50, np.cos(a) * 40 + 50) for a in np.arange(5) * 4 * np.pi / 5]
    found = mask([star], 100, 100)
    assert not found[50, 50]
    assert found[80, 50]
