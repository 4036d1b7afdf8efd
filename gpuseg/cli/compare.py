"""`gpuseg compare PRED… GOLD`: label images on disk against a gold standard."""

from __future__ import annotations

import argparse
import difflib
import math
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from gpuseg.cli._parser import UsageError
from gpuseg.cli.compare_batch import Batch, finite, metrics
from gpuseg.cli.compare_files import find_pairs
from gpuseg.cli.compare_rows import Scored, compiled, grouping, held_out, show, summary
from gpuseg.cli.progress import Images
from gpuseg.io._lock import locked
from gpuseg.io.tables import Row, check_table, write_table

_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "gpuseg compare PRED… GOLD [options]"
    parser.description = (
        "Compare label images with a gold standard: matches at thresholds of intersection over\n"
        "union, Dice, Rand indices, variation of information, SEG, splits and merges, counts."
    )
    parser.epilog = (
        "Files of two folders belong together if their names without suffix are equal, or what\n"
        "--match finds in them. A missing partner, like any pair that fails, is reported; the\n"
        "others go on, and the exit code is 1. Several PRED are methods, told apart by name.\n"
        "With --table, run the same command again to go on: pairs that are in the table are not\n"
        "compared again unless their files, or what is compared, have changed."
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PRED… GOLD",
        help="label images: files, folders, quoted patterns; TIFF, PNG, NumPy, Zarr, OME-Zarr",
    )  # fmt: skip
    _add_reading(parser)
    _add_groups(parser)
    _add_outputs(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is compared")
    group.add_argument(
        "--regions", choices=("pred", "gold", "both"),
        help="there, objects are connected regions of equal value or colour, as in masks and in "
        "BBBC039's coloured PNG; otherwise pixels of one value are one object",
    )  # fmt: skip
    group.add_argument(
        "--match", metavar="REGEX", help="part of a name that pairs have in common (first group)"
    )
    group.add_argument("--thresholds", default="", metavar="X,X…", help="default: 0.5,0.55,…,0.95")
    group.add_argument(
        "--sizes", default="", metavar="N,N…", help="also count missed objects by size in pixels"
    )
    group.add_argument(
        "--surfaces", action="store_true", help="also distances between matched objects' surfaces"
    )
    group.add_argument(
        "--spacing", default="", metavar="X[,X…]", help="pixel size for --surfaces (default: 1)"
    )


def _add_groups(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "experiments", "Images of one experiment are alike: methods are judged by leaving one out."
    )
    group.add_argument(
        "--group", metavar="REGEX", help="experiment, in the path of the gold standard (or of PRED)"
    )
    group.add_argument("--group-table", metavar="FILE", help=".csv with a column 'image'")
    group.add_argument("--group-column", metavar="NAME", help="its column (default: group)")
    group.add_argument(
        "--score", default="ap", metavar="COLUMN", help="by which methods are chosen (default: ap)"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is written", "As .csv, .json or .parquet.")
    group.add_argument("--table", metavar="FILE", help="a row for each pair")
    group.add_argument("--summary", metavar="FILE", help="a row for each method and experiment")
    group.add_argument("--held-out", metavar="FILE", help="a row for each experiment left out")
    group.add_argument("--quiet", action="store_true", help="print errors only")


def run(options: argparse.Namespace) -> int:
    """Compare what isn't compared yet; 1 if a pair failed or lacks a partner, 130 if stopped."""
    if len(options.paths) < 2:
        raise UsageError(f"a prediction and a gold standard are needed, got {options.paths[0]!r}")
    outputs = {
        name: _checked(name, getattr(options, name)) for name in ("table", "summary", "held_out")
    }
    settings = _settings(options)
    _check_together(options)
    group_of = grouping(options.group, options.group_table, options.group_column or "group")
    _check_score(options.score, settings)
    match = None if options.match is None else compiled("--match", options.match)
    pairs = find_pairs(options.paths[:-1], options.paths[-1], match)
    table = outputs["table"]
    with nullcontext() if table is None else locked(table):
        batch = Batch(pairs, group_of, settings, table)
        return _compared(batch, options, outputs)


def _compared(batch: Batch, options: argparse.Namespace, outputs: dict[str, Path | None]) -> int:
    stopped = False
    with Images(len(batch.pairs), show=not options.quiet, what="pairs") as progress:
        try:
            batch.look(progress)
            batch.compare(progress)
        except KeyboardInterrupt:
            stopped = True
        finally:
            batch.write_table()
    problem = _write(options, outputs, batch.scored, stopped) if batch.scored else ""
    if problem:
        print(f"gpuseg compare: error: {problem}", file=sys.stderr)
    if not options.quiet or stopped or batch.failed:
        print(f"gpuseg compare: {_said(batch, stopped, outputs['table'])}", file=sys.stderr)
    if stopped:
        return _INTERRUPTED
    return 1 if batch.failed or problem else 0


def _said(batch: Batch, stopped: bool, table: Path | None) -> str:
    parts = [f"{batch.compared:,} compared"]
    if batch.kept:
        parts.append(f"{batch.kept:,} already compared")
    if batch.failed:
        parts.append(f"{batch.failed:,} failed")
    total = len(batch.pairs)
    text = f"{total:,} pair{'s' * (total != 1)}: {', '.join(parts)}"
    if not stopped:
        return text
    how = "With --table it could be gone on with."
    return f"stopped. {text}. " + (how if table is None else "Run the same command again to go on.")


def _check_together(options: argparse.Namespace) -> None:
    """Refuse options that would have no effect without another one.

    Raises
    ------
    UsageError
    """
    if options.spacing and not options.surfaces:
        raise UsageError(f"--spacing needs --surfaces, got {options.spacing!r}")
    if options.group_column is not None and options.group_table is None:
        raise UsageError(f"--group-column needs --group-table, got {options.group_column!r}")
    if options.held_out is not None and options.group is None and options.group_table is None:
        raise UsageError(f"--held-out needs --group or --group-table, got {options.held_out!r}")


def _checked(name: str, path: str | None) -> Path | None:
    try:
        return None if path is None else check_table(path)
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(f"--{name.replace('_', '-')}: {error}") from None


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What every pair is compared by.

    Raises
    ------
    UsageError
        If a list of numbers is none, or a number is out of range.
    """
    thresholds = _numbers("--thresholds", options.thresholds)
    sizes = _numbers("--sizes", options.sizes)
    spacing = _numbers("--spacing", options.spacing)
    if not all(0 < x <= 1 for x in thresholds):
        raise UsageError(f"--thresholds must be above 0 and at most 1, got {options.thresholds!r}")
    if sorted(set(sizes)) != sizes:
        raise UsageError(f"--sizes must increase, got {options.sizes!r}")
    if not all(0 < x < math.inf for x in spacing):
        raise UsageError(f"--spacing must be above 0, got {options.spacing!r}")
    return {
        "regions": options.regions,
        "thresholds": thresholds,
        "sizes": sizes,
        "surfaces": options.surfaces,
        "spacing": spacing[0] if len(spacing) == 1 else spacing or None,
    }


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")] if text else []
    except ValueError:
        raise UsageError(f"{option} must be numbers with commas, got {text!r}") from None


def _check_score(score: str, settings: dict[str, Any]) -> None:
    """Refuse a column that no row will have.

    Raises
    ------
    UsageError
    """
    import numpy as np

    from gpuseg.compare import compare_labels

    nothing = np.zeros((1, 1), np.uint8)
    spacing = settings | {"spacing": None}
    known = metrics(nothing, nothing, compare_labels(nothing, nothing), spacing)
    if score not in known:
        near = difflib.get_close_matches(score, known, 3) or list(known)[:6]
        raise UsageError(f"--score must be a column such as {', '.join(near)}, got {score!r}")


def _write(
    options: argparse.Namespace,
    outputs: dict[str, Path | None],
    scored: list[Scored],
    stopped: bool,
) -> str:
    """Write or print the rows of pairs, of groups, and of groups held out; returns what failed.

    Of a run that was stopped there are the pairs alone: a summary would be of some of them.
    """
    parts: dict[str, list[Row]] = {"table": [one.row for one in scored]}
    if not stopped:
        wide = sys.stdout.isatty() and not options.quiet
        grouped = any(one.group for one in scored)
        if outputs["summary"] or (wide and (grouped or len(scored) > 1)):
            parts["summary"] = [finite(row) for row in summary(scored)]
        if outputs["held_out"] or (wide and grouped):
            parts["held_out"] = [finite(row) for row in held_out(scored, options.score)]
    if outputs["held_out"] and not stopped and not parts["held_out"]:
        return f"--held-out needs two experiments, found only {scored[0].group!r}"
    for name, rows in parts.items():
        path = outputs[name]
        if path is None and not options.quiet and rows:
            show(rows)
        elif path is not None and name != "table":  # which the ledger has written
            write_table(path, rows)
    return ""
