"""`gpuseg sweep SLIDE --vary …`: one slide under many parameters, decoded once."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg._shared.colour_histogram import ColourHistogram, sweep
from gpuseg._shared.hsi import Parameters
from gpuseg.cli import options as shared
from gpuseg.cli._parser import UsageError
from gpuseg.cli.inputs import basename
from gpuseg.cli.progress import Progress
from gpuseg.cli.rows import negative_columns, show
from gpuseg.io.tables import Row, check_folder, check_table, write_table

if TYPE_CHECKING:
    from gpuseg.io.regions import Region

_HISTOGRAM = ".npz"

# A table of more rows than this is a slip in a step, not a question.
_MOST = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "gpuseg sweep SLIDE --vary NAME=START:STOP:STEP… [options]"
    parser.description = (
        "Count one slide under many parameters. It is decoded once, into its exact histogram of\n"
        "colours; from that each setting takes about a millisecond, and is what `gpuseg count`\n"
        "would count."
    )
    parser.add_argument(
        "slide", metavar="SLIDE", help="file, folder or URL; or a histogram that --histogram wrote"
    )
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="NAME=START:STOP:STEP",
        help="values of a parameter, STOP included, or NAME=VALUE,VALUE,…; given more than once, "
        "all combinations are counted",
    )
    parser.add_argument("--table", metavar="FILE", help="rows as .csv, .json or .parquet")
    parser.add_argument(
        "--histogram", metavar="FILE", help="keep the histogram as .npz, for further sweeps"
    )
    shared.add_parameters(parser)
    shared.add_regions(parser)
    shared.add_level(parser)
    shared.add_running(parser)


def run(options: argparse.Namespace) -> int:
    """Print or write a row for each setting and region."""
    varied = grid(options.vary)
    settings, negative = _settings(options, varied)
    regions, files = shared.regions(options)
    regions += shared.region_files(files, options.slide)
    shared.check_running(options)
    table = _checked(options, bool(regions))
    rows: list[Row] = []
    for region, histogram in _histograms(options, regions):
        named = {
            "slide": options.slide,
            "region": None if region is None else region.name,
            "classification": None if region is None else region.classification,
        }
        counted = sweep(histogram, settings, negative=negative)
        rows += [{**named, **row, **negative_columns(negative)} for row in counted]
    if table is None:
        show(rows, varied=tuple(varied))
    else:
        write_table(table, rows)
        if not options.quiet:
            print(f"gpuseg sweep: {len(rows):,} rows in {table}", file=sys.stderr)
    return 0


def _settings(
    options: argparse.Namespace, varied: dict[str, list[float]]
) -> tuple[list[Parameters], Parameters | None]:
    """Every combination, checked before the slide is opened; the last name varies fastest."""
    base, negative = shared.parameters(options)
    settings = [
        base._replace(**dict(zip(varied, values, strict=True)))
        for values in itertools.product(*varied.values())
    ]
    try:
        return [setting.validate() for setting in settings], negative
    except ValueError as error:
        raise UsageError(f"--vary: {error}") from None


def _checked(options: argparse.Namespace, has_regions: bool) -> Path | None:
    """Path of the table; everything about files that can be known before the work."""
    from_histogram = options.slide.endswith(_HISTOGRAM)
    if options.histogram is not None:
        if not options.histogram.endswith(_HISTOGRAM):
            raise UsageError(f"--histogram must end in .npz, got {options.histogram!r}")
        if has_regions or from_histogram:
            what = "regions" if has_regions else "a histogram"
            raise UsageError(f"--histogram keeps the colours of a whole slide, not of {what}")
        try:
            check_folder(Path(options.histogram))
        except OSError as error:
            raise UsageError(f"--histogram: {error}") from None
    if from_histogram and (has_regions or shared.level(options)):
        raise UsageError(
            f"regions and levels need the slide itself, got the histogram {options.slide!r}"
        )
    try:
        return None if options.table is None else check_table(options.table)
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(f"--table: {error}") from None


def _histograms(
    options: argparse.Namespace, regions: list[Any]
) -> list[tuple[Region | None, ColourHistogram]]:
    """Colour histogram of the slide, or of each region."""
    from gpuseg.io import open_slide
    from gpuseg.positive_pixel_count import colour_histogram

    if options.slide.endswith(_HISTOGRAM):
        return [(None, ColourHistogram.load(options.slide))]
    level = shared.level(options)
    show_progress = options.progress and not options.quiet
    with (
        open_slide(options.slide, on_error=options.on_error, **level) as slide,
        Progress(1, show=show_progress) as progress,
    ):
        if slide.dtype != "uint8":
            raise ValueError(f"{slide.path}: sweeps are of uint8 slides, got {slide.dtype}")
        progress.slide(basename(options.slide))
        found = colour_histogram(
            slide,
            regions=regions or None,
            on_error=options.on_error,
            scheduler=options.scheduler,
            workers=options.workers,
            progress=progress.update,
        )
    if regions:
        return list(found)
    if options.histogram is not None:
        found.save(options.histogram)
    return [(None, found)]


def parse_vary(text: str) -> tuple[str, list[float]]:
    """Name and values of one `--vary`.

    Raises
    ------
    UsageError
        If the name is no parameter, or the values are no range and no list.

    Examples
    --------
    >>> parse_vary("hue_width=0.05:0.2:0.05")
    ('hue_width', [0.05, 0.1, 0.15, 0.2])
    >>> parse_vary("hue-value=0.05,0.83")
    ('hue_value', [0.05, 0.83])
    """
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in Parameters._fields:
        raise UsageError(
            f"--vary must be NAME=START:STOP:STEP or NAME=VALUE,…, with NAME one of "
            f"{', '.join(Parameters._fields)}; got {text!r}"
        )
    try:
        if ":" in values:
            return name, _range(text, *(Decimal(word) for word in values.split(":")))
        return name, [float(Decimal(word)) for word in values.split(",")]
    except (InvalidOperation, TypeError):
        raise UsageError(
            f"--vary must be NAME=START:STOP:STEP or NAME=VALUE,…, got {text!r}"
        ) from None


def _range(text: str, start: Decimal, stop: Decimal, step: Decimal) -> list[float]:
    """From start to stop, which is included, in decimal: 0.1 + 0.05 is 0.15."""
    if not all(value.is_finite() for value in (start, stop, step)) or step <= 0 or stop < start:
        raise UsageError(f"--vary needs STOP of at least START and STEP above 0, got {text!r}")
    count = int((stop - start) / step) + 1
    if count > _MOST:
        raise UsageError(f"--vary makes {count:,} values, more than {_MOST:,}: {text!r}")
    return [float(start + index * step) for index in range(count)]


def grid(words: list[str]) -> dict[str, list[float]]:
    """Values of every varied parameter.

    Raises
    ------
    UsageError
        If one is varied twice, or there are too many combinations.
    """
    varied: dict[str, list[float]] = {}
    for text in words:
        name, values = parse_vary(text)
        if name in varied:
            raise UsageError(f"--vary names {name} twice, the second time as {text!r}")
        varied[name] = values
    count = math.prod(len(values) for values in varied.values())
    if count > _MOST:
        raise UsageError(f"--vary makes {count:,} settings, more than {_MOST:,}")
    return varied
