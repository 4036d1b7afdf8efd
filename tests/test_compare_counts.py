"""Counts against SciPy and scikit-learn; groups held out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gpuseg.compare import compare_counts, leave_one_group_out


def counts(seed=0, size=24):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 60, size)
    # Experiments differ by a factor, images by noise; ranks have ties.
    factor = np.repeat(rng.uniform(0.7, 1.3, 4), size // 4)
    return (
        true,
        np.round(true * factor + rng.normal(0, 3, size)),
        np.repeat(list("abcd"), size // 4),
    )


@pytest.mark.parametrize("seed", range(3))
def test_errors_and_correlations(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    true, test, groups = counts(seed)
    found = compare_counts(true, test, groups)
    assert found.n == 24
    assert found.bias == pytest.approx(np.mean(test - true))
    assert found.mean_absolute_error == pytest.approx(metrics.mean_absolute_error(true, test))
    expected = metrics.root_mean_squared_error(true, test)
    assert found.root_mean_square_error == pytest.approx(expected)
    assert found.relative_error == pytest.approx(np.abs(test - true).sum() / true.sum())
    assert found.pearson == pytest.approx(stats.pearsonr(true, test).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(true, test).statistic)
    assert found.r2 == pytest.approx(metrics.r2_score(true, test))
    # Lin's formula in terms of the correlation.
    lin = 2 * found.pearson * true.std() * test.std()
    expected = lin / (true.var() + test.var() + found.bias**2)
    assert found.concordance == pytest.approx(expected)
    assert list(found.to_dict()) == list(found.__dataclass_fields__)


@pytest.mark.parametrize("grouped", [True, False])
def test_q2_equals_scikit_learns_cross_validation(grouped):
    model_selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    true, test, groups = counts(7)
    names = groups if grouped else np.arange(true.size)
    predicted = model_selection.cross_val_predict(
        LinearRegression(), test[:, None], true, groups=names, cv=model_selection.LeaveOneGroupOut()
    )
    found = compare_counts(true, test, groups if grouped else None)
    assert found.q2 == pytest.approx(r2_score(true, predicted))


def test_groups_of_one_experiment_flatter():
    """Seen together, images of one slide predict each other better than another slide's."""
    true, test, groups = counts(1)
    assert compare_counts(true, test, groups).q2 < compare_counts(true, test).q2


def test_what_is_not_defined():
    one = compare_counts([5], [7])
    assert (one.bias, one.relative_error) == (2, 0.4)
    assert np.isnan([one.pearson, one.spearman, one.r2, one.q2]).all()
    assert np.isnan(compare_counts([1, 2], [1, 2], ["a", "a"]).q2)
    same = compare_counts([3, 3, 3], [3, 3, 3])
    assert np.isnan([same.pearson, same.r2, same.concordance]).all()
    assert same.root_mean_square_error == 0
    assert np.isnan(compare_counts([0, 0], [1, 2]).relative_error)


BAD = [
    (([1, 2], [1]), "one length"),
    (([], []), "one length"),
    (([[1]], [[1]]), "1-D"),
    (([1, np.nan], [1, 2]), "finite"),
    (([1, 2], [1, 2], ["a"]), "groups must be 2, one for each count, got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_counts(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare_counts(*arguments)


def by_hand(scores, groups, choices, sign):
    """Held-out choices by plain loops."""
    rows = []
    for held in dict.fromkeys(groups):
        means = {}
        for choice in dict.fromkeys(choices):
            others = [
                np.mean([s for s, g, c in zip(scores, groups, choices, strict=True)
                         if g == other and c == choice])
                for other in dict.fromkeys(groups) if other != held
            ]  # fmt: skip
            means[choice] = sign * np.mean(others)
        best = max(means, key=means.get)
        own = [s for s, g, c in zip(scores, groups, choices, strict=True)
               if g == held and c == best]  # fmt: skip
        rows.append((held, len(own), best, sign * means[best], np.mean(own)))
    return rows


@given(st.integers(0, 2**32 - 1), st.sampled_from(["max", "min"]))
@settings(max_examples=25, deadline=None)
def test_leave_one_group_out_by_hand(seed, best):
    rng = np.random.default_rng(seed)
    groups = np.repeat(rng.permutation(list("wxyz")), 3 * rng.integers(1, 3, 4)).tolist()
    choices = [f"m{k % 3}" for k in range(len(groups))]
    scores = rng.normal(0, 1, len(groups))
    found = leave_one_group_out(scores, groups, choices, best=best)
    for row, expected in zip(
        found, by_hand(scores, groups, choices, 1 if best == "max" else -1), strict=True
    ):
        assert row[:3] == expected[:3]
        assert row[3:] == pytest.approx(expected[3:])


def test_missing_scores():
    nan = np.nan
    rows = leave_one_group_out([0.2, nan, nan, 0.8, 0.5], ["a", "a", "b", "c", "c"])
    assert [row.images for row in rows] == [1, 0, 2]
    assert rows[0].score_others == pytest.approx(0.65)
    assert np.isnan(rows[1].score)
    assert rows[2].score_others == pytest.approx(0.2)


BAD_GROUPS = [
    (([1, 2], ["a"]), {}, "one length"),
    (([1, 2], ["a", "b"], ["m"]), {}, "one length"),
    (([1, 2], ["a", "a"]), {}, r"at least two groups, got \['a'\]"),
    (([1, 2], ["a", "b"]), {"best": "most"}, "got 'most'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "message"), BAD_GROUPS)
def test_bad_groups(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        leave_one_group_out(*arguments, **options)
