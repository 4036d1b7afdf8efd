"""Regions of a slide: every way of naming them becomes rings in pixels of one level."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from gpuseg.io._annotations import (
    Outline,
    Ring,
    as_ring,
    ellipse,
    is_geojson,
    is_histomicsui,
    parse_json,
    read,
)

# large_image's names of units, to the factor by which a millimetre has more of them.
_LENGTHS = {
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e6),
    **dict.fromkeys(("um", "μm", "micrometer", "micrometers", "micron", "microns"), 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimeters"), 1.0),
    **dict.fromkeys(("m", "meter", "meters"), 1e-3),
    **dict.fromkeys(("km", "kilometer", "kilometers"), 1e-6),
}
_BASE_PIXELS = (None, "base", "base_pixel", "base_pixels")
_MAG_PIXELS = (
    *("pixel", "pixels", "mag_pixel", "mag_pixels"),
    *("magnification_pixel", "magnification_pixels"),
)
_SIDES = ("left", "top", "right", "bottom", "width", "height")
_KEYS = (*_SIDES, "units", "unitsWH", "magnification", "name", "classification")


@dataclass(frozen=True, eq=False)
class Region:
    """A named area of a slide.

    Attributes
    ----------
    name : str
        Its name in the annotation file, or "region 3" for the third. Need not be unique.
    classification : str or None
        Its class in the annotation file.
    rings : tuple of (n, 2) float64
        Outlines (x, y) in pixels of the level that is counted. What an odd number of them
        encloses is inside; so a hole is one more ring, and where a ring crosses itself or
        another, even–odd decides too.

    Examples
    --------
    >>> Region("duct", "epithelium", (np.array([[2.0, 1.0], [6.0, 1.0], [2.0, 4.0]]),)).bounds
    (2.0, 1.0, 6.0, 4.0)
    """

    name: str
    classification: str | None
    rings: tuple[Ring, ...]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the rings."""
        points = np.concatenate(self.rings)
        left, top = points.min(axis=0).tolist()
        right, bottom = points.max(axis=0).tolist()
        return left, top, right, bottom


@dataclass(frozen=True)
class _Slide:
    """What units need to know of the slide, at its full resolution."""

    height: int
    width: int
    mpp: tuple[float, float] | None
    magnification: float | None


def as_regions(
    spec: Any,
    *,
    slide_shape: tuple[int, ...],
    mpp: float | tuple[float, float] | None = None,
    magnification: float | None = None,
    downsample: float = 1.0,
) -> list[Region]:
    """Regions from any of the usual ways to name them.

    Parameters
    ----------
    spec : mapping, sequence, path, Region
        - large_image's dictionary as HistomicsTK takes it: two of left/right/width, two of
          top/bottom/height (or fewer), in `units` "base_pixels" (default), "mag_pixels" (of
          `magnification`), "mm", "um", … or "fraction" (`unitsWH`: of width and height alone).
          A negative side counts from the far edge, sides are rounded to whole pixels, and what
          overhangs the slide is cropped.
        - `(left, top, width, height)`; `(-1, -1, -1, -1)` is the whole slide.
        - HistomicsTK's other `--region` lists: 6 numbers x, y, z, rx, ry, rz are the rectangle
          with that centre and those half sides; 8 or more are the points x, y, … of a polygon, or
          of several with -1, -1 between them.
        - `{"ellipse": (x, y, rx, ry)}`.
        - an (n, 2) array of points, or a list of points.
        - GeoJSON and HistomicsUI annotations, parsed or as JSON text.
        - a path: `.geojson` or `.json` (QuPath, HistomicsUI; also gzipped), `.xml` (ASAP).
        - a `Region`, taken as it is.
        - a sequence of these.
    slide_shape : tuple of int
        Height and width of the slide at full resolution.
    mpp : float or (float, float), optional
        Micrometres per pixel (y, x) at full resolution.
    magnification : float, optional
        Magnification at full resolution.
    downsample : float, optional
        Full-resolution pixels per pixel of the level that is counted. Everything in `spec` is in
        full-resolution pixels, whatever level is counted.

    Returns
    -------
    list of Region
        In the order of `spec`, names and duplicates kept. A region may overhang the slide.

    Raises
    ------
    ValueError
        For a region that is empty, lies wholly outside the slide or has a number that isn't
        finite; for lines and points; for units the slide can't convert. The message names the
        region and the value.
    TypeError
        If `spec` is nothing of the above.

    Examples
    --------
    >>> as_regions((10, 20, 30, 40), slide_shape=(100, 100))[0].bounds
    (10.0, 20.0, 40.0, 60.0)
    >>> as_regions({"left": -30, "units": "base_pixels"}, slide_shape=(100, 200))[0].bounds
    (170.0, 0.0, 200.0, 100.0)
    """
    if not (math.isfinite(downsample) and downsample > 0):
        raise ValueError(f"downsample must be positive and finite, got {downsample!r}")
    height, width = slide_shape[:2]
    pair = (mpp, mpp) if isinstance(mpp, int | float) else mpp
    slide = _Slide(height, width, pair, magnification)
    regions = []
    for number, outline in enumerate(_outlines(spec, slide), 1):
        if isinstance(outline, Region):
            region = outline
        else:
            name = outline.name or f"region {number}"
            rings = tuple(ring / downsample for ring in outline.rings)
            region = Region(name, outline.classification, rings)
        _check(region, number, height / downsample, width / downsample)
        regions.append(region)
    if not regions:
        raise ValueError(f"{spec!r} holds no regions")
    return regions


def _outlines(spec: Any, slide: _Slide) -> Iterator[Outline | Region]:
    if isinstance(spec, Region):
        yield spec
    elif isinstance(spec, str) and spec.lstrip()[:1] in ("{", "["):
        yield from parse_json(json.loads(spec))
    elif isinstance(spec, str | os.PathLike):
        yield from read(spec)
    elif isinstance(spec, Mapping):
        yield from _from_mapping(spec, slide)
    elif isinstance(spec, np.ndarray) or (isinstance(spec, Sequence) and len(spec)):
        yield from _from_sequence(spec, slide)
    else:
        raise TypeError(
            "expected a region as a dictionary, numbers, points, GeoJSON, a path, or a list of "
            f"these, got {spec!r}"
        )


def _from_mapping(spec: Mapping[str, Any], slide: _Slide) -> Iterator[Outline]:
    if is_geojson(spec) or is_histomicsui(spec):
        yield from parse_json(spec)
    elif "ellipse" in spec:
        if len(spec["ellipse"]) != 4:
            raise ValueError(f"ellipse must be (x, y, rx, ry), got {spec['ellipse']!r}")
        yield Outline(spec.get("name"), spec.get("classification"), [ellipse(*spec["ellipse"])])
    else:
        ring = _rectangle(*_bounds(spec, slide))
        yield Outline(spec.get("name"), spec.get("classification"), [ring])


def _from_sequence(spec: Any, slide: _Slide) -> Iterator[Outline | Region]:
    if isinstance(spec, np.ndarray) and spec.dtype.kind in "iuf" and spec.shape[1:] == (2,):
        # Looked at as a whole: thousands of outlines are read in a tenth of the time.
        yield Outline(None, None, [as_ring(spec)])
    elif all(isinstance(item, Real) for item in spec):
        yield Outline(None, None, _flat([float(item) for item in spec], slide))
    elif all(
        isinstance(point, Sequence | np.ndarray)
        and len(point) == 2
        and all(isinstance(item, Real) for item in point)
        for point in spec
    ):
        yield Outline(None, None, [as_ring(spec)])
    else:
        for item in spec:
            yield from _outlines(item, slide)


def _flat(numbers: list[float], slide: _Slide) -> list[Ring]:
    """Rings of a `--region` list of HistomicsTK."""
    if numbers == [-1] * 4:
        return [_rectangle(0, 0, slide.width, slide.height)]
    if len(numbers) == 4:
        left, top, width, height = numbers
        if width <= 0 or height <= 0:
            raise ValueError(f"width and height of a region must be positive, got {numbers}")
        return [_rectangle(left, top, left + width, top + height)]
    if len(numbers) == 6:
        x, y, _, rx, ry, _ = numbers
        if rx <= 0 or ry <= 0:
            raise ValueError(f"rx and ry of a region must be positive, got {numbers}")
        return [_rectangle(x - rx, y - ry, x + rx, y + ry)]
    if len(numbers) < 8 or len(numbers) % 2:
        raise ValueError(
            "a region as a list has 4 numbers, 6, or an even count from 8 on; got "
            f"{len(numbers)}: {numbers!r}"
        )
    rings: list[list[tuple[float, float]]] = [[]]
    for point in zip(numbers[::2], numbers[1::2], strict=True):
        if point == (-1, -1):
            rings.append([])
        else:
            rings[-1].append(point)
    return [as_ring(ring) for ring in rings if ring]


def _rectangle(left: float, top: float, right: float, bottom: float) -> Ring:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def _bounds(spec: Mapping[str, Any], slide: _Slide) -> tuple[int, int, int, int]:
    """Left, top, right, bottom as large_image's `_getRegionBounds` finds them.

    source: large_image 1.35.6, tilesource/base.py
    """
    unknown = [key for key in spec if key not in _KEYS]
    if unknown or not any(key in spec for key in _SIDES):
        raise ValueError(
            f"a region's dictionary has some of {', '.join(_KEYS)}; got {dict(spec)!r}"
        )
    sides = {key: float(spec[key]) for key in _SIDES if spec.get(key) is not None}
    for key, value in sides.items():
        if not math.isfinite(value):
            raise ValueError(f"{key} of a region must be finite, got {value!r}")
    scales = _scales(spec.get("units"), spec, slide)
    sizes = scales
    if spec.get("unitsWH") is not None:
        sizes = _scales(spec["unitsWH"], spec, slide)
        # large_image prefers sizes to far sides once they have units of their own.
        for near, far, size in (("left", "right", "width"), ("top", "bottom", "height")):
            if {near, far, size} <= sides.keys():
                del sides[far]
    left, right = _extent(sides, ("left", "right", "width"), slide.width, scales[0], sizes[0])
    top, bottom = _extent(sides, ("top", "bottom", "height"), slide.height, scales[1], sizes[1])
    if left >= right or top >= bottom:
        raise ValueError(
            f"region {dict(spec)!r} has no pixel in the slide (width {slide.width}, height "
            f"{slide.height}): columns {left} to {right}, rows {top} to {bottom}"
        )
    return left, top, right, bottom


def _extent(
    sides: Mapping[str, float], keys: tuple[str, str, str], full: int, scale: float, size: float
) -> tuple[int, int]:
    near, far = (sides[key] * scale if key in sides else None for key in keys[:2])
    extent = sides[keys[2]] * size if keys[2] in sides else None
    near = near + full if near is not None and near < 0 else near
    far = far + full if far is not None and far < 0 else far
    if near is None:
        near = far - extent if far is not None and extent is not None else 0.0
    if far is None:
        far = near + extent if extent is not None else full
    start = min(full, max(0, round(near)))
    return start, min(full, max(start, round(far)))


def _scales(units: Any, spec: Mapping[str, Any], slide: _Slide) -> tuple[float, float]:
    """Full-resolution pixels per unit, along x and y."""
    if units in _BASE_PIXELS:
        return 1.0, 1.0
    if units == "fraction":
        return float(slide.width), float(slide.height)
    if units in _MAG_PIXELS:
        wanted = spec.get("magnification")
        if wanted is None:  # large_image: the pixels of the native magnification
            return 1.0, 1.0
        if not slide.magnification:
            raise ValueError(f"{units} at magnification {wanted!r}: the slide's own is unknown")
        # large_image rounds the level to 4 places.
        scale = 2.0 ** -round(math.log(float(wanted) / slide.magnification) / math.log(2), 4)
        return scale, scale
    if units in _LENGTHS:
        if slide.mpp is None:
            raise ValueError(f"a region in {units}: the slide's pixel size is unknown")
        y, x = (1 / (micrometres * 0.001) / _LENGTHS[units] for micrometres in slide.mpp)
        return x, y
    known = "base_pixels, mag_pixels, mm, um, nm, m, km, fraction"
    raise ValueError(f"units must be one of {known}, got {units!r}")


def _check(region: Region, number: int, height: float, width: float) -> None:
    """Refuse what can't be counted, by the region's number and name."""
    label = f"region {number}" + (
        "" if region.name == f"region {number}" else f" ({region.name!r})"
    )
    for ring in region.rings:
        odd = ~(np.abs(ring) < 2.0**52)
        if odd.any():
            point = ring[odd.any(axis=1)][0].tolist()
            raise ValueError(f"{label}: coordinates must be finite and below 2**52, got {point}")
        if len(ring) < 3:
            raise ValueError(f"{label}: a ring needs three points or more, got {ring.tolist()}")
    if all(_is_level(ring) for ring in region.rings):
        raise ValueError(
            f"{label} is empty: its outline encloses no area, got "
            f"{[ring.tolist() for ring in region.rings]}"
        )
    left, top, right, bottom = region.bounds
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise ValueError(
            f"{label} lies outside the slide: left {left:g}, top {top:g}, right {right:g}, bottom "
            f"{bottom:g} in pixels, the slide has width {width:g}, height {height:g}"
        )


def _is_level(ring: Ring) -> bool:
    """Whether all points are on one line."""
    arms = ring - ring[0]
    longest = arms[np.argmax(np.abs(arms).sum(axis=1))]
    return not (arms[:, 0] * longest[1] - arms[:, 1] * longest[0]).any()
