"""`gpuseg count SLIDE…`: slides into a table, label images and overlays."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from gpuseg.cli import options as shared
from gpuseg.cli.batch import Batch
from gpuseg.cli.plan import Plan, make_plan
from gpuseg.cli.progress import Progress
from gpuseg.io._lock import locked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "gpuseg count SLIDE… [options]"
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
        "For several slides a folder, or a name with {stem}, which stands for the slide's name\n"
        "without suffix ({name}: with it; {parent}: the name of its folder).",
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


def run(options: argparse.Namespace) -> int:
    """Count what isn't counted yet; 1 if a slide failed, 130 if stopped by Ctrl-C."""
    work = make_plan(options)
    with nullcontext() if work.table is None else locked(work.table):
        return _counted(work, options)


def _counted(work: Plan, options: argparse.Namespace) -> int:
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
