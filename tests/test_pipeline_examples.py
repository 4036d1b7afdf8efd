"""The scripts of docs/examples do what they say."""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import skimage.io
import zarr
from scipy import ndimage
from skimage.filters import gaussian, threshold_otsu

from gpuseg.cli import main
from gpuseg.pipeline import Run
from gpuseg.pipeline._scripts import read_script

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"
GPUSEG = [
    sys.executable,
    "-c",
    "import sys; from gpuseg.cli import main; sys.exit(main(sys.argv[1:]))",
]


def start(*command: object) -> subprocess.Popen:
    arguments = [*GPUSEG, *map(str, command)]
    return subprocess.Popen(arguments, stdout=-1, stderr=-1, text=True)


def scenes(folder: Path, count: int) -> None:
    """Discs on an uneven background, and which pixel belongs to which."""
    (folder / "images").mkdir()
    (folder / "references").mkdir()
    rng = np.random.default_rng(1)
    rows, columns = np.indices((160, 160))
    for n in range(count):
        labels = np.zeros((160, 160), np.uint8)
        for number in range(1, 10):
            y, x = rng.integers(12, 148, 2)
            labels[(rows - y) ** 2 + (columns - x) ** 2 < 64] = number
        image = 40 + rows // 8 + 120 * (labels > 0) + rng.normal(0, 20, labels.shape)
        image = np.clip(image, 0, 255).astype(np.uint8)
        # mahotas' example takes the first channel of a photograph.
        pixels = np.dstack([image] * 3) if n % 2 else image
        skimage.io.imsave(folder / "images" / f"{n}.png", pixels, check_contrast=False)
        skimage.io.imsave(folder / "references" / f"{n}.png", labels, check_contrast=False)


def by_scipy(image: Path, reference: Path) -> list[str]:
    """The same two methods by other means."""
    pixels, gold = skimage.io.imread(image), skimage.io.imread(reference)
    gold = gold[..., 0] if gold.ndim == 3 else gold
    pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
    found = []
    for sigma, threshold in ((2, np.mean), (4, threshold_otsu)):
        smooth = gaussian(pixels, sigma)
        labels = ndimage.label(smooth > threshold(smooth), np.ones((3, 3)))[0]
        truth, test = gold.astype(int).ravel(), labels.ravel()
        found.append(f"{rand(truth, test):.3f}")
    return found


def rand(truth: np.ndarray, test: np.ndarray) -> float:
    """Adjusted Rand index over all pixels (Hubert and Arabie 1985)."""
    table = np.histogram2d(truth, test, bins=(truth.max() + 1, test.max() + 1))[0]

    def pairs(n):
        return (n * (n - 1) / 2).sum()

    together, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / (len(truth) * (len(truth) - 1) / 2)
    return float((together - expected) / ((rows + columns) / 2 - expected))


def test_two_processes_compare_methods_and_one_is_killed(tmp_path):
    scenes(tmp_path, 8)
    folders = [tmp_path / name for name in ("images", "references", "run")]
    first, second = (start("run", EXAMPLES / "compare_methods.py", *folders) for _ in range(2))
    deadline = time.monotonic() + 600
    while len(glob.glob(f"{tmp_path}/run/*/*/result.json")) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    first.kill()
    out, err = second.communicate(timeout=600)
    first.communicate()
    assert second.returncode == 0, err
    shown = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    for n in range(8):
        image, reference = (tmp_path / kind / f"{n}.png" for kind in ("images", "references"))
        assert shown[str(n)] == by_scipy(image, reference)
    run = Run(tmp_path / "run")
    assert len(run.results()) == 8 * 4
    assert run.store.drafts() == []
    again = read_script(str(EXAMPLES / "compare_methods.py"), [*map(str, folders)])
    assert again.stopped is None
    assert all(each.exists() for each in again.runs[0].declared.values())


def test_methods_on_real_nuclei(test_data, tmp_path):
    source = test_data / "nuclei" / "bbbc039"
    names = sorted(each.stem for each in (source / "images").iterdir())[:2]
    for kind, suffix in (("images", ".tif"), ("masks", ".png")):
        (tmp_path / kind).mkdir()
        for name in names:
            os.symlink(source / kind / f"{name}{suffix}", tmp_path / kind / f"{name}{suffix}")
    folders = [tmp_path / name for name in ("images", "masks", "run")]
    done = start("run", EXAMPLES / "compare_methods.py", *folders)
    out, err = done.communicate(timeout=600)
    assert done.returncode == 0, err
    for line in out.splitlines():
        name, *scores = line.split()
        expected = by_scipy(tmp_path / "images" / f"{name}.tif", tmp_path / "masks" / f"{name}.png")
        assert scores == expected


def test_a_volume_is_counted_step_by_step(tmp_path, capsys):
    rng = np.random.default_rng(0)
    volume = np.zeros((40, 60, 50), np.float32)
    for z, y, x in rng.integers(4, 36, (60, 3)):
        volume[z - 2 : z + 2, y - 2 : y + 2, x - 2 : x + 2] = 1
    stored = zarr.create_array(
        tmp_path / "v.zarr", shape=volume.shape, chunks=(16,) * 3, dtype="f4"
    )
    stored[:] = volume
    arguments = [EXAMPLES / "count_cells.py", tmp_path / "v.zarr", tmp_path / "run"]
    assert main(["run", *map(str, arguments)]) == 0
    out = capsys.readouterr().out
    expected, number = ndimage.label(volume > 0.4, np.ones((3, 3, 3)))
    assert out.startswith(f"{number} cells in dask.array<gpuseg-result-")
    run = Run(tmp_path / "run")
    assert (run["objects"][0].lazy().compute() == expected).all()
    image = zarr.open_group(f"{run['objects'].folder.path}/value.0.ome.zarr", mode="r")
    assert image["1"].shape == (20, 30, 25)
    assert "image-label" in image.attrs["ome"]


def test_the_run_of_seed_pipelines_is_short():
    text = (EXAMPLES / "count_cells.py").read_text(encoding="utf-8")
    code = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 20  # a third of the 61 lines that cvpl_tools needs
    assert len(lines) - lines.index("volume, url = sys.argv[1:]") <= 10
