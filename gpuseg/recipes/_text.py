"""A recipe as a text that reads back as the same."""

from __future__ import annotations

import json
from typing import Any

from gpuseg.recipes._recipe import Recipe


def text_of(recipe: Recipe) -> str:
    r"""The recipe's file, or with other settings than the file's, one that has them in it.

    Examples
    --------
    >>> from gpuseg import recipes
    >>> text = recipes.load("nuclei").source
    >>> mine = recipes.parse(text, "nuclei", {"gaussian.sigma": 2.0})
    >>> print("\n".join(text_of(mine).splitlines()[:2]))
    # Recipe 'nuclei' with gaussian.sigma = 2.0
    title = "Nuclei in fluorescence: bright on dark, 2-D"
    """
    if not recipe.settings:
        return recipe.source
    changed = ", ".join(f"{key} = {_value(value)}" for key, value in recipe.settings.items())
    head = ("title", "image", "ndim", "unit", "properties")
    lines = [f"# Recipe {recipe.name!r} with {changed}"]
    lines += [f"{key} = {_value(getattr(recipe, key))}" for key in head]
    for step in recipe.steps:
        lines += ["", "[[steps]]", f"step = {_value(step.name)}"]
        lines += [f"{key} = {_value(value)}" for key, value in step.parameters.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """As TOML: like JSON but for numbers that are none."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
