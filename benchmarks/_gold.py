"""Images with gold standards: real ones where GPUSEG_TEST_DATA has them, made ones everywhere."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from skimage import io as sk_io
from skimage import measure


class Case(NamedTuple):
    """One image, and where its objects are."""

    image: np.ndarray
    gold: np.ndarray


def data() -> Path | None:
    """Folder of real images, if there is one."""
    named = os.environ.get("GPUSEG_TEST_DATA")
    return Path(named) if named else None


def made(count: int = 2) -> Iterator[Case]:
    """Ellipses of unequal brightness, some of which touch, in noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160]
    for _ in range(count):
        gold = np.zeros((160, 160), np.int32)
        image = np.full(gold.shape, 200.0)
        for number, (cy, cx) in enumerate(np.ndindex(4, 4), 1):
            shift = rng.integers(-3, 4, 2)
            a, b = rng.uniform(9, 14, 2)
            inside = ((y - 20 - 40 * cy - shift[0]) / a) ** 2 + (
                (x - 20 - 40 * cx - shift[1]) / b
            ) ** 2 < 1
            gold[inside] = number
            image[inside] = 300 + rng.uniform(200, 1500)
        yield Case(rng.poisson(image).astype(np.uint16), gold)


def bbbc039(folder: Path) -> Iterator[Case]:
    """120 frames of U2OS nuclei; gold below 25 pixels is left out, as is usual there."""
    nuclei = folder / "nuclei" / "bbbc039"
    with tarfile.open(nuclei / "images_001-120.tar.xz") as archive:
        for member in archive:
            if not member.name.endswith(".tif"):
                continue
            file = archive.extractfile(member)
            assert file is not None
            image = tifffile.imread(io.BytesIO(file.read()))
            mask = sk_io.imread(nuclei / "masks" / f"{Path(member.name).stem}.png")[..., 0]
            yield Case(image, _of_size(measure.label(mask, connectivity=1), 25))


def dsb2018(folder: Path) -> Iterator[Case]:
    """Fluorescence images of the Data Science Bowl of 2018: dark, and without colour."""
    for case in sorted((folder / "nuclei" / "dsb2018").iterdir()):
        masks = sorted(case.glob("masks/*.png"))
        images = sorted(case.glob("images/*.png"))
        if not masks or not images:
            continue
        image = sk_io.imread(images[0])[..., :3]
        if np.ptp(image, axis=-1).max() > 3 or np.median(image) > 100:
            continue
        gold = np.zeros(image.shape[:2], np.int32)
        for number, mask in enumerate(masks, 1):
            gold[_grey(sk_io.imread(mask)) > 0] = number
        yield Case(np.ascontiguousarray(image[..., 0]), gold)


def stardist(folder: Path) -> Iterator[Case]:
    """The sample that StarDist ships."""
    images = folder / "nuclei" / "stardist" / "stardist" / "data" / "images"
    yield Case(tifffile.imread(images / "img2d.tif"), tifffile.imread(images / "mask2d.tif"))


def blood_smears(folder: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Images of BCCD with the number of their red and white cells."""
    root = folder / "blood_smear" / "bccd"
    for file in sorted((root / "Annotations").glob("*.xml")):
        image = root / "JPEGImages" / f"{file.stem}.jpg"
        if image.exists():
            names = re.findall(r"<name>(.*?)</name>", file.read_text())
            yield sk_io.imread(image), sum(name in ("RBC", "WBC") for name in names)


def cells(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Cellfinder's crop of a mouse brain, and its cells (z, y, x) in voxels of 5 x 2 x 2 µm."""
    root = folder / "volumes" / "cellfinder"
    planes = sorted((root / "crop_planes" / "ch0").glob("*.tif"))
    text = (root / "cell_classification.xml").read_text()
    found = [
        [int(re.search(f"<Marker{axis}>(-?\\d+)<", marker)[1]) for axis in "ZYX"]  # type: ignore[index]
        for marker in re.findall(r"<Marker>(.*?)</Marker>", text, re.S)
    ]
    return np.stack([tifffile.imread(plane) for plane in planes]), np.array(found)


def _of_size(labels: np.ndarray, least: int) -> np.ndarray:
    small = np.bincount(labels.ravel()) < least
    small[0] = False
    return np.where(small[labels], 0, labels)


def _grey(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.ndim == 3 else image
