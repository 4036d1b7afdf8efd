"""Outlines out of annotation files: GeoJSON (QuPath), HistomicsUI JSON and ASAP XML."""

from __future__ import annotations

import gzip
import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

Ring = npt.NDArray[np.float64]

GEOJSON_TYPES = (
    "FeatureCollection",
    "Feature",
    "GeometryCollection",
    "Polygon",
    "MultiPolygon",
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
)


class NoArea(ValueError):
    """An annotation is no region: a point, a line or the like."""

    def __init__(self, kind: object, message: str) -> None:
        super().__init__(message)
        self.kind = str(kind)


class Outline(NamedTuple):
    """A region in pixels of the full-resolution image, as a file or a user gives it."""

    name: str | None
    classification: str | None
    rings: list[Ring]


def read(path: str | os.PathLike[str]) -> list[Outline]:
    """Outlines of an annotation file, by its content: JSON, gzipped JSON or XML.

    Raises
    ------
    ValueError
        If the file is none of these, or holds no outline that encloses an area.
    OSError
        If the file can't be read.
    """
    data = Path(path).read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        # ElementTree finds the encoding in the XML declaration, so it gets bytes.
        if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            outlines = parse_asap(data)
        else:
            outlines = parse_json(json.loads(data.decode("utf-8-sig")))
    except (UnicodeDecodeError, json.JSONDecodeError, ElementTree.ParseError) as error:
        raise ValueError(
            f"{path}: expected GeoJSON, HistomicsUI JSON or ASAP XML: {error}"
        ) from error
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: {error}") from error
    if not outlines:
        raise ValueError(f"{path}: holds no regions")
    return outlines


def parse_json(document: Any) -> list[Outline]:
    """Outlines of a GeoJSON object, of a list of such, or of a HistomicsUI annotation.

    Points and lines among regions are left out with a warning; nothing but those is an error.
    """
    if isinstance(document, list):
        return _regions_among("object", document, parse_json)
    if not isinstance(document, Mapping):
        raise ValueError(f"expected a GeoJSON object, got {_shown(document)}")
    if is_histomicsui(document):
        elements = document.get("annotation", document)
        return _regions_among("element", elements.get("elements", [elements]), _histomicsui)
    return _geojson(document)


def _regions_among(
    noun: str, items: Sequence[Any], parse: Callable[[Any], list[Outline]]
) -> list[Outline]:
    outlines: list[Outline] = []
    left: list[tuple[int, NoArea]] = []
    for number, item in enumerate(items, 1):
        try:
            outlines += parse(item)
        except NoArea as error:
            left.append((number, error))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{noun} {number}: {error}") from error
    if left and not outlines:
        number, first = left[0]
        raise NoArea(first.kind, f"{noun} {number}: {first}") from first
    if left:
        kinds = Counter(error.kind for _, error in left)
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        warnings.warn(
            f"{len(left)} of {len(items)} annotations have no area and are left out: {counted}",
            stacklevel=2,
        )
    return outlines


def is_geojson(document: Mapping[str, Any]) -> bool:
    """Whether a mapping claims to be GeoJSON."""
    return document.get("type") in GEOJSON_TYPES


def is_histomicsui(document: Mapping[str, Any]) -> bool:
    """Whether a mapping is a HistomicsUI annotation, its inner part, or one of its elements."""
    return (
        "annotation" in document
        or "elements" in document
        or document.get("type") in _HISTOMICSUI_SHAPES
    )


def _geojson(document: Mapping[str, Any]) -> list[Outline]:
    kind = document.get("type")
    if kind == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list):
            raise ValueError(f"a FeatureCollection needs a list of features, got {features!r}")
        return _regions_among("feature", features, _geojson)
    if kind == "Feature":
        properties = document.get("properties") or {}
        name = properties.get("name")
        geometry = document.get("geometry")
        if not isinstance(geometry, Mapping):
            raise ValueError(f"{_called(name)}expected a geometry, got {_shown(geometry)}")
        classification = properties.get("classification")
        if isinstance(classification, Mapping):
            classification = classification.get("name") or ": ".join(
                classification.get("names", [])
            )
        try:
            rings = _geometry(geometry)
        except NoArea as error:
            raise NoArea(error.kind, f"{_called(name)}{error}") from error
        except ValueError as error:
            raise ValueError(f"{_called(name)}{error}") from error
        return [Outline(_text(name), _text(classification), rings)]
    return [Outline(None, None, _geometry(document))]


def _geometry(geometry: Mapping[str, Any]) -> list[Ring]:
    """Rings of a geometry; those of several polygons stand side by side (even–odd)."""
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        return [ring for part in geometry["geometries"] for ring in _geometry(part)]
    if kind not in ("Polygon", "MultiPolygon"):
        message = (
            f"a region needs an area (Polygon, MultiPolygon or a collection of them), got {kind!r}"
        )
        raise NoArea(kind, message) if kind in GEOJSON_TYPES else ValueError(message)
    coordinates = geometry.get("coordinates")
    if not isinstance(coordinates, Sequence):
        raise ValueError(f"a {kind} needs a list of coordinates, got {_shown(coordinates)}")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    return [as_ring(ring) for polygon in polygons for ring in polygon]


def as_ring(points: Any) -> Ring:
    """(n, 2) float64 x, y of a ring: a third coordinate and the repeated last point dropped."""
    try:
        ring = np.array([(point[0], point[1]) for point in points], np.float64).reshape(-1, 2)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"a ring needs points (x, y), got {_shown(points)}") from error
    return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring


def ellipse(x: float, y: float, rx: float, ry: float, rotation: float = 0) -> Ring:
    """Ring of an ellipse that keeps within 0.01 pixel of it; `rotation` in radians."""
    radius = max(abs(rx), abs(ry))
    count = 16
    if math.isfinite(radius):
        # A chord over the angle t is at most r t²/8 from the arc.
        count = max(count, math.ceil(2 * math.pi / math.sqrt(8 * 0.01 / max(radius, 1))))
    angle = np.arange(count) * (2 * np.pi / count)
    across, down = rx * np.cos(angle), ry * np.sin(angle)
    cosine, sine = math.cos(rotation), math.sin(rotation)
    return np.stack([x + across * cosine - down * sine, y + across * sine + down * cosine], axis=1)


def _histomicsui(element: Mapping[str, Any]) -> list[Outline]:
    kind = element.get("type")
    name = (element.get("label") or {}).get("value")
    if kind not in _HISTOMICSUI_SHAPES or (kind == "polyline" and not element.get("closed", False)):
        raise NoArea(kind, f"{_called(name)}a region needs an area, got {kind!r}")
    try:
        rings = _HISTOMICSUI_SHAPES[kind](element)
    except KeyError as error:
        raise ValueError(f"{_called(name)}{kind} lacks {error}") from error
    return [Outline(_text(name), _text(element.get("group")), rings)]


def _polyline(element: Mapping[str, Any]) -> list[Ring]:
    return [as_ring(element["points"]), *(as_ring(hole) for hole in element.get("holes") or [])]


def _rectangle(element: Mapping[str, Any]) -> list[Ring]:
    x, y, rx, ry, angle = _placed(element)
    cosine, sine = math.cos(angle), math.sin(angle)
    corners = [(-rx, -ry), (rx, -ry), (rx, ry), (-rx, ry)]
    return [as_ring([(x + a * cosine - b * sine, y + a * sine + b * cosine) for a, b in corners])]


def _placed(element: Mapping[str, Any]) -> tuple[float, float, float, float, float]:
    x, y = element["center"][:2]
    width, height, angle = element["width"], element["height"], element.get("rotation", 0)
    return float(x), float(y), width / 2, height / 2, float(angle)


def _circle(element: Mapping[str, Any]) -> list[Ring]:
    x, y = element["center"][:2]
    return [ellipse(float(x), float(y), element["radius"], element["radius"])]


_HISTOMICSUI_SHAPES = {
    "polyline": _polyline,
    "rectangle": _rectangle,
    "ellipse": lambda element: [ellipse(*_placed(element))],
    "circle": _circle,
}


def parse_asap(data: bytes) -> list[Outline]:
    """Outlines of an ASAP file. Splines are polygons through their points, as in ASAP's masks."""
    root = ElementTree.fromstring(data)
    annotations = root.findall("./Annotations/Annotation")
    if root.tag not in ("ASAP_Annotations", "Annotations") or not annotations:
        raise ValueError(f"expected ASAP_Annotations with Annotation elements, got <{root.tag}>")
    return _regions_among("annotation", annotations, _asap)


def _asap(annotation: ElementTree.Element) -> list[Outline]:
    name, kind = annotation.get("Name"), annotation.get("Type")
    if kind not in ("Polygon", "Spline", "Rectangle"):
        raise NoArea(
            kind,
            f"{_called(name)}a region needs an area (Polygon, Spline, Rectangle), got {kind!r}",
        )
    points: list[tuple[int, float, float]] = []
    for point in annotation.findall("./Coordinates/Coordinate"):
        try:
            order, x, y = (point.attrib[key].replace(",", ".") for key in ("Order", "X", "Y"))
            points.append((int(order), float(x), float(y)))
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{_called(name)}expected Coordinate Order, X, Y, got {point.attrib}"
            ) from error
    group = annotation.get("PartOfGroup")
    ring = as_ring([(x, y) for _, x, y in sorted(points)])
    return [Outline(_text(name), None if group == "None" else _text(group), [ring])]


def _called(name: object) -> str:
    return f"{name!r}: " if name else ""


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
