"""One image of `gpuseg segment`: from the file to labels, objects, a picture and a summary."""

from __future__ import annotations

import glob
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpuseg.cli._parser import EXPECTED, reason
from gpuseg.cli.inputs import basename, is_url
from gpuseg.io.tables import replacing, table_bytes
from gpuseg.recipes import Recipe, parse
from gpuseg.typing import Array, NumpyArray

Columns = dict[str, NumpyArray]


@dataclass(frozen=True)
class Work:
    """One image and what is written about it; pickles, so a recipe travels as its text."""

    path: str
    recipe: tuple[str, str, dict[str, Any]]
    channel: int | None
    level: int
    spacing: tuple[float, ...] | None
    labels: Path
    objects: Path
    picture: Path
    planes: bool = False
    regions: Path | None = None
    cwd: str = ""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return name_of(self.path)

    def located(self) -> Work:
        """The same for a process in any folder; only messages and tables have the names given."""
        path = self.path if is_url(self.path) else os.path.join(self.cwd, self.path)
        labels, objects, picture = (
            Path(self.cwd, each) for each in (self.labels, self.objects, self.picture)
        )
        return replace(self, path=path, labels=labels, objects=objects, picture=picture)

    @property
    def outputs(self) -> list[Path]:
        """Files that it makes."""
        made = [self.labels, self.objects, self.picture, self.regions]
        return [path for path in made if path is not None]


def name_of(path: str) -> str:
    """Name of an image's file, or of the folder where a pattern finds its planes."""
    planes = glob.has_magic(path) and not is_url(path) and not os.path.exists(path)
    return basename(os.path.dirname(os.path.abspath(path)) if planes else path)


@dataclass(frozen=True)
class Done:
    """Summary row, or what went wrong."""

    row: dict[str, Any] | None
    error: str = ""


def segment(work: Work) -> Done:
    """Segment and measure one image; an error is returned, so that the others go on."""
    return attempt(_segment, work)


def attempt(function: Callable[..., dict[str, Any]], work: Work, *arguments: Any) -> Done:
    """What a function makes of an image, or what went wrong."""
    try:
        return Done(function(work, *arguments))
    except EXPECTED as error:
        return Done(None, reason(work.path, error))
    except Exception as error:  # a defect, of ours or of a decoder
        trace = "".join(traceback.format_exception(error)).rstrip()
        return Done(None, f"{trace}\n{reason(work.path, error)} (a defect)")


def _segment(work: Work) -> dict[str, Any]:
    recipe = parse(*work.recipe)
    place = work.located()
    frames = read(place, recipe)
    labels, tables = [], []
    for frame in frames:
        found = recipe.segment(frame, spacing=work.spacing)
        labels.append(np.asarray(found))
        tables.append(recipe.measure(found, frame, spacing=work.spacing))
    _write_labels(place, labels)
    objects = _joined(tables, len(frames) > 1)
    _write(place.objects, table_bytes(objects, work.objects.suffix))
    row = summary(work, recipe, objects, frames[0].shape[: recipe.ndim], len(frames), labels)
    draw(place, recipe, frames[0], labels[0], row)
    return row


def read(work: Work, recipe: Recipe) -> Sequence[NumpyArray]:
    """Images of a file, each as the recipe takes it.

    Raises
    ------
    ValueError
        If the file's shape is not what the recipe is for.
    """
    from gpuseg.io import imread

    array = imread(work.path, level=work.level)
    array = _frames(work, recipe, array)
    recipe.check(array.shape[1:], work.spacing)
    return [np.asarray(frame) for frame in array.compute()]


def _frames(work: Work, recipe: Recipe, array: Array) -> Array:
    """Frames of the image: without axes of one entry, and of its channels the one asked for.

    Channels are no frames; those of colour are no question.
    """
    axes = _axes(work.path, array)
    at = axes.find("c")
    count = array.shape[at] if at >= 0 else 0
    if work.channel is None:
        if recipe.image == "grey" and count > 1 and not axes.endswith("c"):
            raise ValueError(f"it has {count} channels: choose one by --channel")
    elif not count:
        raise ValueError(f"it has no channels, got --channel {work.channel}")
    elif work.channel >= count:
        raise ValueError(f"--channel must be below {count}, got {work.channel}")
    index: list[int | slice] = [
        0 if length == 1 and letter not in "yx" else slice(None)
        for letter, length in zip(axes, array.shape, strict=True)
    ]
    if work.channel is not None:
        index[at] = work.channel
    frames = array[tuple(index)]
    kept = [letter for letter, each in zip(axes, index, strict=True) if isinstance(each, slice)]
    return frames if kept[0] != "y" else frames[None]


def _axes(path: str, array: Array) -> str:
    """A letter for each axis: of frames, channels, y and x; a plain image has them if colour."""
    from gpuseg.io import SlideError
    from gpuseg.io._volume_facts import facts_of

    try:
        axes = facts_of(path, {}).axes
    except SlideError:
        colour = array.ndim == 4 and array.shape[-1] in (3, 4)
        axes = "yxc" if colour else "yx"
    # A file of one frame is an array of one image.
    return "f" * (array.ndim - len(axes)) + axes


def summary(
    work: Work,
    recipe: Recipe,
    objects: Mapping[str, NumpyArray],
    shape: Sequence[int],
    frames: int,
    labels: Sequence[Array],
) -> dict[str, Any]:
    """One row of the summary."""
    row: dict[str, Any] = {"image": work.path, "recipe": recipe.name}
    row |= {"shape": " x ".join(map(str, shape)), "frames": frames}
    row["objects"] = len(objects["label"])
    covered = sum(int((each > 0).sum()) for each in labels)
    row["covered"] = covered / max(1, sum(each.size for each in labels))
    for name, column in objects.items():
        if name.startswith(("area", "intensity_mean")) and column.size:
            row[f"{name}_mean"] = float(column.mean())
            row[f"{name}_median"] = float(np.median(column))
    return row


def draw(work: Work, recipe: Recipe, image: Any, labels: Any, row: Mapping[str, Any]) -> None:
    """Write the picture to check it by."""
    from gpuseg.report.objects import objects_picture

    size = f"{row['shape']}" + (f", frame 1 of {row['frames']}" if row["frames"] > 1 else "")
    picture = objects_picture(
        image,
        labels,
        title=work.name,
        subtitle=f"{row['objects']:,} objects by {recipe.name}; {size}",
        mpp=None if work.spacing is None else work.spacing[-1],
    )
    with replacing(work.picture) as part:
        picture.save(part, quality=90)


def _joined(tables: Sequence[Columns], with_frame: bool) -> Columns:
    joined = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    if not with_frame:
        return joined
    frames = [np.full(len(table["label"]), n) for n, table in enumerate(tables)]
    return {"frame": np.concatenate(frames), **joined}


def _write_labels(work: Work, labels: Sequence[NumpyArray]) -> None:
    import tifffile

    stack = np.stack(labels) if len(labels) > 1 else labels[0]
    most = int(stack.max(initial=0))
    with replacing(work.labels) as part:
        # Fiji and others read unsigned 16 bits; larger numbers need 32.
        tifffile.imwrite(
            part,
            stack.astype(np.uint16 if most < 1 << 16 else np.uint32),
            compression="deflate",
            photometric="minisblack",
            resolution=None if work.spacing is None else tuple(1e4 / s for s in work.spacing[::-1]),
            resolutionunit=None if work.spacing is None else "CENTIMETER",
        )


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)
