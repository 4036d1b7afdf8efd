"""Images to flood, and the forest by its definition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from scipy import ndimage
from skimage.morphology import reconstruction


def neighbours(shape, connectivity, inside) -> dict[int, list[int]]:
    """Raster indices of the neighbours of each pixel inside."""
    index = np.arange(inside.size).reshape(shape)
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=len(shape))
        if 0 < np.count_nonzero(step) <= connectivity
    ]

    def around(place) -> Iterator[int]:
        for step in steps:
            there = tuple(x + dx for x, dx in zip(place, step, strict=True))
            if all(0 <= x < size for x, size in zip(there, shape, strict=True)) and inside[there]:
                yield int(index[there])

    return {int(index[place]): list(around(place)) for place in zip(*inside.nonzero(), strict=True)}


def by_definition(image, markers, connectivity, mask=None):
    """Kruskal's algorithm over the strictly ordered edges; no two trees with markers are joined."""
    inside = np.ones(image.shape, bool) if mask is None else mask
    near = neighbours(image.shape, connectivity, inside)
    value, label = image.ravel().tolist(), (markers * inside).ravel().tolist()
    depth = {p: 0 for p in near if label[p] or any(value[q] < value[p] for q in near[p])}
    queue = list(depth)
    for p in queue:
        for q in near[p]:
            if q not in depth and value[q] == value[p]:
                depth[q] = depth[p] + 1
                queue.append(q)
    key = {p: (value[p], depth.get(p, 0), p) for p in near}
    parent = list(range(image.size))

    def root(p):
        while parent[p] != p:
            p = parent[p]
        return p

    for high, low in sorted((key[p], key[q]) for p in near for q in near[p] if key[q] < key[p]):
        a, b = root(high[2]), root(low[2])
        if a != b and not (label[a] and label[b]):
            parent[a] = b
            label[b] = label[a] or label[b]
    found = [label[root(p)] if p in near else 0 for p in range(image.size)]
    return np.array(found, markers.dtype).reshape(image.shape)


def heights(image, sources, connectivity, inside):
    """Least height over which each pixel is reached from `sources`."""
    walls = np.where(inside, image, np.inf)
    start = np.where(sources & inside, walls, np.inf)
    structure = ndimage.generate_binary_structure(image.ndim, connectivity)
    return reconstruction(start, walls, method="erosion", footprint=structure)


def seeds(shape, count, rng):
    """Labels 1 to `count` of random pixels."""
    markers = np.zeros(shape, np.int32)
    markers[tuple(rng.integers(0, size, count) for size in shape)] = np.arange(1, count + 1)
    return markers


def smooth(*shape, sigma=2.0, seed=0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)


def as_bytes(image):
    low, high = image.min(), image.max()
    return ((image - low) / (high - low) * 255).astype(np.uint8)


def plateaus(*shape, levels=3, sigma=2.5, seed=0):
    """Few values, in wide flats."""
    return (as_bytes(smooth(*shape, sigma=sigma, seed=seed)) // (256 // levels)).astype(np.uint8)


def snake(size):
    """One winding flat corridor between high walls."""
    image = np.full((size, size), 9, np.uint8)
    image[::2] = 1
    image[1::4, -1] = 1
    image[3::4, 0] = 1
    return image


def cases() -> dict[str, tuple]:
    """Image, markers and mask by name."""
    rng = np.random.default_rng(1)
    found = {}
    for shape in [(1, 1), (1, 30), (30, 1), (17, 23), (40, 31), (5, 6, 7), (9, 1, 8), (50,)]:
        for name, image in {
            "noise": rng.random(shape).astype(np.float32),
            "few values": rng.integers(0, 4, shape).astype(np.uint8),
            "flat": np.zeros(shape, np.uint16),
        }.items():
            markers = seeds(shape, max(1, image.size // 40), rng)
            found[f"{name} {shape}"] = image, markers, None
            found[f"{name} {shape} masked"] = image, markers, rng.random(shape) < 0.75
    for name, image in {
        "smooth": smooth(40, 50),
        "smooth bytes": as_bytes(smooth(40, 50)),
        "plateaus": plateaus(40, 50),
        "plateaus in space": plateaus(9, 12, 14, sigma=1.5),
        "snake": snake(33),
        "steps": -np.arange(30 * 20).reshape(30, 20) // 50,
    }.items():
        found[name] = image, seeds(image.shape, 9, rng), None
        found[f"{name}, one marker"] = image, seeds(image.shape, 1, rng), None
        found[f"{name}, no marker"] = image, np.zeros(image.shape, np.int32), None
        ones = np.zeros(image.shape, np.int64)
        ones[(slice(2, 5),) * image.ndim] = 7
        ones[(slice(-3, None),) * image.ndim] = 2
        found[f"{name}, wide markers"] = image, ones, None
    return found


CASES = cases()
