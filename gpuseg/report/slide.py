"""Overlay of a whole slide, from its label image on disk, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg._shared.hsi import Output, Parameters
from gpuseg.report.coverage import Coverage, squares
from gpuseg.report.overlay import picture

if TYPE_CHECKING:
    from gpuseg.io.regions import Region
    from gpuseg.io.slides import Slide

__all__ = ["write_overlay"]

_MAX_SIZE = 1400
_BOX = 4096


def write_overlay(
    path: Path,
    slide: Slide,
    labels: Path,
    output: Output,
    params: Parameters,
    *,
    title: str,
    regions: Sequence[Region] = (),
    max_size: int = _MAX_SIZE,
) -> None:
    """Write the picture of a slide beside its classes.

    Parameters
    ----------
    path : Path
        What to write; the suffix chooses PNG or JPEG. It appears when it is whole.
    slide : Slide
        At the level that was counted.
    labels : Path
        Its label image: `.zarr` or `.tif`, as `gpuseg.io.label_pyramid` writes them.
    output : Output
        Numbers for the legend.
    params : Parameters
        Told below the title.
    title : str
    regions : sequence of Region
        Outlined.
    max_size : int
        Longer side of each panel in pixels.

    Raises
    ------
    OSError
        If the labels cannot be read or the picture not be written.
    """
    from PIL import Image

    from gpuseg.io.tables import replacing

    coverage = _coverage(labels, max_size)
    small = Image.fromarray(slide.thumbnail(max(coverage.shape)))
    # A thumbnail's sides are rounded, squares are counted whole: a pixel's difference.
    small = small.resize(coverage.shape[::-1], Image.Resampling.BILINEAR)
    factor = coverage.factor
    drawn = picture(
        np.asarray(small),
        coverage.shares(),
        {
            "weak": output.NumberWeakPositive,
            "plain": output.NumberPositive,
            "strong": output.NumberStrongPositive,
            "total": output.NumberTotalPixels,
        },
        title=title,
        subtitle=_subtitle(slide, params),
        mpp=None if slide.mpp is None else slide.mpp * factor,
        outlines=[ring / factor for region in regions for ring in region.rings],
    )
    with replacing(path) as part:
        drawn.save(part)


def _subtitle(slide: Slide, params: Parameters) -> str:
    height, width, _ = slide.shape
    size = f"{width} × {height} pixels"
    if slide.mpp is not None:
        size += f" of {slide.mpp:.3g} µm"
    hue = f"hue {params.hue_value:.3g} ± {params.hue_width / 2:.3g}"
    return f"{size}, {hue}, saturation from {params.saturation_minimum:.3g}"


def _coverage(labels: Path, max_size: int) -> Coverage:
    """Shares of the classes, from the full resolution: exact at any scale.

    Reading it back costs little beside counting: labels compress to less than a bit per pixel.
    """
    from gpuseg.cluster import connect

    with _level_0(labels) as array, connect() as cluster:
        coverage = Coverage(array.shape, max_size)
        height, width = array.shape
        corners = [(top, left) for top in range(0, height, _BOX) for left in range(0, width, _BOX)]
        count = partial(_squares_at, array, coverage.factor)
        for corner, counts in cluster.map(count, corners):
            coverage.add(*corner, counts)
    return coverage


def _squares_at(array: Any, factor: int, corner: tuple[int, int]) -> NDArray[np.uint32]:
    top, left = corner
    return squares(np.asarray(array[top : top + _BOX, left : left + _BOX]), factor, top, left)


@contextmanager
def _level_0(labels: Path) -> Iterator[Any]:
    import zarr

    if labels.suffix.lower() == ".zarr":
        yield zarr.open_array(labels / "0", mode="r")
        return
    import tifffile

    with tifffile.imread(labels, aszarr=True, level=0) as store:
        yield zarr.open_array(store, mode="r")
