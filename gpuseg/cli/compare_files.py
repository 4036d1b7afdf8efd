"""Label images on disk: which belong together, and what is in them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.cli._parser import UsageError
from gpuseg.cli.inputs import basename, is_url, natural_key, stem

if TYPE_CHECKING:
    from gpuseg.typing import Array

_SUFFIXES = (".tif", ".tiff", ".btf", ".png", ".bmp", ".jp2", ".webp", ".zarr", ".npy")
# Below this size an image is read whole: chunks would only cost time.
_WHOLE_BYTES = 1 << 28


@dataclass(frozen=True)
class Pair:
    """A prediction and its gold standard; a side that is missing says why in `problem`."""

    method: str
    image: str
    pred: str
    gold: str
    problem: str = ""


@dataclass
class Source:
    """The files that one argument names, by the key that tells which belong together."""

    word: str
    files: dict[str, str] = field(default_factory=dict)
    single: bool = False


def find_pairs(preds: Sequence[str], gold: str, match: re.Pattern[str] | None) -> list[Pair]:
    """Pairs of all predictions, in the natural order of their names.

    Raises
    ------
    UsageError
        If an argument names no label images, or two of one key.
    """
    reference = _source(gold, match)
    pairs: list[Pair] = []
    names = _methods(preds)
    for word in preds:
        source = _source(word, match)
        if source.single and reference.single:
            (image, pred), (gold_file,) = next(iter(source.files.items())), reference.files.values()
            pairs.append(Pair(names[word], image, pred, gold_file))
        else:
            pairs += _matched(names[word], source, reference)
    return pairs


def _matched(method: str, source: Source, reference: Source) -> Iterator[Pair]:
    for key in sorted(source.files.keys() | reference.files.keys(), key=natural_key):
        pred, gold = source.files.get(key, ""), reference.files.get(key, "")
        problem = ""
        # One prediction out of a folder of gold standards is a wish, not a gap.
        if not pred and source.single:
            continue
        if not pred:
            problem = f"{gold}: {source.word} has no {key!r} to compare with it"
        elif not gold:
            problem = f"{pred}: the gold standard {reference.word} has no {key!r}"
        yield Pair(method, key, pred, gold, problem)


def _methods(preds: Sequence[str]) -> dict[str, str]:
    """A name for each prediction: of its folder or file, or all of the path where that is not one.

    Raises
    ------
    UsageError
        If one is named twice.
    """
    if len(set(preds)) < len(preds):
        twice = next(word for word in preds if preds.count(word) > 1)
        raise UsageError(f"PRED {twice!r} is given twice")
    short = [stem(word) for word in preds]
    unique = len(set(short)) == len(short)
    return dict(zip(preds, short if unique else preds, strict=True))


def _source(word: str, match: re.Pattern[str] | None) -> Source:
    """Files that a file, folder or pattern names."""
    if is_url(word) or os.path.isfile(word) or _is_zarr(word):
        return Source(word, {_key(word, match): word}, single=True)
    if os.path.isdir(word):
        found = [str(Path(word) / name) for name in os.listdir(word) if not name.startswith(".")]
        found = [path for path in found if path.lower().endswith(_SUFFIXES) or _is_zarr(path)]
        what = f"the folder {word!r} holds no label images ({', '.join(_SUFFIXES)})"
    elif glob.has_magic(word):
        found, what = glob.glob(word, recursive=True), f"no file matches the pattern {word!r}"
    else:
        raise UsageError(f"there is no file or folder {word!r}")
    if not found:
        raise UsageError(what)
    source = Source(word)
    for path in sorted(found, key=natural_key):
        key = _key(path, match)
        if key in source.files:
            raise UsageError(
                f"{source.files[key]} and {path} are both {key!r}; tell them apart with --match"
            )
        source.files[key] = path
    return source


def _key(path: str, match: re.Pattern[str] | None) -> str:
    name = stem(path)
    if match is None:
        return name
    found = match.search(name)
    if found is None:
        raise UsageError(f"--match {match.pattern!r} does not match {basename(path)!r}")
    return found[1] if match.groups else found[0]


def _is_zarr(path: str) -> bool:
    return os.path.isdir(path) and any(
        os.path.exists(os.path.join(path, name)) for name in ("zarr.json", ".zgroup", ".zarray")
    )


def read_labels(path: str, *, regions: bool) -> Array:
    """Label image of a file or OME-Zarr group; `regions` makes objects of equal values or colours.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or holds no integers.
    """
    image = _squeezed(_opened(path))
    if image.dtype.kind == "f":
        raise ValueError(f"{path} holds {image.dtype}, not labels or a mask of integers")
    if regions:
        from gpuseg.measure import label

        image = _packed(image)
        image = label(image)[0]
    small = hasattr(image, "compute") and image.nbytes <= _WHOLE_BYTES
    return image.compute() if small else image


def _opened(path: str) -> Array:
    if path.lower().endswith(".npy"):
        import numpy as np

        return np.load(path, mmap_mode="r")
    if _is_zarr(path) or path.rstrip("/").endswith(".zarr"):
        from gpuseg.io._zarr_source import as_image

        image: Array = as_image(_labels_of(path), None)[0]
        return image
    from gpuseg.io.images import imread

    return imread(glob.escape(path) if os.path.exists(path) else path)


def _labels_of(path: str) -> str:
    """Path of the label image where an OME-Zarr image holds one.

    Raises
    ------
    ValueError
        If it holds several.
    """
    import zarr

    group = zarr.open(path, mode="r")
    if isinstance(group, zarr.Array) or "labels" not in group:
        return path
    attributes: Any = group["labels"].attrs.asdict()
    names = attributes.get("ome", attributes).get("labels", [])
    if len(names) != 1:
        listed = " or ".join(f"{path}/labels/{name}" for name in names) or "it lists none"
        raise ValueError(f"{path} holds {len(names)} label images; name one: {listed}")
    return f"{path.rstrip('/')}/labels/{names[0]}"


def _squeezed(image: Array) -> Array:
    """The image without leading axes of one entry: a page, a channel, a time."""
    while image.ndim > 2 and image.shape[0] == 1:
        image = image[0]
    return image


def _packed(image: Array) -> Array:
    """Colours as one number; opacity does not tell objects apart."""
    if image.ndim < 3 or image.shape[-1] not in (3, 4) or image.dtype.itemsize > 2:
        return image
    bits = 8 * image.dtype.itemsize
    wide = "int32" if bits == 8 else "int64"
    red, green, blue = (image[..., channel].astype(wide) for channel in range(3))
    packed: Array = (red << 2 * bits) | (green << bits) | blue
    return packed
