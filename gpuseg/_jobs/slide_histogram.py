"""Exact colour histograms of a whole slide or of its regions, box by box.

1. The slide is cut into boxes of about 4096² pixels, aligned to its tiles, as for counting.
2. Each box is one item for the workers. It is decoded as a whole, for reading out a table of 2^24
   counters takes longer than counting a tile; of a box that regions meet, only their rectangle.
3. The sparse histograms of all boxes are merged. The order doesn't matter.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpuseg._backend import implementation
from gpuseg._jobs.count_slide import Progress, _area, _meets, _opened, _regions
from gpuseg._shared.colour_histogram import ColourHistogram
from gpuseg.cluster import Cluster, connect
from gpuseg.io.label_pyramid import Box
from gpuseg.io.regions import Region
from gpuseg.io.slides import OnError, Slide
from gpuseg.typing import NumpyArray


class Part(NamedTuple):
    """Colours of one region (0: the slide, where there are none) within a box."""

    region: int
    colours: NumpyArray
    counts: NumpyArray
    unreadable: int


@dataclass(frozen=True)
class Job:
    """Counts the colours of one box; pickled once for each worker process."""

    slide: Slide
    regions: Any
    on_error: OnError
    on_gpu: bool

    def __call__(self, box: Box) -> list[Part]:
        """Count the colours of a box (top, left, height, width)."""
        if self.regions is None:
            return [self._part(0, *self._read(box), None)]
        from gpuseg._cpu.regions import spans
        from gpuseg._cpu.spans import paint

        found = spans(self.regions, *box)
        if not len(found):
            return []
        top, left = int(found[:, 1].min()), int(found[:, 2].min())
        height, width = int(found[:, 1].max()) + 1 - top, int(found[:, 3].max()) - left
        block, readable = self._read((box[0] + top, box[1] + left, height, width))
        parts = []
        for number in np.unique(found[:, 0]):
            mine = found[found[:, 0] == number] - np.array([number, top, left, left], np.int32)
            y, x = int(mine[:, 1].min()), int(mine[:, 2].min())
            window = slice(y, int(mine[:, 1].max()) + 1), slice(x, int(mine[:, 3].max()))
            inside = paint(mine - np.array([0, y, x, x], np.int32), *readable[window].shape)
            parts.append(self._part(int(number), block[window], readable[window], inside))
        return parts

    def _read(self, box: Box) -> tuple[NumpyArray, NumpyArray]:
        """Pixels of a box, and which of them could be read."""
        block = np.zeros((*box[2:], self.slide.shape[2]), np.uint8)
        readable = np.zeros(box[2:], np.bool_)
        for tile in self.slide.read_tiles(*box, on_error=self.on_error):
            y, x = tile.top - box[0], tile.left - box[1]
            if tile.pixels is not None:
                place = slice(y, y + tile.height), slice(x, x + tile.width)
                block[place], readable[place] = tile.pixels, True
        return block, readable

    def _part(
        self, number: int, block: Any, readable: NumpyArray, inside: NumpyArray | None
    ) -> Part:
        mask: Any = readable if inside is None else readable & inside
        wanted = readable.size if inside is None else np.count_nonzero(inside)
        unreadable = int(wanted) - int(np.count_nonzero(mask))
        if inside is None and not unreadable:
            mask = None
        if self.on_gpu:
            import cupy

            block = cupy.asarray(block)
            mask = None if mask is None else cupy.asarray(mask)
        colours, counts = implementation(block, "colour_histogram").histogram(block, mask)
        return Part(number, colours, counts, unreadable)


def histograms(
    path: str | os.PathLike[str] | Slide,
    regions: Any,
    *,
    where: dict[str, Any],
    on_error: OnError,
    scheduler: str | Cluster | None,
    workers: int | None,
    progress: Progress | None,
) -> tuple[list[Region], list[ColourHistogram]]:
    """Regions and the histogram of each, or none and that of the slide."""
    with ExitStack() as stack:
        slide = _opened(stack, path, where, on_error)
        if slide.dtype != np.uint8:
            raise TypeError(f"a colour histogram is of a uint8 image, got {slide.dtype}")
        wanted = [] if regions is None else _regions(regions, slide)
        packed, boxes = None, slide.boxes()
        if regions is not None:
            from gpuseg._cpu.regions import pack

            packed = pack([region.rings for region in wanted])
            boxes = [box for box in boxes if _meets(box, packed.bounds)]
        cluster = stack.enter_context(connect(scheduler, workers=workers))
        job = Job(slide, packed, on_error, cluster.on_gpu)
        area = None if slide.mpp is None else (slide.mpp / 1000) ** 2
        return wanted, _merged(job, boxes, max(1, len(wanted)), area, cluster, progress)


def _merged(
    job: Job,
    boxes: Sequence[Box],
    number: int,
    area: float | None,
    cluster: Cluster,
    progress: Progress | None,
) -> list[ColourHistogram]:
    empty = np.empty(0, np.uint32), np.empty(0, np.int64)
    merged = [ColourHistogram(*empty, pixel_area_mm2=area)] * number
    done, pixels, total = 0, 0, _area(boxes)
    if progress is not None:
        progress(done, len(boxes), pixels, total)
    with closing(cluster.map(job, boxes)) as answers:
        for box, parts in answers:
            for part in parts:
                merged[part.region] += ColourHistogram(*part[1:], area)
            done, pixels = done + 1, pixels + box[2] * box[3]
            if progress is not None:
                progress(done, len(boxes), pixels, total)
    return merged
