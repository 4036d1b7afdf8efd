"""The rule and the engines, on every array module and container."""

import json
import math
from fractions import Fraction

import _htk
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import to_numpy
from gpuseg import positive_pixel_count as ppc
from gpuseg._backend import limit_threads
from gpuseg._shared.half_planes import direction, separator
from gpuseg._shared.hsi import WORDS, Parameters, Tally, make_rule, rule_for

SEED = Parameters(0.05, 0.15, 0.05, 0.95, 0.65, 0.35, 0.05)
APERIO = Parameters(0.1, 0.5, 0.04, 220 / 255, 175 / 255, 100 / 255, 0.0)
TIE_HEAVY = Parameters(0.0, 1 / 3, 0.0, 0.95, 0.65, 0.35, 0.05)
WIDE = Parameters(0.5, 0.9, 0.1, 0.9, 0.6, 0.3, 0.1)
RULES = {"seed": SEED, "aperio": APERIO, "tie_heavy": TIE_HEAVY, "wide": WIDE}

# Each fifth value of every channel: a lattice on which exact ties are common.
LATTICE = np.stack(np.meshgrid(*[np.arange(0, 256, 5, np.uint8)] * 3), -1).reshape(-1, 3)

fraction = st.one_of(
    st.floats(0, 1),
    st.integers(0, 100).map(lambda k: k / 100),
    st.integers(0, 255).map(lambda k: k / 255),
    st.integers(0, 12).map(lambda k: k / 12),
)


@st.composite
def parameters(draw):
    weak, strong = sorted((draw(fraction), draw(fraction)), reverse=True)
    upper, lower = sorted((draw(fraction), draw(fraction)), reverse=True)
    width = draw(st.one_of(fraction, st.floats(0, 0.01), st.just(1.5)))
    upper = draw(st.sampled_from([upper, 1.0, 1.01]))
    return Parameters(draw(fraction), width, draw(fraction), upper, weak, strong, lower)


def picture(rng, shape, channels=3, dtype=np.uint8, max_value=255):
    """Random colours, greys, and extremes, in the range of the dtype."""
    values = rng.integers(0, 256, (*shape, channels))
    grey = rng.random(shape) < 0.2
    values[grey] = values[grey][..., :1]
    values[rng.random(shape) < 0.1] = 0
    values[rng.random(shape) < 0.1] = 255
    return (values * (max_value / 255)).astype(dtype)


# The rule.


@settings(max_examples=200, deadline=None)
@given(
    st.fractions(0, 5, max_denominator=40), st.integers(1, 12), st.integers(1, 12), st.booleans()
)
def test_separator_splits_the_lattice_at_the_target(target, top, bottom, high):
    # Nothing is below 0.
    high = high and target > 0
    lattice = {Fraction(a, b) for a in range(top + 1) for b in range(1, bottom + 1)}
    a, b = separator((target.numerator, target.denominator), (top, bottom), target_is_high=high)
    below = [f for f in lattice if (f < target if high else f <= target)]
    above = lattice - set(below)
    assert all(f * b < a for f in below)
    assert all(f * b > a for f in above)


def test_separator_of_infinity_is_steeper_than_every_lattice_fraction():
    a, b = separator((1, 0), (7, 5), target_is_high=True)
    assert a > 7 * b


@given(st.fractions(-1, 2, max_denominator=997))
def test_direction_is_the_angle_of_the_hue(turns):
    x, y = direction(turns)
    angle = math.atan2(math.sqrt(3) * float(y), float(x)) / (2 * math.pi)
    assert (angle - float(turns) + 0.5) % 1 - 0.5 == pytest.approx(0, abs=1e-15)


def test_rule_of_the_tutorial_is_small_integers():
    form = make_rule(SEED).forms[0]
    assert form.ratio == (19, 60)
    assert (form.upper, form.lower, form.weak, form.strong) == (727, 39, 498, 268)
    assert max(abs(c) for plane in form.planes for c in plane) < 1 << 11


# All colours.


@pytest.fixture(scope="module")
def all_colours():
    index = np.arange(1 << 24, dtype=np.uint32)
    return np.stack([index >> 16, index >> 8 & 255, index & 255], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "hue_ties"),
    [("seed", 0), ("cli_default", 0), ("tie_heavy", 20672), ("wide", 0)],
)
def test_equals_histomicstk_on_every_colour(test_data, all_colours, name, hue_ties):
    """Only colours whose hue is exactly on the boundary differ: 8661 at 1/6, 12011 at 5/6.

    There arctan2's rounding left them out of HistomicsTK's range; exactly, they are in it.
    """
    folder = test_data.parent / "reference" / "histomicstk"
    if not folder.is_dir():
        pytest.skip("no HistomicsTK goldens beside the images")
    golden = np.load(folder / "classes_2p24.npz")[name]
    stats = json.loads((folder / "stats.json").read_text())[name]
    params = Parameters(*stats["params"])
    output, labels = ppc.count_image(all_colours, params)

    different = np.flatnonzero(labels != golden)
    red, green, blue = all_colours[different].astype(int).T
    assert len(different) == hue_ties
    assert (np.abs(green - blue) == 2 * red - green - blue).all()
    assert not golden[different].any()
    assert labels[different].all()
    if not hue_ties:
        for field, value in stats["all_2^24"].items():
            assert getattr(output, field) == pytest.approx(value, rel=1e-13)


@settings(max_examples=60, deadline=None)
@given(parameters())
@example(SEED)
@example(APERIO)
@example(TIE_HEAVY)
@example(WIDE)
@example(SEED._replace(hue_width=0.5, hue_value=0.25))
@example(SEED._replace(saturation_minimum=1.0, intensity_lower_limit=0.0))
@example(SEED._replace(saturation_minimum=0.0, intensity_lower_limit=0.0, hue_width=2.0))
def test_any_parameters_give_the_float64_formulas_labels(params):
    expected, tie = _htk.labels(LATTICE, params)
    found = ppc.classify(LATTICE, params)
    np.testing.assert_array_equal(found[~tie], expected[~tie])


@settings(max_examples=30, deadline=None)
@given(parameters(), st.sampled_from([(np.uint16, 65535), (np.uint16, 4095), (np.float64, 255.0)]))
def test_other_dtypes_give_the_float64_formulas_labels(params, kind):
    dtype, full = kind
    image = (LATTICE[::3].astype(np.int64) * int(full) // 255).astype(dtype)
    expected, tie = _htk.labels(image, params, full)
    found = ppc.classify(image, params, max_value=full)
    np.testing.assert_array_equal(found[~tie], expected[~tie])


# Hue.


def test_a_hue_exactly_on_the_boundary_is_inside():
    yellow, magenta = [200, 200, 50], [200, 50, 200]
    image = np.array([[yellow, magenta]], np.uint8)
    assert ppc.classify(image, TIE_HEAVY._replace(saturation_minimum=0.1)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_width_of_zero_is_one_ray(dtype):
    red, cyan, grey, orange = [200, 50, 50], [50, 200, 200], [90, 90, 90], [200, 51, 50]
    image = np.array([[red, cyan, grey, orange]], dtype)
    params = SEED._replace(hue_value=0.0, hue_width=0.0, saturation_minimum=0.0)
    labels = ppc.classify(image, params, max_value=255)
    assert (labels != 0).tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize("width", [0.49, 0.5, 0.51, 0.999, 1.0, 7.0])
@pytest.mark.parametrize("value", [0.0, 0.25, 0.5, 0.97, 1.0])
def test_wide_hue_ranges_wrap(dtype, width, value):
    image = LATTICE[::7].astype(dtype)
    params = Parameters(value, width, 0.01, 2.0, 0.6, 0.3, 0.0)
    expected, tie = _htk.labels(image, params)
    found = ppc.classify(image, params, max_value=255)
    np.testing.assert_array_equal(found[~tie], expected[~tie])


# Engines.


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", RULES)
def test_counts_and_labels_on_every_array(xp, container, rng, name, channels):
    image = picture(rng, (23, 41), channels)
    params = RULES[name]
    expected, tie = _htk.labels(image, params)
    reference, _ = ppc.count_image(image, params)
    wrapped = container(xp.asarray(image))

    labels = ppc.classify(wrapped, params)
    assert type(labels) is type(wrapped)
    assert labels.dtype == np.uint8
    labels = to_numpy(labels)
    np.testing.assert_array_equal(labels[~tie], expected[~tie])
    output = ppc.count(wrapped, params)
    output = output.compute() if hasattr(output, "compute") else output
    assert output == reference
    assert output[:4] == (*(int((labels == k).sum()) for k in (1, 2, 3)), labels.size)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_other_dtypes_on_every_array(xp, container, rng, dtype):
    full = 65535 if dtype == np.uint16 else 1.0
    image = picture(rng, (9, 31), 3, dtype, full)
    wrapped = container(xp.asarray(image))
    labels = to_numpy(ppc.classify(wrapped, APERIO))
    np.testing.assert_array_equal(labels, ppc.classify(image, APERIO))
    output = ppc.count(wrapped, APERIO, negative=SEED._replace(hue_value=0.7))
    output = output.compute() if hasattr(output, "compute") else output
    assert output == ppc.count(image, APERIO, negative=SEED._replace(hue_value=0.7))


@settings(max_examples=40, deadline=None)
@given(parameters(), parameters(), st.sampled_from(["uint8", "uint16", "float32", "float64"]))
def test_kernels_equal_the_plain_reference(positive, negative, dtype):
    from gpuseg._cpu import hsi

    rng = np.random.default_rng(0)
    full = 1.0 if "float" in dtype else int(np.iinfo(dtype).max)
    image = picture(rng, (40, 60), 3, dtype, full)
    mask = rng.integers(0, 3, (40, 60))
    rule = rule_for(dtype, positive, negative)
    expected, labels = hsi.reference(image, rule, mask)
    found = hsi.tally_and_labels(image, rule, mask)
    assert found[0] == expected
    np.testing.assert_array_equal(found[1], labels)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int64])
def test_masks_on_every_array(xp, container, rng, kind):
    image = picture(rng, (17, 40), 4)
    mask = (rng.integers(-2, 3, image.shape[:-1]) * 128).astype(kind)
    negative = SEED._replace(hue_value=0.7, hue_width=0.4)
    labels = ppc.classify(image, SEED)
    stained = (labels == 0) & (ppc.classify(image, negative) != 0) & (mask != 0)
    wrapped, inside = container(xp.asarray(image)), container(xp.asarray(mask))
    found = to_numpy(ppc.classify(wrapped, SEED, inside))
    np.testing.assert_array_equal(found, np.where(mask != 0, labels, 0))
    output = ppc.count(wrapped, SEED, inside, negative=negative)
    output = output.compute() if hasattr(output, "compute") else output
    assert output.NumberTotalPixels == (mask != 0).sum()
    assert output.NumberNegative == stained.sum()
    assert output.IntensitySumNegative == image[stained][:, :3].sum(dtype=int) / 765


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (5000,), (3, 5, 7), (0, 4), (2, 0)])
def test_any_number_of_axes(xp, rng, shape):
    image = picture(rng, shape)
    flat = image.reshape(-1, 3)
    output, labels = ppc.count_image(xp.asarray(image), SEED)
    assert labels.shape == shape
    np.testing.assert_array_equal(to_numpy(labels).ravel(), ppc.classify(flat, SEED))
    assert output == ppc.count(flat, SEED)
    assert output.NumberTotalPixels == math.prod(shape)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[3:, 5:],
        lambda a: a[1:2],
        lambda a: a[:, ::3],
        lambda a: a[::-1],
        lambda a: a[..., ::-1],
        lambda a: a.transpose(1, 0, 2),
        lambda a: a[None, :, 7:],
        lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 0)).transpose(1, 2, 0),
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: np.asfortranarray(a),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "<u2", ">u2", ">f4", "float64"])
def test_views_equal_their_copies(rng, view, dtype):
    full = 1.0 if "f" in dtype else int(np.iinfo(dtype).max)
    image = view(picture(rng, (40, 50), 3, dtype, full))
    image.flags.writeable = False
    plain = np.array(image, np.dtype(dtype).newbyteorder("="), order="C")
    mask = view(rng.random((40, 50, 3)) < 0.5)[..., 0]
    assert ppc.count(image, SEED, mask) == ppc.count(plain, SEED, np.array(mask, order="C"))
    np.testing.assert_array_equal(ppc.classify(image, SEED, mask), ppc.classify(plain, SEED, mask))


def test_unaligned_arrays_on_the_device(xp, rng):
    """Vector loads start at the first aligned pixel, wherever the array starts."""
    image = picture(rng, (700,), 3)
    mask = rng.random(700) < 0.5
    device, inside = xp.asarray(image), xp.asarray(mask)
    for start in range(17):
        output, labels = ppc.count_image(device[start:], APERIO, inside[start:])
        assert output == ppc.count(image[start:], APERIO, mask[start:])
        np.testing.assert_array_equal(
            to_numpy(labels), ppc.classify(image[start:], APERIO, mask[start:])
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_threads_and_slabs_do_not_change_a_bit(rng, dtype):
    from gpuseg._cpu import hsi

    image = picture(rng, (1100, 1024), 3, dtype, 255 if dtype == np.uint8 else 1)
    rule = rule_for(dtype, APERIO)
    out = np.empty((1024, 1100), np.uint8).T
    with limit_threads(1):
        whole, labels = hsi.tally_and_labels(image, rule)
    with limit_threads(3):
        assert hsi.tally(image, rule, None, out) == whole
        assert hsi.tally(image.transpose(1, 0, 2), rule) == whole
    np.testing.assert_array_equal(out, labels)


@pytest.mark.parametrize("width", [1, 7, 256, 500, 1024, 1025, 1800])
@pytest.mark.parametrize("masked", [False, True])
def test_rows_of_a_larger_image_and_of_a_larger_label_image(rng, width, masked):
    """Short rows are classified several at a time."""
    from gpuseg._cpu import hsi

    image, target = picture(rng, (64, 2000)), np.full((80, 2100), 9, np.uint8)
    tile, place = image[5:60, 100 : 100 + width], np.s_[2:57, 7 : 7 + width]
    mask = rng.random(tile.shape[:2]) < 0.5 if masked else None
    rule = make_rule(APERIO)
    words = np.zeros(WORDS, np.int64)
    hsi.add(tile, rule, words, mask, target[place])
    tally, labels = hsi.tally_and_labels(np.ascontiguousarray(tile), rule, mask)
    np.testing.assert_array_equal(target[place], labels)
    target[place] = 9
    assert (target == 9).all()
    assert Tally.from_ints(words) == tally


@pytest.mark.parametrize("channels", [3, 4])
def test_spans_are_masks(rng, channels):
    from gpuseg._cpu import hsi

    image, n = picture(rng, (20, 2500), channels), 5
    rows = []
    for _ in range(300):
        start, stop = np.sort(rng.integers(0, 2501, 2))
        rows.append((rng.integers(n), rng.integers(20), start, stop))
    # Disjoint within a region, for the mask to say the same; any overlap between regions.
    masks, spans = np.zeros((n, 20, 2500), bool), []
    for region, row, start, stop in rows:
        if not masks[region, row, start:stop].any():
            masks[region, row, start:stop] = True
            spans.append((region, row, start, stop))
    rule = make_rule(APERIO, SEED._replace(hue_value=0.7))
    found, out = np.zeros((n + 1, WORDS), np.int64), np.zeros((22, 2600), np.uint8)
    hsi.tally_spans(image, rule, np.array(spans), found, out[1:21, 7:2507])
    for words, mask in zip(found, [*masks, masks.any(axis=0)], strict=True):
        assert Tally.from_ints(words) == hsi.tally(image, rule, mask)
    labels = np.zeros_like(out)
    labels[1:21, 7:2507] = hsi.classify(image, rule, masks.any(axis=0))
    np.testing.assert_array_equal(out, labels)
    again = found.copy()
    hsi.tally_spans(image, rule, np.array(spans), again)
    np.testing.assert_array_equal(again, 2 * found)


@pytest.mark.parametrize("width", [1, 40, 256, 700, 1024, 1500])
def test_spans_that_share_rows_and_blocks(rng, width):
    """Regions of whole rows, side by side, one within another, and apart."""
    from gpuseg._cpu import hsi

    image, masks = picture(rng, (60, width)), np.zeros((5, 60, width), bool)
    masks[0] = True
    masks[1, 4:40] = True
    masks[2, 10:30, width // 3 :] = True
    masks[3, :35, : width // 2] = masks[4, 20:, width // 2 :] = True
    for chosen in ([0], [1], [2], [3, 4], [1, 2, 3], [2, 3, 4], [0, 1, 2, 3, 4]):
        spans = []
        for region, mask in enumerate(masks[chosen]):
            for row in np.flatnonzero(mask.any(axis=1)):
                columns = np.flatnonzero(mask[row])
                spans.append((region, row, columns[0], columns[-1] + 1))
        words = np.zeros((len(chosen) + 1, WORDS), np.int64)
        rule = make_rule(APERIO)
        hsi.tally_spans(image, rule, np.array(spans), words)
        for found, mask in zip(words, [*masks[chosen], masks[chosen].any(axis=0)], strict=True):
            assert Tally.from_ints(found) == hsi.tally(image, rule, mask)


def test_values_that_no_span_has_may_be_anything(rng):
    from gpuseg._cpu import hsi

    image = picture(rng, (4, 90), 3, np.float32, 1.0)
    image[1, 30:40] = np.nan
    spans = np.array([(0, 1, 0, 30), (0, 1, 40, 90), (1, 3, 0, 90)])
    rule = rule_for(np.float32, SEED)
    mask = np.zeros((4, 90), bool)
    mask[1, :30] = mask[1, 40:] = True
    words = np.zeros((3, WORDS), np.int64)
    hsi.tally_spans(image, rule, spans, words)
    assert Tally.from_ints(words[0]) == hsi.tally(image, rule, mask)
    with pytest.raises(ValueError, match="got nan"):
        hsi.tally_spans(image, rule, np.array([(0, 1, 0, 31)]), words)


def test_spans_outside_the_block_are_refused(rng):
    from gpuseg._cpu import hsi

    image, rule, words = picture(rng, (4, 6)), make_rule(SEED), np.zeros((2, WORDS), np.int64)
    for span in ((0, 4, 0, 1), (0, 0, 0, 7), (0, -1, 0, 1), (1, 0, 0, 1), (0, 0, -1, 2)):
        with pytest.raises(ValueError, match="spans must lie in 1 regions and a block of"):
            hsi.tally_spans(image, rule, np.array([span]), words)
    hsi.tally_spans(image, rule, np.zeros((0, 4), int), words)
    assert not words.any()


# Sums.


def test_float_sums_are_exact(rng):
    image = rng.random((50, 60, 3))
    params = Parameters(0.3, 1.0, 0.0, 2.0, 0.6, 0.3, 0.0)
    _, _, intensity = _htk.hsi(image, 1.0)
    labels = ppc.classify(image, params)
    output = ppc.count(image, params)
    # Python rounds half to even, as the definition does, and sums without limit.
    for value, name in ((1, "Weak"), (2, ""), (3, "Strong")):
        units = sum(round(Fraction(float(v)) * 2**52) for v in intensity[labels == value])
        assert getattr(output, f"IntensitySum{name}Positive") == units / 2**52
    assert ppc.count(rng.permuted(image, axis=0), params)[3] == output[3]


def test_integer_sums_are_rounded_once(rng):
    image = picture(rng, (64, 64), 3, np.uint16, 65535)
    params = Parameters(0.3, 1.0, 0.0, 2.0, 0.6, 0.6, 0.0)
    bright = ppc.classify(image, params) == 1
    total = int(image[bright].sum(dtype=object))
    assert ppc.count(image, params).IntensitySumWeakPositive == total / 196605


@given(st.lists(st.integers(0, 2**60), min_size=10, max_size=10), st.integers(0, 2**70))
def test_a_tally_survives_its_words(values, extra):
    tally = Tally(*values[:6], *(value + extra for value in values[6:]))
    assert Tally.from_ints(tally.to_ints()) == tally
    assert (tally + tally).sum_weak == 2 * tally.sum_weak
    assert tally + Tally() == tally
    with pytest.raises(ValueError, match="14 words, got 3"):
        Tally.from_ints([1, 2, 3])


@settings(max_examples=20, deadline=None)
@given(parameters())
def test_scaling_an_image_to_16_bits_keeps_its_sums(params):
    """257 v / 65535 = v / 255, so only ties, which rounding decides, could differ."""
    rule = make_rule(params)
    if rule.forms[0].ratio_ties or rule.forms[0].tie_sums:
        return
    small = LATTICE[::5]
    large = small.astype(np.uint16) * 257
    assert ppc.count(large, params) == ppc.count(small, params)


@pytest.mark.parametrize("given", [None, {}, 3, (1, 2)])
def test_parameters_that_are_none(given):
    image = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(TypeError, match="params must be Parameters, got"):
        ppc.count(image, given)
    if given is not None:
        with pytest.raises(TypeError, match="negative must be Parameters, got"):
            ppc.count(image, ppc.Parameters(), negative=given)
    with pytest.raises(TypeError, match="mpp must be a real number, got '1'"):
        ppc.count(image, ppc.Parameters(), mpp="1")
    with pytest.raises(TypeError, match="must be a ColourHistogram, got"):
        ppc.sweep(image, {"hue_width": [0.1]})
