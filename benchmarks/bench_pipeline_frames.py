"""From files to a table: frames of nuclei as in Dask's blog post, and balls in a volume.

The frames are read, smoothed, thresholded by their own surroundings as large as they are, closed
and opened with the flat cross, labelled frame by frame and measured. SciPy and scikit-image take a
quarter of a second a frame, nearly all of it for the local threshold, so they do only some of the
frames, and their time is multiplied.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import tifffile
from scipy import ndimage

from benchmarks._harness import Row, measure_process, row
from gpuseg import filters, measure, morphology
from gpuseg.io import imread

_ROOT = Path(__file__).resolve().parent.parent
CROSS = ndimage.generate_binary_structure(2, 1)
PROPERTIES = ("label", "area", "intensity_mean", "intensity_sum")

Table = dict[str, Any]


def run(quick: bool) -> list[Row]:
    repeats = 1 if quick else int(os.environ.get("GPUSEG_BENCH_REPEATS", "5"))
    return [_frames(quick, repeats), _local(quick, repeats), _balls(quick, min(repeats, 3))]


def write_frames(folder: Path, count: int, shape: tuple[int, int], nuclei: int) -> None:
    """Frames of ellipses of several brightnesses on a slope, with noise."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for k in range(count):
        image = 150 + (y + x) * 0.05
        for _ in range(nuclei):
            cy, cx, turn = generator.uniform((0, 0, 0), (*shape, np.pi))
            low = [max(0, int(c) - 18) for c in (cy, cx)]
            part = np.s_[low[0] : int(cy) + 18, low[1] : int(cx) + 18]
            dy, dx = y[part] - cy, x[part] - cx
            a, b = generator.uniform(6, 14, 2)
            along, across = (
                dx * np.cos(turn) + dy * np.sin(turn),
                dy * np.cos(turn) - dx * np.sin(turn),
            )
            height = np.clip(1.3 - (along / a) ** 2 - (across / b) ** 2, 0, 1)
            image[part] = np.maximum(image[part], 200 + generator.uniform(200, 900) * height)
        noisy = image + generator.normal(0, 12, shape)
        tifffile.imwrite(folder / f"frame{k:04d}.tif", noisy.clip(0, 65535).astype(np.uint16))


def ours(pattern: str) -> Table:
    """The pipeline, in the words of its blog post."""
    images = imread(pattern)
    smoothed = filters.gaussian(images, (0, 1, 1), mode="reflect", preserve_range=True)
    above = smoothed > filters.threshold_local(smoothed, (1, *images.shape[1:]))
    mask = morphology.binary_opening(morphology.binary_closing(above, CROSS[None]), CROSS[None])
    # 1 byte and 2 a pixel: what is read twice is not computed twice.
    images, mask = dask.persist(images, mask)
    labels, _ = measure.label(mask, connectivity=1, axes=(1, 2))
    return measure.regionprops_table(labels, images, properties=PROPERTIES)


def theirs(paths: list[Path]) -> Table:
    """SciPy and scikit-image, frame by frame; labels go on."""
    from skimage import filters as skimage_filters

    parts: list[Table] = []
    before = 0
    for path in paths:
        image = tifffile.imread(path)
        smoothed = skimage_filters.gaussian(image, 1, mode="reflect", preserve_range=True)
        # scikit-image wants odd sizes; these are the deviations of the frame's own.
        sigma = [(side - 1) / 6 for side in image.shape]
        above = smoothed > skimage_filters.threshold_local(smoothed, 3, param=sigma)
        # SciPy erodes at the border unless told that there is foreground outside.
        closed = ndimage.binary_erosion(
            ndimage.binary_dilation(above, CROSS), CROSS, border_value=1
        )
        mask = ndimage.binary_dilation(ndimage.binary_erosion(closed, CROSS, border_value=1), CROSS)
        labels, number = ndimage.label(mask, CROSS)
        ids = np.arange(1, number + 1)
        parts.append(
            {
                "label": ids + before,
                "area": ndimage.sum_labels(mask, labels, ids),
                "intensity_mean": ndimage.mean(image, labels, ids),
                "intensity_sum": ndimage.sum_labels(image, labels, ids),
            }
        )
        before += number
    return {name: np.concatenate([part[name] for part in parts]) for name in PROPERTIES}


def _timed(function: Callable[[], Table]) -> tuple[float, Table]:
    start = time.perf_counter()
    found = function()
    return time.perf_counter() - start, found


def _frames(quick: bool, repeats: int) -> Row:
    count, shape, nuclei = (4, (60, 70), 4) if quick else (200, (520, 696), 74)
    some = 2 if quick else 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder, count, shape, nuclei)
        pattern, paths = f"{folder}/*.tif", sorted(folder.glob("*.tif"))
        found = ours(pattern)
        seconds = float(np.median([_timed(lambda: ours(pattern))[0] for _ in range(repeats)]))
        their_seconds, expected = _timed(lambda: theirs(paths[:some]))
    for column in PROPERTIES:
        part = found[column][: len(expected["label"])]
        np.testing.assert_allclose(part, expected[column], rtol=1e-12, err_msg=column)
    return row(
        f"read, smooth, local threshold, close, open, label, table ({len(found['label'])} nuclei)",
        {"gpuseg": seconds, f"SciPy, scikit-image ({some} frames)": their_seconds * count / some},
        size=f"{count}x{shape[0]}x{shape[1]}",
        repeats=repeats,
        unit_count=count,
        unit="frames",
        goal=40,
    )


def _local(quick: bool, repeats: int) -> Row:
    from skimage.filters import threshold_local

    side = 40 if quick else 1
    image = np.random.default_rng(0).random((520 // side, 696 // side))
    sigma = [(n - 1) / 6 for n in image.shape]
    found = filters.threshold_local(image, image.shape)
    mine = [_timed(lambda: filters.threshold_local(image, image.shape))[0] for _ in range(9)]
    their_seconds, expected = _timed(lambda: threshold_local(image, 3, param=sigma))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    return row(
        "threshold_local, Gaussian as wide as the frame",
        {"gpuseg": float(np.median(mine)), "scikit-image": their_seconds},
        size="x".join(map(str, image.shape)),
        repeats=repeats,
        unit_count=image.size,
        goal=30,
    )


def balls(shape: tuple[int, ...], count: int) -> np.ndarray:
    """Bright balls of radius 5 on a grid, so that they don't touch, in noise."""
    generator = np.random.default_rng(0)
    volume = generator.integers(80, 120, shape, np.uint16)
    spots = np.array(np.meshgrid(*(np.arange(7, n - 7, 13) for n in shape), indexing="ij"))
    spots = generator.permutation(spots.reshape(3, -1).T)[:count]
    ball = np.argwhere(np.square(np.indices((11,) * 3) - 5).sum(0) <= 25) - 5
    for step in ball:
        volume[tuple((spots + step).T)] += 1000
    return volume


def _balls(quick: bool, repeats: int) -> Row:
    """In processes of their own, whose memory is measured; a tiny volume in this one."""
    shape, count, chunk = ((40, 52, 52), 10, 26) if quick else ((256, 512, 512), 4000, 128)
    seconds, peaks = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/volume.npy", balls(shape, count))
        for who, cut in (("gpuseg", chunk), ("gpuseg, one array", 0), ("nothing", -1)):
            argv = [sys.executable, "-m", "benchmarks.bench_pipeline_frames", folder, str(cut)]
            results = [
                _balls_process(folder, cut)
                if quick
                else json.loads(subprocess.check_output(argv, cwd=_ROOT, text=True))
                for _ in range(repeats)
            ]
            if cut >= 0 and {one["objects"] for one in results} != {count}:
                raise AssertionError(f"{count} balls, found {results}")
            seconds[who] = float(np.median([one["seconds"] for one in results]))
            if not quick:
                environment = {"PYTHONPATH": str(_ROOT)}
                peaks[who] = measure_process(argv, repeats=1, environment=environment)["peak_mb"]
    del seconds["nothing"]
    return row(
        f"threshold, label, table of {count} balls in {chunk}-chunks",
        seconds,
        size="x".join(map(str, shape)),
        repeats=repeats,
        unit_count=int(np.prod(shape)),
        peak_mb={who: peak - peaks["nothing"] for who, peak in peaks.items() if who in seconds},
    )


def _balls_process(folder: str, chunk: int) -> dict[str, float]:
    """Otsu's threshold, labels and their table of a volume in a file; `chunk` 0: in one array."""
    import dask.array as da

    volume = np.load(f"{folder}/volume.npy", mmap_mode="r")
    corner = volume[:32, :32, :32]

    def table(image: Any) -> Table:
        labels, _ = measure.label(image > filters.threshold_otsu(image), connectivity=1)
        return measure.regionprops_table(labels, image, properties=("label", "area", "centroid"))

    table(np.array(corner))
    if chunk < 0:
        return {"seconds": 0.0, "objects": 0}
    start = time.perf_counter()
    found = table(da.from_array(volume, chunks=chunk) if chunk else np.array(volume))
    return {"seconds": time.perf_counter() - start, "objects": len(found["label"])}


if __name__ == "__main__":
    print(json.dumps(_balls_process(sys.argv[1], int(sys.argv[2]))))
