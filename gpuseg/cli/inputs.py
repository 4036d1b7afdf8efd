"""Which slides a command line names, and where their outputs go."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gpuseg.cli._parser import UsageError

_SUFFIXES = re.compile(r"(\.ome)?\.(zarr|tiff?|btf)(\.zip)?$|\.[^.]+$", re.IGNORECASE)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `slide10` after `slide9`.

    Examples
    --------
    >>> sorted(["s10.svs", "s9.svs", "S1.svs"], key=natural_key)
    ['S1.svs', 's9.svs', 's10.svs']
    """
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts if p]


def expand(words: Sequence[str]) -> list[str]:
    """Slides that paths, URLs and glob patterns name, each once, as it is spelt first.

    A pattern is expanded here where the shell didn't: it was quoted, or the shell never does.

    Raises
    ------
    UsageError
        If a pattern matches nothing.
    """
    slides: list[str] = []
    for word in words:
        if is_url(word) or os.path.exists(word) or not glob.has_magic(word):
            slides.append(word)
            continue
        found = sorted(glob.glob(word, recursive=True), key=natural_key)
        if not found:
            raise UsageError(f"no file matches the pattern {word!r}")
        slides.extend(found)
    spelt: dict[str, str] = {}
    for slide in slides:
        spelt.setdefault(slide_key(slide), slide)
    return list(spelt.values())


def slide_key(slide: str) -> str:
    """What a slide is known by: its absolute path, or its URL.

    Two links to one file are two slides: a study may well name its slides anew by links.
    """
    return slide if is_url(slide) else os.path.abspath(slide)


def is_url(slide: str) -> bool:
    """Whether it names something elsewhere, such as `https://…` or `s3://…`."""
    return "://" in slide


def stem(slide: str) -> str:
    """Name of a slide without folder and suffix.

    Examples
    --------
    >>> stem("study/CMU-1.ome.tif"), stem("https://host/a/6001240.zarr/?v=1"), stem("s.2.svs")
    ('CMU-1', '6001240', 's.2')
    """
    name = basename(slide)
    return _SUFFIXES.sub("", name) or name


def basename(slide: str) -> str:
    """Name of a slide without its folder."""
    path = urlsplit(slide).path if is_url(slide) else slide
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def fill(template: str, slide: str) -> str:
    """Template with `{stem}`, `{name}` (with suffix) and `{parent}` (the folder's) filled in."""
    if is_url(slide):
        parent = urlsplit(slide).path.rstrip("/").rpartition("/")[0].rpartition("/")[2]
    else:
        parent = Path(slide).absolute().parent.name
    words = {"{stem}": stem(slide), "{name}": basename(slide), "{parent}": parent}
    return re.sub(r"\{(stem|name|parent)\}", lambda found: words[found[0]], template)


def destinations(
    option: str,
    template: str,
    slides: Sequence[str],
    suffixes: Sequence[str],
    *,
    apart: str = "tell them apart with {parent} or {name}, as in '{parent}-{name}'",
) -> list[Path]:
    """Where each slide's output goes.

    Parameters
    ----------
    option : str
        For messages, such as "--labels".
    template : str
        A file name, for one slide; a folder, or a name with `{stem}`, for any number. Into a
        folder files go as `{stem}` with the first of `suffixes`.
    slides : sequence of str
    suffixes : sequence of str
        Suffixes that the output may have.
    apart : str
        What to do about slides of one name.

    Returns
    -------
    paths : list of Path
        One for each slide, all different.

    Raises
    ------
    UsageError
        If several slides would share an output, an output is a slide, a suffix is unknown, or a
        folder does not exist or can't be written to.
    """
    is_folder = template.endswith(("/", os.sep)) or (
        os.path.isdir(template) and not template.rstrip("/").endswith(tuple(suffixes))
    )
    if is_folder:
        template = os.path.join(template, "{stem}" + suffixes[0])
    if not template.lower().endswith(tuple(suffixes)):
        raise UsageError(f"{option} must end in {_either(suffixes)}, got {template!r}")
    if len(slides) > 1 and not re.search(r"\{(stem|name)\}", template):
        raise UsageError(
            f"{option} must be a folder or have {{stem}} in its name for {len(slides)} slides, "
            f"got {template!r}"
        )
    paths = [Path(fill(template, slide)) for slide in slides]
    _check_distinct(option, paths, slides, apart)
    for folder in {path.parent for path in paths}:
        _check_folder(option, folder, is_folder)
    return paths


def _check_folder(option: str, folder: Path, made: bool) -> None:
    """Refuse a folder that does not exist, unless it is made, or that can't be written to."""
    if not made and not folder.is_dir():
        raise UsageError(f"the folder of {option} does not exist: {str(folder)!r}")
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError(f"the folder of {option} cannot be written to: {str(folder)!r}")


def _check_distinct(option: str, paths: Sequence[Path], slides: Sequence[str], apart: str) -> None:
    inputs = {os.path.realpath(slide) for slide in slides if not is_url(slide)}
    first: dict[str, str] = {}
    for path, slide in zip(paths, slides, strict=True):
        real = os.path.realpath(path)
        if real in inputs:
            raise UsageError(f"{option} would write over the slide {str(path)!r}")
        if real in first:
            raise UsageError(
                f"{option} would write {str(path)!r} for both {first[real]!r} and {slide!r}; "
                f"{apart}"
            )
        first[real] = slide


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
