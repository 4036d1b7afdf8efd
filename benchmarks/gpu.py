"""Kernels on a GPU against its own copy bandwidth and against other libraries.

`python -m benchmarks.gpu` writes `results/gpu-<device>.json` and `.md`; `ci/gpu.sh` calls it. Times
are CUDA events around whole calls, and around each kernel; buffers rotate, so that no input is
still in the cache; medians of repeats after a warm-up; copy bandwidth is measured in the same run,
reads and writes both counted.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import statistics
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import cupy
import numpy as np
from cupyx.scipy import ndimage as cupyx_ndimage

from gpuseg import measure, morphology, segmentation
from gpuseg import positive_pixel_count as ppc
from gpuseg._backend import implementation
from gpuseg._cuda import _source

RESULTS = Path(__file__).parent / "results"
PARAMS = ppc.Parameters(hue_value=0.05)
REPEATS = 11
# Inputs of a case together exceed every cache by far.
ROTATE = 3
CUCIM = importlib.util.find_spec("cucim") is not None


def main(side: int = 16384) -> int:
    """Measure all, write what there is after each part; 1 where a part failed."""
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    device = properties["name"].decode()
    bandwidth = copy_bandwidth(side * side * 4)
    result: dict[str, Any] = {
        "device": device,
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "cupy": cupy.__version__,
        "copy_gb_s": bandwidth / 1e9,
        "skipped": [] if CUCIM else ["cuCIM (not installed)"],
        "rows": [],
    }
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    failed = 0
    for part in (hsi_rows, label_rows, small_rows, edt_rows, watershed_rows, region_rows):
        try:
            result["rows"] += part(bandwidth, side)
        except Exception as error:
            # The other parts are worth having: a small device lacks memory for some.
            traceback.print_exc()
            result["skipped"].append(f"{part.__name__} ({type(error).__name__}: {error})")
            failed = 1
        cupy.get_default_memory_pool().free_all_blocks()
        (RESULTS / f"gpu-{slug}.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / f"gpu-{slug}.md").write_text(page(result))
    print(page(result))
    return failed


def seconds(run: Callable[[Any], Any], inputs: Sequence[Any], repeats: int = REPEATS) -> float:
    """Median time on the device of `run(input)`, inputs taken in turn."""
    turn = cycle(inputs)
    for _ in range(2):
        run(next(turn))
    times = []
    for _ in range(repeats):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        argument = next(turn)
        start.record()
        run(argument)
        stop.record()
        stop.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, stop) / 1e3)
    return statistics.median(times)


def copy_bandwidth(size: int) -> float:
    """Bytes read and written per second by a copy of `size` bytes within the device."""
    source = cupy.zeros(size, cupy.uint8)
    targets = [cupy.empty_like(source) for _ in range(ROTATE)]
    return 2 * source.nbytes / seconds(lambda target: cupy.copyto(target, source), targets)


@contextmanager
def kernel_events() -> Iterator[dict[str, list[float]]]:
    """Times of each kernel that launchers start meanwhile, in seconds."""
    original, pending = _source._kernel, []

    def timed(build: _source.Build, name: str) -> Callable[..., None]:
        kernel = original(build, name)

        def launch(*arguments: Any, **options: Any) -> None:
            start, stop = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            kernel(*arguments, **options)
            stop.record()
            pending.append((name, start, stop))

        return launch

    times: dict[str, list[float]] = defaultdict(list)
    _source._kernel = timed
    try:
        yield times
    finally:
        _source._kernel = original
        cupy.cuda.Device().synchronize()
        for name, start, stop in pending:
            times[name].append(cupy.cuda.get_elapsed_time(start, stop) / 1e3)


def kernels_of(run: Callable[[Any], Any], inputs: Sequence[Any]) -> dict[str, float]:
    """Seconds a call that each kernel takes, the median of three calls."""
    run(inputs[0])
    calls = []
    for argument in inputs[:3]:
        with kernel_events() as times:
            run(argument)
        calls.append({name: sum(values) for name, values in times.items()})
    return {name: statistics.median(call.get(name, 0.0) for call in calls) for name in calls[0]}


def hsi_rows(bandwidth: float, side: int) -> list[dict[str, Any]]:
    rng = cupy.random.default_rng(0)
    images = [
        rng.integers(0, 256, (side, side, 3), dtype=cupy.uint8, endpoint=False)
        for _ in range(ROTATE)
    ]
    crop = images[0][:512, :512]
    expected, labels = ppc.count_image(crop.get(), PARAMS)
    answer, on_device = ppc.count_image(crop, PARAMS)
    assert answer == expected
    assert (on_device.get() == labels).all()

    def ours(image: Any) -> Any:
        return ppc.count_image(image, PARAMS)

    parts = kernels_of(ours, images)
    whole = seconds(ours, images)
    plain = seconds(plain_hsi, [image[: side // 8] for image in images], 3) * 8
    moved = 4 * side * side
    return [
        row("HSI count with labels", f"{side}² uint8 RGB", whole, moved, bandwidth,
            {"CuPy expressions": plain}, parts, goal=0.85)
    ]  # fmt: skip


def plain_hsi(image: Any) -> Any:
    """What a user writes with CuPy's own expressions (float32)."""
    red, green, blue = (image[..., channel].astype(cupy.float32) / 255 for channel in range(3))
    intensity = (red + green + blue) / 3
    low = cupy.minimum(cupy.minimum(red, green), blue)
    saturation = cupy.where(intensity > 0, 1 - low / cupy.maximum(intensity, 1e-10), 0)
    hue = cupy.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * np.pi) % 1
    positive = (
        (abs((hue - PARAMS.hue_value + 0.5) % 1 - 0.5) <= PARAMS.hue_width / 2)
        & (saturation >= PARAMS.saturation_minimum)
        & (intensity < PARAMS.intensity_upper_limit)
        & (intensity >= PARAMS.intensity_lower_limit)
    )
    weak = positive & (intensity >= PARAMS.intensity_weak_threshold)
    strong = positive & (intensity < PARAMS.intensity_strong_threshold)
    labels = positive * cupy.where(weak, 1, cupy.where(strong, 3, 2)).astype(cupy.uint8)
    return labels, weak.sum(), strong.sum(), positive.sum(), (intensity * positive).sum()


def masks(side: int) -> dict[str, Any]:
    """Images that labeling is judged by, the ordinary ones first."""
    rng = cupy.random.default_rng(0)
    smooth = cupyx_ndimage.gaussian_filter(
        rng.standard_normal((side // 4, side // 4), dtype=cupy.float32), 3
    )
    nuclei = cupy.kron(smooth > 0.06, cupy.ones((4, 4), bool))
    line = cupy.arange(side)
    turns = min(side, 1024)
    spiral = cupy.asarray(_spiral(turns))
    return {
        "nuclei-like": nuclei,
        "random 50 %": rng.random((side, side), dtype=cupy.float32) < 0.5,
        "comb": cupy.broadcast_to(line % 2 == 0, (side, side)).copy() | (line == side - 1)[:, None],
        "checkerboard": (line[:, None] + line) % 2 == 0,
        "spiral": cupy.tile(spiral, (side // turns, side // turns)),
    }


def _spiral(side: int) -> np.ndarray:
    """One arm, two pixels from turn to turn."""
    rows, columns = np.mgrid[:side, :side]
    ring = np.minimum(np.minimum(rows, columns), np.minimum(side - 1 - rows, side - 1 - columns))
    arm = ring % 2 == 0
    arm[(rows == columns + 1) & (rows < side // 2)] = (ring % 2 == 1)[
        (rows == columns + 1) & (rows < side // 2)
    ]
    return arm


def label_rows(bandwidth: float, side: int) -> list[dict[str, Any]]:
    rows = []
    goals = {"nuclei-like": 0.35, "random 50 %": 0.14}
    for name, mask in masks(side).items():
        rows.append(label_row(f"label, {name}", mask, bandwidth, goals.get(name)))
        cupy.get_default_memory_pool().free_all_blocks()
    rng = cupy.random.default_rng(1)
    depth = max(32, side * 3 // 64)
    volume = cupyx_ndimage.gaussian_filter(rng.standard_normal((depth,) * 3, dtype=cupy.float32), 3)
    rows.append(label_row("label 3-D, nuclei-like", volume > 0.02, bandwidth, 0.18))
    return rows


def label_row(name: str, mask: Any, bandwidth: float, goal: float | None) -> dict[str, Any]:
    structure = np.ones((3,) * mask.ndim, int)
    small = mask[tuple(slice(0, 200) for _ in mask.shape)]
    labels, number = measure.label(small)
    expected, count = measure.label(small.get())
    assert int(number) == count
    assert (labels.get() == expected).all()
    inputs = [mask.view(cupy.uint8).copy() for _ in range(ROTATE)]
    peers = {
        "cupyx.scipy.ndimage": seconds(
            lambda image: cupyx_ndimage.label(image, structure), inputs[:2], 3
        )
    }
    if CUCIM:
        from cucim.skimage import measure as cucim_measure

        peers["cuCIM"] = seconds(
            lambda image: cucim_measure.label(image, return_num=True), inputs[:2], 3
        )
    engine = implementation(inputs[0], "label")
    parts = kernels_of(lambda image: engine.label(image, mask.ndim), inputs)
    whole = seconds(measure.label, inputs)
    # 1 byte read and 4 written; what the passes between move is theirs to save.
    size = "×".join(map(str, mask.shape))
    return row(name, size, whole, 5 * mask.size, bandwidth, peers, parts, goal)


def small_rows(bandwidth: float, side: int) -> list[dict[str, Any]]:
    """A small image from Python, host time included, as a loop over many sees it."""
    small = side // 16
    mask = cupy.random.default_rng(2).random((small, small)) < 0.1
    times = []
    for _ in range(20 * REPEATS):
        start = time.perf_counter()
        measure.label(mask)
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - start)
    return [{"name": "label, from Python", "size": f"{small}×{small}",
             "seconds": statistics.median(times), "goal_seconds": 60e-6}]  # fmt: skip


def edt_rows(bandwidth: float, side: int) -> list[dict[str, Any]]:
    """Distances, and labels grown by 10 pixels, of nuclei; half the side, as they are float64."""
    mask = masks(side // 2)["nuclei-like"]
    small = mask[:300, :200]
    distances = morphology.distance_transform_edt(small)
    assert (distances.get() == morphology.distance_transform_edt(small.get())).all()
    inputs = [mask.copy() for _ in range(ROTATE)]
    peers = {}
    peer = getattr(cupyx_ndimage, "distance_transform_edt", None)
    if peer is not None:
        peers["cupyx.scipy.ndimage"] = seconds(lambda image: peer(image), inputs[:2], 3)
    size = "×".join(map(str, mask.shape))
    ours = morphology.distance_transform_edt
    # A byte read, a double written; labels are read and written as int32.
    rows = [
        row("distance_transform_edt, nuclei-like", size, seconds(ours, inputs), 9 * mask.size,
            bandwidth, peers, kernels_of(ours, inputs), None)
    ]  # fmt: skip
    labels = [measure.label(image)[0] for image in inputs]
    peers = {}
    if CUCIM:
        from cucim.skimage import segmentation as cucim_segmentation

        peers["cuCIM"] = seconds(
            lambda image: cucim_segmentation.expand_labels(image, 10), labels, 3
        )

    def grow(image: Any) -> Any:
        return segmentation.expand_labels(image, 10)

    assert (grow(labels[0][:300, :200]).get() == grow(labels[0][:300, :200].get())).all()
    return [
        *rows,
        row("expand_labels by 10, nuclei-like", size, seconds(grow, labels), 8 * mask.size,
            bandwidth, peers, kernels_of(grow, labels), None)
    ]  # fmt: skip


def watershed_rows(bandwidth: float, side: int) -> list[dict[str, Any]]:
    """Nuclei that touch, flooded from their middles; no other library has one on a GPU."""
    mask = masks(side // 4)["nuclei-like"]
    distance = morphology.distance_transform_edt(mask)
    depth = 255 - cupy.minimum(distance * 8, 255).astype(cupy.uint8)
    markers, _ = measure.label(distance > 6)
    small = (slice(0, 200),) * 2
    found = segmentation.watershed(depth[small], markers[small], mask=mask[small])
    image, labels, inside = (array[small].get() for array in (depth, markers, mask))
    assert (found.get() == segmentation.watershed(image, labels, mask=inside)).all()

    def flood(given: Any) -> Any:
        return segmentation.watershed(given, markers, mask=mask)

    inputs = [depth.copy() for _ in range(ROTATE)]
    size = "×".join(map(str, mask.shape))
    # Image and mask of a byte, markers and labels of four.
    return [
        row("watershed, nuclei-like", size, seconds(flood, inputs, 5), 10 * mask.size,
            bandwidth, {}, kernels_of(flood, inputs), None)
    ]  # fmt: skip


def region_rows(bandwidth: float, side: int) -> list[dict[str, Any]]:
    """A table of area, box, centroid and intensities of nuclei in a uint8 image."""
    labels, _ = measure.label(masks(side // 2)["nuclei-like"])
    image = cupy.random.default_rng(3).integers(0, 256, labels.shape, dtype=cupy.uint8)
    names = ("label", "area", "bbox", "centroid", "intensity_mean", "intensity_max")

    def table(given: Any) -> Any:
        return measure.regionprops_table(given, image, properties=names)

    inputs = [labels.copy() for _ in range(ROTATE)]
    peers = {}
    if CUCIM:
        from cucim.skimage import measure as cucim_measure

        peers["cuCIM"] = seconds(
            lambda given: cucim_measure.regionprops_table(given, image, properties=names), inputs, 1
        )
    size = "×".join(map(str, labels.shape))
    return [
        row("regionprops_table, nuclei-like", size, seconds(table, inputs, 5), 5 * labels.size,
            bandwidth, peers, kernels_of(table, inputs), None)
    ]  # fmt: skip


def row(
    name: str,
    size: str,
    whole: float,
    moved: int,
    bandwidth: float,
    peers: dict[str, float],
    kernels: dict[str, float],
    goal: float | None,
) -> dict[str, Any]:
    return {
        "name": name,
        "size": size,
        "seconds": whole,
        "gb_s": moved / whole / 1e9,
        "of_copy": moved / whole / bandwidth,
        "kernels": kernels,
        "kernels_of_copy": moved / sum(kernels.values()) / bandwidth if kernels else None,
        "ratio": {peer: time / whole for peer, time in peers.items()},
        "goal": goal,
    }


def page(result: dict[str, Any]) -> str:
    """Markdown table of a result."""
    lines = [
        f"# {result['device']}",
        "",
        f"Copy within the device: {result['copy_gb_s']:.0f} GB/s, measured in the same run. GB/s "
        "count the bytes that the answer needs (image read once, result written once). Ratio: how "
        "many times longer the other library takes.",
        *(f"Skipped: {what}." for what in result["skipped"]),
        "",
        "| what | size | ms | GB/s | of copy | kernels alone | goal | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in result["rows"]:
        if "gb_s" not in one:
            lines.append(
                f"| {one['name']} | {one['size']} | {one['seconds'] * 1e3:.3f} | | | "
                f"| {one['goal_seconds'] * 1e3:.3f} ms | |"
            )
            continue
        ratios = ", ".join(f"{peer} {ratio:.1f}" for peer, ratio in one["ratio"].items())
        alone = one["kernels_of_copy"]
        lines.append(
            f"| {one['name']} | {one['size']} | {one['seconds'] * 1e3:.3f} | {one['gb_s']:.0f} "
            f"| {one['of_copy']:.2f} | {'' if alone is None else f'{alone:.2f}'} "
            f"| {one['goal'] or ''} | {ratios} |"
        )
    lines += ["", "Time of each kernel, ms:", ""]
    lines += [
        f"- {one['name']}: " + ", ".join(f"{k} {v * 1e3:.3f}" for k, v in one["kernels"].items())
        for one in result["rows"]
        if one.get("kernels")
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
