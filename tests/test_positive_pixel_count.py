"""The public functions: HistomicsTK's tutorial, and every input that is refused."""

import hashlib
import pickle

import numpy as np
import pytest
from skimage.data import immunohistochemistry

from conftest import to_numpy
from gpuseg import positive_pixel_count as ppc
from gpuseg._shared.hsi import Tally, make_rule, rule_for

# HistomicsTK 1.4.0 on scikit-image's immunohistochemistry(): parameters, statistics, labels.
GOLDEN = {
    (0.05, 0.15, 0.05, 0.95, 0.65, 0.35, 0.05): (
        (
            17012,
            121289,
            17165,
            262144,
            12500.78954248366,
            60124.02483660131,
            5096.94248366013,
            0.4999276810540253,
            0.11040999318178894,
            0.5251213973802429,
            0.06547927856445312,
            0.0648956298828125,
            0.5930557250976562,
        ),
        "4b410f5d3a5112d2de1e5cbe0900264c61642442da6c8b94c6ee6553030df06d",
    ),
    (0.83, 0.15, 0.05, 0.95, 0.65, 0.35, 0.05): (
        (
            18,
            176,
            0,
            262144,
            12.377777777777776,
            90.55555555555556,
            0.0,
            0.5305841924398625,
            0.0,
            0.5305841924398625,
            0.0,
            6.866455078125e-05,
            0.00074005126953125,
        ),
        "318974c29c161aaa14ba65a294aa837d921ed725b1ffd1b7c754802c8d7f51a2",
    ),
    (0.5, 0.9, 0.1, 0.9, 0.6, 0.3, 0.1): (
        (
            19701,
            111084,
            7007,
            262144,
            12960.8,
            51741.875816993466,
            1813.4836601307188,
            0.4827287467859105,
            0.050852008824895496,
            0.49472550993610476,
            0.026729583740234375,
            0.07515335083007812,
            0.525634765625,
        ),
        "09b8fedb697630b4097c7d9dd76271185c51b65cd394ef9981fbbe98a57b4058",
    ),
}
PARAMS = ppc.Parameters(hue_value=0.05)
IMAGE = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("params", GOLDEN)
def test_real_tissue_gives_histomicstks_answer(container, params):
    image = container(immunohistochemistry())
    output, labels = ppc.count_image(image, ppc.Parameters(*params))
    if not isinstance(output, ppc.Output):
        output, labels = output.compute(), labels.compute()
    expected, digest = GOLDEN[params]
    assert output[:4] == expected[:4]
    assert output[:13] == pytest.approx(expected, rel=1e-12)
    assert hashlib.sha256(labels.tobytes()).hexdigest() == digest


def test_the_tutorial_runs_with_one_import_changed():
    template_params = ppc.Parameters(
        hue_value=0.05,
        hue_width=0.15,
        saturation_minimum=0.05,
        intensity_upper_limit=0.95,
        intensity_weak_threshold=0.65,
        intensity_strong_threshold=0.35,
        intensity_lower_limit=0.05,
    )
    stats, label_image = ppc.count_image(immunohistochemistry(), template_params)
    moved = ppc.count_image(
        immunohistochemistry(), template_params._replace(hue_value=template_params.hue_value - 0.03)
    )[0]
    assert moved.NumberPositive < stats.NumberPositive
    assert (label_image == ppc.Labels.STRONG).sum() == stats.NumberStrongPositive
    assert stats._fields[:4] == (
        "NumberWeakPositive",
        "NumberPositive",
        "NumberStrongPositive",
        "NumberTotalPixels",
    )


def test_an_output_can_be_made_of_histomicstks_fields():
    fields = dict.fromkeys(ppc.Output._fields[:13], 1)
    output = ppc.Output(**fields)
    assert output.Positivity is None
    assert output.PixelsUnreadable == 0


def test_nothing_positive_gives_zero_ratios():
    output, labels = ppc.count_image(np.zeros((4, 5, 3), np.uint8), PARAMS)
    assert output[:13] == (0, 0, 0, 20) + (0,) * 9
    assert not labels.any()
    assert ppc.count(np.zeros((0, 5, 3), np.uint8), PARAMS)[:13] == (0,) * 13


def test_positivity_and_areas():
    brown, blue, white = [150, 90, 40], [60, 80, 150], [240, 240, 240]
    image = np.array([[brown] * 3 + [blue] * 1 + [white] * 6], np.uint8)
    output = ppc.count(image, PARAMS, negative=PARAMS._replace(hue_value=0.6), mpp=0.5)
    assert (output.NumberPositive, output.NumberNegative) == (3, 1)
    assert output.Positivity == 0.75
    assert output.IntensitySumNegative == output.IntensityAverageNegative == 290 / 765
    assert output.AreaTotal == pytest.approx(10 * 0.25e-6)
    assert output.AreaPositive == pytest.approx(3 * 0.25e-6)


@pytest.mark.parametrize("mpp", [0, -0.5, float("nan"), float("inf")])
def test_odd_pixel_sizes_are_refused(mpp):
    for image in (IMAGE, ppc.colour_histogram(IMAGE)):
        with pytest.raises(ValueError, match=f"mpp must be positive and finite, got {mpp}"):
            ppc.count(image, PARAMS, mpp=mpp)


def test_a_pixel_that_meets_both_sets_is_positive():
    output = ppc.count(IMAGE, PARAMS, negative=PARAMS)
    assert output.NumberNegative == 0
    assert output.Positivity == 1.0


def test_unreadable_pixels_are_not_in_the_total():
    tally = Tally(strong=2, total=10, unreadable=5, sum_strong=100)
    output = tally.to_output(make_rule(PARAMS))
    assert (output.NumberTotalPixels, output.PixelsUnreadable) == (10, 5)
    assert output.RatioStrongToPixels == 0.2


def test_rules_travel():
    rule = make_rule(PARAMS, PARAMS._replace(hue_value=0.6))
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert hash(rule) == hash(make_rule(PARAMS, PARAMS._replace(hue_value=0.6)))


# Parameters.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hue_value": -0.1}, "hue_value must be between 0 and 1, got -0.1"),
        ({"hue_value": 180}, "hue_value must be between 0 and 1, got 180"),
        ({"hue_width": -0.15}, "hue_width must be at least 0, got -0.15"),
        ({"saturation_minimum": 1.5}, "saturation_minimum must be between 0 and 1, got 1.5"),
        ({"intensity_upper_limit": 220}, "intensity_upper_limit must be between 0 and 2, got 220"),
        ({"intensity_lower_limit": float("nan")}, "intensity_lower_limit must be finite, got nan"),
        ({"hue_width": float("inf")}, "hue_width must be finite, got inf"),
        (
            {"intensity_weak_threshold": 0.35, "intensity_strong_threshold": 0.65},
            "intensity_weak_threshold must be at least intensity_strong_threshold, got 0.35 < 0.65",
        ),
        (
            {"intensity_upper_limit": 0.05, "intensity_lower_limit": 0.95},
            "intensity_upper_limit must be at least intensity_lower_limit, got 0.05 < 0.95",
        ),
    ],
)
def test_odd_parameters_are_refused(change, message):
    params = PARAMS._replace(**change)
    for call in (ppc.count, ppc.classify, ppc.count_image):
        with pytest.raises(ValueError, match=message):
            call(IMAGE, params)
    with pytest.raises(ValueError, match=message):
        ppc.count(IMAGE, PARAMS, negative=params)


@pytest.mark.parametrize("value", ["0.05", None, True, 1j])
def test_parameters_that_are_no_numbers_are_refused(value):
    with pytest.raises(TypeError, match="hue_value must be a real number"):
        ppc.classify(IMAGE, PARAMS._replace(hue_value=value))


def test_plain_tuples_and_numpy_scalars_are_parameters():
    params = tuple(map(np.float32, (0, 1, 0.5, 1, 0.5, 0.25, 0)))
    assert ppc.count(IMAGE, params) == ppc.count(IMAGE, ppc.Parameters(*map(float, params)))


def test_equal_thresholds_leave_no_plain_class():
    output = ppc.count(IMAGE, ppc.Parameters(0, 1, 0, 1, 0.5, 0.5, 0))
    assert output.NumberPositive == 0
    assert output.NumberWeakPositive + output.NumberStrongPositive > 0


# Images.


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 1), (5, 5, 2), (5, 5, 5), (3,), ()])
def test_images_without_rgb_are_refused(container, shape):
    image = container(np.zeros(shape, np.uint8)) if shape else np.zeros(shape, np.uint8)
    with pytest.raises(
        ValueError, match=r"3 \(RGB\) or 4 \(RGBA\) channels in its last axis, got shape"
    ):
        ppc.count(image, PARAMS)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "uint64", "bool", "float16"])
@pytest.mark.parametrize("call", [ppc.count, ppc.classify, ppc.count_image])
def test_other_dtypes_are_refused(container, dtype, call):
    with pytest.raises(TypeError, match=f"uint8, uint16, float32 or float64, got {dtype}"):
        call(container(IMAGE.astype(dtype)), PARAMS)


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match=r"NumPy, CuPy or Dask array, got builtins\.list"):
        ppc.count(IMAGE.tolist(), PARAMS)
    with pytest.raises(TypeError, match="plain array, got a masked one"):
        ppc.count(np.ma.masked_less(IMAGE, 9), PARAMS)


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_values_off_the_scale_are_refused(xp, value, channel):
    image = np.full((40, 50, 3), 0.5, np.float32)
    image[33, 7, channel] = value
    device = xp.asarray(image)
    with pytest.raises(ValueError, match=r"between 0 and max_value=1\.0, got"):
        ppc.count(device, PARAMS)
    inside = np.ones((40, 50), bool)
    inside[33, 7] = False
    labels = to_numpy(ppc.classify(device, PARAMS, xp.asarray(inside)))
    assert labels[33, 7] == 0


def test_floats_of_0_to_255_are_not_silently_white():
    with pytest.raises(ValueError, match=r"max_value=1\.0, got"):
        ppc.count(IMAGE.astype(float), PARAMS)
    assert ppc.count(IMAGE.astype(float), PARAMS, max_value=255)[:4] == ppc.count(IMAGE, PARAMS)[:4]


def test_twelve_bit_images_have_a_full_scale(xp):
    image = (IMAGE.astype(np.uint16) << 4) | (IMAGE >> 4)
    assert ppc.count(image, PARAMS).NumberPositive == 0
    found = ppc.count(xp.asarray(image), PARAMS, max_value=4095)
    assert found[:4] == ppc.count(IMAGE, PARAMS)[:4]
    image[5, 5, 1] = 4096
    with pytest.raises(ValueError, match="max_value=4095, got 4096"):
        ppc.count(xp.asarray(image), PARAMS, max_value=4095)


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("uint8", 256, "max_value must be at most 255 for uint8, got 256"),
        ("uint16", 0, "integer from 1 to 65535, got 0"),
        ("uint16", 99.5, "integer from 1 to 65535, got 99.5"),
        ("float32", 0.0, "max_value must be positive and finite, got 0.0"),
        ("float64", float("nan"), "max_value must be positive and finite, got nan"),
        ("uint16", float("nan"), "integer from 1 to 65535, got nan"),
    ],
)
def test_odd_scales_are_refused(dtype, value, message):
    with pytest.raises(ValueError, match=message):
        ppc.classify(IMAGE.astype(dtype), PARAMS, max_value=value)
    with pytest.raises(TypeError, match="max_value must be a real number, got 'x'"):
        rule_for(dtype, PARAMS, max_value="x")


# Masks.


@pytest.mark.parametrize("shape", [(20, 1), (1, 30), (20, 30, 1), (30, 20), (), (1, 20, 30)])
def test_masks_are_not_broadcast(container, shape):
    mask = np.ones(shape, bool)
    with pytest.raises(ValueError, match=r"mask must have the image's shape \(20, 30\), got"):
        ppc.count(container(IMAGE), PARAMS, mask)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, complex, "U1", object])
def test_masks_of_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="mask must be bool or integer"):
        ppc.classify(IMAGE, PARAMS, np.zeros((20, 30), dtype))


def test_masks_live_where_the_image_lives(xp):
    da = pytest.importorskip("dask.array")

    mask = np.ones((20, 30), bool)
    with pytest.raises(TypeError, match=r"where the image lives \(NumPy\), got a Dask array"):
        ppc.count(IMAGE, PARAMS, da.from_array(mask))
    if xp is not np:
        with pytest.raises(TypeError, match=r"where the image lives \(CuPy\), got a NumPy array"):
            ppc.count(xp.asarray(IMAGE), PARAMS, mask)
        lazy = da.from_array(xp.asarray(IMAGE), asarray=False)
        with pytest.raises(TypeError, match=r"where the image lives \(CuPy\), got a NumPy array"):
            ppc.classify(lazy, PARAMS, mask)


# Dask.


def test_dask_answers_are_lazy_and_small():
    dask, da = pytest.importorskip("dask"), pytest.importorskip("dask.array")

    def refuse(block):
        raise AssertionError("computed at call time")

    lazy = da.from_array(IMAGE, chunks=(5, 7, 3)).map_blocks(
        refuse, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    ppc.count(lazy, PARAMS)
    ppc.classify(lazy, PARAMS)

    image = da.from_array(IMAGE, chunks=(3, 4, 2))
    mask = da.from_array(np.arange(600).reshape(20, 30) % 3, chunks=(20, 1))
    output, labels = ppc.count_image(image, PARAMS, mask, negative=PARAMS._replace(hue_value=0.6))
    output, labels = dask.compute(output, labels, scheduler="synchronous")
    direct = ppc.count_image(IMAGE, PARAMS, mask.compute(), negative=PARAMS._replace(hue_value=0.6))
    assert output == direct[0]
    np.testing.assert_array_equal(labels, direct[1])


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_schedulers_do_not_change_a_bit(scheduler):
    da = pytest.importorskip("dask.array")

    image = da.from_array(IMAGE / 255, chunks=(9, 11, 3))
    found = ppc.count(image, PARAMS).compute(scheduler=scheduler, num_workers=2)
    assert found == ppc.count(IMAGE / 255, PARAMS)


def test_an_error_in_a_block_says_what_is_wrong():
    da = pytest.importorskip("dask.array")

    image = da.from_array(IMAGE.astype(np.float64), chunks=(5, 30, 3))
    with pytest.raises(ValueError, match=r"max_value=1\.0, got"):
        ppc.count(image, PARAMS).compute()
