"""A checked command line of `gpuseg count`: all that can be known before a slide is opened."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg._shared.hsi import Parameters
from gpuseg.cli import options as shared
from gpuseg.cli._parser import UsageError
from gpuseg.cli.inputs import destinations, expand
from gpuseg.cli.ledger import content_of, state_of
from gpuseg.io.tables import check_table

_LABELS = (".zarr", ".tif", ".tiff")
_PICTURES = (".png", ".jpg", ".jpeg")


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


def make_plan(options: argparse.Namespace) -> Plan:
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
            refuse_foreign("--labels", path)
    if options.overlay is not None:
        overlays = destinations("--overlay", options.overlay, slides, _PICTURES)
    tasks = [Task(*each) for each in zip(slides, labels, overlays, strict=True)]
    return Plan(tasks, table, params, negative, regions, files, level, options.on_error)


def refuse_foreign(option: str, labels: Path) -> None:
    """Refuse to write labels over anything that isn't a label image.

    Raises
    ------
    UsageError
    """
    if labels.name.lower().endswith((".ome.tif", ".ome.tiff")):
        raise UsageError(f"{option} writes no OME-TIFF; name it .tif or .zarr, got {str(labels)!r}")
    if not labels.exists():
        return
    from gpuseg.io.label_pyramid import fingerprint_of

    if fingerprint_of(labels) is None:
        raise UsageError(
            f"{option}: {str(labels)!r} exists and is no label image of gpuseg; move it away"
        )
