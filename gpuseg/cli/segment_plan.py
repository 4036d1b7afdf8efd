"""A checked command line of `gpuseg segment`, and what of it is already done."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.cli import options as shared
from gpuseg.cli._parser import EXPECTED, UsageError, reason
from gpuseg.cli.inputs import basename, destinations, expand
from gpuseg.cli.ledger import Ledger, state_of
from gpuseg.cli.progress import Images
from gpuseg.cli.segment_image import Work, segment
from gpuseg.io.tables import Row, replacing
from gpuseg.recipes import Recipe, load, parse

if TYPE_CHECKING:
    from gpuseg.cluster import Cluster

_FOLDERS = ("labels", "pictures", ".objects")


class Plan:
    """Images of one command: what is known, what fails, what remains."""

    def __init__(self, recipe: Recipe, work: list[Work], out: Path, table: str) -> None:
        self.recipe, self.work, self.out = recipe, work, out
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
                made_from = _made_from(work)
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
        for name in _FOLDERS:
            (self.out / name).mkdir(exist_ok=True)
        (self.out / "recipe.toml").write_text(self.recipe.source, encoding="utf-8")
        before = {work.path: _made_from(work) for work in todo}
        for work, done in cluster.map(segment, todo):
            if done.row is None:
                self._fail(done.error, progress)
                continue
            if _made_from(work) != before[work.path]:
                self._fail(f"{work.path} changed while it was read", progress)
                continue
            self.made += 1
            self.ledger.add(work.path, before[work.path], work.outputs, [done.row])
            progress.add()

    def write_tables(self) -> None:
        """Write the summary, and one table of all objects from the images' own."""
        if not self._rows():
            return
        self.ledger.write_table([work.path for work in self.work], at_once=True)
        paths = [
            work.objects for work in self.work
            if self.ledger.rows(work.path, _made_from(work), work.outputs)
        ]  # fmt: skip
        names = [basename(work.path) for work in self.work if work.objects in set(paths)]
        join = _join_csv if self.table.suffix == ".csv" else _join_parquet
        join(self.table, paths, names)

    def _rows(self) -> list[Row]:
        return self.ledger.all_rows()

    def _fail(self, text: str, progress: Images) -> None:
        self.failed += 1
        progress.say(f"gpuseg segment: error: {text}")
        progress.add()


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
    images = expand(options.images)
    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out must be a folder, got the file {str(out)!r}")
    out.mkdir(parents=True, exist_ok=True)
    suffix = ".tif"
    labels = destinations("--out", f"{out / 'labels'}{os.sep}", images, (suffix,))
    work = [
        Work(
            path=image,
            recipe=(recipe.source, recipe.name, dict(recipe.settings)),
            channel=options.channel,
            level=options.level,
            spacing=spacing,
            labels=label,
            objects=out / ".objects" / f"{label.stem}.{options.table}",
            picture=out / "pictures" / f"{label.stem}.jpg",
        )
        for image, label in zip(images, labels, strict=True)
    ]
    return Plan(recipe, work, out, options.table)


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


def _made_from(work: Work) -> dict[str, Any]:
    """Everything that decides what an image gives, as JSON keeps it."""
    made_from = {
        "input": state_of(work.path),
        "recipe": work.recipe,
        "channel": work.channel,
        "level": work.level,
        "spacing": work.spacing,
    }
    decoded: dict[str, Any] = json.loads(json.dumps(made_from))
    return decoded


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
