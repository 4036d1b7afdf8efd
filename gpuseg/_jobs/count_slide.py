"""Positive pixels of a whole slide, box by box, in memory that doesn't depend on its size.

1. The slide is cut into boxes of at most about 4096² pixels, aligned to its tiles.
2. Each box is one item for the workers: its tiles are decoded one after the other and counted
   while they are in the cache; regions are cut into spans of the box first, and a box that no
   region meets is not decoded.
3. The words (integers) of all boxes are added up: the order doesn't matter.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gpuseg._jobs.count_box import Job, Part, shifted
from gpuseg._shared.hsi import WORDS, Output, Parameters, Rule, Tally, rule_for
from gpuseg.cluster import Cluster, Threads, connect
from gpuseg.io._lock import locked
from gpuseg.io.label_pyramid import Box, LabelPyramid
from gpuseg.io.regions import Region, as_regions
from gpuseg.io.slides import OnError, Slide, SlideError, open_slide
from gpuseg.typing import NumpyArray

Progress = Callable[[int, int, int, int], object]

_BOX = 4096
# Through distributed a box costs 6 ms of CPU time, as much as 1500² pixels: none is that small.
_SMALLEST_BOX = 512
_FAR = 4


@dataclass(frozen=True)
class SlideCount:
    """What was counted in one slide.

    Attributes
    ----------
    total : Output
        Of the whole slide or, where regions were given, of the pixels in any of them.
    regions : tuple of (Region, Output)
        Of each region, in the order given. A pixel in several counts in each.
    labels : pathlib.Path or None
        The label image that was written.
    label_image : array (height, width), uint8 or None
        Labels in memory, where these were asked for.
    corner : (int, int)
        Row and column of the slide where the label image begins.
    boxes_resumed : int
        Boxes whose labels and counts were taken from an earlier run that did not end.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> from gpuseg import positive_pixel_count as ppc
    >>> path = tempfile.NamedTemporaryFile(suffix=".tif").name
    >>> tifffile.imwrite(path, np.full((64, 64, 3), (150, 90, 40), np.uint8))
    >>> counted = ppc.count_regions(path, ppc.Parameters(hue_value=0.05), (2, 1, 4, 3),
    ...                             label_image=True, crop_labels=True)
    >>> counted.label_image.tolist(), counted.corner
    ([[2, 2, 2, 2], [2, 2, 2, 2], [2, 2, 2, 2]], (1, 2))
    """

    total: Output
    regions: tuple[tuple[Region, Output], ...] = ()
    labels: Path | None = None
    label_image: NumpyArray | None = None
    corner: tuple[int, int] = (0, 0)
    boxes_resumed: int = 0


def count(
    path: str | os.PathLike[str] | Slide,
    params: Parameters,
    regions: Any = None,
    *,
    negative: Parameters | None,
    max_value: float | None,
    where: dict[str, Any],
    on_error: OnError,
    labels: str | os.PathLike[str] | None,
    label_options: dict[str, Any],
    label_image: bool,
    crop_labels: bool,
    scheduler: str | Cluster | None,
    workers: int | None,
    progress: Progress | None,
    box_size: int = _BOX,
) -> SlideCount:
    """Check all arguments, open what they name, and count."""
    with ExitStack() as stack:
        slide = _opened(stack, path, where, on_error)
        rule = rule_for(slide.dtype, params, negative, max_value)
        if slide.grey and params.saturation_minimum > 0:
            warnings.warn(
                f"{slide.path} is grey: no pixel is as saturated as "
                f"{params.saturation_minimum:g} (saturation_minimum), so none is positive",
                stacklevel=3,
            )
        wanted = None if regions is None else _regions(regions, slide)
        packed = None
        if wanted is not None:
            from gpuseg._cpu.regions import pack

            packed = pack([region.rings for region in wanted])
        window = _window(slide, packed.bounds if crop_labels and packed is not None else None)
        image = _label_image(window) if label_image else None
        cluster = stack.enter_context(connect(scheduler, workers=workers))
        pyramid = None
        if labels is not None:
            made_from = _made_from(slide, rule, wanted, on_error)
            stack.enter_context(locked(Path(os.path.abspath(labels))))
            pyramid = _pyramid(labels, slide, window, made_from, label_options)
            stack.push(partial(_discard, pyramid))
        job = Job(slide, rule, packed, pyramid, window[:2], label_image, on_error, cluster.on_gpu)
        words = np.zeros((len(wanted or ()) + 1, WORDS), np.int64)
        resumed = 0
        parts = stack.enter_context(closing(_parts(job, box_size, cluster, progress)))
        for box, part, was_done in parts:
            # A region may be in many boxes, but only once in each.
            words[part.regions] += part.words[:-1]
            words[-1] += part.words[-1]
            resumed += was_done
            if image is not None and part.labels is not None:
                _place(image, window, part.labels, box)
        finished = None if pyramid is None else pyramid.finish()
        outputs = _outputs(words, rule, slide)
        answers = tuple(zip(wanted or (), outputs, strict=False))
        return SlideCount(outputs[-1], answers, finished, image, window[:2], resumed)


def _discard(pyramid: LabelPyramid, kind: type[BaseException] | None, *_: Any) -> None:
    """Remove the boxes of a run that would fail again: the slide or its values are at fault."""
    if kind is not None and issubclass(kind, SlideError | ValueError):
        pyramid.discard()


def _outputs(words: NumpyArray, rule: Rule, slide: Slide) -> list[Output]:
    area = None if slide.mpp is None else (slide.mpp / 1000) ** 2
    return [Tally.from_ints(row.tolist()).to_output(rule, area) for row in words]


def _opened(
    stack: ExitStack, path: str | os.PathLike[str] | Slide, where: dict[str, Any], on_error: OnError
) -> Slide:
    if not isinstance(path, Slide):
        return stack.enter_context(open_slide(path, **where, on_error=on_error))
    if chosen := {name: value for name, value in where.items() if value}:
        raise ValueError(f"a Slide is read at the level it was opened at, got {chosen}")
    return path


def _regions(regions: Any, slide: Slide) -> list[Region]:
    scale = slide.levels[slide.level].downsample
    return as_regions(
        regions,
        slide_shape=slide.levels[0].shape,
        mpp=None if slide.mpp_yx is None else (slide.mpp_yx[0] / scale, slide.mpp_yx[1] / scale),
        magnification=None if slide.magnification is None else slide.magnification * scale,
        downsample=scale,
    )


def _parts(
    job: Job, box_size: int, cluster: Cluster, progress: Progress | None
) -> Generator[tuple[Box, Part, bool], None, None]:
    """Parts of all boxes, those of an earlier run first."""
    if job.pyramid is None:
        boxes = _boxes(job, box_size, cluster)
    else:
        boxes = [shifted(box, job.corner) for box in job.pyramid.boxes()]
    if job.regions is not None:
        boxes = [box for box in boxes if _meets(box, job.regions.bounds)]
    todo = boxes
    if job.pyramid is not None:
        own = job.pyramid.todo([shifted(box, job.corner, -1) for box in boxes])
        todo = [shifted(box, job.corner) for box in own]
        for box in set(boxes).difference(todo):
            yield box, Part.from_json(job.pyramid.done[shifted(box, job.corner, -1)]), True
    total, pixels = _area(boxes), _area(boxes) - _area(todo)
    done = len(boxes) - len(todo)
    if progress is not None:
        progress(done, len(boxes), pixels, total)
    with closing(cluster.map(job, todo)) as answers:
        for box, part in answers:
            yield box, part, False
            done, pixels = done + 1, pixels + box[2] * box[3]
            if progress is not None:
                progress(done, len(boxes), pixels, total)


def _boxes(job: Job, size: int, cluster: Cluster) -> list[Box]:
    """Boxes of at most about `size`² that partition a slide, smaller and smaller towards its end.

    None is more than a worker's share of what is left, so that all end at about the same time.
    """
    slide, smallest, workers = job.slide, _SMALLEST_BOX, cluster.workers
    if not isinstance(cluster, Threads):
        smallest *= _FAR
        # Still a fraction of a second, and no box is in memory at once.
        if slide.codec == "JPEG" and not (job.keep_labels or job.on_gpu):
            size *= 2
    boxes: list[Box] = []
    todo = slide.boxes(size)[::-1]
    left = _area(todo)
    while todo:
        box = todo.pop()
        area = _area([box])
        share = max(smallest**2, left / workers)
        if area > share and (parts := _halves(box, slide.levels[slide.level].tile)):
            todo += parts[::-1]
        else:
            boxes.append(box)
            left -= area
    return boxes


def _halves(box: Box, tile: tuple[int, int]) -> list[Box]:
    """Both parts of a box cut between its tiles across the longer side; none if it is one tile."""
    top, left, height, width = box
    down, across = (
        -(-length // step) // 2 * step for length, step in zip(box[2:], tile, strict=True)
    )
    if down and (height >= width or not across):
        return [(top, left, down, width), (top + down, left, height - down, width)]
    if across:
        return [(top, left, height, across), (top, left + across, height, width - across)]
    return []


def _area(boxes: Sequence[Box]) -> int:
    return sum(height * width for _, _, height, width in boxes)


def _meets(box: Box, bounds: NumpyArray) -> bool:
    top, left, height, width = box
    across = (bounds[:, 0] < top + height) & (bounds[:, 2] > top)
    return bool((across & (bounds[:, 1] < left + width) & (bounds[:, 3] > left)).any())


def _window(slide: Slide, bounds: NumpyArray | None) -> Box:
    """The whole slide, or the smallest box that holds all regions' pixels in it."""
    height, width, _ = slide.shape
    if bounds is None or not len(bounds):
        return 0, 0, height, width
    top, left = (max(0, int(side)) for side in bounds[:, :2].min(axis=0))
    bottom, right = (int(side) for side in bounds[:, 2:].max(axis=0))
    return top, left, max(1, min(height, bottom) - top), max(1, min(width, right) - left)


def _label_image(window: Box) -> NumpyArray:
    from distributed.system import MEMORY_LIMIT

    height, width = window[2:]
    if height * width > MEMORY_LIMIT:
        raise MemoryError(
            f"a label image of {height} × {width} pixels in memory needs {height * width:,} bytes, "
            f"and there are {MEMORY_LIMIT:,}; write it to a file instead (labels='labels.zarr')"
        )
    return np.zeros((height, width), np.uint8)


def _place(image: NumpyArray, window: Box, labels: NumpyArray, box: Box) -> None:
    """Copy what the box has of the window."""
    top, left = max(box[0], window[0]), max(box[1], window[1])
    bottom = min(box[0] + box[2], window[0] + window[2])
    right = min(box[1] + box[3], window[1] + window[3])
    image[top - window[0] : bottom - window[0], left - window[1] : right - window[1]] = labels[
        top - box[0] : bottom - box[0], left - box[1] : right - box[1]
    ]


def _pyramid(
    destination: str | os.PathLike[str],
    slide: Slide,
    window: Box,
    made_from: dict[str, Any],
    options: dict[str, Any],
) -> LabelPyramid:
    """Label image of the window, whose boxes cut no tile where that is possible."""
    step = math.lcm(128, *slide.levels[slide.level].tile)
    return LabelPyramid(
        destination,
        window[2:],
        mpp=slide.mpp_yx,
        fingerprint=hashlib.sha256(json.dumps([made_from, window]).encode()).hexdigest(),
        box=step * (_BOX // step) if step <= _BOX else _BOX,
        **options,
    )


def _made_from(
    slide: Slide, rule: Rule, regions: Sequence[Region] | None, on_error: OnError
) -> dict[str, Any]:
    """All that decides the labels; an unfinished run of anything else is not gone on with."""
    rings = None
    if regions is not None:
        rings = [[ring.tolist() for ring in region.rings] for region in regions]
    return {
        "gpuseg": version("gpuseg"),
        "slide": _identity(slide.path),
        "level": slide.level,
        "rule": [rule.positive, rule.negative, rule.max_value],
        "on_error": on_error,
        "regions": rings,
    }


def _identity(path: str) -> list[Any]:
    """Name of a slide with the sizes and times of its files, or only the name of a URL."""
    if "://" in path:
        return [path]
    found = Path(path)
    # The .mrxs file itself never changes: its data lie in a folder of the same name.
    folder = found.with_suffix("") if found.suffix.lower() == ".mrxs" else found
    files = sorted(each for each in folder.rglob("*") if each.is_file()) if folder.is_dir() else []
    stats = [each.stat() for each in (found, *files)]
    return [str(found.absolute()), *((stat.st_size, stat.st_mtime_ns) for stat in stats)]
