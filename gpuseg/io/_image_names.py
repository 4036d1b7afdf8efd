"""Which files a pattern, a list or a URL means: in natural order, on the axes in their names."""

from __future__ import annotations

import fnmatch
import glob
import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(://|::)")
_RUN = re.compile(r"(\d+)")
_ANY_DIGIT = str.maketrans("123456789", "000000000")


def absolute(name: str) -> str:
    """A path as any other process finds it, which may be at work in another folder."""
    return name if URL.match(name) else os.path.abspath(name)


def find(
    filename: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    options: Mapping[str, Any],
) -> tuple[list[str], bool]:
    """Names of the files, and whether there is one because one was named.

    A pattern's files are in natural order; those of a list are in the list's.

    Raises
    ------
    TypeError
        If it is neither a name nor several.
    FileNotFoundError
        If no file matches the pattern.
    ValueError
        If a list is empty.
    """
    if isinstance(filename, str | os.PathLike):
        name = os.fspath(filename)
        if not isinstance(name, str):
            raise TypeError(f"filename must be text, got {name!r}")
        return (_globbed(name, options), False) if _is_pattern(name) else ([name], True)
    if isinstance(filename, bytes) or not isinstance(filename, Iterable):
        raise TypeError(f"filename must be a path, a pattern or several paths, got {filename!r}")
    names = []
    for each in filename:
        if not isinstance(each, str | os.PathLike):
            raise TypeError(f"filename must hold paths, got one of {type(each).__name__}")
        names.append(os.fspath(each))
    if not names:
        raise ValueError("filename must name at least one file, got an empty list")
    return names, False


def _is_pattern(name: str) -> bool:
    if not glob.has_magic(name):
        return False
    # "well[1].tif" may be what a file is called; a URL's "?" may begin its query.
    if URL.match(name):
        return "*" in name or "[" in name
    return not os.path.lexists(name)


def _globbed(pattern: str, options: Mapping[str, Any]) -> list[str]:
    names = _remote(pattern, options) if URL.match(pattern) else _local(pattern)
    if not names:
        raise FileNotFoundError(f"no file matches {pattern!r}{_hint(pattern)}")
    return natural_sorted(names)


def _hint(pattern: str) -> str:
    folder = os.path.dirname(pattern)
    missing = folder and not glob.has_magic(folder) and not URL.match(pattern)
    return f": there is no folder {folder!r}" if missing and not os.path.isdir(folder) else ""


def _local(pattern: str) -> list[str]:
    """What `glob.glob` finds; for a pattern within one folder in half the time."""
    folder, last = os.path.split(pattern)
    if glob.has_magic(folder) or "**" in last:
        return glob.glob(pattern, recursive=True)
    try:
        listed = os.listdir(folder or os.curdir)
    except OSError:
        return []
    names = fnmatch.filter(listed, last)
    if not last.startswith("."):
        names = [name for name in names if name[0] != "."]
    start = pattern[: len(pattern) - len(last)]
    return [start + name for name in names]


def _remote(pattern: str, options: Mapping[str, Any]) -> list[str]:
    import fsspec

    links = pattern.split("::")
    at = next(number for number, link in enumerate(links) if glob.has_magic(link))
    try:
        filesystem, path = fsspec.core.url_to_fs(pattern, **options)
        found = filesystem.glob(path)
    except FileNotFoundError:
        return []
    except Exception as error:  # whatever the protocol's package raises
        raise OSError(f"{pattern}: {type(error).__name__}: {error}") from error
    return [
        "::".join([*links[:at], filesystem.unstrip_protocol(each), *links[at + 1 :]])
        for each in found
    ]


def natural_sorted(names: Iterable[str]) -> list[str]:
    """Names in the order of the numbers in them; equal ones as text sorts them.

    Examples
    --------
    >>> natural_sorted(["t10", "t9", "t09", "t1"])
    ['t1', 't09', 't9', 't10']
    """
    names = sorted(names)
    # Numbers of equal lengths at equal places sort as text does: no key of 500 names is made.
    if len(set("\0".join(names).translate(_ANY_DIGIT).split("\0"))) > 1:
        names.sort(key=_natural_key)
    return names


def _natural_key(name: str) -> list[Any]:
    parts: list[Any] = _RUN.split(name)
    parts[1::2] = map(int, parts[1::2])
    return parts


def on_axes(names: list[str], pattern: str) -> tuple[list[str], tuple[int, ...]]:
    """Names in C order of the axes that `pattern` finds in them, and the axes' lengths.

    The pattern is one of `tifffile.TiffSequence`, which parses the names.

    Raises
    ------
    ValueError
        If it does not match a name, or if places are left empty or taken twice.
    """
    from tifffile import parse_filenames

    try:
        axes, shape, places, _ = parse_filenames(names, pattern)
    except (ValueError, re.error) as error:
        raise ValueError(f"sequence {pattern!r} does not fit the file names: {error}") from error
    placed: dict[tuple[int, ...], str] = {}
    for place, name in zip(places, names, strict=True):
        other = placed.setdefault(place, name)
        if other is not name:
            raise ValueError(f"sequence {pattern!r} gives {other} and {name} one place, {place}")
    count = math.prod(shape)
    if count != len(names):
        missing = next(place for place in np.ndindex(*shape) if place not in placed)
        raise ValueError(
            f"sequence {pattern!r} finds axes {', '.join(axes)} of {' × '.join(map(str, shape))} "
            f"places in {len(names)} names; no file is at {missing} (counted from 0)"
        )
    return [placed[place] for place in np.ndindex(*shape)], tuple(shape)
