"""`gpuseg segment IMAGE…`: images into labelled objects, by a recipe."""

from __future__ import annotations

import argparse
import sys

from gpuseg.cli import options as shared
from gpuseg.cli.progress import Images
from gpuseg.cli.segment_plan import SUMMARY, Plan, make_plan
from gpuseg.io._lock import locked

_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "gpuseg segment IMAGE… --recipe RECIPE --out FOLDER [options]"
    parser.description = (
        "Find and measure the objects of images. The folder gets a label image and a picture of\n"
        "each, one table of all objects, and a summary with a row for each image."
    )
    parser.epilog = (
        "An image that fails is reported, the others go on, and the exit code is 1. Run the same\n"
        "command again to go on: images that are in the summary are not segmented again unless\n"
        "they or the recipe have changed. `gpuseg recipes` lists the recipes that there are."
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="file, folder (OME-Zarr), URL or 'pattern*.tif'"
    )
    group = parser.add_argument_group("how objects are found")
    group.add_argument(
        "--recipe", required=True, metavar="RECIPE", help="name, or a TOML file of steps"
    )
    group.add_argument(
        "--set", action="append", default=[], metavar="STEP.PARAMETER=VALUE", dest="settings",
        help="another value than the recipe's; may be given more than once",
    )  # fmt: skip
    group.add_argument("--channel", type=int, metavar="N", help="which channel, counted from 0")
    group.add_argument("--level", type=int, default=0, metavar="N", help="level of a pyramid")
    group.add_argument(
        "--spacing", metavar="Z,Y,X", help="pixel size in µm, in place of what the file says"
    )
    group.add_argument(
        "--planes", action="store_true", help="the files are the planes of one volume"
    )
    group = parser.add_argument_group("what is written")
    group.add_argument("--out", required=True, metavar="FOLDER")
    group.add_argument(
        "--table", choices=("csv", "parquet"), default="csv", help="default: %(default)s"
    )
    group = parser.add_argument_group("in which brain region (volumes)")
    group.add_argument(
        "--atlas", metavar="PATH", help="folder of a BrainGlobe atlas, or an annotation volume"
    )
    group.add_argument("--structures", metavar="FILE", help="table of structures, .csv or .json")
    group.add_argument("--atlas-spacing", metavar="Z,Y,X", help="voxel size of the atlas in µm")
    group.add_argument(
        "--affine", metavar="FILE", help="4 x 4 numbers that lead from the sample's µm to the atlas"
    )
    shared.add_workers(parser)


def run(options: argparse.Namespace) -> int:
    """Segment what isn't segmented yet; 1 if an image failed, 130 if stopped by Ctrl-C."""
    plan = make_plan(options)
    with locked(plan.out / SUMMARY):
        return _segmented(plan, options)


def _segmented(plan: Plan, options: argparse.Namespace) -> int:
    stopped = False
    with Images(len(plan.work), show=options.progress and not options.quiet) as progress:
        try:
            todo = plan.remaining(progress)
            if todo:
                from gpuseg.cluster import connect

                with connect(options.scheduler, workers=options.workers) as cluster:
                    plan.segment(todo, cluster, progress)
        except KeyboardInterrupt:
            stopped = True
        finally:
            plan.write_tables()
    if not options.quiet or stopped or plan.failed:
        print(f"gpuseg segment: {_said(plan, stopped)}", file=sys.stderr)
    if stopped:
        return _INTERRUPTED
    return 1 if plan.failed else 0


def _said(plan: Plan, stopped: bool) -> str:
    parts = [f"{plan.made} segmented"]
    if plan.kept:
        parts.append(f"{plan.kept} already there")
    if plan.failed:
        parts.append(f"{plan.failed} failed")
    text = f"{_plural(len(plan.work), 'image')}: {', '.join(parts)}; "
    text += f"{_plural(plan.objects, 'object')} in {plan.out}"
    return f"stopped. {text}. Run the same command again to go on." if stopped else text


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
