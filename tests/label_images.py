"""Label images for tests, their pyramids by plain NumPy, and what independent readers see."""

from __future__ import annotations

import numpy as np
import tifffile
import zarr

SHAPE = (1101, 1543)
SMALL = {"box": 256, "chunk": 32, "fingerprint": "slide and parameters"}


def picture(shape=SHAPE, seed=0):
    """Labels in patches with noise, and a corner without any."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 4, (shape[0] // 30 + 1, shape[1] // 30 + 1), np.uint8)
    labels = np.kron(patches, np.ones((30, 30), np.uint8))[: shape[0], : shape[1]]
    noise = rng.integers(0, 4, shape, np.uint8)
    labels = np.where(rng.random(shape) < 0.1, noise, labels)
    labels[: shape[0] // 2, : shape[1] // 2] = 0
    return labels


def halved(labels, rule="mode"):
    """Plain NumPy: count each value in each block, edges repeated."""
    labels = np.pad(labels, [(0, size % 2) for size in labels.shape], mode="edge")
    blocks = [labels[y::2, x::2] for y in (0, 1) for x in (0, 1)]
    if rule == "any":
        return np.max(blocks, axis=0)
    values = np.unique(labels)[::-1]
    counts = [sum(block == value for block in blocks) for value in values]
    return values[np.argmax(counts, axis=0)]


def levels_of(labels, count, rule="mode"):
    levels = [labels]
    while len(levels) < count:
        levels.append(halved(levels[-1], rule))
    return levels


def write_all(pyramid, labels):
    for box in pyramid.todo(pyramid.boxes()):
        write(pyramid, labels, box)


def write(pyramid, labels, box):
    top, left, height, width = box
    pyramid.write(box, labels[top : top + height, left : left + width], {"corner": [top, left]})


def stored(path):
    """All levels of a finished image, by independent readers."""
    if path.is_dir():
        group = zarr.open_group(path, mode="r")
        return [group[item["path"]][:] for item in multiscale(path)["datasets"]]
    with tifffile.TiffFile(path) as tiff:
        return [page.asarray() for page in tiff.pages]


def multiscale(path):
    (found,) = zarr.open_group(path, mode="r").attrs["ome"]["multiscales"]
    return found


def files_in(path):
    """Bytes of each file below a folder."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }
