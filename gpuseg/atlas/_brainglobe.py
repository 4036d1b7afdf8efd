"""Atlases as brainglobe-atlasapi keeps them: a folder of TIFFs, or since version 3 a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gpuseg._shared.atlas_frame import Midline, Triple, triple
from gpuseg.io.volumes import open_volume
from gpuseg.typing import Array, NumpyArray


class Found(NamedTuple):
    """What an atlas is made of."""

    annotation: Array
    structures: Path
    spacing: Triple
    hemispheres: NumpyArray | None
    midline: Midline | None


def read_brainglobe(path: str | os.PathLike[str]) -> Found:
    """Find the parts of an atlas.

    Raises
    ------
    FileNotFoundError
        If one is missing, or has not been downloaded.
    ValueError
        If they do not fit each other.
    """
    root = Path(path)
    if root.name == "manifest.json":
        root = root.parent
    if (root / "manifest.json").is_file():
        return _of_manifest(root)
    if (root / "metadata.json").is_file():
        return _of_folder(root)
    raise FileNotFoundError(f"{root}: an atlas has a metadata.json or a manifest.json")


def _of_folder(root: Path) -> Found:
    import tifffile

    about, spacing = _about(root / "metadata.json")
    annotation = tifffile.imread(root / "annotation.tiff")
    hemispheres = None
    if (root / "hemispheres.tiff").exists():
        hemispheres = tifffile.imread(root / "hemispheres.tiff")
    return Found(
        annotation,
        root / "structures.json",
        spacing,
        hemispheres,
        _midline(root, about, annotation.shape, spacing) if hemispheres is None else None,
    )


def _of_manifest(root: Path) -> Found:
    """Parts of version 3 lie beside the atlases: atlases/<name>/<version>/manifest.json."""
    about, spacing = _about(root / "manifest.json")
    home = root.parents[2]
    try:
        images = home / about["annotation_set"]["location"].lstrip("/")
        structures = home / about["terminology"]["location"].lstrip("/") / "terminology.csv"
    except KeyError as error:
        raise ValueError(f"{root}: the manifest must have {error}") from error
    shape = tuple(about["shape"])
    annotation = _level(images / "annotations_compressed.ome.zarr", shape)
    hemispheres = midline = None
    if about.get("symmetric"):
        midline = _midline(root, {"orientation": "asr", **about}, shape, spacing)
    else:
        hemispheres = _level(images / "hemispheres.ome.zarr", shape).compute()
    return Found(annotation, structures, spacing, hemispheres, midline)


def _about(path: Path) -> tuple[Mapping[str, Any], Triple]:
    about = json.loads(path.read_text(encoding="utf-8"))
    return about, triple(about.get("resolution"), f"{path}: resolution", positive=True)


def _level(path: Path, shape: tuple[int, ...]) -> Array:
    """The level of a pyramid that an atlas is about, if its chunks are there."""
    shapes = [level.shape for level in open_volume(path).levels]
    if shape not in shapes:
        known = ", ".join(map(str, shapes))
        raise ValueError(f"{path}: a level must have shape {shape}, there are {known}")
    # brainglobe-atlasapi fetches metadata first and chunks when they are looked at: what isn't
    # there would be read as zeros.
    if not any(
        (each.parent / "c").is_dir() for each in path.glob("*/zarr.json") if _of(each, shape)
    ):
        raise FileNotFoundError(
            f"{path} has no chunks yet; `BrainGlobeAtlas(name).annotation` downloads them"
        )
    return open_volume(path, shapes.index(shape)).array


def _of(metadata: Path, shape: tuple[int, ...]) -> bool:
    found = json.loads(metadata.read_text(encoding="utf-8")).get("shape")
    return found is not None and tuple(found) == shape


def _midline(
    root: Path, about: Mapping[str, Any], shape: tuple[int, ...], spacing: Triple
) -> Midline | None:
    if not about.get("symmetric"):
        return None
    orientation = str(about.get("orientation", ""))
    axis = next((i for i, letter in enumerate(orientation) if letter in "lr"), None)
    if axis is None:
        raise ValueError(f"{root}: orientation must name left or right, got {orientation!r}")
    # BrainGlobe's plane: voxels from round(n / 2) on. The letter tells where the axis begins.
    plane = round(shape[axis] / 2) * spacing[axis]
    return Midline(axis, plane, "above" if orientation[axis] == "r" else "below")
