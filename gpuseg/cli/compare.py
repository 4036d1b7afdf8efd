"""`gpuseg compare PRED… GOLD`: label images on disk against a gold standard."""

from __future__ import annotations

import argparse
import difflib
import math
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.cli._parser import EXPECTED, UsageError, reason
from gpuseg.cli.compare_files import Pair, find_pairs, read_labels
from gpuseg.cli.compare_rows import Scored, compiled, grouping, held_out, show, summary
from gpuseg.cli.progress import Images
from gpuseg.io.tables import Row, check_table, write_table

if TYPE_CHECKING:
    from gpuseg.compare import Comparison
    from gpuseg.typing import Array


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
        "others go on, and the exit code is 1. Several PRED are methods, told apart by name."
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
    group.add_argument(
        "--group-column", default="group", metavar="NAME", help="its column (default: %(default)s)"
    )
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
    """Compare all pairs; 1 if one of them failed or has no partner."""
    if len(options.paths) < 2:
        raise UsageError(f"a prediction and a gold standard are needed, got {options.paths[0]!r}")
    outputs = {
        name: _checked(name, getattr(options, name)) for name in ("table", "summary", "held_out")
    }
    settings = _settings(options)
    group_of = grouping(options.group, options.group_table, options.group_column)
    _check_score(options.score, settings)
    match = None if options.match is None else compiled("--match", options.match)
    pairs = find_pairs(options.paths[:-1], options.paths[-1], match)
    scored = []
    with Images(len(pairs), show=not options.quiet) as progress:
        for pair in pairs:
            found = _reported(pair, group_of, settings, progress.say)
            scored += [found] if found else []
            progress.add()
    failed = len(pairs) - len(scored)
    if scored:
        _write(options, outputs, scored)
    if not options.quiet or failed:
        text = f"{len(pairs):,} pair{'s' * (len(pairs) != 1)}: {len(scored):,} compared"
        print(f"gpuseg compare: {text}{f', {failed:,} failed' if failed else ''}", file=sys.stderr)
    return 1 if failed else 0


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


def _reported(
    pair: Pair,
    group_of: Callable[[Pair], str],
    settings: dict[str, Any],
    say: Callable[[str], None],
) -> Scored | None:
    """The pair compared; None, and a message, if that fails."""
    if pair.problem:
        say(f"gpuseg compare: error: {pair.problem}")
        return None
    try:
        return _compare(pair, group_of(pair), settings)
    except (*EXPECTED, TypeError) as error:
        say(f"gpuseg compare: error: {reason(pair.pred, error)}")
    except Exception as error:  # a defect, of ours or of a decoder: the others go on as well
        say("".join(traceback.format_exception(error)).rstrip())
        say(f"gpuseg compare: error: {reason(pair.pred, error)} (a defect)")
    return None


def _compare(pair: Pair, group: str, settings: dict[str, Any]) -> Scored:
    from gpuseg.compare import compare_labels

    regions = settings["regions"]
    gold = read_labels(pair.gold, regions=regions in ("gold", "both"))
    pred = read_labels(pair.pred, regions=regions in ("pred", "both"))
    if gold.shape != pred.shape:
        hint = ""
        if not regions and {3, 4} & {gold.shape[-1], pred.shape[-1]}:
            hint = "; if colours tell objects apart, say --regions"
        raise ValueError(f"{pair.pred} has shape {pred.shape}, {pair.gold} {gold.shape}{hint}")
    found = compare_labels(gold, pred)
    names = {"method": pair.method, "image": pair.image, "group": group}
    columns = {**names, "pred": pair.pred, "gold": pair.gold}
    return Scored(pair, group, found, {**columns, **_metrics(gold, pred, found, settings)})


def _metrics(
    gold: Array, pred: Array, found: Comparison, settings: dict[str, Any]
) -> dict[str, int | float]:
    """All columns of numbers."""
    from gpuseg.compare import THRESHOLDS, surface_distances

    row = found.to_dict(settings["thresholds"] or THRESHOLDS)
    if settings["sizes"]:
        for lower, upper, n_true, missed in found.missed_by_size(settings["sizes"]):
            span = f"{lower:g}_{upper:g}"
            row |= {f"n_true_{span}": n_true, f"missed_{span}": missed}
    if settings["surfaces"]:
        distances = surface_distances(gold, pred, spacing=settings["spacing"])
        for name in ("hausdorff", "hausdorff_95", "average"):
            values = getattr(distances, name)
            named = "average_surface_distance" if name == "average" else name
            row[named] = float(values.mean()) if values.size else math.nan
    return row


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
    known = _metrics(nothing, nothing, compare_labels(nothing, nothing), spacing)
    if score not in known:
        near = difflib.get_close_matches(score, known, 3) or list(known)[:6]
        raise UsageError(f"--score must be a column such as {', '.join(near)}, got {score!r}")


def _write(
    options: argparse.Namespace, outputs: dict[str, Path | None], scored: list[Scored]
) -> None:
    """Write or print the rows of pairs, of groups, and of groups held out."""
    parts: dict[str, list[Row]] = {
        "table": [one.row for one in scored],
        "summary": summary(scored),
        "held_out": held_out(scored, options.score),
    }
    grouped = any(one.group for one in scored)
    for name, rows in parts.items():
        path = outputs[name]
        if path is not None:
            write_table(path, rows)
        elif not options.quiet and rows:
            # The table is what a pipe wants; the rest is for people.
            told = name == "table" or (sys.stdout.isatty() and (grouped or len(scored) > 1))
            if told:
                show(rows)
