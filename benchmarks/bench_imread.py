"""Reading many images: building the array, and computing it, beside dask-image and Dask."""

from __future__ import annotations

import glob
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array.image
import dask_image.imread
import numpy as np
import simplejpeg
import tifffile
from skimage.data import immunohistochemistry

from benchmarks._harness import Row, compare
from gpuseg._backend import threads
from gpuseg.io import imread

_JPEG, _TIFF = (192, 256, 3), (520, 696)


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    rows = []
    for count in (5,) if quick else (20, 200, 500):
        size = f"{count} JPEGs {_JPEG[0]}×{_JPEG[1]}"
        rows += _rows(_write_jpegs, "jpg", _decode, count, size, repeats)
    count = 3 if quick else 200
    size = f"{count} TIFF files {_TIFF[0]}×{_TIFF[1]}"
    return rows + _rows(_write_tiffs, "tif", tifffile.imread, count, size, repeats)


def _rows(
    write: Callable[[Path, int], None],
    suffix: str,
    decode: Callable[[str], Any],
    count: int,
    size: str,
    repeats: int,
) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # dask-image's reader warns for each image; printing that would be its slowest part.
        warnings.simplefilter("ignore")
        write(Path(folder), count)
        pattern = f"{folder}/*.{suffix}"
        readers: dict[str, Callable[[], Any]] = {
            "gpuseg": lambda: imread(pattern),
            "dask-image": lambda: dask_image.imread.imread(pattern),
            "Dask": lambda: dask.array.image.imread(pattern),
        }
        listing = {"directory listing": lambda: sorted(glob.glob(pattern))}
        built = compare(
            "imread, building the array",
            readers | listing,
            size=size,
            repeats=8 * repeats,
            goal=10 if count == 500 else None,
        )
        with (
            ThreadPoolExecutor(threads()) as pool,
            dask.config.set(scheduler="threads", pool=None, num_workers=threads()),
        ):
            decoders = {
                "bare decoder": lambda: np.stack(
                    list(pool.map(decode, sorted(glob.glob(pattern))))
                ),
                "bare decoder, a list": lambda: list(pool.map(decode, sorted(glob.glob(pattern)))),
            }
            computed = compare(
                "imread, computing it",
                {who: lambda read=read: read().compute() for who, read in readers.items()}
                | decoders,
                size=size,
                unit_count=count,
                unit="images",
                repeats=repeats,
                check=_equal,
                goal=2.5 if count == 500 else None,
            )
    return [built, computed]


def _write_jpegs(folder: Path, count: int) -> None:
    tissue = immunohistochemistry()
    rng = np.random.default_rng(0)
    for number in range(count):
        top, left = (int(rng.integers(0, 512 - side)) for side in _JPEG[:2])
        crop = np.ascontiguousarray(tissue[top : top + _JPEG[0], left : left + _JPEG[1]])
        path = folder / f"image_{number:04d}.jpg"
        path.write_bytes(simplejpeg.encode_jpeg(crop, quality=90))


def _write_tiffs(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        frame = rng.integers(0, 4096, _TIFF).astype(np.uint16)
        tifffile.imwrite(folder / f"frame_{number:04d}.tif", frame)


def _decode(name: str) -> Any:
    with open(name, "rb") as file:
        return simplejpeg.decode_jpeg(file.read())


def _equal(answers: Mapping[str, Any]) -> None:
    for answer in answers.values():
        np.testing.assert_array_equal(answers["gpuseg"], np.asarray(answer))
