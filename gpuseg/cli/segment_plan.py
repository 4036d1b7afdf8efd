"""A checked command line of `gpuseg segment`, and what of it is already done."""

from __future__ import annotations

import argparse
import glob
import importlib.util
import json
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg.cli import options as shared
from gpuseg.cli._parser import EXPECTED, UsageError, reason, told
from gpuseg.cli.inputs import destinations, expand
from gpuseg.cli.ledger import Ledger, state_of
from gpuseg.cli.progress import Images
from gpuseg.cli.segment_image import Done, Work, attempt, name_of, segment
from gpuseg.cli.segment_table import join_csv, join_parquet
from gpuseg.cli.segment_volume import segment_volume
from gpuseg.io.tables import Row, check_folder, replacing
from gpuseg.recipes import Recipe, load, parse
from gpuseg.recipes._text import text_of

if TYPE_CHECKING:
    from gpuseg.cluster import Cluster


SUMMARY = "summary.csv"


class Plan:
    """Images of one command: what is known, what fails, what remains."""

    def __init__(
        self, recipe: Recipe, work: list[Work], out: Path, table: str, brain: Brain | None
    ) -> None:
        self.recipe, self.work, self.out, self.brain = recipe, work, out, brain
        self.table = out / f"objects.{table}"
        self.kept = self.made = self.failed = 0

    @cached_property
    def ledger(self) -> Ledger:
        """What is done; read when no other run writes it any more."""
        return Ledger(self.out / SUMMARY)

    @property
    def objects(self) -> int:
        """Objects of all images that are done."""
        counts = [row["objects"] for row in self._rows()]
        return sum(count for count in counts if isinstance(count, int))

    def remaining(self, progress: Images) -> list[Work]:
        """Images that are not done, or whose input or recipe has changed."""
        todo = []
        for work in self.work:
            try:
                made_from = self._made_from(work)
            except EXPECTED as error:
                self._fail(reason(work.path, error), progress)
                continue
            if self.ledger.rows(work.path, made_from, work.outputs):
                self.kept += 1
            else:
                todo.append(work)
        progress.skip(self.kept)
        return todo

    def segment(self, todo: Sequence[Work], cluster: Cluster, progress: Images) -> None:
        """Segment what remains, each image remembered as soon as it is done."""
        for path in {path.parent for work in todo for path in work.outputs}:
            path.mkdir(exist_ok=True)
        with replacing(self.out / "recipe.toml") as part:
            part.write_text(text_of(self.recipe), encoding="utf-8")
        before = {work.path: self._made_from(work) for work in todo}
        for work, done in self._done(todo, before, cluster):
            error = done.error
            if done.row is not None and self._changed(work, before[work.path]):
                error = f"{work.path} changed while it was read"
            if done.row is None or error:
                self.ledger.forget(work.path)
                self._fail(error, progress)
                continue
            self.made += 1
            self.ledger.add(work.path, before[work.path], work.outputs, [done.row])
            progress.add()

    def _done(
        self, todo: Sequence[Work], made_from: dict[str, Any], cluster: Cluster
    ) -> Iterator[tuple[Work, Done]]:
        """Small images side by side, or volumes one by one, whose chunks are side by side."""
        if self.recipe.ndim == 2:
            yield from cluster.map(segment, todo)
            return
        atlas, affine = (None, None) if self.brain is None else self.brain.open()
        for work in todo:
            about = made_from[work.path]["input"], work.channel, work.level
            yield work, attempt(segment_volume, work, self.out, about, cluster, atlas, affine)

    def _changed(self, work: Work, before: dict[str, Any]) -> bool:
        try:
            return self._made_from(work) != before
        except OSError:
            return True

    def _made_from(self, work: Work) -> dict[str, Any]:
        """Everything that decides what an image gives, as JSON keeps it."""
        made_from = {
            "input": _state(work),
            "recipe": work.recipe,
            "channel": work.channel,
            "level": work.level,
            "spacing": work.spacing,
            "atlas": None if self.brain is None else self.brain.made_from(),
        }
        decoded: dict[str, Any] = json.loads(json.dumps(made_from))
        return decoded

    def write_tables(self) -> None:
        """Write the summary, and one table of all objects from the images' own.

        Images that the command doesn't name stay in both.
        """
        if not self._rows():
            return
        self.ledger.write_table([work.path for work in self.work], at_once=True)
        folder = self.work[0].objects.absolute().parent
        parts = {}
        for row, outputs in self.ledger.made():
            for path in outputs:
                if path.parent == folder and path.suffix == self.table.suffix and path.exists():
                    parts[path] = name_of(str(row["image"]))
        named = [path for work in self.work if (path := work.objects.absolute()) in parts]
        paths = list(dict.fromkeys([*named, *parts]))
        join = join_csv if self.table.suffix == ".csv" else join_parquet
        join(self.table, paths, [parts[path] for path in paths])

    def _rows(self) -> list[Row]:
        return self.ledger.all_rows()

    def _fail(self, text: str, progress: Images) -> None:
        self.failed += 1
        progress.say(f"gpuseg segment: error: {text}")
        progress.add()


@dataclass(frozen=True)
class Brain:
    """Where the atlas is."""

    annotation: str
    structures: str | None
    spacing: tuple[float, ...] | None
    affine: str | None

    def made_from(self) -> list[Any]:
        """State of all its files."""
        named = [self.annotation, self.structures, self.affine]
        return [self.spacing, *(state_of(name) for name in named if name is not None)]

    def open(self) -> tuple[Any, Any]:
        """The atlas and the affine."""
        from gpuseg.atlas import Atlas, open_atlas
        from gpuseg.io import open_volume

        affine = None if self.affine is None else np.loadtxt(self.affine, delimiter=None)
        if self.structures is None:
            return open_atlas(self.annotation), affine
        volume = open_volume(self.annotation, spacing=self.spacing)
        if volume.spacing is None:
            raise ValueError(f"{self.annotation} doesn't tell its voxel size: --atlas-spacing")
        spacing = volume.spacing
        return Atlas(volume.array, self.structures, spacing=spacing, origin=volume.origin), affine


def _brain(options: argparse.Namespace, recipe: Recipe) -> Brain | None:
    if options.atlas is None:
        for name in ("structures", "atlas_spacing", "affine"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} needs --atlas")
        return None
    if recipe.ndim != 3:
        raise UsageError(f"--atlas is for recipes of volumes, {recipe.name} is 2-D")
    for path in (options.atlas, options.structures, options.affine):
        if path is not None and not os.path.exists(path):
            raise UsageError(f"there is no {path!r}")
    marks = ("structures.json", "manifest.json")
    is_folder = any((Path(options.atlas) / name).is_file() for name in marks)
    if options.structures is None and not is_folder:
        raise UsageError(f"--atlas {options.atlas!r} is no BrainGlobe atlas: add --structures")
    spacing = _numbers("--atlas-spacing", options.atlas_spacing, 3)
    return Brain(options.atlas, options.structures, spacing, options.affine)


def make_plan(options: argparse.Namespace) -> Plan:
    """Check everything that can be checked without opening an image.

    Raises
    ------
    UsageError
        With the rule that is broken and the value.
    """
    shared.check_running(options)
    recipe = _recipe(options.recipe, options.settings)
    spacing = _numbers("--spacing", options.spacing, recipe.ndim)
    if options.level < 0:
        raise UsageError(f"--level must be at least 0, got {options.level}")
    brain = _brain(options, recipe)
    if options.planes and recipe.ndim == 2:
        raise UsageError(f"--planes is for recipes of volumes, {recipe.name} is 2-D")
    if options.channel is not None and options.channel < 0:
        raise UsageError(f"--channel must be at least 0, got {options.channel}")
    for image in options.images if options.planes else ():
        if not glob.has_magic(image):
            raise UsageError(
                f"--planes takes a pattern in quotes, as 'planes/*.tif', got {image!r}"
            )
    images = list(options.images) if options.planes else expand(options.images)
    out = _folder(options.out, options.table)
    suffix = ".tif" if recipe.ndim == 2 else ".ome.zarr"
    names = [str(Path(image).absolute().parent) if options.planes else image for image in images]
    apart = "rename one, or give them a run of their own"
    labels = destinations("--out", f"{out / 'labels'}{os.sep}", names, (suffix,), apart=apart)
    work = []
    for image, label in zip(images, labels, strict=True):
        stem = label.name.removesuffix(suffix)
        work.append(
            Work(
                path=image,
                recipe=(recipe.source, recipe.name, dict(recipe.settings)),
                channel=options.channel,
                level=options.level,
                spacing=spacing,
                labels=label,
                objects=out / ".objects" / f"{stem}.{options.table}",
                picture=out / "pictures" / f"{stem}.jpg",
                planes=options.planes,
                cwd=os.getcwd(),
                regions=out / "regions" / f"{stem}.{options.table}" if brain else None,
            )
        )
    return Plan(recipe, work, out, options.table, brain)


def _folder(name: str, table: str) -> Path:
    """The folder of the run, which is made, if it can be written to."""
    out = Path(name)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out must be a folder, got the file {name!r}")
    if table == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError("--table parquet needs pyarrow: `pip install gpuseg[parquet]`")
    try:
        out.mkdir(parents=True, exist_ok=True)
        check_folder(out / SUMMARY)
    except OSError as error:
        raise UsageError(f"--out: {told(error)}") from None
    return out


def _recipe(name: str, settings: Sequence[str]) -> Recipe:
    try:
        recipe = load(name)
        given = dict(_setting(text) for text in settings)
        return parse(recipe.source, recipe.name, given) if given else recipe
    except (OSError, ValueError) as error:
        raise UsageError(f"--recipe: {error}") from None


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise UsageError(f"--set must be STEP.PARAMETER=VALUE, got {text!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _numbers(option: str, text: str | None, count: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1:
        numbers *= count
    if len(numbers) != count or not all(0 < n < float("inf") for n in numbers):
        raise UsageError(f"{option} must be one number above 0 or {count} of them, got {text!r}")
    return numbers


def _state(work: Work) -> Any:
    if not work.planes:
        return state_of(work.path)
    return [state_of(plane) for plane in expand([work.path])]
