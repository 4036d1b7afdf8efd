"""`gpuseg recipes`: which recipes there are, and what is in one."""

from __future__ import annotations

import argparse

from gpuseg import recipes
from gpuseg.cli._parser import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's argument."""
    parser.description = (
        "List the recipes of `gpuseg segment`, or print one, to be saved, changed and used:\n"
        "gpuseg recipes nuclei > mine.toml"
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="name, or a file to check")


def run(options: argparse.Namespace) -> int:
    """Print titles, or one recipe."""
    if options.recipe is None:
        names = recipes.names()
        wide = max(map(len, names))
        for name in names:
            print(f"{name:<{wide}}  {recipes.load(name).title}")
        return 0
    try:
        print(recipes.load(options.recipe).source, end="")
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None
    return 0
