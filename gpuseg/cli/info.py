"""`gpuseg info SLIDE…`: what is in a slide."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from gpuseg.cli._parser import EXPECTED, reason
from gpuseg.cli.inputs import expand


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = "Say what is in slides: size, levels, pixel size, properties."
    parser.add_argument("slides", nargs="+", metavar="SLIDE", help="file, folder, URL or pattern")
    parser.add_argument("--json", action="store_true", help="print an array of JSON objects")


def run(options: argparse.Namespace) -> int:
    """Print what is in each slide; 1 if one could not be opened."""
    slides = expand(options.slides)
    facts = []
    failed = 0
    for name in slides:
        try:
            found, text = _facts(name)
        except EXPECTED as error:
            failed += 1
            print(f"gpuseg info: error: {reason(name, error)}", file=sys.stderr)
            continue
        facts.append(found)
        if not options.json:
            print(text)
    if options.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    return 1 if failed else 0


def _facts(name: str) -> tuple[dict[str, Any], str]:
    """All that is known of a slide, and the same as text."""
    from gpuseg.io import open_slide

    # What is in a truncated slide may be just what one wants to see.
    with open_slide(name, on_error="skip") as slide:
        lines = [
            str(slide),
            *(f"  {key}: {' '.join(value.split())}" for key, value in slide.properties.items()),
        ]
        facts = {
            "path": name,
            "width": slide.shape[1],
            "height": slide.shape[0],
            "channels": slide.shape[2],
            "dtype": str(slide.dtype),
            "format": slide.format,
            "codec": slide.codec,
            "mpp": slide.mpp,
            "magnification": slide.magnification,
            "levels": [_level(level) for level in slide.levels],
            "properties": slide.properties,
        }
        return facts, "\n".join(lines)


def _level(level: Any) -> dict[str, Any]:
    (height, width), (tile_height, tile_width) = level.shape, level.tile
    return {
        "width": width,
        "height": height,
        "downsample": level.downsample,
        "mpp": level.mpp,
        "tile_width": tile_width,
        "tile_height": tile_height,
    }
