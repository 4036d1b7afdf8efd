"""Labels: whole images against four libraries, chunks against dask-image, merges of 10^5 chunks.

Masks are labelled from bool to int32. OpenCV runs what it chooses itself (Spaghetti with 8
neighbours, Bolelli's with 4, both parallel), on the same bytes as uint8.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
from scipy import ndimage

from benchmarks._harness import Row, compare, measure_process, row
from benchmarks._label_images import PLANES, VOLUMES
from gpuseg._backend import threads
from gpuseg.measure import label

_ROOT = Path(__file__).resolve().parent.parent


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    rows = []
    for images, side, full in ((PLANES, 8192, 2), (VOLUMES, 384, 3)):
        for name, make in images.items():
            for connectivity in (1, full):
                size = side // 32 if quick else side
                rows.append(_whole(name, make(size), connectivity, repeats))
    rows.append(_values(8192 // (32 if quick else 1), repeats))
    rows.append(_memory(256 if quick else 8192))
    # Many rounds: what a task of two milliseconds waits for its thread differs from run to run.
    for shape, chunk, connectivity, rounds in (
        ((16384, 16384), 2048, 2, 31),
        ((1024,) * 3, 256, 3, 9),
    ):
        cut = 64 if quick else 1
        small = tuple(max(4, side // cut) for side in shape)
        rows.append(_chunked(small, max(2, chunk // cut), connectivity, 1 if quick else rounds))
    if importlib.util.find_spec("dask_image") is not None:
        rows += _against_dask_image(quick)
    rows += _merges(quick)
    return rows


def _structure(ndim: int, connectivity: int) -> np.ndarray:
    return ndimage.generate_binary_structure(ndim, connectivity)


def _peers(image: np.ndarray, connectivity: int) -> dict[str, Callable[[], Any]]:
    """What each library does with a mask; SciPy first, whose numbers are ours too."""
    from skimage import measure

    structure = _structure(image.ndim, connectivity)
    peers: dict[str, Callable[[], Any]] = {
        "SciPy": lambda: ndimage.label(image, structure),
        "scikit-image": lambda: measure.label(image, connectivity=connectivity, return_num=True),
    }
    neighbours = {(2, 1): 4, (2, 2): 8, (3, 1): 6, (3, 3): 26}[image.ndim, connectivity]
    if importlib.util.find_spec("cc3d") is not None:
        import cc3d

        peers["cc3d"] = lambda: cc3d.connected_components(
            image, connectivity=neighbours, return_N=True
        )
    if image.ndim == 2 and importlib.util.find_spec("cv2") is not None:
        import cv2

        def opencv() -> tuple[np.ndarray, int]:
            found, labels = cv2.connectedComponentsWithAlgorithm(
                image.view(np.uint8), neighbours, cv2.CV_32S, cv2.CCL_DEFAULT
            )
            return labels, found - 1

        cv2.setNumThreads(threads())
        peers["OpenCV"] = opencv
    return peers


def _equal(answers: Mapping[str, Any]) -> None:
    """Ours are SciPy's labels; the others number as they like, and count the same."""
    labels, number = answers["gpuseg"]
    np.testing.assert_array_equal(labels, answers["SciPy"][0])
    assert {int(count) for _, count in answers.values()} == {number}


def _whole(name: str, image: np.ndarray, connectivity: int, repeats: int) -> Row:
    ours = {"gpuseg": partial(label, image, connectivity=connectivity)}
    neighbours = 3**image.ndim - 1 if connectivity > 1 else 2 * image.ndim
    return compare(
        f"label {name}, {neighbours} neighbours",
        {**ours, **_peers(image, connectivity)},
        size="x".join(map(str, image.shape)),
        unit_count=image.size,
        repeats=repeats,
        check=_equal,
        goal=1.0 if name == "spiral" and connectivity == 2 else 1.3,
    )


def _values(side: int, repeats: int) -> Row:
    """Integers, of which equal ones connect: tiles of 24² pixels with values 0 to 7."""
    from skimage import measure

    values = np.random.default_rng(0).integers(0, 8, (-(-side // 24),) * 2, np.uint16)
    image = np.kron(values, np.ones((24, 24), np.uint16))[:side, :side].copy()
    peers: dict[str, Callable[[], Any]] = {
        "gpuseg": partial(label, image, connectivity=2),
        "scikit-image": lambda: measure.label(image, connectivity=2, return_num=True),
    }
    if importlib.util.find_spec("cc3d") is not None:
        import cc3d

        peers["cc3d"] = lambda: cc3d.connected_components(image, connectivity=8, return_N=True)

    def check(answers: Mapping[str, Any]) -> None:
        assert len({int(count) for _, count in answers.values()}) == 1

    return compare(
        "label equal uint16 values, 8 neighbours",
        peers,
        size=f"{side}x{side}",
        unit_count=image.size,
        repeats=repeats,
        check=check,
        goal=1.3,
    )


def _memory(side: int) -> Row:
    """Peak memory of labeling random pixels, output included, above that of having the image."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/image.npy"
        np.save(file, PLANES["random 50 %"](side))
        calls = {
            "nothing": "0",
            "gpuseg": "label(image, connectivity=1)",
            "SciPy": "scipy.ndimage.label(image)",
        }
        for who, call in calls.items():
            code = (
                "import numpy as np, scipy.ndimage; from gpuseg.measure import label; "
                f"image = np.load({file!r}); label(image[:64, :64], connectivity=1); x = {call}"
            )
            peaks[who] = measure_process([sys.executable, "-c", code], repeats=1)["peak_mb"]
    added = {who: peak - peaks["nothing"] for who, peak in peaks.items() if who != "nothing"}
    per_pixel = {who: mb * 2**20 / side**2 for who, mb in added.items()}
    return row(
        "label random 50 %: memory a pixel, output included",
        per_pixel,
        size=f"{side}x{side}",
        repeats=1,
        peak_mb=added,
        measured_in="B/px",
    )


@cache
def _tiled(shape: tuple[int, ...]) -> np.ndarray:
    """Nuclei, repeated."""
    side = min(shape[0], 8192 if len(shape) == 2 else 384)
    one = PLANES["nuclei"](side) if len(shape) == 2 else VOLUMES["nuclei in space"](side)
    return np.ascontiguousarray(
        np.tile(one, [-(-size // side) for size in shape])[tuple(map(slice, shape))]
    )


def _chunked(shape: tuple[int, ...], chunk: int, connectivity: int, repeats: int) -> Row:
    """Chunks, stored one by one, against the whole image labelled twice."""
    image = _tiled(shape)
    array = da.from_array(image, chunks=chunk)
    out = np.zeros(shape, np.int32)

    def chunks() -> np.ndarray:
        labels, _ = label(array, connectivity=connectivity)
        with dask.config.set(scheduler="threads", num_workers=threads()):
            da.store(labels, out, lock=False)
        return out

    def twice() -> np.ndarray:
        label(image, connectivity=connectivity)
        return label(image, connectivity=connectivity)[0]

    def check(answers: Mapping[str, Any]) -> None:
        np.testing.assert_array_equal(*answers.values())

    return compare(
        f"label in {chunk}-chunks, against twice the whole",
        {"gpuseg": chunks, "gpuseg twice in memory": twice},
        size="x".join(map(str, shape)),
        unit_count=image.size,
        repeats=repeats,
        check=check,
        goal=0.8,
    )


def _against_dask_image(quick: bool) -> list[Row]:
    """Whole processes, one run each: dask-image takes minutes, 23 of them for the largest."""
    sizes = (
        [((256, 256), 64)]
        if quick
        else [((16384, 16384), 2048), ((512,) * 3, 128), ((1024,) * 3, 256)]
    )
    rows = []
    for shape, chunk in sizes:
        image = _tiled(shape)
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/image.npy", image)
            measured = {
                who: json.loads(
                    subprocess.run(
                        [
                            sys.executable,
                            "-m",
                            "benchmarks._label_process",
                            folder,
                            who,
                            str(chunk),
                        ],
                        cwd=_ROOT,
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                )
                for who in ("gpuseg", "dask-image")
            }
        numbers = {found["number"] for found in measured.values()}
        if len(numbers) != 1:
            raise AssertionError(f"different numbers of components: {numbers}")
        rows.append(
            row(
                f"label in {chunk}-chunks, {2 * len(shape)} neighbours",
                {who: found["seconds"] for who, found in measured.items()},
                size="x".join(map(str, shape)),
                repeats=1,
                unit_count=image.size,
                goal=50,
                peak_mb={who: found["added_mb"] for who, found in measured.items()},
            )
        )
    return rows


def _merges(quick: bool) -> list[Row]:
    """The merge alone, of chunks that were never made; cost per chunk must not grow."""
    sizes = [(3, 4, "small"), (5, 6, "small")]
    if not quick:
        sizes = [(32, 32, "nuclei"), (100, 100, "nuclei"), (316, 317, "nuclei"), (300, 300, "dots")]
    rows = []
    for rows_, columns, tile in sizes:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks._label_merge", str(rows_), str(columns), tile],
            cwd=_ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout)
        rows.append(
            row(
                f"merge {found['number']} labels of simulated chunks",
                {"gpuseg": found["seconds"]},
                size=f"{found['chunks']} chunks",
                repeats=1,
                unit_count=found["chunks"],
                unit="chunks",
                peak_mb={"gpuseg": found["peak_mb"]},
            )
        )
    return rows
