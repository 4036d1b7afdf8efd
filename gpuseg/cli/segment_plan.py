"""A checked command line of `gpuseg segment`, and what of it is already done."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg.cli import options as shared
from gpuseg.cli._parser import EXPECTED, UsageError, reason
from gpuseg.cli.inputs import destinations, expand
from gpuseg.cli.ledger import Ledger, state_of
from gpuseg.cli.progress import Images
from gpuseg.cli.segment_image import Done, Work, attempt, segment
from gpuseg.cli.segment_volume import segment_volume
from gpuseg.io.tables import Row, replacing
from gpuseg.recipes import Recipe, load, parse

if TYPE_CHECKING:
    from gpuseg.cluster import Cluster


class Plan:
    """Images of one command: what is known, what fails, what remains."""

    def __init__(
        self, recipe: Recipe, work: list[Work], out: Path, table: str, brain: Brain | None
    ) -> None:
        self.recipe, self.work, self.out, self.brain = recipe, work, out, brain
        self.table = out / f"objects.{table}"
        self.ledger = Ledger(out / "summary.csv")
        self.kept = self.made = self.failed = 0

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
        (self.out / "recipe.toml").write_text(self.recipe.source, encoding="utf-8")
        before = {work.path: self._made_from(work) for work in todo}
        for work, done in self._done(todo, before, cluster):
            if done.row is None:
                self._fail(done.error, progress)
                continue
            if self._made_from(work) != before[work.path]:
                self._fail(f"{work.path} changed while it was read", progress)
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
        """Write the summary, and one table of all objects from the images' own."""
        if not self._rows():
            return
        self.ledger.write_table([work.path for work in self.work], at_once=True)
        paths = [
            work.objects for work in self.work
            if self.ledger.rows(work.path, self._made_from(work), work.outputs)
        ]  # fmt: skip
        names = [work.name for work in self.work if work.objects in set(paths)]
        join = _join_csv if self.table.suffix == ".csv" else _join_parquet
        join(self.table, paths, names)

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
    marks = ("structures.json", "manifest.json")
    is_folder = any((Path(options.atlas) / name).is_file() for name in marks)
    if options.structures is None and not is_folder:
        raise UsageError(f"--atlas {options.atlas!r} is no BrainGlobe atlas: add --structures")
    spacing = _numbers("--atlas-spacing", options.atlas_spacing, 3)
    for path in (options.atlas, options.structures, options.affine):
        if path is not None and not os.path.exists(path):
            raise UsageError(f"there is no {path!r}")
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
    images = list(options.images) if options.planes else expand(options.images)
    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out must be a folder, got the file {str(out)!r}")
    out.mkdir(parents=True, exist_ok=True)
    suffix = ".tif" if recipe.ndim == 2 else ".ome.zarr"
    names = [str(Path(image).absolute().parent) if options.planes else image for image in images]
    labels = destinations("--out", f"{out / 'labels'}{os.sep}", names, (suffix,))
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
                regions=out / "regions" / f"{stem}.{options.table}" if brain else None,
            )
        )
    return Plan(recipe, work, out, options.table, brain)


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


def _join_csv(table: Path, parts: Sequence[Path], names: Sequence[str]) -> None:
    """One header, and the images' lines behind their names."""
    import csv

    def lines() -> Iterator[list[str]]:
        for number, (part, name) in enumerate(zip(parts, names, strict=True)):
            with part.open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                header = next(rows)
                if number == 0:
                    yield ["image", *header]
                for row in rows:
                    yield [name, *row]

    with replacing(table) as whole, whole.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(lines())


def _join_parquet(table: Path, parts: Sequence[Path], names: Sequence[str]) -> None:
    """A row group an image, so that no more than one is in memory."""
    import pyarrow
    import pyarrow.parquet as parquet

    with replacing(table) as whole:
        writer = None
        for part, name in zip(parts, names, strict=True):
            found = parquet.read_table(part)
            named = found.add_column(0, "image", pyarrow.array([name] * len(found)))
            writer = writer or parquet.ParquetWriter(whole, named.schema)
            writer.write_table(named)
        assert writer is not None
        writer.close()
