"""Metrics against scikit-learn, scikit-image, StarDist, and dense formulas as published."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from skimage import metrics as skimage_metrics

from gpuseg.compare import THRESHOLDS, compare_labels, pool


def cells(seed=0, shape=(96, 110), count=25, errors=True):
    """Discs, and what a method might find: moved, split, merged, missing and spurious ones."""
    rng = np.random.default_rng(seed)
    true, test = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label in range(1, count + 1):
        at, radius = rng.uniform(0, shape), rng.uniform(3, 9)
        true[((y - at[0]) ** 2 + (x - at[1]) ** 2) < radius**2] = 3 * label
        kind = rng.integers(0, 6) if errors else 5
        moved = at + rng.normal(0, 1.2, 2)
        inside = ((y - moved[0]) ** 2 + (x - moved[1]) ** 2) < (radius * rng.uniform(0.8, 1.2)) ** 2
        if kind:
            test[inside] = 2 * label
        if kind == 1:
            test[inside & (x > moved[1])] = 2 * label + 1
        if kind == 2:
            test[inside] = 2 * label - 2
    return true, test


def confusion(true, test) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dense table of ranks, with background first even where there is none."""
    names, others = (np.unique(np.append(a.ravel(), 0)) for a in (true, test))
    table = np.zeros((names.size, others.size), np.int64)
    places = np.searchsorted(names, true.ravel()), np.searchsorted(others, test.ravel())
    np.add.at(table, places, 1)
    return table, names, others


def dense_iou(true, test) -> np.ndarray:
    table, _, _ = confusion(true, test)
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return (table / np.maximum(union, 1))[1:, 1:]


def dense_matching(true, test, threshold):
    """Count and summed score of StarDist's assignment of all objects to all."""
    iou = dense_iou(true, test)
    if not iou.size or not (iou >= threshold).any():
        return 0, 0.0
    cost = -(iou >= threshold).astype(float) - iou / (2 * min(iou.shape))
    matched = iou[linear_sum_assignment(cost)]
    return int((matched >= threshold).sum()), float(matched[matched >= threshold].sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.3, *THRESHOLDS, 1.0])
def test_matching_equals_a_dense_assignment(seed, threshold):
    true, test = cells(seed)
    tp, total = dense_matching(true, test, threshold)
    scores = compare_labels(true, test).matching(threshold)
    n_true, n_test = np.unique(true[true > 0]).size, np.unique(test[test > 0]).size
    assert scores[1:4] == (tp, n_test - tp, n_true - tp)
    assert scores.panoptic_quality == pytest.approx(2 * total / (n_true + n_test), abs=1e-12)
    assert scores.mean_true_score == pytest.approx(total / n_true, abs=1e-12)
    assert scores.accuracy == pytest.approx(tp / (n_true + n_test - tp))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.6]))
@settings(max_examples=40, deadline=None)
def test_ties_in_tiny_images(seed, threshold):
    """Halves and thirds are frequent here, and so are objects with several equal partners."""
    true, test = np.random.default_rng(seed).integers(0, 4, (2, 3, 3))
    tp, total = dense_matching(true, test, threshold)
    scores = compare_labels(true, test).matching(threshold)
    assert scores.tp == tp
    assert scores.mean_matched_score * tp == pytest.approx(total)


@pytest.mark.parametrize("seed", range(3))
def test_equals_stardist(seed):
    stardist = pytest.importorskip("stardist.matching")
    true, test = cells(seed)
    found = compare_labels(true, test)
    thresholds = (0.2, *THRESHOLDS)
    for ours, theirs in zip(
        map(found.matching, thresholds), stardist.matching(true, test, thresholds), strict=True
    ):
        for name in set(ours._fields) & set(theirs._fields):
            # Its releases keep scores in float32; counts, and what is made of them, are exact.
            near = 1e-7 if name in ("panoptic_quality", "mean_matched_score", "mean_true_score") \
                else 1e-12  # fmt: skip
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=near), name
        assert theirs.n_pred == found.n_test


@pytest.mark.parametrize("seed", range(3))
def test_pixel_metrics_equal_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics")
    true, test = cells(seed)
    found = compare_labels(true, test)
    flat = true.ravel(), test.ravel()
    assert found.adjusted_rand() == pytest.approx(sklearn.adjusted_rand_score(*flat), abs=1e-12)
    assert found.rand_index() == pytest.approx(sklearn.rand_score(*flat), abs=1e-12)
    inside = true.ravel() > 0
    within = sklearn.adjusted_rand_score(*(labels[inside] for labels in flat))
    assert found.adjusted_rand(ignore_labels=[0]) == pytest.approx(within, abs=1e-12)
    masks = (true > 0).ravel(), (test > 0).ravel()
    assert found.dice == pytest.approx(sklearn.f1_score(*masks), abs=1e-12)
    assert found.jaccard == pytest.approx(sklearn.jaccard_score(*masks), abs=1e-12)


@pytest.mark.parametrize("ignore", [(), (0,), (0, 6)])
def test_pixel_metrics_equal_scikit_image(ignore):
    true, test = cells(3)
    found = compare_labels(true, test)
    expected = skimage_metrics.adapted_rand_error(true, test, ignore_labels=ignore, alpha=0.3)
    assert found.adapted_rand_error(ignore, alpha=0.3) == pytest.approx(expected, abs=1e-12)
    expected = skimage_metrics.variation_of_information(true, test, ignore_labels=ignore)
    assert found.variation_of_information(ignore) == pytest.approx(tuple(expected), abs=1e-12)


def by_pixel_pairs(true, test):
    """Rand indices from every pair of pixels (Hubert and Arabie's definition)."""
    pairs = list(itertools.combinations(range(true.size), 2))
    a, b = true.ravel(), test.ravel()
    together = [(a[i] == a[j], b[i] == b[j]) for i, j in pairs]
    both = sum(s and t for s, t in together)
    left, right = sum(s for s, _ in together), sum(t for _, t in together)
    agree = sum(s == t for s, t in together) / len(pairs)
    chance = left * right / len(pairs)
    return agree, (both - chance) / ((left + right) / 2 - chance)


def test_rand_indices_by_definition():
    true, test = np.random.default_rng(5).integers(0, 4, (2, 5, 6))
    found = compare_labels(true, test)
    assert (found.rand_index(), found.adjusted_rand()) == pytest.approx(by_pixel_pairs(true, test))


def seg_by_definition(true, test):
    scores = []
    for label in np.unique(true[true > 0]):
        a = true == label
        inside = test[a]
        score = 0.0
        for other in np.unique(inside[inside > 0]):
            b = test == other
            if 2 * (a & b).sum() > a.sum():
                score = (a & b).sum() / (a | b).sum()
        scores.append(score)
    return np.mean(scores)


def det_by_definition(true, test):
    """Operations that correct a graph of nodes without edges, at their published weights."""
    owners = {int(label): 0 for label in np.unique(test[test > 0])}
    lost = 0
    labels = np.unique(true[true > 0])
    for label in labels:
        a = true == label
        hits = [k for k in owners if 2 * (a & (test == k)).sum() > a.sum()]
        lost += not hits
        for k in hits:
            owners[k] += 1
    cost = 5 * sum(max(n - 1, 0) for n in owners.values()) + 10 * lost
    cost += sum(n == 0 for n in owners.values())
    return 1 - min(cost, 10 * labels.size) / (10 * labels.size)


def aji_by_definition(true, test):
    """Algorithm 1 of Kumar et al. 2017."""
    intersection, union, used = 0, 0, set()
    for label in np.unique(true[true > 0]):
        a = true == label
        candidates = [(k, test == k) for k in np.unique(test[a]) if k > 0]
        if not candidates:
            union += a.sum()
            continue
        k, b = max(candidates, key=lambda c: (a & c[1]).sum() / (a | c[1]).sum())
        intersection += (a & b).sum()
        union += (a | b).sum()
        used.add(int(k))
    rest = [k for k in np.unique(test[test > 0]) if int(k) not in used]
    return intersection / (union + np.isin(test, rest).sum())


def object_dice_by_definition(true, test):
    """Equation 3 of Sirinukunwattana et al. 2017, from the largest overlaps."""

    def half(first, second):
        total = 0.0
        for label in np.unique(first[first > 0]):
            a = first == label
            inside = second[a][second[a] > 0]
            if inside.size:
                b = second == np.bincount(inside).argmax()
                total += a.sum() * 2 * (a & b).sum() / (a.sum() + b.sum())
        return total / (first > 0).sum()

    return (half(true, test) + half(test, true)) / 2


@pytest.mark.parametrize("seed", range(4))
def test_object_metrics_by_definition(seed):
    true, test = cells(seed)
    found = compare_labels(true, test)
    assert found.seg == pytest.approx(seg_by_definition(true, test), abs=1e-12)
    assert found.det == pytest.approx(det_by_definition(true, test), abs=1e-12)
    assert found.aggregated_jaccard == pytest.approx(aji_by_definition(true, test), abs=1e-12)
    assert found.object_dice == pytest.approx(object_dice_by_definition(true, test), abs=1e-12)
    iou = dense_iou(true, test)
    assert found.splits() == ((iou > 0.1).sum(axis=1) > 1).sum()
    assert found.merges(0.2) == ((iou > 0.2).sum(axis=0) > 1).sum()


def errors_by_definition(true, test):
    """Coelho, Shariff and Murphy: each object belongs to what most of its pixels lie on."""

    def homes(objects, others):
        return [np.bincount(others[objects == k]).argmax() for k in np.unique(objects[objects > 0])]

    by_test, by_true = homes(test, true), homes(true, test)
    several = [sum(n > 1 for k, n in zip(*np.unique(h, return_counts=True), strict=True) if k)
               for h in (by_test, by_true)]  # fmt: skip
    return (*several, by_test.count(0), by_true.count(0))


@pytest.mark.parametrize("seed", range(4))
def test_errors_by_definition(seed):
    true, test = cells(seed)
    assert compare_labels(true, test).errors == errors_by_definition(true, test)


def test_object_table_and_sizes():
    true, test = cells(1)
    found = compare_labels(true, test)
    table, iou = found.objects(), dense_iou(true, test)
    _, names, others = confusion(true, test)
    np.testing.assert_array_equal(table["label"], names[1:])
    np.testing.assert_array_equal(table["size"], [(true == k).sum() for k in names[1:]])
    np.testing.assert_allclose(table["iou"], iou.max(axis=1))
    best = np.where(iou.max(axis=1) > 0, others[1:][iou.argmax(axis=1)], 0)
    np.testing.assert_array_equal(table["partner"], best)
    np.testing.assert_array_equal(table["met"], (iou > 0).sum(axis=1))
    np.testing.assert_allclose(table["dice"], 2 * table["iou"] / (1 + table["iou"]))
    classes = found.missed_by_size([50, 120], threshold=0.7)
    missed = set(names[1:].tolist()) - set(found.matches(0.7).true.tolist())
    assert [row[:2] for row in classes] == [(0, 50), (50, 120), (120, np.inf)]
    for lower, upper, n_true, n_missed in classes:
        inside = table["label"][(table["size"] >= lower) & (table["size"] < upper)].tolist()
        assert (n_true, n_missed) == (len(inside), len(missed & set(inside)))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_labels_are_only_names(seed):
    rng = np.random.default_rng(seed)
    true, test = rng.integers(0, 5, (2, 6, 7))
    expected = compare_labels(true, test).to_dict()
    names = np.concatenate(([0], rng.choice(10**6, 4, replace=False) + 1))
    again = compare_labels(names[true][::-1].T, 7 * test[::-1].T).to_dict()
    for name, value in expected.items():
        # Of equal partners the lower label is taken, which may share pixels otherwise.
        if name not in ("aggregated_jaccard", "split", "merged", "spurious", "missing",
                        "object_dice", "object_jaccard"):  # fmt: skip
            assert again[name] == pytest.approx(value, nan_ok=True), name


def test_equal_images():
    true, _ = cells(2)
    found = compare_labels(true, true)
    for name, value in found.to_dict().items():
        if name.startswith(("ap", "f1", "precision", "recall", "pq", "dice", "jaccard", "obj", "se",
                            "det", "rand", "adjusted")):  # fmt: skip
            assert value == 1 if not name.startswith("adapted_rand_error") else 0
    assert found.errors == (0, 0, 0, 0)
    assert found.variation_of_information() == (0, 0)


def test_empty_images():
    nothing = np.zeros((4, 5), int)
    found = compare_labels(nothing, nothing)
    assert (found.n_true, found.n_test, found.pixels) == (0, 0, 20)
    assert found.matching()[1:] == (0, 0, 0, *(0.0,) * 7)
    undefined = (found.dice, found.jaccard, found.seg, found.det, found.aggregated_jaccard,
                 found.object_dice, found.adapted_rand_error().error)  # fmt: skip
    assert np.isnan(undefined).all()
    assert found.adjusted_rand() == found.rand_index() == 1
    missed = compare_labels(nothing + 3, nothing)
    assert missed.matching()[1:4] == (0, 0, 1)
    assert (missed.dice, missed.seg, missed.det, missed.object_dice) == (0, 0, 0, 0)
    assert missed.errors == (0, 0, 0, 1)
    assert compare_labels(nothing, nothing + 3).errors == (0, 0, 1, 0)
    none = compare_labels(nothing[:0], nothing[:0])
    assert np.isnan([none.rand_index(), none.adjusted_rand()]).all()
    assert "0 true objects" in str(none)


def test_masks_are_one_object():
    true, test = cells(1)
    found = compare_labels(true > 0, test > 0)
    assert (found.n_true, found.n_test) == (1, 1)
    assert found.dice == compare_labels(true, test).dice


def test_pool_is_a_mosaic():
    images = [cells(seed) for seed in range(3)]
    pooled = pool([compare_labels(*pair) for pair in images])
    shifted = [(np.where(true, true + 1000 * k, 0), np.where(test, test + 1000 * k, 0))
               for k, (true, test) in enumerate(images)]  # fmt: skip
    mosaic = compare_labels(*(np.concatenate(side) for side in zip(*shifted, strict=True)))
    assert pooled.to_dict() == pytest.approx(mosaic.to_dict())
    with pytest.raises(ValueError, match="got none"):
        pool([])


def test_sums_that_outgrow_64_bits():
    """Squares of objects of 2^40 pixels, as a light-sheet volume may hold them."""
    from gpuseg._shared.overlap import Overlap
    from gpuseg.compare import Comparison

    names = np.array([1, 2], np.uint64)
    found = Comparison(Overlap(names, names, np.array([2**40, 2**41])))
    assert found.adjusted_rand() == found.rand_index() == 1
    assert found.adapted_rand_error() == (0, 1, 1)


@pytest.mark.parametrize("threshold", [0, -1, 1.01, np.nan])
def test_bad_threshold(threshold):
    found = compare_labels(np.ones(3, int), np.ones(3, int))
    with pytest.raises(ValueError, match=rf"above 0 and at most 1, got {threshold}"):
        found.matching(threshold)


def test_bad_arguments():
    found = compare_labels(np.ones(3, int), np.ones(3, int))
    with pytest.raises(ValueError, match="between 0 and 1, got 2"):
        found.adapted_rand_error(alpha=2)
    with pytest.raises(ValueError, match=r"increasing sizes, got \[5, 5\]"):
        found.missed_by_size([5, 5])
    assert [row.n_true for row in found.missed_by_size([])] == [1]


def test_published_metrics_of_galaxy(test_data):
    """Both images and their published table (segmetrics 1.4, through Galaxy's tool tests)."""
    import csv

    import tifffile

    folder = test_data / "golds/galaxy/segmetrics"
    with (folder / "results2.tsv").open() as file:
        published = list(csv.DictReader(file, delimiter="\t"))
    for name, row in zip(("img1", "img2"), published, strict=False):
        true, test = (tifffile.imread(folder / kind / f"{name}.tiff") for kind in ("gt", "seg"))
        found, masks = compare_labels(true, test), compare_labels(true > 0, test > 0)
        expected = {key: float(value) for key, value in row.items() if key != "Sample"}
        assert found.dice == pytest.approx(expected["Dice"], abs=1e-9)
        assert found.seg == pytest.approx(expected["SEG"], abs=1e-9)
        # It divides in float32.
        assert found.jaccard == pytest.approx(expected["Jaccard coef."], abs=1e-7)
        assert found.adjusted_rand() == pytest.approx(expected["ARI"], abs=1e-9)
        assert masks.rand_index() == pytest.approx(expected["Rand"], abs=1e-9)
        counted = [expected[key] for key in ("Split", "Merge", "Spurious", "Missing")]
        assert list(found.errors) == counted


def test_real_nuclei(test_data):
    """Otsu's threshold against BBBC039's hand-drawn masks, by all peers at once."""
    sklearn = pytest.importorskip("sklearn.metrics")
    import dask.array as da
    import tifffile
    from PIL import Image
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    folder = test_data / "nuclei/bbbc039"
    path = sorted((folder / "images").glob("*.tif"))[0]
    image = tifffile.imread(path)
    mask = np.asarray(Image.open(folder / "masks" / f"{path.stem}.png"))[..., 0]
    true, test = label(mask), label(image > threshold_otsu(image))
    found = compare_labels(true, test)
    chunked = [da.from_array(labels, chunks=(100, 170)) for labels in (true, test)]
    assert compare_labels(*chunked).to_dict() == found.to_dict()
    assert found.n_true == 110
    assert found.n_test == 98
    for threshold in THRESHOLDS:
        assert found.matching(threshold).tp == dense_matching(true, test, threshold)[0]
    expected = sklearn.adjusted_rand_score(true.ravel(), test.ravel())
    assert found.adjusted_rand() == pytest.approx(expected, abs=1e-12)
    assert found.seg == pytest.approx(seg_by_definition(true, test), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.rand_index(0), TypeError, "ignore_labels .* got 0"),
        (lambda x: x.rand_index([1.5]), TypeError, "ignore_labels .* got 1.5"),
        (lambda x: x.rand_index([-1]), ValueError, "ignore_labels .* got -1"),
        (lambda x: x.matching("0.5"), TypeError, "threshold .* got '0.5'"),
        (lambda x: x.splits("a"), TypeError, "iou .* got 'a'"),
        (lambda x: x.adapted_rand_error(alpha="a"), TypeError, "alpha .* got 'a'"),
        (lambda x: x.missed_by_size([np.nan]), ValueError, r"increasing sizes, got \[nan\]"),
    ],
)
def test_options_of_other_types(call, error, message):
    labels = np.array([[1, 1, 0, 2]])
    with pytest.raises(error, match=message):
        call(compare_labels(labels, labels))
