"""What a file tells of a volume beside its pixels: axes, levels, voxel sizes, channels."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

from gpuseg.io._bytes import ByteSource, LocalFile, RemoteFile
from gpuseg.io._image_names import URL
from gpuseg.io._open import _folder_names
from gpuseg.io._reader import SlideError
from gpuseg.io._tiff_metadata import micrometres, positive_number

Triple = tuple[float, float, float]


class Facts(NamedTuple):
    """Axes as letters of "tczyx", and of each level its shape, spacing and origin in µm.

    A spacing is None where the file doesn't tell the size of a voxel along all three axes.
    """

    axes: str
    shapes: tuple[tuple[int, ...], ...]
    spacings: tuple[Triple | None, ...]
    origins: tuple[Triple, ...]
    channels: tuple[str, ...] = ()
    zarr: bool = False


def facts_of(name: str, options: Mapping[str, Any]) -> Facts:
    """Facts of an OME-Zarr image or of a TIFF's first series.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SlideError
        If it is neither.
    """
    if URL.match(name):
        import fsspec

        bare = name.split("?", 1)[0].rstrip("/")
        filesystem, path = fsspec.core.url_to_fs(name, **options)
        # A folder has no bytes of its own: over HTTP only its name or its metadata tell.
        folder = bare.endswith(".zarr") or any(
            filesystem.exists(f"{path.rstrip('/')}/{own}") for own in _folder_names(bare)
        )
        if folder:
            return _zarr_facts(name, options)
        return _tiff_facts(RemoteFile(name, filesystem, path))
    if not os.path.exists(name):
        raise FileNotFoundError(f"{name}: there is no such file")
    if os.path.isdir(name):
        return _zarr_facts(name, options)
    source = LocalFile(name)
    if next(source.read([(0, 4)])) == b"PK\x03\x04":
        source.close()
        return _zarr_facts(name, options)
    return _tiff_facts(source)


def _zarr_facts(name: str, options: Mapping[str, Any]) -> Facts:
    from gpuseg.io._ome_zarr import _arrays, _axes, _find_image, _ome, _open_store, _version

    store = _open_store(name, options)
    try:
        # zarr warns of what is odd in other writers' metadata; it reads it all the same.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            group, image = _find_image(name, store)
            axes = _axes(name, image, _version(group, image))
            arrays, ignored = _arrays(name, group, image, axes)
            channels = _ome(group).get("omero", {}).get("channels", [])
    except SlideError:
        raise
    except Exception as error:  # zarr raises whatever damaged metadata leads it to
        raise SlideError(
            f"{name}: not readable OME-Zarr: {type(error).__name__}: {error}"
        ) from error
    finally:
        with contextlib.suppress(AttributeError):
            store.close()
    if not set(axes) <= set("tczyx"):
        raise SlideError(f"{name}: axes of a volume are t, c, z, y and x, got {', '.join(axes)}")
    used = [each for each in image["datasets"] if f"ignored.{each['path']}" not in ignored]
    frames = [_zarr_frame(image, dataset, axes) for dataset in used]
    return Facts(
        "".join(axes),
        tuple(tuple(map(int, array.shape)) for array in arrays),
        tuple(spacing for spacing, _ in frames),
        tuple(origin for _, origin in frames),
        tuple(str(each.get("label", number)) for number, each in enumerate(channels)),
        zarr=True,
    )


def _zarr_frame(
    image: Mapping[str, Any], dataset: Mapping[str, Any], axes: Sequence[str]
) -> tuple[Triple | None, Triple]:
    """Spacing and origin of a level: its own transformations, then those of the whole image."""
    units = {
        str(axis.get("name", "")).lower(): axis.get("unit")
        for axis in image.get("axes", [])
        if isinstance(axis, dict)
    }
    steps = (
        *(dataset.get("coordinateTransformations") or []),
        *(image.get("coordinateTransformations") or []),
    )
    sizes, shifts = [], []
    for axis in "zyx":
        size, shift, scaled = 1.0, 0.0, False
        for step in steps if axis in axes else ():
            values = step.get(step.get("type", ""), ())
            if len(values) != len(axes):
                continue
            value = float(values[axes.index(axis)])
            if step["type"] == "scale":
                size, shift, scaled = size * value, shift * value, True
            elif step["type"] == "translation":
                shift += value
        # Without a unit a scale of 1 is a voxel, not a micrometre.
        unit = micrometres(1.0, units.get(axis)) if scaled and units.get(axis) else None
        sizes.append(micrometres(size, units[axis]) if unit else None)
        shifts.append(shift * (unit or 1.0))
    origin = (shifts[0], shifts[1], shifts[2])
    return (_triple(sizes), origin) if _triple(sizes) else (None, (0.0, 0.0, 0.0))


def _triple(sizes: Sequence[float | None]) -> Triple | None:
    z, y, x = sizes
    return None if z is None or y is None or x is None else (z, y, x)


def _tiff_facts(source: ByteSource) -> Facts:
    import tifffile

    from gpuseg.io._quiet import quiet

    try:
        with quiet(), source.open() as stream, tifffile.TiffFile(stream) as tiff:
            if not tiff.series:
                raise SlideError(f"{source.name}: not a readable TIFF: it holds no image")
            series = tiff.series[0]
            axes = _letters(series.axes, series.shape, source.name)
            shapes = tuple(tuple(map(int, level.shape)) for level in series.levels)
            spacing, channels = _ome(tiff) if tiff.is_ome else (_imagej(tiff), ())
    except OSError:
        raise
    except Exception as error:  # a damaged file leads tifffile to whatever error
        raise SlideError(
            f"{source.name}: not a readable TIFF: {type(error).__name__}: {error}"
        ) from error
    finally:
        source.close()
    spacings = tuple(_scaled(spacing, axes, shapes[0], shape) for shape in shapes)
    return Facts(axes, shapes, spacings, ((0.0, 0.0, 0.0),) * len(shapes), channels)


def _letters(axes: str, shape: Sequence[int], name: str) -> str:
    """Axes of tifffile in the letters of OME-Zarr: an unknown one is depth if there is no other."""
    letters = axes.lower().replace("s", "c") if "C" not in axes else axes.lower()
    unknown = [letter for letter in letters if letter not in "tczyx"]
    if len(unknown) == 1 and "z" not in letters:
        letters = letters.replace(unknown[0], "z")
        unknown = []
    if unknown or len(set(letters)) < len(letters):
        raise SlideError(
            f"{name}: axes of a volume are t, c, z, y and x, got {axes} of shape {tuple(shape)}"
        )
    return letters


def _scaled(
    spacing: Triple | None, axes: str, full: Sequence[int], shape: Sequence[int]
) -> Triple | None:
    """Spacing of a coarser level, which covers the same space."""
    if spacing is None or tuple(full) == tuple(shape):
        return spacing
    factors = [full[axes.index(a)] / shape[axes.index(a)] if a in axes else 1.0 for a in "zyx"]
    z, y, x = (step * factor for step, factor in zip(spacing, factors, strict=True))
    return z, y, x


def _ome(tiff: Any) -> tuple[Triple | None, tuple[str, ...]]:
    root = ElementTree.fromstring(tiff.ome_metadata)
    pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None, ()
    sizes = []
    for axis in "ZYX":
        length = positive_number(pixels.get(f"PhysicalSize{axis}"))
        sizes.append(micrometres(length, pixels.get(f"PhysicalSize{axis}Unit")))
    names = [node for node in pixels if node.tag.endswith("}Channel")]
    channels = tuple(str(node.get("Name") or number) for number, node in enumerate(names))
    return _triple(sizes), channels


def _imagej(tiff: Any) -> Triple | None:
    """ImageJ keeps the distance of planes in its own words, and pixels per unit in TIFF's."""
    own = tiff.imagej_metadata or {}
    # ImageJ writes "\\u00B5m" for "µm".
    unit = str(own.get("unit", "")).encode("ascii", "backslashreplace").decode("unicode_escape")
    sizes = [micrometres(positive_number(str(own.get("spacing", ""))), unit) if unit else None]
    for tag in ("YResolution", "XResolution"):
        per = tiff.pages[0].tags.valueof(tag, None)
        known = unit and isinstance(per, tuple) and min(per) > 0
        sizes.append(micrometres(per[1] / per[0], unit) if known else None)
    return _triple(sizes)
