"""Pixel size, magnification and properties that a TIFF tells about its slide."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np

from gpuseg.io._reader import Facts

# Micrometres per pixel that a microscope or slide scanner can have made: 72 or 300 dots per inch
# (353 and 85 µm) is what software writes that knows nothing of the image's size.
PLAUSIBLE_MPP = (0.01, 10.0)

_MICROMETRES = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0,
    "nm": 1e-3, "pm": 1e-6, "Å": 1e-4, "in": 25400.0,
    "meter": 1e6, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0, "micron": 1.0,
    "nanometer": 1e-3, "angstrom": 1e-4, "inch": 25400.0,
}  # fmt: skip


def describe(tiff: Any, page: Any) -> Facts:
    """Facts of a parsed TIFF by its first page, but its grids, which the reader adds."""
    properties = _tags(page)
    mpp = _resolution(page)
    magnification = None
    kind = "BigTIFF" if tiff.is_bigtiff else "TIFF"
    if tiff.is_svs:
        kind = "Aperio"
        own = aperio_properties(page.description)
        properties |= {f"aperio.{key}": value for key, value in own.items()}
        both = positive_number(own.get("MPP"))
        mpp = (both, both) if both else mpp
        magnification = positive_number(own.get("AppMag"))
    elif tiff.is_ome:
        kind = "OME-TIFF"
        mpp, magnification = ome_scale(page.description, mpp)
    codec = str(getattr(page.compression, "name", page.compression))
    return Facts(kind, codec, (), np.dtype(np.uint8), 0, mpp, magnification, properties)


def _tags(page: Any) -> dict[str, str]:
    """Short tags as text; tables of numbers are left out."""
    properties = {}
    for tag in page.tags:
        value = tag.value
        if isinstance(value, str):
            properties[f"tiff.{tag.name}"] = value
        elif isinstance(value, int | float) or (
            isinstance(value, tuple) and len(value) <= 4 and tag.code not in (273, 279, 324, 325)
        ):
            properties[f"tiff.{tag.name}"] = str(getattr(value, "name", value))
    return properties


def _resolution(page: Any) -> tuple[float, float] | None:
    unit = {2: 25400.0, 3: 10000.0}.get(_tag_value(page, 296, 2))
    if unit is None:
        return None
    sizes = []
    for code in (283, 282):
        value = _tag_value(page, code, None)
        if not isinstance(value, tuple) or len(value) != 2 or min(value) <= 0:
            return None
        sizes.append(unit * value[1] / value[0])
    return plausible(sizes[0], sizes[1])


def _tag_value(page: Any, code: int, default: Any) -> Any:
    value = page.tags.valueof(code, default)
    return int(value) if code == 296 and isinstance(value, int) else value


def plausible(y: float, x: float) -> tuple[float, float] | None:
    """(y, x) if both lie within `PLAUSIBLE_MPP`, else None.

    Examples
    --------
    >>> plausible(0.25, 0.25), plausible(352.8, 352.8)
    ((0.25, 0.25), None)
    """
    low, high = PLAUSIBLE_MPP
    return (y, x) if low <= y <= high and low <= x <= high else None


def aperio_properties(description: str) -> dict[str, str]:
    r"""Keys and values of an Aperio image description.

    Examples
    --------
    >>> aperio_properties("Aperio Image Library v11\n46000x32914 Q=30|AppMag = 20|MPP = 0.4990")
    {'AppMag': '20', 'MPP': '0.4990'}
    """
    pairs = (part.split("=", 1) for part in description.split("|")[1:] if "=" in part)
    return {key.strip(): value.strip() for key, value in pairs}


def positive_number(text: str | None) -> float | None:
    """Number that `text` spells (with a point or a comma), or None.

    Examples
    --------
    >>> positive_number("0,25"), positive_number("n/a"), positive_number("0")
    (0.25, None, None)
    """
    try:
        value = float((text or "").replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def micrometres(length: float | None, unit: str | None) -> float | None:
    """`length` in micrometres; None if it or its unit is unknown.

    Examples
    --------
    >>> micrometres(250.0, "nm"), micrometres(1.0, "pixel")
    (0.25, None)
    """
    factor = _MICROMETRES.get(unit or "µm")
    if length is None or factor is None or not (math.isfinite(length) and length > 0):
        return None
    # 250 nm is 0.25 µm: undo what binary fractions add in the last digit.
    return float(f"{length * factor:.15g}")


def ome_scale(
    xml: str, fallback: tuple[float, float] | None
) -> tuple[tuple[float, float] | None, float | None]:
    """Pixel size (y, x) and magnification of the first image that OME-XML describes."""
    try:
        root = ElementTree.fromstring(re.sub(r"<\?xml[^>]*\?>", "", xml, count=1).strip())
    except ElementTree.ParseError:
        return fallback, None
    image = next((node for node in root if node.tag.endswith("}Image")), None)
    if image is None:
        return fallback, None
    pixels = next((node for node in image if node.tag.endswith("}Pixels")), None)
    sizes = [_ome_size(pixels.attrib, axis) for axis in "YX"] if pixels is not None else [None]
    mpp = (sizes[0], sizes[1]) if sizes[0] and sizes[-1] and len(sizes) == 2 else fallback
    chosen = next((node for node in image if node.tag.endswith("}ObjectiveSettings")), None)
    wanted = chosen.get("ID") if chosen is not None else None
    for node in root.iter():
        if node.tag.endswith("}Objective") and wanted in (None, node.get("ID")):
            power = positive_number(node.get("NominalMagnification"))
            if power:
                return mpp, power  # type: ignore[return-value]
    return mpp, None  # type: ignore[return-value]


def _ome_size(attributes: Mapping[str, str], axis: str) -> float | None:
    length = positive_number(attributes.get(f"PhysicalSize{axis}"))
    return micrometres(length, attributes.get(f"PhysicalSize{axis}Unit"))
