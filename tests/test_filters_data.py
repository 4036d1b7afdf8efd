"""Filters, thresholds and morphology on real images, against what others published for them."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import filters as skimage_filters
from skimage import io as skimage_io
from skimage import morphology as skimage_morphology

from gpuseg import filters, morphology


def both(image):
    """The image, and the same in chunks."""
    return image, da.from_array(image, chunks=100)


MASKS = {
    "out1": ("sample", lambda x: x > filters.threshold_local(x, 51)),
    # Galaxy's tool adds its offset to the threshold.
    "out2": ("sample", lambda x: x > filters.threshold_local(x, 51, offset=-1)),
    "out3": ("sample", lambda x: x > filters.threshold_otsu(x)),
    "out5": ("sample2", lambda x: x > filters.threshold_otsu(x)),
    "sample_manual_180_240": (
        "sample",
        lambda x: filters.apply_hysteresis_threshold(x, 180, 240),
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_galaxys_tools(name, test_data):
    folder = test_data / "golds/galaxy/2d_auto_threshold"
    source, call = MASKS[name]
    expected = skimage_io.imread(folder / f"output/{name}.tiff") > 0
    for image in both(skimage_io.imread(folder / f"input/{source}.tiff")):
        np.testing.assert_array_equal(np.asarray(call(image)), expected)


def test_thresholds_of_a_slide(test_data):
    """histolab's Otsu and Yen of a thumbnail, which are 140 and 130."""
    folder = test_data / "brightfield/histolab"
    with Image.open(folder / "pil-images-rgb/diagnostic-slide-thumb-rgb.png") as opened:
        grey = np.asarray(opened.convert("L"))
    masks = folder / "expectations/mask-arrays"
    for image in both(grey):
        otsu, yen = filters.threshold_otsu(image), filters.threshold_yen(image)
        assert (int(otsu), int(yen)) == (140, 130)
        for mask, name in ((image > otsu, "otsu"), (image < yen, "yen")):
            expected = np.load(masks / f"diagnostic-slide-thumb-gs-{name}-threshold-mask.npy")
            np.testing.assert_array_equal(np.asarray(mask), expected)


@pytest.mark.parametrize(
    ("name", "footprint"),
    [
        ("dilation", skimage_morphology.disk(2)),
        ("opening", np.ones((3, 3))),
        ("closing", np.ones((5, 5))),
    ],
)
def test_morphology_of_galaxys_tools(name, footprint, test_data):
    folder = test_data / "golds/galaxy/morphological_operations"
    expected = skimage_io.imread(folder / f"output1_{name}.tiff")
    for image in both(skimage_io.imread(folder / "input1.tiff")):
        found = getattr(morphology, name)(image, footprint)
        np.testing.assert_array_equal(np.asarray(found), expected)


def test_frames_of_nuclei(test_data):
    """Two frames of BBBC039 through the filters of the blog post, against SciPy's."""
    paths = sorted((test_data / "nuclei/bbbc039/images").glob("*.tif"))[:2]
    stack = np.stack([skimage_io.imread(path)[:260, :347] for path in paths])
    expected = np.stack([ndimage.gaussian_filter(frame.astype(float), 1) for frame in stack])
    sigma = [(side - 1) / 6 for side in stack.shape[1:]]
    local = skimage_filters.threshold_local(expected[0], 3, param=sigma)
    for image in (stack, da.from_array(stack, chunks=(1, 100, -1))):
        smooth = filters.gaussian(image, (0, 1, 1), mode="reflect", preserve_range=True)
        np.testing.assert_allclose(np.asarray(smooth), expected, rtol=1e-13)
        found = np.asarray(filters.threshold_local(smooth, (1, *image.shape[1:])))
        np.testing.assert_allclose(found[0], local, rtol=1e-12)
