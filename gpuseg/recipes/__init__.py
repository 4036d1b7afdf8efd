"""Recipes: from an image to labelled objects in named steps, kept in a small text file.

A recipe is a TOML file of steps and their parameters, in the words of the functions that they call.
`load` reads and checks it whole before any image is touched; `Recipe.segment` runs it on one image,
in memory or chunked.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from gpuseg.recipes._parse import RecipeError, parse
from gpuseg.recipes._recipe import Recipe

__all__ = ["Recipe", "RecipeError", "load", "names", "parse"]


def names() -> list[str]:
    """Names of the recipes that gpuseg ships.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from gpuseg import recipes
    >>> recipes.names()
    ['blood_smear', 'cells_3d', 'ihc_nuclei', 'nuclei']
    """
    files = (Path(file.name) for file in resources.files(__name__).iterdir())
    return sorted(file.stem for file in files if file.suffix == ".toml")


def load(recipe: str | os.PathLike[str]) -> Recipe:
    """Read a recipe and check its steps and parameters.

    Parameters
    ----------
    recipe : str or path
        One of `names()`, or a TOML file.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If a step or parameter is unknown (the nearest one is named), a value is of the wrong type,
        or a step needs what no step before it makes.
    FileNotFoundError
        If it is neither a name nor a file.

    Examples
    --------
    >>> from gpuseg import recipes
    >>> print(recipes.load("nuclei").title)
    Nuclei in fluorescence: bright on dark, 2-D
    """
    text = os.fspath(recipe)
    if text in names():
        return parse((resources.files(__name__) / f"{text}.toml").read_text("utf-8"), text)
    path = Path(text)
    if not path.is_file():
        raise FileNotFoundError(
            f"recipe must be a TOML file or one of {', '.join(names())}, got {text!r}"
        )
    try:
        return parse(path.read_text("utf-8"), path.stem)
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {text!r} is no text in UTF-8: {error}") from None
