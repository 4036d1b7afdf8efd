"""Images and slides that the tests of `gpuseg.io.slides` write; seeded, and unlike in each tile."""

from __future__ import annotations

import numpy as np
import tifffile
import zarr

from gpuseg.io import open_slide


def smooth_image(height, width, channels=3, dtype=np.uint8, seed=0):
    """Smooth, colourful noise over the whole range of `dtype` (floats: 0 to 1)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.empty((height, width, channels))
    for channel in range(channels):
        a, b, c, d = rng.uniform(0.01, 0.15, 4)
        image[..., channel] = np.sin(a * y + b * x) + np.cos(c * y - d * x + channel)
    image = (image - image.min()) / np.ptp(image)
    dtype = np.dtype(dtype)
    return (image * np.iinfo(dtype).max + 0.5 if dtype.kind == "u" else image).astype(dtype)


def halved(image):
    """Every second row and column."""
    return np.ascontiguousarray(image[::2, ::2])


def write_pyramid(path, image, *, levels=3, tile=(64, 64), description=None, **options):
    """Tiled TIFF with reduced pages after the first, as vips and Aperio write them."""
    arguments = {"photometric": "rgb", "metadata": None, "tile": tile} | options
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False)) as writer:
        arguments.pop("bigtiff", None)
        for level in range(levels):
            extra = {"description": description} if level == 0 else {"subfiletype": 1}
            writer.write(image, **arguments, **extra)
            image = halved(image)
    return path


def write_ome_zarr(path, levels, axes, *, version, scale=None, unit="micrometer", **options):
    """Multiscale image of arrays; `axes` is a string such as "cyx"."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for number, level in enumerate(levels):
        array = group.create_array(str(number), shape=level.shape, dtype=level.dtype, **options)
        array[...] = level
        factor = [2.0**number if axis in "yx" else 1.0 for axis in axes]
        steps = [f * s for f, s in zip(factor, scale or [1.0] * len(axes), strict=True)]
        datasets.append(
            {
                "path": str(number),
                "coordinateTransformations": [{"type": "scale", "scale": steps}],
            }
        )
    kinds = {"c": "channel", "t": "time"}
    described = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in described:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    image = {"axes": described, "datasets": datasets, "name": "test"}
    if version == "0.4":
        group.attrs["multiscales"] = [image | {"version": version}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image]}
    return path


def whole(path, level=0):
    """All pixels of a level as `open_slide` reads them."""
    with open_slide(path, level=level) as slide:
        return slide.read_region(0, 0, *slide.shape[:2])
