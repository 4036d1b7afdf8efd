"""The picture of what was found."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from skimage import segmentation

from gpuseg.report.objects import _COLOURS, objects_picture, outlined


def test_outlines_are_the_inner_boundaries(rng):
    labels = np.kron(rng.integers(0, 4, (6, 7)), np.ones((5, 6), int))
    drawn = outlined(np.zeros((*labels.shape, 3), np.uint8), labels)
    # scikit-image's inner boundaries lie in objects, those between two objects on both sides.
    expected = segmentation.find_boundaries(labels, mode="inner")
    np.testing.assert_array_equal(drawn.any(axis=-1), expected)
    assert (drawn[expected] == _COLOURS[labels[expected] % len(_COLOURS)]).all()


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3), (5, 40, 60)])
def test_image_beside_its_objects(rng, shape):
    image = rng.integers(0, 4000, shape).astype(np.uint16)
    labels = np.zeros(shape if shape[0] == 5 else shape[:2], np.int32)
    labels[..., 10:20, 10:30] = 3
    picture = objects_picture(image, labels, title="a.tif", subtitle="1 object", mpp=0.5)
    lazy = objects_picture(
        da.from_array(image, chunks=20), da.from_array(labels, chunks=16), title="a.tif",
        subtitle="1 object", mpp=0.5,
    )  # fmt: skip
    assert picture.mode == "RGB"
    assert min(picture.size) > 300
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(lazy))
    colours = {tuple(map(int, c)) for c in np.asarray(picture).reshape(-1, 3)}
    assert tuple(map(int, _COLOURS[3])) in colours


def test_large_images_are_shown_smaller():
    picture = objects_picture(np.ones((3000, 5000), np.uint8), np.ones((3000, 5000), int), title="")
    assert max(picture.size) < 2600


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"labels must have the image's shape, got \(3, 4\)"):
        objects_picture(np.zeros((4, 4)), np.zeros((3, 4), int), title="")
