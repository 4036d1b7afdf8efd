"""Masks that are hard to label, and independent answers for them."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage, sparse


def spiral(size, pitch=2):
    """One line wound inwards."""
    image = np.zeros((size, size), bool)
    top = left = 0
    bottom = right = size - 1
    image[0] = True
    while bottom - top >= pitch and right - left >= pitch:
        image[top : bottom + 1, right] = True
        image[bottom, left : right + 1] = True
        top += pitch
        image[top : bottom + 1, left] = True
        right -= pitch
        image[top, left : right + 1] = True
        left += pitch
        bottom -= pitch
    return image


def comb(rows, columns):
    """Teeth that meet only in the last row."""
    image = np.zeros((rows, columns), bool)
    image[:, ::2] = True
    image[-1] = True
    return image


def checkerboard(*shape):
    return np.indices(shape).sum(0) % 2 == 0


def blobs(*shape, seed=0, sigma=1.5):
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma) > 0


def noise(*shape, seed=0, share=0.5):
    return np.random.default_rng(seed).random(shape) < share


MASKS = {
    "spiral": spiral(67),
    "comb": comb(20, 131),
    "comb of columns": comb(131, 20).T.copy(),
    "checkerboard": checkerboard(17, 70),
    "checkerboard in space": checkerboard(5, 6, 67),
    "blobs": blobs(90, 200),
    "blobs in space": blobs(20, 30, 70),
    "empty": np.zeros((40, 100), bool),
    "full": np.ones((40, 129), bool),
    "one pixel": np.eye(1, 64 * 100, 77, dtype=bool).reshape(64, 100),
    "one row": noise(1, 300),
    "one column": noise(300, 1),
    "flat in space": noise(1, 40, 1),
    "line": noise(500),
    "four axes": noise(4, 5, 6, 70, share=0.2),
}


def structure(ndim, connectivity):
    return ndimage.generate_binary_structure(ndim, connectivity)


def by_scipy(image, connectivity):
    return ndimage.label(image, structure(image.ndim, connectivity))


def by_first_pixel(labels):
    """The same components, numbered by their first pixels; 0 stays."""
    values, first = np.unique(labels, return_index=True)
    order = np.argsort(first[values != 0])
    names = np.zeros(values.size, np.int64)
    names[np.flatnonzero(values != 0)[order]] = np.arange(1, order.size + 1)
    return names[np.searchsorted(values, labels)]


def by_graph(image, connectivity, *, axes=None, wrap_axes=(), background=0):
    """Components of the graph of all pairs of equal neighbours."""
    axes = range(image.ndim) if axes is None else axes
    pixels = np.arange(image.size).reshape(image.shape)
    pairs = []
    for step in itertools.product(*((-1, 0, 1) if k in axes else (0,) for k in range(image.ndim))):
        if not 0 < np.count_nonzero(step) <= connectivity:
            continue
        far = np.ones(image.shape, bool)
        for axis, move in enumerate(step):
            if move and axis not in wrap_axes:
                edge = [slice(None)] * image.ndim
                edge[axis] = slice(0, 1) if move > 0 else slice(-1, None)
                far[tuple(edge)] = False
        there = np.roll(image, step, range(image.ndim))
        joined = far & (there == image) & (image != background)
        pairs.append((pixels[joined], np.roll(pixels, step, range(image.ndim))[joined]))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    graph = sparse.coo_array((np.ones(one.size, bool), (one, other)), (image.size, image.size))
    _, found = sparse.csgraph.connected_components(graph, directed=False)
    labels = by_first_pixel(np.where(image == background, 0, found.reshape(image.shape) + 1))
    return labels, int(labels.max(initial=0))
