"""Watershed of chunked arrays: the whole image's, however it is cut."""

from __future__ import annotations

import itertools
import weakref

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from watershed_cases import CASES, plateaus, seeds, smooth, snake

from conftest import to_numpy
from gpuseg._dask import _label_plan as plan
from gpuseg.segmentation import watershed


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="sync"):
        yield


def check(found, expected, chunks):
    assert found.chunks == chunks
    assert found.dtype == expected.dtype
    computed = found.compute()
    assert computed.dtype == expected.dtype
    np.testing.assert_array_equal(computed, expected)


def chunked(array, chunks):
    return None if array is None else da.from_array(array, chunks=chunks)


def cut(size):
    """Chunk sizes along an axis, some of them empty."""
    cuts = st.lists(st.integers(0, size), max_size=4).map(sorted)
    return cuts.map(lambda at: tuple(np.diff([0, *at, size]).tolist()))


@pytest.mark.parametrize("name", list(CASES)[::4])
def test_cases(name, container):
    image, markers, mask = CASES[name]
    for connectivity in {image.ndim}:
        expected = watershed(image, markers, mask=mask, connectivity=connectivity)
        found = watershed(
            container(image),
            container(markers),
            mask=None if mask is None else container(mask),
            connectivity=connectivity,
        )
        np.testing.assert_array_equal(to_numpy(found), expected)


IMAGES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=12).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)),
        hnp.arrays(np.int32, shape, elements=st.sampled_from([*[0] * 30, 1, 2, 300])),
        hnp.arrays(bool, shape, elements=st.sampled_from([True, True, True, False])),
    )
)


@given(IMAGES, st.booleans(), st.data())
@settings(max_examples=40, deadline=None)
def test_any_chunks(case, masked, data):
    image, markers, mask = case
    mask = mask if masked else None
    chunks = tuple(data.draw(cut(size)) for size in image.shape)
    connectivity = data.draw(st.integers(1, image.ndim))
    expected = watershed(image, markers, mask=mask, connectivity=connectivity)
    arrays = (chunked(image, chunks), chunked(markers, chunks))
    found = watershed(*arrays, mask=chunked(mask, chunks), connectivity=connectivity)
    check(found, expected, chunks)


FLATS = {
    "snake": snake(29),
    "plateaus": plateaus(30, 34),
    "flat": np.zeros((30, 20), np.float32),
    "noise": np.random.default_rng(0).random((20, 30)),
    "few values in space": np.random.default_rng(0).integers(0, 2, (8, 7, 9)),
    "a flat volume": np.ones((8, 7, 5), np.uint16),
    "smooth": smooth(30, 30),
}


@pytest.mark.parametrize(("name", "box"), list(zip(FLATS, itertools.cycle([2, 16]), strict=False)))
def test_flats_over_many_chunks(name, box, monkeypatch):
    monkeypatch.setattr(plan, "_BOX", box)
    image = FLATS[name]
    for count, side in ((1, 6), (30, 5)):
        markers = seeds(image.shape, count, np.random.default_rng(count))
        for connectivity in {1 if count == 1 else image.ndim}:
            expected = watershed(image, markers, connectivity=connectivity)
            array = da.from_array(image, chunks=side)
            found = watershed(array, da.from_array(markers, chunks=4), connectivity=connectivity)
            check(found, expected, array.chunks)


def test_containers_mix():
    image, markers = smooth(30, 40), seeds((30, 40), 7, np.random.default_rng(0))
    mask = smooth(30, 40, seed=3) > -0.1
    expected = watershed(image, markers, mask=mask)
    lazy = da.from_array(image, chunks=11)
    check(watershed(lazy, markers, mask=mask), expected, lazy.chunks)
    check(
        watershed(image, markers, mask=da.from_array(mask, chunks=9)),
        expected,
        lazy.rechunk(9).chunks,
    )
    points = [(3, 4), (25, 33), (3, 4)]
    check(watershed(lazy, points), watershed(image, points), lazy.chunks)
    check(watershed(lazy, 12), watershed(image, 12), lazy.chunks)
    check(watershed(lazy, 12, mask=mask), watershed(image, 12, mask=mask), lazy.chunks)


def test_names_are_those_of_the_same_question():
    image, markers = smooth(30, 40), seeds((30, 40), 7, np.random.default_rng(0))
    arrays = da.from_array(image, chunks=11), da.from_array(markers, chunks=11)
    assert watershed(*arrays).name == watershed(*arrays).name
    assert len({watershed(*arrays, connectivity=k).name for k in (1, 2)}) == 2


class Counted(np.ndarray):
    """An array whose lives can be counted."""


def test_blocks_are_not_held():
    image = smooth(40, 60)
    alive, counter, most = set(), itertools.count(), 0

    def load(block_info=None):
        nonlocal most
        location = block_info[None]["array-location"]
        block = image[tuple(slice(*span) for span in location)].copy().view(Counted)
        number = next(counter)
        alive.add(number)
        weakref.finalize(block, alive.discard, number)
        most = max(most, len(alive))
        return block

    array = da.map_blocks(load, chunks=((4,) * 10, (6,) * 10), dtype=float)
    markers = seeds(image.shape, 9, np.random.default_rng(0))
    labels = watershed(array, da.from_array(markers, chunks=(4, 6)))
    out = np.empty(image.shape, np.int32)
    da.store(labels, out, lock=False)
    np.testing.assert_array_equal(out, watershed(image, markers))
    assert next(counter) == 400
    assert most <= 3


@pytest.mark.parametrize("shape", [(20, 20), (7, 7, 7)])
def test_tasks_grow_with_chunks(shape):
    markers = da.zeros(shape, dtype=np.int32, chunks=1)
    labels = watershed(da.zeros(shape, chunks=1), markers)
    (fused,) = dask.optimize(labels)
    chunks = int(np.prod(markers.numblocks))
    assert len(dict(fused.__dask_graph__())) <= 13 * chunks + 30


def test_several_threads_and_processes():
    image = plateaus(50, 60)
    markers = seeds(image.shape, 20, np.random.default_rng(0))
    labels = watershed(da.from_array(image, chunks=(19, 26)), da.from_array(markers, chunks=20))
    for scheduler in ("threads", "processes"):
        found = labels.compute(scheduler=scheduler)
        np.testing.assert_array_equal(found, watershed(image, markers))


def test_distributed():
    image = smooth(70, 90)
    markers = seeds(image.shape, 20, np.random.default_rng(0))
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            memory_limit=0,
            dashboard_address=None,
        ) as cluster,
        Client(cluster),
        dask.config.set(scheduler="distributed"),
    ):
        found = watershed(da.from_array(image, chunks=30), markers).compute()
    np.testing.assert_array_equal(found, watershed(image, markers))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 4)])
def test_no_pixels(shape):
    array = da.zeros(shape, dtype=float)
    check(watershed(array, np.zeros(shape, np.uint8)), np.zeros(shape, np.uint8), array.chunks)


def test_what_is_refused():
    image = da.zeros((8, 8), chunks=4)
    with pytest.raises(TypeError, match="markers must be given for a Dask image"):
        watershed(image)
    with pytest.raises(ValueError, match="NaN"):
        watershed(image * np.nan, [(0, 0)]).compute()
    with pytest.raises(ValueError, match="negative, got -1"):
        watershed(image, (image - 1).astype(int)).compute()
    with pytest.raises(ValueError, match="chunks of known sizes"):
        watershed(image[image[:, 0] > 0], [(0, 0)])
