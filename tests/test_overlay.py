from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from gpuseg.report._sheet import _round_length, drawable, fit, font
from gpuseg.report.coverage import Coverage, squares
from gpuseg.report.overlay import (
    COLOURS,
    NAMES,
    blend,
    percent,
    picture,
)

LABELS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=23), elements=st.integers(0, 3)
)


def shares_of(labels: np.ndarray, max_size: int = 10**6) -> np.ndarray:
    coverage = Coverage(labels.shape, max_size)
    coverage.add(0, 0, squares(labels, coverage.factor))
    return coverage.shares()


@given(LABELS, st.integers(1, 25))
@settings(max_examples=60, deadline=None)
def test_shares_are_the_mean_of_each_square(labels: np.ndarray, max_size: int):
    shares = shares_of(labels, max_size)
    assert max(shares.shape[:2]) <= max_size
    factor = -(-max(labels.shape) // max_size)
    assert shares.shape == (*(-(-size // factor) for size in labels.shape), 3)
    for row, col in np.ndindex(shares.shape[:2]):
        square = labels[row * factor : (row + 1) * factor, col * factor : (col + 1) * factor]
        expected = [np.mean(square == name) for name in (1, 2, 3)]
        np.testing.assert_allclose(shares[row, col], expected, atol=1e-6)


@given(LABELS, st.integers(1, 9), st.integers(1, 23), st.integers(1, 23))
@settings(max_examples=60, deadline=None)
def test_shares_are_the_same_from_any_boxes(labels, max_size: int, tall: int, wide: int):
    """The boxes of a slide are aligned to its tiles, not to the squares."""
    coverage = Coverage(labels.shape, max_size)
    for top in range(0, labels.shape[0], tall):
        for left in range(0, labels.shape[1], wide):
            box = labels[top : top + tall, left : left + wide]
            coverage.add(top, left, squares(box, coverage.factor, top, left))
    assert np.array_equal(coverage.shares(), shares_of(labels, max_size))


def test_a_rare_class_still_tints_a_coarse_picture():
    labels = np.zeros((8, 8), np.uint8)
    labels[3, 3] = 3
    white = np.full((1, 1, 3), 255, np.uint8)
    red, green, blue = blend(white, shares_of(labels, 1))[0, 0].astype(int)
    assert red > green
    assert red > blue


def test_blend_shows_grey_where_nothing_is_positive():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    plain = blend(image, np.zeros((5, 7, 3), np.float32))
    assert (plain == plain[..., :1]).all()
    assert np.array_equal(
        plain, blend(np.dstack([image, image[..., :1]]), np.zeros((5, 7, 3), np.float32))
    ), "a fourth channel changes nothing"


@pytest.mark.parametrize("index", range(3))
def test_blend_at_full_opacity_is_the_class_colour(index: int):
    shares = np.zeros((2, 2, 3), np.float32)
    shares[..., index] = 1
    blended = blend(np.full((2, 2, 3), 255, np.uint8), shares, opacity=1.0)
    assert tuple(blended[0, 0].tolist()) == COLOURS[index]


def test_blend_refuses_what_does_not_fit():
    image, shares = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6, 3), np.float32)
    with pytest.raises(ValueError, match=r"must be of shape \(4, 5, 3\), got \(4, 6, 3\)"):
        blend(image, shares)
    with pytest.raises(ValueError, match=r"within \[0, 1\], got 1.5"):
        blend(image, shares[:, :5], opacity=1.5)
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        squares(np.zeros((3, 3), np.uint8), 0)


def counts_of(labels: np.ndarray) -> dict[str, int]:
    classes = {name: int((labels == i + 1).sum()) for i, name in enumerate(NAMES)}
    return {**classes, "total": labels.size}


@pytest.mark.parametrize("shape", [(1, 1), (40, 600), (600, 40), (300, 300)])
def test_picture_holds_both_panels_in_full(shape: tuple[int, int]):
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    labels = random.integers(0, 4, shape, dtype=np.uint8)
    drawn = picture(image, shares_of(labels), counts_of(labels), title="a" * 300, subtitle="b")
    assert drawn.mode == "RGB"
    pixels = np.asarray(drawn)
    enlarged = max(1, 480 // max(shape))
    panel = np.repeat(np.repeat(image, enlarged, 0), enlarged, 1)
    assert found(pixels, panel)
    assert found(
        pixels,
        np.repeat(np.repeat(blend(image, shares_of(labels)), enlarged, 0), enlarged, 1),
    )


def found(page: np.ndarray, panel: np.ndarray) -> bool:
    """Whether the panel is somewhere in the page, pixel for pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(page, panel.shape)[:, :, 0]
    likely = np.argwhere((windows[:, :, 0, 0] == panel[0, 0]).all(axis=-1))
    return any(np.array_equal(windows[row, col], panel) for row, col in likely)


def test_legend_bar_is_divided_as_the_pixels_are():
    labels = np.repeat(np.uint8([1, 2, 3, 0]), 25)[None].repeat(100, axis=0)
    white = np.full((100, 100, 3), 255, np.uint8)
    pixels = np.asarray(picture(white, shares_of(labels), counts_of(labels), title="t"))
    below = pixels[-90:]
    widths = [(below == colour).all(axis=-1).sum(axis=1).max() for colour in COLOURS]
    assert max(widths) - min(widths) <= 2
    assert widths[0] == pytest.approx(pixels.shape[1] / 4, rel=0.05)


def test_outlines_and_scale_bar_are_drawn_on_the_panels():
    white = np.full((500, 500, 3), 255, np.uint8)
    none = np.zeros((500, 500, 3), np.float32)
    counts = {"total": 250000, "weak": 0}
    ring = np.array([[50.0, 50.0], [400.0, 50.0], [400.0, 300.0]])
    plain = np.asarray(picture(white, none, counts, title="t"))
    drawn = np.asarray(picture(white, none, counts, title="t", mpp=0.5, outlines=[ring]))
    changed = (plain != drawn).any(axis=-1)
    blue = (drawn == (0, 92, 190)).all(axis=-1)
    assert blue.sum() > 2 * 2 * (350 + 250)
    dark = (drawn == (28, 30, 34)).all(axis=-1) & changed
    # A quarter of 500 px at 0.5 µm is 62.5 µm, so the bar is 50 µm: 100 px, four rows in each.
    rows = dark.sum(axis=1)
    assert rows.max() == pytest.approx(2 * 101, abs=2)


def test_picture_needs_the_total():
    with pytest.raises(ValueError, match=r"must have 'total', got \['weak'\]"):
        picture(
            np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.float32), {"weak": 1}, title="t"
        )


def test_text_uses_only_what_the_font_has():
    assert drawable("2220 × 2967, 0.5 µm") == "2220 x 2967, 0.5 um"
    assert drawable("😐.svs") == "?.svs"
    assert drawable("Tümor 1") == "Tumor 1"


def test_long_names_keep_their_ends():
    shortened = fit("a-very-long-folder-name/slide-0042.svs", 150, 16)
    assert font(16).getlength(shortened) <= 150
    assert "..." in shortened
    assert shortened[0] == "a"
    assert shortened.endswith(".svs")


@given(st.floats(1e-3, 1e7))
def test_scale_bars_have_round_lengths(most: float):
    length = _round_length(most)
    assert most / 2.51 <= length <= most
    assert f"{length:.0e}"[0] in "125"


@given(st.integers(1, 10**12), st.data())
def test_percent_never_says_none_or_all_of_some(total: int, data: st.DataObject):
    count = data.draw(st.integers(0, total))
    text = percent(count, total)
    assert text.endswith(" %")
    assert (text == "0 %") == (count == 0)
    assert (text.strip(" %") in ("100", "100.0")) == (count == total)


def test_percent_of_almost_all():
    assert percent(99_999, 100_000) == ">99.9 %"


def test_saved_picture_is_a_png(tmp_path):
    image = np.full((20, 20, 3), 200, np.uint8)
    drawn = picture(image, shares_of(np.ones((20, 20), np.uint8)), {"total": 400}, title="t")
    drawn.save(tmp_path / "o.png")
    with Image.open(tmp_path / "o.png") as read:
        assert read.format == "PNG"
        assert read.size == drawn.size
