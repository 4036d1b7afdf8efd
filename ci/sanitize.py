"""A small run of every kernel, for compute-sanitizer: `ci/gpu.sh` calls it."""

import cupy
import numpy as np

from gpuseg import measure, morphology, segmentation
from gpuseg import positive_pixel_count as ppc

rng = np.random.default_rng(0)
image = rng.integers(0, 256, (67, 129, 3), dtype=np.uint8)
mask = rng.random((67, 129)) < 0.5
on_device = cupy.asarray(image)

parameters = ppc.Parameters()
assert ppc.count(on_device, parameters) == ppc.count(image, parameters)
assert (ppc.classify(on_device, parameters).get() == ppc.classify(image, parameters)).all()
assert ppc.colour_histogram(on_device) == ppc.colour_histogram(image)

labels, number = measure.label(cupy.asarray(mask))
expected, count = measure.label(mask)
assert number == count
assert (labels.get() == expected).all()

names = ("label", "area", "centroid", "perimeter", "euler_number", "intensity_mean")
names += ("num_neighbors",)
table = measure.regionprops_table(labels, on_device[..., 0], properties=names)
for name, column in measure.regionprops_table(expected, image[..., 0], properties=names).items():
    np.testing.assert_array_equal(table[name], column)

for device, host in zip(
    morphology.distance_transform_edt(cupy.asarray(mask), return_indices=True),
    morphology.distance_transform_edt(mask, return_indices=True),
    strict=True,
):
    assert (device.get() == host).all()
grown = segmentation.expand_labels(labels, 3)
assert (grown.get() == segmentation.expand_labels(expected, 3)).all()

markers = (mask & (rng.random(mask.shape) < 0.05)) * np.arange(1, mask.size + 1).reshape(mask.shape)
flooded = segmentation.watershed(on_device[..., 0], cupy.asarray(markers))
assert (flooded.get() == segmentation.watershed(image[..., 0], markers)).all()
