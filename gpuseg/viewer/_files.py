"""Layers of files and folders."""

from __future__ import annotations

import glob
import os
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg.typing import Array
from gpuseg.viewer._arrays import LayerData, array_layer, is_rgb, pyramid
from gpuseg.viewer._values import is_result, is_run, run_layers, stored_layers

if TYPE_CHECKING:
    from gpuseg.io.volumes import Volume

# Chunks of this side make few enough tasks for a slide, and little enough to read for a screen.
_SIDE = 1024
# Options of a layer that have an entry for each axis.
_BY_AXIS = frozenset({"scale", "translate", "units"})
_MICROMETRES = ("micrometer",) * 3
_UNIT = re.compile(r"(milli|micro|nano|pico|centi|kilo)?(meter|second)s?|angstrom|[mcunµ]?m|pixel")
SLIDES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")


def file_layers(path: str) -> list[LayerData]:
    """Layers of whatever lies at a path.

    Raises
    ------
    OSError, ValueError
        If it cannot be read.
    """
    if is_run(path):
        return run_layers(path)
    if is_result(path):
        return stored_layers(path)
    name = os.path.basename(path.rstrip("/"))
    if is_zarr(path):
        import zarr

        # zarr warns of what is odd in other writers' metadata; it reads it all the same.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return zarr_layers(zarr.open(path, mode="r"), name)
    if path.lower().endswith(SLIDES):
        return [slide_layer(path)]
    from gpuseg.io.images import imread

    image = imread(glob.escape(path) if os.path.exists(path) else path)
    while image.ndim > 2 + is_rgb(image) and image.shape[0] == 1:
        image = image[0]
    data, options, kind = array_layer(image, None)
    return [(data, {**options, "name": os.path.splitext(name)[0]}, kind)]


def is_zarr(path: str) -> bool:
    """Whether a folder or URL holds Zarr."""
    if "://" in path:
        return path.rstrip("/").endswith(".zarr") or "/labels/" in path
    names = ("zarr.json", ".zgroup", ".zarray")
    return any(os.path.exists(os.path.join(path, name)) for name in names)


def slide_layer(path: str) -> LayerData:
    """Layer of all levels of a slide."""
    from gpuseg.io import open_slide

    with open_slide(path) as slide:
        count, mpp = len(slide.levels), slide.mpp_yx
    levels = [open_slide(path, level=k).array for k in range(count)]
    options: dict[str, Any] = {"name": os.path.basename(path.rstrip("/"))}
    if mpp is not None:
        options |= {"scale": mpp, "units": _MICROMETRES[1:]}
    if is_rgb(levels[0]):
        options["rgb"] = True
    if count > 1:
        options["multiscale"] = True
    return pyramid(levels, "image"), options, "image"


def opened_layers(source: Any) -> list[LayerData]:
    """Layers of a slide or volume that is open.

    Raises
    ------
    TypeError
        If it is neither.
    """
    from gpuseg.io.slides import Slide
    from gpuseg.io.volumes import Volume

    if isinstance(source, Slide):
        return [slide_layer(source.path)]
    if isinstance(source, Volume):
        return volume_layers(source)
    raise TypeError(f"napari shows arrays, tables, results and files, got {type(source).__name__}")


def volume_layers(volume: Volume) -> list[LayerData]:
    """Layers of an opened volume's channels, at the level that it was opened at."""
    name = _stem(os.path.basename(volume.path.rstrip("/")))
    options: dict[str, Any] = {}
    if volume.spacing is not None:
        options |= {"scale": volume.spacing, "translate": volume.origin, "units": _MICROMETRES}
    if volume.axes == "zyx":
        data, shown, kind = array_layer(volume.array, None)
        return [(data, {"name": name, **options, **shown}, kind)]
    names = volume.channels if len(volume.channels) == len(volume.array) else ()
    return [
        (plane, {"name": f"{name} {names[k] if names else k}", "blending": "additive", **options},
         "image")
        for k, plane in enumerate(volume.array)
    ]  # fmt: skip


def zarr_layers(found: Any, name: str, kind: str | None = None) -> list[LayerData]:
    """Layers of a Zarr array, or of an OME-Zarr group and the labels in it.

    Raises
    ------
    ValueError
        If the group holds neither an image nor labels, or an array that it lists is missing.
    """
    if hasattr(found, "dtype"):
        data, options, shown = array_layer(_lazy(found), kind)
        return [(data, {**options, "name": _stem(name)}, shown)]
    ome = _ome(found)
    if "multiscales" not in ome and "bioformats2raw.layout" in ome and "0" in found:
        return zarr_layers(found["0"], name)
    kind = kind or ("labels" if "image-label" in ome else "image")
    try:
        layers = _image_layers(found, ome, _stem(name), kind) if "multiscales" in ome else []
        listed = found.get("labels")
        for label in [] if listed is None else _ome(listed).get("labels", []):
            layers += zarr_layers(listed[label], label, "labels")
    except KeyError as error:
        raise ValueError(f"{name} lists {error.args[0]}, which is not in it") from error
    if not layers:
        plate = "plate" in ome or "well" in ome
        hint = "; it is a plate or a well: open one of its images, as in B/03/0" if plate else ""
        raise ValueError(f"{name} is a Zarr group without an OME-Zarr image{hint}")
    return layers


def _ome(group: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = group.attrs.asdict()
    found: dict[str, Any] = attributes.get("ome", attributes)
    return found


def _stem(name: str) -> str:
    for suffix in (".zarr", ".ome"):
        name = name.removesuffix(suffix)
    return name


def _lazy(array: Any) -> Array:
    """Dask array in whole chunks of the stored one, some of them together where they are small.

    napari asks a Zarr array for more than it shows (napari#9515).
    """
    import dask.array as da

    stored, limit = array.chunks, array.shards or array.shape
    chunks = list(stored)
    for axis in range(max(0, array.ndim - 2), array.ndim):
        while chunks[axis] * 2 <= min(_SIDE, limit[axis]):
            chunks[axis] *= 2
    return da.from_zarr(array, chunks=tuple(chunks))


def _image_layers(group: Any, ome: dict[str, Any], name: str, kind: str) -> list[LayerData]:
    """One layer, or one for each channel."""
    image = ome["multiscales"][0]
    arrays = [_lazy(group[dataset["path"]]) for dataset in image["datasets"]]
    axes = _axes(image, arrays[0].ndim)
    placed = {**_placed(image, axes), "metadata": _metadata(image, ome)}
    if kind == "labels":
        placed |= _colours(ome.get("image-label", {}))
    if "c" not in axes:
        return [_layer(arrays, axes, name, kind, placed)]
    at = axes.index("c")
    count = arrays[0].shape[at]
    rest = [axis for axis in axes if axis != "c"]
    for key in _BY_AXIS & placed.keys():
        placed[key] = placed[key][:at] + placed[key][at + 1 :]
    channels = ome.get("omero", {}).get("channels", [])
    if count in (3, 4) and arrays[0].dtype == np.uint8 and len(channels) in (0, count):
        moved = [_moved(array, at) for array in arrays]
        return [_layer(moved, rest, name, kind, {**placed, "rgb": True})]
    found = []
    for k in range(count):
        about = channels[k] if k < len(channels) else {}
        options = {**placed, **_channel(about)}
        called = f"{name} {about.get('label') or k}" if count > 1 else name
        planes = [array[(slice(None),) * at + (k,)] for array in arrays]
        found.append(_layer(planes, rest, called, kind, options))
    return found


def _moved(array: Array, axis: int) -> Array:
    import dask.array as da

    return da.moveaxis(array, axis, -1)


def _layer(
    arrays: list[Array], axes: list[str], name: str, kind: str, options: dict[str, Any]
) -> LayerData:
    """A layer without the axes of one entry that are neither y nor x."""
    long = [n for n, axis in enumerate(axes) if axis in "yx" or arrays[0].shape[n] > 1]
    if len(long) < len(axes):
        index = tuple(slice(None) if n in long else 0 for n in range(len(axes)))
        arrays = [array[index] for array in arrays]
        for key in _BY_AXIS & options.keys():
            options = {**options, key: tuple(options[key][n] for n in long)}
    if len(arrays) > 1:
        options = {**options, "multiscale": True}
    return pyramid(arrays, kind), {"name": name, **options}, kind


def _axes(image: dict[str, Any], ndim: int) -> list[str]:
    axes = image.get("axes") or list("tczyx")[-ndim:]
    names = [axis if isinstance(axis, str) else axis["name"] for axis in axes]
    kinds = ["" if isinstance(axis, str) else axis.get("type", "") for axis in axes]
    return ["c" if kind == "channel" else name for name, kind in zip(names, kinds, strict=True)]


def _placed(image: dict[str, Any], axes: list[str]) -> dict[str, Any]:
    """Pixel size and place of the finest level, that of the whole image included."""
    scale, place = np.ones(len(axes)), np.zeros(len(axes))
    steps = [
        *(image["datasets"][0].get("coordinateTransformations") or []),
        *(image.get("coordinateTransformations") or []),
    ]
    for step in steps:
        if step["type"] == "scale":
            factor = np.array(step["scale"], float)
            scale, place = scale * factor, place * factor
        elif step["type"] == "translation":
            place = place + np.array(step["translation"], float)
    placed: dict[str, Any] = {"scale": tuple(scale.tolist()), "translate": tuple(place.tolist())}
    known = {axis["name"]: axis.get("unit") for axis in image.get("axes") or []
             if isinstance(axis, dict)}  # fmt: skip
    # napari refuses a unit that it does not know, and with it the layer.
    if all(_UNIT.fullmatch(known.get(axis) or "") for axis in axes if axis in "zyx"):
        units = [known.get(axis) or "" for axis in axes]
        placed["units"] = tuple(unit if _UNIT.fullmatch(unit) else "pixel" for unit in units)
    return placed


def _metadata(image: dict[str, Any], ome: dict[str, Any]) -> dict[str, Any]:
    about = {"made": image.get("metadata"), "label": ome.get("image-label")}
    return {key: value for key, value in about.items() if value}


def _channel(about: dict[str, Any]) -> dict[str, Any]:
    """Colour, contrast and visibility of a channel, as OMERO notes them."""
    options: dict[str, Any] = {"blending": "additive"}
    if len(str(about.get("color", ""))) == 6:
        options["colormap"] = ["#000000", f"#{about['color']}"]
    window = about.get("window", {})
    if {"start", "end"} <= window.keys() and window["start"] < window["end"]:
        options["contrast_limits"] = (window["start"], window["end"])
    if about.get("active") is False:
        options["visible"] = False
    return options


def _colours(about: dict[str, Any]) -> dict[str, Any]:
    """Colours of labels; that of 0 is left out, so that what lies under it is seen."""
    found = {
        int(entry["label-value"]): [part / 255 for part in entry["rgba"]]
        for entry in about.get("colors", [])
        if "rgba" in entry and entry["label-value"]
    }
    return {"colormap": {None: "transparent", 0: "transparent", **found}} if found else {}
