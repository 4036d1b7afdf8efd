"""Labels on the GPU floor equal SciPy's and scikit-image's, number for number.

The launcher runs on a device where there is one, else on the emulator, under several schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import skimage.measure
from emulator import KernelFault, Schedule, scheduled, standin
from scipy import ndimage

from conftest import HAS_DEVICE
from gpuseg._backend import implementation
from gpuseg._cuda import label as launcher
from gpuseg.measure import label

pytestmark = pytest.mark.gpu if HAS_DEVICE else pytest.mark.emulator

SCHEDULES = [Schedule(), Schedule(11, 4, 4), *map(Schedule.drawn, range(4))]


@pytest.fixture(params=SCHEDULES[:1] if HAS_DEVICE else SCHEDULES, ids=str)
def cp(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """CuPy, or what stands in for it."""
    if HAS_DEVICE:
        import cupy

        yield cupy
    else:
        with scheduled(request.param):
            yield standin


def scipy_label(image: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    return ndimage.label(image, ndimage.generate_binary_structure(image.ndim, connectivity))


def check(labels: Any, number: int, expected: np.ndarray, count: int) -> None:
    assert number == count
    assert labels.dtype == expected.dtype
    np.testing.assert_array_equal(labels.get(), expected)


def noise(*shape: int, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(shape).random(shape) < share


def blobs(*shape: int) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(shape).standard_normal(shape), 1.5) > 0


def spiral(size: int) -> np.ndarray:
    """One path from the corner to the middle."""
    image = np.zeros((size, size), bool)
    y, x, dy, dx = 0, -1, 0, 1
    for length in [size, *np.repeat(np.arange(size - 1, 0, -2), 2)[:-1]]:
        for _ in range(length):
            y, x = y + dy, x + dx
            image[y, x] = True
        dy, dx = dx, -dy
    return image


def comb(height: int, width: int) -> np.ndarray:
    image = np.zeros((height, width), bool)
    image[:, ::2] = True
    image[-1] = True
    return image


MASKS = {
    "noise": noise(70, 90),
    "sparse": noise(40, 130, share=0.1),
    "dense": noise(66, 65, share=0.62),
    "blobs": blobs(90, 110),
    "spiral": spiral(66),
    "comb": comb(140, 70),
    "comb upside down": comb(140, 70)[::-1],
    "checkerboard": np.indices((70, 70)).sum(0) % 2 == 0,
    "all": np.ones((130, 96), bool),
    "none": np.zeros((5, 40), bool),
    "one pixel": np.ones((1, 1), bool),
    "one row": noise(1, 300),
    "one column": noise(300, 1),
    "a word": noise(20, 32),
    "a bit less": noise(20, 31),
    "a bit more": noise(20, 33),
    "some tiles": noise(300, 40),
    # A scan looks back over 32 tiles of 256 words at once.
    "many tiles": noise(9000, 3),
    "line": noise(700),
    "volume": noise(9, 20, 40, share=0.35),
    "blobs in a volume": blobs(12, 15, 50),
    "flat volume": noise(1, 30, 40),
    "four axes": noise(4, 5, 6, 35, share=0.3),
    "five axes": noise(3, 3, 4, 3, 12, share=0.25),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_as_scipy(cp: ModuleType, name: str):
    image = MASKS[name]
    for connectivity in range(1, image.ndim + 1):
        expected = scipy_label(image, connectivity)
        check(*label(cp.asarray(image), connectivity=connectivity), *expected)


DTYPES = ["uint8", "int8", "uint16", "int32", "uint64", "int64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(50, 70), (5, 14, 40)])
@pytest.mark.parametrize("background", [0, 1])
def test_values_as_scikit_image(
    cp: ModuleType, dtype: str, shape: tuple[int, ...], background: int
):
    rng = np.random.default_rng(len(dtype))
    image = rng.integers(0, 3, shape).astype(dtype)
    if image.dtype.kind == "i":
        image[image == 2] = -1
    for connectivity in range(1, image.ndim + 1):
        expected, count = skimage.measure.label(
            image, background=background, connectivity=connectivity, return_num=True
        )
        found = label(cp.asarray(image), connectivity=connectivity, background=background)
        check(*found, expected.astype(np.int32), count)


@pytest.mark.parametrize("dtype", ["bool", "uint8"])
def test_without_background_every_pixel_has_a_label(cp: ModuleType, dtype: str):
    image = noise(30, 40).astype(dtype)
    expected = skimage.measure.label(image.astype(int), background=-1, connectivity=1)
    found = label(cp.asarray(image), connectivity=1, background=-1)
    check(*found, expected.astype(np.int32), expected.max())


AXES = [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1)]


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("valued", [False, True])
def test_some_axes_as_the_structure_says(cp: ModuleType, axes: tuple[int, ...], valued: bool):
    image = noise(8, 9, 40)
    structure = ndimage.generate_binary_structure(3, len(axes))
    for axis in {0, 1, 2} - set(axes):
        structure[(slice(None),) * axis + ([0, 2],)] = False
    expected, count = ndimage.label(image, structure)
    given = image.astype(np.uint16) * 7 if valued else image
    check(*label(cp.asarray(given), axes=axes), expected, count)


@pytest.mark.parametrize("wrap_axes", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("connectivity", [1, 2, 3])
@pytest.mark.parametrize("valued", [False, True])
def test_ends_that_meet(
    cp: ModuleType, wrap_axes: tuple[int, ...], connectivity: int, valued: bool
):
    # Few pixels, so that contacts across the ends are often the only ones.
    image = np.random.default_rng(connectivity).integers(-9, 3, (5, 6, 36)).clip(0).astype(np.uint8)
    image = image if valued else image > 0
    labels, number = label(cp.asarray(image), connectivity=connectivity, wrap_axes=wrap_axes)
    expected = wrapped_by_graph(image, connectivity, wrap_axes)
    check(labels, number, expected, expected.max())


def wrapped_by_graph(
    image: np.ndarray, connectivity: int, wrap_axes: tuple[int, ...]
) -> np.ndarray:
    """Labels by an explicit graph of all pairs of neighbours."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    index = np.arange(image.size).reshape(image.shape)
    pairs = []
    for step in np.ndindex((3,) * image.ndim):
        offset = np.array(step) - 1
        if not 1 <= np.count_nonzero(offset) <= connectivity:
            continue
        other, inside = index, np.ones(image.shape, bool)
        for axis, shift in enumerate(offset):
            other = np.roll(other, -shift, axis)
            at = np.arange(image.shape[axis]) + shift
            if axis not in wrap_axes:
                valid = (at >= 0) & (at < image.shape[axis])
                inside &= np.expand_dims(valid, tuple(k for k in range(image.ndim) if k != axis))
        same = inside & (image != 0) & (image == image.reshape(-1)[other])
        pairs.append(np.stack([index[same], other[same]]))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(rows.size), (rows, columns)), (image.size, image.size))
    components = connected_components(graph, directed=False)[1].reshape(image.shape)
    foreground = image != 0
    _, first, inverse = np.unique(components[foreground], return_index=True, return_inverse=True)
    labels = np.zeros(image.shape, np.int32)
    labels[foreground] = np.argsort(np.argsort(first))[inverse] + 1
    return labels


@pytest.mark.skipif(HAS_DEVICE, reason="a device does so by itself")
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_tiles_at_the_same_time(seed: int):
    """Scans that meet no finished tile among the last 32."""
    with scheduled(Schedule(seed, resident=60)):
        found = label(standin.asarray(MASKS["many tiles"]), connectivity=1)
    check(*found, *scipy_label(MASKS["many tiles"], 1))


def test_layouts(cp: ModuleType):
    image = noise(60, 80)
    device = cp.asarray(image)
    for view in (np.s_[::2, ::3], np.s_[::-1], np.s_[5:, 7:], np.s_[:, 3], np.s_[0:0]):
        check(*label(device[view], connectivity=1), *scipy_label(image[view], 1))
    check(*label(device.T, connectivity=2), *scipy_label(image.T, 2))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_out_is_written_and_returned(cp: ModuleType, dtype: str):
    image = noise(37, 41)
    expected, count = scipy_label(image, 2)
    room = cp.zeros(2 * 37 * 41 + 1, dtype)
    aligned, unaligned = room[: 37 * 41], room[1 : 37 * 41 + 1]
    for out in (
        aligned.reshape(37, 41),
        unaligned.reshape(37, 41),
        room[1:].reshape(37, 82)[:, ::2],
    ):
        labels, number = label(cp.asarray(image), out=out)
        assert labels is out
        check(out, number, expected.astype(dtype), count)


@pytest.mark.parametrize("chunks", [(20, 40), ((1, 39), (30, 1, 39)), (40, 70)], ids=str)
@pytest.mark.parametrize("valued", [False, True])
def test_chunks_on_the_device(cp: ModuleType, chunks: Any, valued: bool):
    da = pytest.importorskip("dask.array")
    image = noise(40, 70)
    image = image.astype(np.uint8) * 3 if valued else image
    chunked = da.from_array(cp.asarray(image), chunks=chunks, asarray=False)
    labels, number = label(chunked, connectivity=1)
    computed = labels.compute(scheduler="synchronous")
    assert type(computed) is cp.ndarray
    check(computed, int(number.compute(scheduler="synchronous")), *scipy_label(image, 1))


def test_outline_says_what_the_labels_say(cp: ModuleType):
    image = noise(7, 12, 40)
    faces = [(axis, end) for axis in range(3) for end in (0, -1)]
    device = cp.asarray(image)
    firsts, found = implementation(device, "label").outline(device, 2, faces)
    labels, count = scipy_label(image, 2)
    _, expected = np.unique(labels, return_index=True)
    np.testing.assert_array_equal(firsts, expected[1:])
    assert firsts.size == count
    for (axis, end), face in zip(faces, found, strict=True):
        assert type(face) is np.ndarray
        np.testing.assert_array_equal(face, labels.take(end, axis))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_numbers_are_written_instead_of_ranks(cp: ModuleType, dtype: str):
    image = noise(20, 30, share=0.2)
    labels, count = scipy_label(image, 1)
    numbers = np.random.default_rng(0).integers(1, 200, count).astype(dtype)
    found, number = implementation(cp.asarray(image), "label").label(
        cp.asarray(image), 1, numbers=numbers
    )
    check(found, number, np.append(numbers, 0).astype(dtype)[labels - 1], count)
    with pytest.raises(RuntimeError, match=f"{count - 1} components before, {count} now"):
        launcher.label(cp.asarray(image), 1, numbers=numbers[1:])


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("shape", [(70, 90), (5, 20, 40), (3, 4, 5, 33)], ids=str)
def test_wide_indices_and_counted_nodes(
    cp: ModuleType, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], valued: bool
):
    """As for 2^31 pixels and more."""
    monkeypatch.setattr(launcher, "_NARROW", 0)
    monkeypatch.setattr(launcher, "_UNCOUNTED", 0)
    launcher._grid.cache_clear()
    image = noise(*shape)
    given = image.astype(np.uint32) if valued else image
    for connectivity in (1, image.ndim):
        expected = scipy_label(image, connectivity)
        check(*label(cp.asarray(given), connectivity=connectivity), *expected)
    launcher._grid.cache_clear()


def test_more_axes_than_the_kernels_take(cp: ModuleType):
    with pytest.raises(ValueError, match="at most 9 axes on a GPU, got 10"):
        label(cp.zeros((1,) * 10, bool))


@pytest.mark.skipif(HAS_DEVICE, reason="a device does not check")
def test_a_fault_names_the_kernel_and_line():
    image, bits = standin.zeros((4, 64), np.uint8), standin.zeros(7, np.uint32)
    starts, base = standin.empty(0, np.uint32), standin.empty(8, np.int32)
    work = standin.zeros(9, np.uint64)
    grid, _ = launcher._grid((4, 64), np.dtype(bool), 1, 0, (0, 1), ())
    kernel = launcher.BUILDS[0].kernel("pack<u8, false, i32>")
    with pytest.raises(KernelFault, match=r"pack<u8, false, i32>: out of bounds: .* label\.cu:\d+"):
        kernel((1,), (256,), (image, bits, starts, base, work, grid))
