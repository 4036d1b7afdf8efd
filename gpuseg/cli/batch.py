"""The slides of one `gpuseg count`, one after the other, each remembered before the next."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.cli import options as shared
from gpuseg.cli._parser import EXPECTED, reason
from gpuseg.cli.inputs import basename
from gpuseg.cli.ledger import Ledger, state_of
from gpuseg.cli.plan import Plan, Task
from gpuseg.cli.progress import Progress
from gpuseg.cli.rows import row, show
from gpuseg.io.tables import Row

if TYPE_CHECKING:
    from gpuseg.cluster import Cluster
    from gpuseg.io.slides import Slide

_INTERRUPTED = 130


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
            kept = self.plan.table is not None or any(task.outputs for task in self.plan.tasks)
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
    with (
        open_slide(task.slide, on_error=plan.on_error, **plan.level) as slide,
        _label_file(task) as labels,
    ):
        shared.check_dtype(slide, plan.params)
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


@contextmanager
def _label_file(task: Task) -> Iterator[Path | None]:
    """Where the labels go: to the file that is wanted, or to one that only the overlay needs.

    That one lies beside the overlay, so that it fits where the overlay does. It stays when the
    work is interrupted, to be gone on with.
    """
    if task.overlay is None:
        yield task.labels
        return
    labels = task.overlay.with_name(f"{task.overlay.name}.labels.zarr")
    partial = labels.with_name(f"{labels.name}.partial")
    if task.labels is not None:
        yield task.labels
        shutil.rmtree(partial, ignore_errors=True)  # of a run that wanted the overlay alone
        return
    try:
        yield labels
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(labels, ignore_errors=True)


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
