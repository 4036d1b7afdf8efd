"""A small run of every kernel, for compute-sanitizer: `ci/gpu.sh` calls it."""

import cupy
import numpy as np

from gpuseg import measure
from gpuseg import positive_pixel_count as ppc

rng = np.random.default_rng(0)
image = rng.integers(0, 256, (67, 129, 3), dtype=np.uint8)
mask = rng.random((67, 129)) < 0.5
parameters = ppc.Parameters()
assert ppc.count(cupy.asarray(image), parameters) == ppc.count(image, parameters)
assert (
    ppc.classify(cupy.asarray(image), parameters).get() == ppc.classify(image, parameters)
).all()
labels, number = measure.label(cupy.asarray(mask))
expected, count = measure.label(mask)
assert number == count
assert (labels.get() == expected).all()
