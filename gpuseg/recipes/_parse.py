"""From a TOML text to a checked recipe: whatever is wrong is said before any image is touched."""

from __future__ import annotations

import difflib
import inspect
import math
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gpuseg._shared.region_columns import PROPERTIES
from gpuseg.recipes import steps as shelf
from gpuseg.recipes._recipe import Recipe, Step

_HEAD = {"title": str, "image": ("grey", "rgb"), "ndim": (2, 3), "unit": ("pixel", "um")}
_SIZES = (
    *("sigma", "low_sigma", "high_sigma", "radius", "distance", "window", "max_size", "min_size"),
    *("depth", "brightness", "ratio", "scale", "connectivity", "index"),
)


class RecipeError(ValueError):
    """A recipe that can't be run, with the place and the reason."""


def parse(text: str, name: str, settings: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe's text.

    Parameters
    ----------
    text : str
        TOML.
    name : str
        For messages and tables.
    settings : mapping, optional
        Other values, as in ``{"split.depth": 1.0}``; a step of a name that occurs more than once is
        named by its number, as in ``{"6.contrast": 0.4}``.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        As `load`.

    Examples
    --------
    >>> from gpuseg import recipes
    >>> text = recipes.load("nuclei").source
    >>> recipes.parse(text, "mine", {"split.depth": 1.0}).steps[7].parameters["depth"]
    1.0
    >>> recipes.parse(text, "mine", {"split.dept": 1.0})
    Traceback (most recent call last):
    gpuseg.recipes._parse.RecipeError: recipe 'mine', step 8 (split): unknown parameter 'dept'; did
    you mean 'depth'?
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {name!r} is no TOML: {error}") from None
    _known(document, (*_HEAD, "steps", "properties"), f"recipe {name!r}", "entry")
    head = {key: _head(document, key, name) for key in _HEAD}
    entries = document.get("steps", [])
    if not entries:
        raise RecipeError(f"recipe {name!r} has no [[steps]]")
    for key, value in (settings or {}).items():
        _set(entries, key, value, f"recipe {name!r}")
    steps, made = [], ["image"]
    for number, entry in enumerate(entries, 1):
        step = _step(entry, f"recipe {name!r}, step {number}", made)
        steps.append(step)
        made.append(step.makes)
    if "labels" not in made:
        raise RecipeError(f"recipe {name!r} must end in labels: add a step 'label' or 'split'")
    properties = document.get("properties", ["area", "centroid", "intensity_mean"])
    for wanted in properties:
        _known([wanted], PROPERTIES, f"recipe {name!r}", "property")
    return Recipe(
        name=name,
        steps=tuple(steps),
        properties=tuple(properties),
        source=text,
        settings=dict(settings or {}),
        **head,
    )


def _set(entries: Sequence[dict[str, Any]], key: str, value: Any, where: str) -> None:
    step, _, parameter = key.partition(".")
    names = [str(entry.get("step")) for entry in entries]
    if step.isdecimal() and 1 <= int(step) <= len(entries):
        number = int(step) - 1
    else:
        _known([step], names, where, "step")
        if names.count(step) > 1:
            numbers = " or ".join(str(n) for n, name in enumerate(names, 1) if name == step)
            raise RecipeError(f"{where} has several steps {step!r}: name it by number, {numbers}")
        number = names.index(step)
    entries[number][parameter] = value


def _head(document: Mapping[str, Any], key: str, name: str) -> Any:
    allowed = _HEAD[key]
    value = document.get(key, "pixel" if key == "unit" else None)
    if isinstance(allowed, tuple) and value not in allowed:
        words = " or ".join(map(repr, allowed))
        raise RecipeError(f"recipe {name!r}: {key} must be {words}, got {value!r}")
    if allowed is str and not isinstance(value, str):
        raise RecipeError(f"recipe {name!r}: {key} must be a text, got {value!r}")
    return value


def _step(entry: Mapping[str, Any], where: str, made: Sequence[str]) -> Step:
    parameters = dict(entry)
    name = parameters.pop("step", None)
    if not isinstance(name, str):
        raise RecipeError(f"{where} must name its function, as in step = 'label', got {name!r}")
    _known([name], shelf.__all__, where, "step")
    function: Callable[..., Any] = getattr(shelf, name)
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    where = f"{where} ({name})"
    named = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    takes = tuple(p for p in signature.parameters if p not in named)
    _known(parameters, named, where, "parameter")
    for key, value in parameters.items():
        if not _fits(value, hints[key]):
            raise RecipeError(f"{where}: {key} must be {_words(hints[key])}, got {value!r}")
        each = value if isinstance(value, list) else [value]
        if key in _SIZES and not all(0 <= size < math.inf for size in each):
            raise RecipeError(f"{where}: {key} must be at least 0, got {value!r}")
    for key in named:
        if key not in parameters and signature.parameters[key].default is inspect.Parameter.empty:
            raise RecipeError(f"{where} needs the parameter {key!r}")
    for wanted in takes:
        if wanted not in made:
            raise RecipeError(f"{where} takes {wanted}, which no step before it makes")
    (makes,) = hints["return"].__metadata__
    return Step(name, function, takes, makes, types.MappingProxyType(parameters))


def _known(found: Iterable[str], known: Iterable[str], where: str, what: str) -> None:
    names = list(known)
    for name in found:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"
            raise RecipeError(f"{where}: unknown {what} {name!r}{hint}")


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list) and all(_fits(each, get_args(hint)[0]) for each in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_words(part) for part in get_args(hint) if part is not type(None))
    if origin is not None:
        return f"a list of {_words(get_args(hint)[0]).removeprefix('a ')}s"
    return {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}[hint]
