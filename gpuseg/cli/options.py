"""Options that several commands share, and the checks that come before any work."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from gpuseg._shared.hsi import Parameters, rule_for
from gpuseg.cli._parser import UsageError
from gpuseg.cli.inputs import fill, is_url

if TYPE_CHECKING:
    from gpuseg.io.slides import Slide

_HELP = {
    "hue_value": "centre of the positive hue, 0 to 1 (red 0, green 1/3, blue 2/3)",
    "hue_width": "full width of the hue range, which wraps around",
    "saturation_minimum": "least saturation of a positive pixel, 0 to 1",
    "intensity_upper_limit": "at and above it a pixel is negative",
    "intensity_weak_threshold": "positive pixels at and above it are weak",
    "intensity_strong_threshold": "positive pixels below it are strong",
    "intensity_lower_limit": "below it a pixel is negative",
}

# HistomicsTK's tutorial counts DAB with hue 0.05. Aperio's algorithm v9 (its user's guide) has
# intensities of 0 to 255, and counts every stained pixel of another colour as negative.
_APERIO = Parameters(0.1, 0.5, 0.04, 220 / 255, 175 / 255, 100 / 255, 0.0)
PRESETS: dict[str, tuple[Parameters, Parameters | None]] = {
    "histomicstk": (Parameters(), None),
    "dab": (Parameters(hue_value=0.05), None),
    "aperio": (_APERIO, _APERIO._replace(hue_width=1.0, saturation_minimum=0.0)),
}


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add `--preset`, an option for each field of `Parameters`, and the same for counterstain."""
    group = parser.add_argument_group("what is positive")
    group.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default="histomicstk",
        help="values that the options below start from: HistomicsTK's defaults (hue 0.83), its "
        "tutorial's for DAB (hue 0.05), or Aperio's v9 with its negative pixels "
        "(default: %(default)s)",
    )
    for name, default in Parameters()._asdict().items():
        group.add_argument(
            _flag(name), type=float, metavar="X", help=f"{_HELP[name]} (default: {default:g})"
        )
    group = parser.add_argument_group(
        "what is counterstained",
        "With any of these, pixels that are not positive and meet them are counted as well\n"
        "(NumberNegative, Positivity).",
    )
    for name in Parameters._fields:
        group.add_argument(_flag(f"negative_{name}"), type=float, metavar="X")


def parameters(options: argparse.Namespace) -> tuple[Parameters, Parameters | None]:
    """Validated parameters and, where asked for, those of the counterstain.

    Raises
    ------
    UsageError
        With the rule that is broken and the value.
    """
    positive, negative = PRESETS[options.preset]
    positive = _validated(positive._replace(**_given(options, "")), "")
    given = _given(options, "negative_")
    if negative is not None or given:
        negative = _validated((negative or Parameters())._replace(**given), "negative_")
    return positive, negative


def check_dtype(slide: Slide, params: Parameters) -> None:
    """Check that pixels of the slide's type can be counted, before any is read.

    Raises
    ------
    ValueError
        Naming the slide and its type.
    """
    try:
        rule_for(slide.dtype, params)
    except TypeError as error:
        raise ValueError(f"{slide.path}: {error}") from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _given(options: argparse.Namespace, prefix: str) -> dict[str, float]:
    values = {name: getattr(options, prefix + name) for name in Parameters._fields}
    return {name: value for name, value in values.items() if value is not None}


def _validated(params: Parameters, prefix: str) -> Parameters:
    try:
        return params.validate()
    except ValueError as error:
        message = str(error)
        for name in Parameters._fields:
            message = message.replace(name, _flag(prefix + name))
        raise UsageError(message) from None


def add_level(parser: argparse.ArgumentParser) -> None:
    """Add `--level`, `--mpp` and `--magnification`, of which one may be given."""
    group = parser.add_argument_group("which resolution").add_mutually_exclusive_group()
    group.add_argument("--level", type=int, metavar="N", help="level of the pyramid (default: 0)")
    group.add_argument("--mpp", type=float, metavar="X", help="level with X µm per pixel")
    group.add_argument("--magnification", type=float, metavar="X", help="level with X-fold")


def level(options: argparse.Namespace) -> dict[str, float]:
    """The resolution asked for, as arguments of `open_slide`.

    Raises
    ------
    UsageError
        If a level is negative, or a resolution not above 0.
    """
    if options.level is not None and options.level < 0:
        raise UsageError(f"--level must be at least 0, got {options.level}")
    for name in ("mpp", "magnification"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{name} must be above 0, got {value:g}")
    named = ("level", "mpp", "magnification")
    return {name: getattr(options, name) for name in named if getattr(options, name) is not None}


def add_regions(parser: argparse.ArgumentParser) -> None:
    """Add `--regions` (files) and `--region` (in words)."""
    group = parser.add_argument_group("where", "Without these, the whole slide.")
    group.add_argument(
        "--regions",
        action="append",
        default=[],
        metavar="FILE",
        help="annotations: .geojson or .json (QuPath, HistomicsUI), .xml (ASAP); a row of the "
        "table for each; {stem} in the name stands for the slide's, so that each slide has its "
        "own file; may be given more than once",
    )
    group.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="REGION",
        help="left,top,width,height in full-resolution pixels, a polygon x,y,x,y,x,y,x,y,…, or "
        "words such as left=1,top=2,width=3,height=4,units=mm,name=tumor; may be given more than "
        "once",
    )


def regions(options: argparse.Namespace) -> tuple[list[Any], list[str]]:
    """Regions in words, parsed, and the templates of region files.

    Raises
    ------
    UsageError
        If a region is no list of numbers and no `name=value` words or can be in no slide, or a
        file does not exist.
    """
    for file in options.regions:
        if "{" not in file and not is_url(file) and not os.path.isfile(file):
            raise UsageError(f"--regions must be a file, got {file!r}")
    parsed = [parse_region(text) for text in options.region]
    for spec in parsed:
        check_region(spec)
    return parsed, list(options.regions)


def check_region(spec: Any) -> None:
    """Refuse what is no region in any slide, by one so large and so fine that it holds them all.

    What depends on the slide's size is left to each slide.
    """
    from gpuseg.io.regions import as_regions

    try:
        as_regions(spec, slide_shape=(1 << 51, 1 << 51), mpp=1e-6, magnification=1e6)
    except (ValueError, TypeError) as error:
        if "the slide" not in str(error):
            raise UsageError(f"--region: {error}") from None


def region_files(templates: list[str], slide: str) -> list[str]:
    """Region files of one slide."""
    return [fill(template, slide) for template in templates]


def parse_region(text: str) -> Any:
    """One `--region`: a list of numbers, or a dictionary.

    Examples
    --------
    >>> parse_region("10, 20, 30, 40")
    [10.0, 20.0, 30.0, 40.0]
    >>> parse_region("left=0.5,units=mm,name=tumor 1")
    {'left': 0.5, 'units': 'mm', 'name': 'tumor 1'}
    """
    words = [word.strip() for word in text.split(",")]
    if all("=" in word for word in words):
        named = dict(word.split("=", 1) for word in words)
        return {key: _number(value) for key, value in named.items()}
    numbers = [_number(word) for word in text.replace(",", " ").split()]
    if not numbers or any(isinstance(number, str) for number in numbers):
        raise UsageError(
            "--region must be numbers (left,top,width,height) or words (left=…,top=…), "
            f"got {text!r}"
        )
    return numbers


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add `--on-error` to what `add_workers` adds."""
    add_workers(parser).add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="an unreadable tile fails the slide, or is left out and counted in the column "
        "PixelsUnreadable (default: %(default)s)",
    )


def add_workers(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add `--scheduler`, `--workers`, `--progress` and `--quiet`; returns their group."""
    group = parser.add_argument_group("how it runs")
    group.add_argument(
        "--scheduler",
        metavar="WHERE",
        help="'processes', 'cuda' (a worker for each GPU), or a running Dask scheduler's address "
        "or file; default: threads of this process. The numbers are the same everywhere.",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="threads, processes or GPUs (default: all)"
    )
    group.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a bar on a terminal, else a line every few seconds",
    )
    group.add_argument(
        "--quiet", action="store_true", help="say nothing but errors and what was asked for"
    )
    return group


def check_running(options: argparse.Namespace) -> None:
    """Check `--scheduler` and `--workers`.

    Raises
    ------
    UsageError
    """
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers must be at least 1, got {options.workers}")
    named = options.scheduler
    if named is None or named in ("processes", "cuda"):
        return
    if not is_url(named) and not named.endswith(".json"):
        raise UsageError(
            "--scheduler must be 'processes', 'cuda', an address such as tcp://host:8786 or a "
            f"scheduler file (.json), got {named!r}"
        )
    if options.workers is not None:
        raise UsageError(f"--workers cannot be set for a running scheduler, got {options.workers}")
