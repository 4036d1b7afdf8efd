"""`gpuseg count SLIDE…`: slides into a table, label images and overlays."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg._hsi import Parameters
from gpuseg.cli import options as shared
from gpuseg.cli._parser import EXPECTED, UsageError, reason
from gpuseg.cli.inputs import basename, destinations, expand
from gpuseg.cli.ledger import Ledger, content_of, state_of
from gpuseg.cli.progress import Progress
from gpuseg.cli.rows import row, show
from gpuseg.io.tables import Row, check_table

if TYPE_CHECKING:
    from gpuseg.cluster import Cluster
    from gpuseg.io.slides import Slide

_LABELS = (".zarr", ".tif", ".tiff")
_PICTURES = (".png", ".jpg", ".jpeg")
_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Count positive pixels of slides. The answers are HistomicsTK's, and do not depend on\n"
        "what computes them."
    )
    parser.epilog = (
        "A slide that fails is reported, the others go on, and the exit code is 1. Run the same\n"
        "command again to go on: slides that are in the table are not counted again unless they,\n"
        "their regions or the parameters have changed."
    )
    parser.add_argument(
        "slides", nargs="+", metavar="SLIDE", help="file, folder (OME-Zarr), URL or 'pattern*.svs'"
    )
    group = parser.add_argument_group(
        "what is written",
        "For several slides a folder, or a name with {stem} (and {parent}, the slide's folder).",
    )
    group.add_argument("--table", metavar="FILE", help="rows as .csv, .json or .parquet")
    group.add_argument(
        "--labels", metavar="FILE", help="label image: .zarr (OME-Zarr) or .tif (pyramid, palette)"
    )
    group.add_argument("--overlay", metavar="FILE", help="picture to look at: .png or .jpg")
    shared.add_parameters(parser)
    shared.add_regions(parser)
    shared.add_level(parser)
    shared.add_running(parser)


@dataclass(frozen=True)
class Task:
    """One slide and what is written about it."""

    slide: str
    labels: Path | None
    overlay: Path | None

    @property
    def outputs(self) -> list[Path]:
        """Files that are wanted."""
        return [path for path in (self.labels, self.overlay) if path is not None]


@dataclass(frozen=True)
class Plan:
    """A checked command line."""

    tasks: list[Task]
    table: Path | None
    params: Parameters
    negative: Parameters | None
    regions: list[Any]
    region_files: list[str]
    level: dict[str, float]
    on_error: Any

    def made_from(self, task: Task) -> dict[str, Any]:
        """Everything that decides a slide's rows, as JSON keeps it."""
        files = shared.region_files(self.region_files, task.slide)
        made_from = {
            "input": state_of(task.slide),
            "parameters": self.params,
            "negative": self.negative,
            "regions": self.regions,
            "region_files": list(content_of(files).values()),
            "level": self.level,
            "on_error": self.on_error,
        }
        decoded: dict[str, Any] = json.loads(json.dumps(made_from))
        return decoded


def plan(options: argparse.Namespace) -> Plan:
    """Check everything that can be checked without opening a slide.

    Raises
    ------
    UsageError
        With the rule that is broken and the value.
    """
    params, negative = shared.parameters(options)
    regions, files = shared.regions(options)
    shared.check_running(options)
    level = shared.level(options)
    slides = expand(options.slides)
    table = None
    if options.table is not None:
        try:
            table = check_table(options.table)
        except (ValueError, OSError, ImportError) as error:
            raise UsageError(f"--table: {error}") from None
    labels: list[Path] | list[None] = [None] * len(slides)
    overlays: list[Path] | list[None] = [None] * len(slides)
    if options.labels is not None:
        labels = destinations("--labels", options.labels, slides, _LABELS)
        for path in labels:
            _refuse_foreign(path)
    if options.overlay is not None:
        overlays = destinations("--overlay", options.overlay, slides, _PICTURES)
    tasks = [Task(*each) for each in zip(slides, labels, overlays, strict=True)]
    return Plan(tasks, table, params, negative, regions, files, level, options.on_error)


def _refuse_foreign(labels: Path) -> None:
    """Refuse to write labels over anything that isn't a label image."""
    if labels.name.lower().endswith((".ome.tif", ".ome.tiff")):
        raise UsageError(f"--labels writes no OME-TIFF; name it .tif or .zarr, got {str(labels)!r}")
    if not labels.exists():
        return
    from gpuseg.io.label_pyramid import fingerprint_of

    if fingerprint_of(labels) is None:
        raise UsageError(
            f"--labels: {str(labels)!r} exists and is no label image of gpuseg; move it away"
        )


def run(options: argparse.Namespace) -> int:
    """Count what isn't counted yet; 1 if a slide failed, 130 if stopped by Ctrl-C."""
    work = plan(options)
    batch = Batch(work, quiet=options.quiet)
    show_progress = options.progress and not options.quiet
    with Progress(len(work.tasks), show=show_progress) as progress:
        try:
            batch.look(progress)
            if batch.todo:
                from gpuseg.cluster import connect

                with connect(options.scheduler, workers=options.workers) as cluster:
                    batch.count(cluster, progress)
        except KeyboardInterrupt:
            batch.stopped = True
        finally:
            batch.write_table()
    return batch.finish()


class Batch:
    """Slides of one command: what is known, what fails, what remains."""

    def __init__(self, plan: Plan, *, quiet: bool) -> None:
        self.plan = plan
        self.quiet = quiet
        self.stopped = False
        self.ledger = None if plan.table is None else Ledger(plan.table)
        self.todo: list[tuple[Task, dict[str, Any]]] = []
        self.rows: dict[str, list[Row]] = {}
        self.counted = self.kept = self.failed = 0

    def look(self, progress: Progress) -> None:
        """Take the rows of slides that are complete; leave the others to do."""
        for task in self.plan.tasks:
            with self._reported(task, progress):
                made_from = self.plan.made_from(task)
                known = self.ledger and self.ledger.rows(task.slide, made_from, task.outputs)
                if known:
                    self.rows[task.slide] = known
                    self.kept += 1
                else:
                    self.todo.append((task, made_from))
        progress.skip(self.kept + self.failed)

    def count(self, cluster: Cluster, progress: Progress) -> None:
        """Count the slides that remain, each remembered before the next begins."""
        for task, made_from in self.todo:
            rows = None
            if self.ledger is not None:
                self.ledger.forget(task.slide)
            progress.slide(basename(task.slide))
            with self._reported(task, progress):
                found = _count(self.plan, task, cluster, progress)
                if state_of(task.slide) != made_from["input"]:
                    raise OSError(
                        f"{task.slide} changed while it was read; is it still being copied?"
                    )
                rows = found
            if rows is None:
                continue
            self.rows[task.slide] = rows
            self.counted += 1
            if self.ledger is not None:
                self.ledger.add(task.slide, made_from, task.outputs, rows)
                self.write_table(at_once=False)

    @contextmanager
    def _reported(self, task: Task, progress: Progress) -> Iterator[None]:
        """Report whatever fails about one slide, so that the others go on."""
        try:
            yield
        except EXPECTED as error:
            self.failed += 1
            progress.say(f"gpuseg count: error: {reason(task.slide, error)}")
        except Exception as error:  # a defect, of ours or of a decoder: the others go on as well
            self.failed += 1
            progress.say("".join(traceback.format_exception(error)).rstrip())
            progress.say(f"gpuseg count: error: {reason(task.slide, error)} (a defect)")

    def write_table(self, *, at_once: bool = True) -> None:
        """Write the table, if there is one."""
        if self.ledger is not None:
            self.ledger.write_table([task.slide for task in self.plan.tasks], at_once=at_once)

    def finish(self) -> int:
        """Print the rows, or where they are, and return the exit code."""
        rows = [r for task in self.plan.tasks for r in self.rows.get(task.slide, [])]
        if self.plan.table is None and rows:
            show(rows)
        if not self.quiet or self.stopped or self.failed:
            print(f"gpuseg count: {self._summary(len(rows))}", file=sys.stderr)
        if self.stopped:
            return _INTERRUPTED
        return 1 if self.failed else 0

    def _summary(self, rows: int) -> str:
        total = len(self.plan.tasks)
        parts = [f"{self.counted} counted"]
        if self.kept:
            parts.append(f"{self.kept} already counted")
        if self.failed:
            parts.append(f"{self.failed} failed")
        text = f"{_plural(total, 'slide')}: {', '.join(parts)}"
        if self.plan.table is not None and rows:
            text += f"; {_plural(rows, 'row')} in {self.plan.table}"
        if self.stopped:
            kept = self.plan.table is not None or any(task.labels for task in self.plan.tasks)
            text = f"stopped. {text}. " + (
                "Run the same command again to go on."
                if kept
                else "With --table it could be gone on with."
            )
        return text


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _count(plan: Plan, task: Task, cluster: Cluster, progress: Progress) -> list[Row]:
    """Rows of one slide, and its label image and overlay."""
    from gpuseg.io import open_slide
    from gpuseg.positive_pixel_count import count_regions

    for path in task.outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
    regions = [*plan.regions, *shared.region_files(plan.region_files, task.slide)]
    labels = task.labels
    if labels is None and task.overlay is not None:
        # Only for the picture; beside it, so that it fits where the picture does.
        labels = task.overlay.with_name(f"{task.overlay.name}.labels.zarr")
    with open_slide(task.slide, on_error=plan.on_error, **plan.level) as slide:
        counted = count_regions(
            slide,
            plan.params,
            regions or None,
            negative=plan.negative,
            on_error=plan.on_error,
            labels=labels,
            scheduler=cluster,
            progress=progress.update,
        )
        if task.overlay is not None:
            _draw(plan, task, slide, counted)
        if labels is not None and labels != task.labels:
            shutil.rmtree(labels)
        if counted.total.PixelsUnreadable:
            progress.say(
                f"gpuseg count: warning: {task.slide}: {counted.total.PixelsUnreadable:,} pixels "
                "are unreadable and left out"
            )
        pairs = counted.regions if regions else [(None, counted.total)]
        return [
            row(task.slide, slide, region, output, plan.params, plan.negative)
            for region, output in pairs
        ]


def _draw(plan: Plan, task: Task, slide: Slide, counted: Any) -> None:
    from gpuseg.report.slide import write_overlay

    assert task.overlay is not None
    write_overlay(
        task.overlay,
        slide,
        counted.labels,
        counted.total,
        plan.params,
        title=basename(task.slide),
        regions=[region for region, _ in counted.regions],
    )
