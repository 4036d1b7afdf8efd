"""One volume of `gpuseg segment`: chunk by chunk to labels on disk, then a table, then regions.

Labels are a step of a run in the folder, so that a volume that was stopped goes on from the chunks
that are there; `gpuseg runs status FOLDER/run` says how far it is.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg.cli.inputs import expand
from gpuseg.cli.segment_image import Work, draw, summary
from gpuseg.io.tables import replacing, table_bytes, write_table
from gpuseg.recipes import parse
from gpuseg.typing import Array

if TYPE_CHECKING:
    from gpuseg.atlas import Atlas
    from gpuseg.cluster import Cluster


def segment_volume(
    work: Work, folder: Path, made_from: Any, cluster: Cluster, atlas: Atlas | None, affine: Any
) -> dict[str, Any]:
    """Segment and measure one volume; returns its summary row.

    Raises
    ------
    ValueError
        If the volume is not what the recipe is for, or lies beside the atlas.
    OSError
        If it can't be read.
    """
    from gpuseg.io import open_volume
    from gpuseg.pipeline import Run, declare, step

    recipe = parse(*work.recipe)
    names = expand([work.path]) if work.planes else work.path
    volume = open_volume(names, work.level, channel=work.channel, spacing=work.spacing)
    if volume.axes == "czyx" and work.channel is None:
        raise ValueError(f"it has {volume.array.shape[0]} channels: choose one by --channel")
    recipe.check(volume.array.shape, volume.spacing)
    storage = {"labels": True, "scale": volume.spacing, "unit": "micrometer"}
    if volume.spacing is None:
        storage = {"labels": True}
    run = Run(folder / "run", scheduler=cluster)
    labels = run(
        step(version="1", storage=storage)(labels_of),
        declare(volume.array, json.dumps(made_from, sort_keys=True)),
        json.dumps(work.recipe),
        volume.spacing,
    )
    found = labels.lazy()
    _link(work.labels, Path(labels.folder.path))
    table = recipe.measure(found, volume.array, spacing=volume.spacing)
    columns = dict(table)
    if atlas is not None:
        points = [np.asarray(table[f"centroid-{n}"]) + volume.origin[n] for n in range(3)]
        columns |= _regions(work, np.stack(points, 1), atlas, affine, volume)
    with replacing(work.objects) as part:
        part.write_bytes(table_bytes(columns, work.objects.suffix))
    row = summary(work, recipe, table, volume.shape, 1, [found])
    draw(work, recipe, volume.array, found, row)
    return row


def labels_of(image: Array, recipe: str, spacing: tuple[float, ...] | None) -> Array:
    """What the run remembers."""
    labels = parse(*json.loads(recipe)).segment(image, spacing=spacing)
    return labels.astype(np.int32) if labels.dtype.itemsize > 4 and _few(labels) else labels


def _few(labels: Array) -> bool:
    return bool(np.prod([float(n) for n in labels.shape]) < 2**31)


def _regions(work: Work, points: Any, atlas: Atlas, affine: Any, volume: Any) -> dict[str, Any]:
    """Write the counts by region; returns each object's structure and side."""
    from gpuseg.atlas import count_regions, locate

    counted = count_regions(
        points,
        atlas,
        affine=affine,
        shape=volume.shape,
        spacing=volume.spacing,
        origin=volume.origin,
    )
    assert work.regions is not None
    write_table(work.regions, counted)
    where = locate(points, atlas, affine=affine)
    return {"structure": where["structure"], "side": where["side"]}


def _link(labels: Path, stored: Path) -> None:
    """A name of the labels that one finds, for what lies in the run."""
    (image,) = stored.glob("*.ome.zarr")
    if labels.is_symlink():
        labels.unlink()
    labels.symlink_to(os.path.relpath(image, labels.parent), target_is_directory=True)
