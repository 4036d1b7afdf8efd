"""Sweeps: shared steps once, best first, resumed, on a crop first."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from gpuseg.pipeline import Run, declare, random_settings, step, sweep

calls: list[object] = []


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


@step(version="1")
def smooth(image, sigma):
    calls.append(("smooth", image.shape, sigma))
    return ndimage.gaussian_filter(image.astype(float), sigma)


@step(version="1")
def above(image, level):
    calls.append(("above", level))
    if level == 99:
        raise ValueError("too bright")
    return image > level


@step(version="1")
def dice(mask, gold):
    return 2 * np.logical_and(mask, gold).sum() / (mask.sum() + gold.sum())


def scene() -> tuple[np.ndarray, np.ndarray]:
    gold = np.zeros((64, 64), bool)
    gold[10:30, 10:30] = gold[40:60, 35:50] = True
    noise = np.random.default_rng(0).normal(0, 20, gold.shape)
    return gold * 40 + noise, gold


def pipeline(run):
    def mask(image, gold, sigma, level):
        return run(dice, run(above, run(smooth, image, sigma), level), gold)

    return mask


def test_four_gaussians_and_25_thresholds_compute_four_gaussians(tmp_path):
    run, (image, gold) = Run(tmp_path), scene()
    grid = {"sigma": [0.5, 1.0, 2.0, 4.0], "level": [float(n) for n in range(2, 52, 2)]}
    rows = sweep(run, pipeline(run), grid, inputs=(image, gold))
    assert [each[0] for each in calls].count("smooth") == 4
    assert [each[0] for each in calls].count("above") == 100
    assert len(rows) == 100
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    exact = {
        (s, t): dice(above(smooth(image, s), t), gold) for s in grid["sigma"] for t in grid["level"]
    }
    assert {(row["sigma"], row["level"]): row["score"] for row in rows} == pytest.approx(exact)
    assert all(row["error"] is None and row["seconds"] > 0 for row in rows)
    calls.clear()
    assert sweep(Run(tmp_path), pipeline(Run(tmp_path)), grid, inputs=(image, gold)) == rows
    assert calls == []


def test_a_sweep_that_was_stopped_goes_on(tmp_path):
    run, inputs = Run(tmp_path), scene()
    sweep(run, pipeline(run), {"sigma": [1.0, 2.0], "level": [10.0]}, inputs=inputs)
    calls.clear()
    sweep(run, pipeline(run), {"sigma": [1.0, 2.0, 3.0], "level": [10.0, 20.0]}, inputs=inputs)
    assert sorted(str(each) for each in calls) == [
        "('above', 10.0)", "('above', 20.0)", "('above', 20.0)", "('above', 20.0)",
        "('smooth', (64, 64), 3.0)",
    ]  # fmt: skip


def test_the_best_on_a_crop_go_on_to_the_whole(tmp_path):
    run, (image, gold) = Run(tmp_path), scene()
    grid = {"sigma": [0.5, 1.0, 2.0], "level": [10.0, 20.0]}
    crop = (slice(0, 32), slice(None, 32))
    rows = sweep(run, pipeline(run), grid, inputs=(image, gold), crop=crop, keep=2)
    shapes = [each[1] for each in calls if each[0] == "smooth"]
    assert shapes.count((32, 32)) == 3
    assert 1 <= shapes.count((64, 64)) <= 2
    assert len(rows) == 6
    assert [math.isnan(row["score"]) for row in rows] == [False] * 2 + [True] * 4
    assert rows[0]["score"] >= rows[1]["score"]
    kept = min(row["crop_score"] for row in rows[:2])
    rest = [row["crop_score"] for row in rows[2:]]
    assert kept >= max(rest)
    assert rest == sorted(rest, reverse=True)
    best = rows[0]
    assert best["score"] == dice(above(smooth(image, best["sigma"]), best["level"]), gold)


def test_inputs_may_be_results_or_declared(tmp_path):
    run, (image, gold) = Run(tmp_path), scene()
    made = run(step(version="1")(lambda: image))
    inputs = (made, declare(gold, "gold"))
    rows = sweep(run, pipeline(run), [{"sigma": 1.0, "level": 20.0}], inputs=inputs,
                 crop=(slice(0, 32),))  # fmt: skip
    assert rows[0]["score"] == dice(above(smooth(image, 1.0), 20.0), gold)


def test_a_setting_that_fails_comes_last_with_its_reason(tmp_path):
    run = Run(tmp_path)
    grid = {"sigma": [1.0], "level": [99, 20]}
    rows = sweep(run, pipeline(run), grid, inputs=scene())
    assert [row["level"] for row in rows] == [20, 99]
    assert math.isnan(rows[1]["score"])
    assert "which failed" in rows[1]["error"]


@step(version="1")
def measured(x):
    return {"f1": x * 10, "dice": -x}


def negative(value):
    return -value["f1"]


def test_scores_by_key_and_by_function(tmp_path):
    run = Run(tmp_path)

    def best(score):
        return sweep(run, lambda x: run(measured, x), {"x": [1, 2, 3]}, score=score)[0]

    assert best("f1")["x"] == 3
    assert best("dice")["x"] == 1
    assert best(negative)["score"] == -10
    with pytest.raises(TypeError, match=r"a score must be a number, got dict of <result"):
        best(None)
    with pytest.raises(TypeError, match="the pipeline must return a result of the run, got 3"):
        sweep(run, lambda x: x, {"x": [3]})
    with pytest.raises(ValueError, match="at least one setting"):
        sweep(run, lambda x: x, [])
    with pytest.raises(ValueError, match="keep must be positive, got 0"):
        sweep(run, lambda x: x, {"x": [3]}, keep=0)


def test_random_settings_are_the_same_for_the_same_seed():
    ranges = {"sigma": (0.5, 4.0), "size": (3, 5), "method": ["otsu", "li"], "pair": ([1], [2])}
    settings = random_settings(ranges, 50, seed=3)
    assert settings == random_settings(ranges, 60, seed=3)[:50]
    assert settings != random_settings(ranges, 50, seed=4)
    assert all(0.5 <= each["sigma"] < 4 for each in settings)
    assert {each["size"] for each in settings} == {3, 4, 5}
    assert {each["method"] for each in settings} == {"otsu", "li"}
    assert {each["pair"][0] for each in settings} == {1, 2}
    with pytest.raises(ValueError, match="count must be positive, got 0"):
        random_settings(ranges, 0)
    with pytest.raises(ValueError, match=r"the range of a is empty: \(2, 1\)"):
        random_settings({"a": (2, 1)}, 1)
