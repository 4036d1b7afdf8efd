"""Grey slides have no hue: they count, but not in silence."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.io
import zarr
from _slides import smooth_image

from gpuseg import positive_pixel_count as ppc

PARAMS = ppc.Parameters(hue_value=0.05, hue_width=0.4)


@pytest.mark.parametrize("kind", ["tif", "png", "zarr"])
def test_grey_slides_are_told_of(tmp_path, kind):
    path, grey = tmp_path / f"grey.{kind}", smooth_image(300, 200, 1, np.uint8)[..., 0]
    if kind == "zarr":
        group = zarr.create_group(path)
        group.create_array("0", data=grey)
        axes = [{"name": name, "type": "space"} for name in "yx"]
        scales = [{"type": "scale", "scale": [1.0, 1.0]}]
        levels = [{"path": "0", "coordinateTransformations": scales}]
        image = [{"axes": axes, "datasets": levels}]
        group.attrs["ome"] = {"version": "0.5", "multiscales": image}
    else:
        skimage.io.imsave(path, grey, check_contrast=False)
    with pytest.warns(UserWarning, match=r"grey\..* is grey: no pixel is as saturated as 0\.05 "):
        (stats,) = ppc.count_slide(path, PARAMS)
    assert stats.NumberPositive == 0
    assert ppc.count_slide(path, PARAMS._replace(saturation_minimum=0.0))[0].NumberTotalPixels
