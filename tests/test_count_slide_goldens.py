"""A real slide counts as HistomicsTK counted it."""

from __future__ import annotations

import hashlib
import json

import pytest

from gpuseg import positive_pixel_count as ppc


@pytest.fixture(scope="module")
def goldens(test_data):
    path = test_data.parent / "reference" / "histomicstk" / "stats.json"
    if not path.exists():
        pytest.skip(f"HistomicsTK's answers are not at {path}")
    return json.loads(path.read_text())["CMU-1-Small-Region.svs"]


def assert_equals_histomicstk(stats, golden):
    for name, value in golden.items():
        ours = getattr(stats, name)
        if isinstance(value, int):
            assert ours == value, name
        else:
            assert ours == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("name", ["seed", "cli_default", "hema"])
def test_equals_histomicstk_on_a_real_slide(test_data, goldens, name):
    path = test_data / "wsi" / "CMU-1-Small-Region.svs"
    golden = goldens[name]
    params = ppc.Parameters(*golden["params"])
    counted = ppc.count_regions(path, params, [golden["region"], (0, 0, 2220, 2967)])
    assert_equals_histomicstk(counted.regions[0][1], golden["region_stats"])
    assert_equals_histomicstk(counted.regions[1][1], golden["slide"])
    assert ppc.count_slide(path, params) == (counted.regions[1][1],)
    stats, labels = ppc.count_slide(path, params, golden["region"], make_label_image=True)
    assert stats == counted.regions[0][1]
    assert hashlib.sha256(labels.tobytes()).hexdigest() == golden["region_label_sha256"]
