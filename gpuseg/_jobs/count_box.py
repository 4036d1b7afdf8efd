"""Positive pixels of one box of a slide: each tile is counted while it is in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpuseg._backend import implementation
from gpuseg._shared.hsi import WORDS, Rule
from gpuseg.io._jpeg import MANY_TILES
from gpuseg.io.label_pyramid import Box, LabelPyramid
from gpuseg.io.slides import OnError, Slide, Tile
from gpuseg.typing import NumpyArray

_UNREADABLE = 5


class Part(NamedTuple):
    """Counts of a box: `words` has a row for each of the region numbers, then one for them all."""

    regions: NumpyArray
    words: NumpyArray
    labels: NumpyArray | None = None

    def to_json(self) -> dict[str, Any]:
        """What a label image keeps with the box."""
        return {"regions": self.regions.tolist(), "words": self.words.tolist()}

    @staticmethod
    def from_json(kept: dict[str, Any]) -> Part:
        """Inverse of `to_json`."""
        return Part(np.array(kept["regions"], np.int64), np.array(kept["words"], np.int64))


@dataclass(frozen=True)
class Job:
    """Counts one box; pickled once for each worker process.

    `corner` is the place of the label image in the slide.
    """

    slide: Slide
    rule: Rule
    regions: Any = None
    pyramid: LabelPyramid | None = None
    corner: tuple[int, int] = (0, 0)
    keep_labels: bool = False
    on_error: OnError = "raise"
    on_gpu: bool = False

    def __call__(self, box: Box) -> Part:
        """Count a box (top, left, height, width) and write its labels."""
        labels = None
        if self.pyramid is not None or self.keep_labels:
            labels = np.zeros(box[2:], np.uint8)
        numbers, rows = self._spans(box)
        words = np.zeros((len(numbers) + 1, WORDS), np.int64)
        if rows is None or len(rows[0]):
            count = _count_on_gpu if self.on_gpu else _count_tiles
            count(self, box, rows, words, labels)
        part = Part(numbers, words, labels)
        if self.pyramid is not None and labels is not None:
            self.pyramid.write(shifted(box, self.corner, -1), labels, part.to_json())
        return part if self.keep_labels else part._replace(labels=None)

    def _spans(self, box: Box) -> tuple[NumpyArray, tuple[NumpyArray, NumpyArray] | None]:
        """Numbers of the regions in the box; their spans, renumbered and sorted by row."""
        if self.regions is None:
            return np.zeros(0, np.int64), None
        from gpuseg._cpu.regions import spans
        from gpuseg._cpu.spans import by_row

        found = spans(self.regions, *box)
        numbers, found[:, 0] = np.unique(found[:, 0], return_inverse=True)
        return numbers.astype(np.int64), by_row(found, box[2])


def shifted(box: Box, corner: tuple[int, int], sign: int = 1) -> Box:
    """Box moved by a corner, or back."""
    return box[0] + sign * corner[0], box[1] + sign * corner[1], box[2], box[3]


def _tiles(
    job: Job, box: Box, rows: tuple[NumpyArray, NumpyArray] | None, part: Box
) -> Iterator[tuple[Tile, tuple[slice, slice], NumpyArray | None]]:
    """Tiles of a part that are counted, their place in the box, and the spans within them."""
    runs = [(part, None)] if rows is None else _runs(job.slide, box, rows, part)
    for run, clipped in runs:
        for number, tile in enumerate(job.slide.read_tiles(*run, on_error=job.on_error)):
            y, x = tile.top - box[0], tile.left - box[1]
            place = slice(y, y + tile.height), slice(x, x + tile.width)
            yield tile, place, None if clipped is None else clipped[number]


def _runs(
    slide: Slide, box: Box, rows: tuple[NumpyArray, NumpyArray], part: Box
) -> Iterator[tuple[Box, list[NumpyArray]]]:
    """Neighbouring tiles of a part that spans of the box meet, as boxes, and the spans in each."""
    from gpuseg._cpu.spans import clip

    top, left, bottom, right = part[0], part[1], part[0] + part[2], part[1] + part[3]
    tall, wide = slide.levels[slide.level].tile
    for y in range(top - top % tall, bottom, tall):
        start, height = max(y, top), min(y + tall, bottom) - max(y, top)
        met: list[NumpyArray] = []
        begin = left
        for x in range(left - left % wide, right, wide):
            edge, width = max(x, left), min(x + wide, right) - max(x, left)
            found = clip(*rows, start - box[0], edge - box[1], height, width)
            if len(found):
                begin = begin if met else edge
                met.append(found)
            elif met:
                yield (start, begin, height, edge - begin), met
                met = []
        if met:
            yield (start, begin, height, right - begin), met


def _count_tiles(
    job: Job,
    box: Box,
    rows: tuple[NumpyArray, NumpyArray] | None,
    words: NumpyArray,
    labels: NumpyArray | None,
) -> None:
    """Add the box's tiles to `words`, each counted while it is in the cache."""
    from gpuseg._cpu import hsi

    parts = [box]
    # Values that no region has may be anything, and only the slower way leaves them out.
    full = rows is None or job.rule.max_value == np.iinfo(np.uint8).max
    if full and job.slide.tile_count >= MANY_TILES:
        from gpuseg._jobs.count_coded import count_coded

        parts = count_coded(job.slide, box, job.rule, rows, words, labels)
    tiles = (found for part in parts for found in _tiles(job, box, rows, part))
    for tile, place, spans in tiles:
        out = None if labels is None else labels[place]
        if tile.pixels is None:
            _leave_out(tile, spans, words)
        elif spans is None:
            hsi.add(tile.pixels, job.rule, words[-1], None, out)
        else:
            hsi.tally_spans(tile.pixels, job.rule, spans, words, out)


def _leave_out(tile: Tile, spans: NumpyArray | None, words: NumpyArray) -> None:
    if spans is None:
        words[-1, _UNREADABLE] += tile.height * tile.width
        return
    from gpuseg._cpu.spans import lengths, paint

    words[:-1, _UNREADABLE] += lengths(spans, len(words) - 1)
    words[-1, _UNREADABLE] += np.count_nonzero(paint(spans, tile.height, tile.width))


def _count_on_gpu(
    job: Job,
    box: Box,
    rows: tuple[NumpyArray, NumpyArray] | None,
    words: NumpyArray,
    labels: NumpyArray | None,
) -> None:
    """Add the box to `words`: tiles are decoded here, and counted on the device all at once."""
    import cupy

    from gpuseg._cpu.spans import paint

    block = np.zeros((*box[2:], job.slide.shape[2]), job.slide.dtype)
    readable = np.zeros(box[2:], np.bool_)
    for tile, place, spans in _tiles(job, box, rows, box):
        if tile.pixels is None:
            _leave_out(tile, spans, words)
        else:
            block[place], readable[place] = tile.pixels, True
    image = cupy.asarray(block)
    hsi = implementation(image, "hsi")
    mask = readable if rows is None else readable & paint(rows[0], *box[2:])
    out = None if labels is None else cupy.zeros(box[2:], np.uint8)
    words[-1] += hsi.tally(image, job.rule, cupy.asarray(mask), out).to_ints()
    if labels is not None:
        labels[...] = out.get()  # type: ignore[union-attr]
    for number in range(len(words) - 1):
        mine = rows[0][rows[0][:, 0] == number]  # type: ignore[index]
        top, left = int(mine[0, 1]), int(mine[:, 2].min())
        window = slice(top, int(mine[-1, 1]) + 1), slice(left, int(mine[:, 3].max()))
        mask = readable[window] & paint(mine - (0, top, left, left), *readable[window].shape)
        part = hsi.tally(image[window].copy(), job.rule, cupy.asarray(mask))
        words[number] += part.to_ints()
