"""One worker a device, where dask-cuda and a device are there."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg import measure
from gpuseg import positive_pixel_count as ppc
from gpuseg.cluster import connect

pytestmark = pytest.mark.gpu

PARAMS = ppc.Parameters(hue_value=0.05)


def test_chunks_on_every_device_answer_as_the_cpu(rng):
    pytest.importorskip("dask_cuda")
    cp, da = pytest.importorskip("cupy"), pytest.importorskip("dask.array")
    image = rng.integers(0, 256, (500, 700, 3), dtype=np.uint8)
    mask = rng.random((500, 700)) < 0.4
    with connect("cuda"):
        chunked = da.from_array(image, chunks=(200, 300, 3)).map_blocks(cp.asarray)
        assert ppc.count(chunked, PARAMS) == ppc.count(image, PARAMS)
        labels, number = measure.label(da.from_array(mask, chunks=150).map_blocks(cp.asarray))
        expected, count = measure.label(mask)
        assert int(number) == count
        np.testing.assert_array_equal(cp.asnumpy(labels.compute()), expected)


def test_slides_are_counted_on_every_device(rng, tmp_path):
    pytest.importorskip("dask_cuda")
    tifffile = pytest.importorskip("tifffile")
    image = rng.integers(0, 256, (1000, 1300, 3), dtype=np.uint8)
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb")
    (expected,) = ppc.count_slide(path, PARAMS)
    with connect("cuda") as cluster:
        (found,) = ppc.count_slide(path, PARAMS, scheduler=cluster)
    assert found == expected
