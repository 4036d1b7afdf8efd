"""Labels of chunked arrays: the whole image's, however it is cut and wherever chunks come from."""

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
from label_cases import MASKS, blobs, by_graph, by_scipy, noise, spiral

from gpuseg._dask import _label_plan as plan
from gpuseg.measure import label


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="sync"):
        yield


def check(found, expected, chunks):
    labels, number = found
    assert labels.chunks == chunks
    assert labels.dtype == np.int32
    assert number.shape == ()
    labels, number = dask.compute(labels, number)
    wanted, count = expected
    assert number == count
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, wanted)


def cut(size):
    """Chunk sizes along an axis, some of them empty."""
    cuts = st.lists(st.integers(0, size), max_size=4).map(sorted)
    return cuts.map(lambda at: tuple(np.diff([0, *at, size]).tolist()))


@pytest.mark.parametrize("name", MASKS)
def test_masks(container, name):
    image = MASKS[name]
    for connectivity in range(1, image.ndim + 1):
        labels, number = label(container(image), connectivity=connectivity)
        expected, count = by_scipy(image, connectivity)
        assert int(number) == count
        np.testing.assert_array_equal(labels, expected)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4, max_side=12)), st.data())
@settings(max_examples=60, deadline=None)
def test_any_chunks(image, data):
    chunks = tuple(data.draw(cut(size)) for size in image.shape)
    connectivity = data.draw(st.integers(1, image.ndim))
    array = da.from_array(image, chunks=chunks)
    check(label(array, connectivity=connectivity), by_scipy(image, connectivity), chunks)


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=12), elements=st.integers(0, 2)),
    st.integers(-1, 2),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_axes_of_integers(image, background, data):
    chunks = tuple(data.draw(cut(size)) for size in image.shape)
    axes = data.draw(st.sets(st.integers(0, image.ndim - 1), min_size=1).map(sorted))
    wrap = data.draw(st.sets(st.sampled_from(axes)).map(sorted))
    connectivity = data.draw(st.integers(1, len(axes)))
    options = {"axes": axes, "wrap_axes": wrap, "background": background}
    expected = by_graph(image.astype(int), connectivity, **options)
    array = da.from_array(image, chunks=chunks)
    check(label(array, connectivity=connectivity, **options), expected, chunks)


@pytest.mark.parametrize("box", [2, 3, 16])
@pytest.mark.parametrize("group", [1, 5, 16])
def test_any_boxes_and_groups(monkeypatch, box, group):
    monkeypatch.setattr(plan, "_BOX", box)
    monkeypatch.setattr(plan, "_GROUP", group)
    for image, chunks in ((spiral(60), 7), (noise(9, 20, 31, share=0.3), (2, 5, 6))):
        array = da.from_array(image, chunks=chunks)
        for connectivity in range(1, image.ndim + 1):
            expected = by_scipy(image, connectivity)
            check(label(array, connectivity=connectivity), expected, array.chunks)


def test_an_object_may_meet_itself_around_a_corner_of_chunks():
    # Four chunks meet between (1, 1) and (2, 2), where only diagonals touch.
    image = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]], bool)
    array = da.from_array(image, chunks=2)
    check(label(array, connectivity=2), by_scipy(image, 2), array.chunks)
    check(label(array, connectivity=1), by_scipy(image, 1), array.chunks)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 4)])
def test_no_pixels(shape):
    array = da.zeros(shape, dtype=bool)
    check(label(array), (np.zeros(shape, np.int32), 0), array.chunks)


IMAGE = blobs(40, 60, seed=3)


def sources():
    """The same image from graphs of all kinds of tasks."""
    plain = da.from_array(IMAGE, chunks=(11, 13))
    blocks = dask.delayed(lambda rows: IMAGE[rows])
    return {
        "rechunked": plain.rechunk((20, 9)).rechunk((13, 60)),
        "merged and split": da.from_array(IMAGE, chunks=((40,), (60,))).rechunk(7),
        "turned": da.from_array(IMAGE.T, chunks=(13, 7)).T,
        "concatenated": da.concatenate([plain[:17], plain[17:]]),
        "stacked": da.stack(list(plain), axis=0),
        "delayed": da.concatenate(
            [da.from_delayed(blocks(slice(k, k + 8)), (8, 60), dtype=bool) for k in range(0, 40, 8)]
        ),
        "overlapping": plain.map_overlap(lambda block: block, depth=2, boundary="none"),
        "persisted": plain.persist(),
        "computed": (plain.astype(int) + 1) > 1,
        "held": da.Array({("x", 0, 0): IMAGE}, "x", chunks=((40,), (60,)), dtype=bool),
        "by functions": da.map_blocks(
            lambda block_info=None: IMAGE[
                tuple(slice(*span) for span in block_info[None]["array-location"])
            ],
            chunks=((25, 15), (30, 30)),
            dtype=bool,
        ),
    }


@pytest.mark.parametrize("name", sources())
def test_sources(name):
    array = sources()[name]
    check(label(array), by_scipy(IMAGE, 2), array.chunks)


def test_legacy_tasks():
    graph = {
        "image": IMAGE,
        ("rows", 0, 0): (np.take, "image", [0, 1, 2], 0),
        ("rows", 1, 0): (np.array, (list, [(np.take, "image", 3, 0)])),
    }
    array = da.Array(graph, "rows", chunks=((3, 1), (60,)), dtype=bool)
    check(label(array), by_scipy(IMAGE[:4], 2), array.chunks)


@pytest.mark.parametrize(
    "shape", [(64, 64), (16, 16, 16), (1, 4096), (128, 32), (4096, 1), (4096,)]
)
def test_tasks_grow_with_chunks(shape):
    for share in (1, 4):
        size = [max(1, side // share) for side in shape]
        array = da.zeros(size, dtype=bool, chunks=1)
        labels, _ = label(array)
        chunks = int(np.prod(array.numblocks))
        (fused,) = dask.optimize(labels)
        assert len(dict(fused.__dask_graph__())) <= 2.5 * chunks + 10
        assert len(labels.dask.layers) <= 10


def test_no_array_within_a_task():
    labels, _ = label(da.from_array(IMAGE, chunks=10))
    layer = next(value for key, value in labels.dask.layers.items() if "merged" in key)
    for task in layer.values():
        assert not any(
            isinstance(part, da.Array | dask.highlevelgraph.HighLevelGraph) for part in task
        )


def test_names_are_those_of_the_same_question():
    array = da.from_array(IMAGE, chunks=10)
    first, number = label(array)
    assert label(array)[0].name == first.name
    assert label(array)[1].name == number.name
    assert len({label(array, connectivity=k)[0].name for k in (1, 2)}) == 2


class Counted(np.ndarray):
    """An array whose lives can be counted."""


def test_blocks_are_not_held():
    alive, most, read = set(), 0, 0

    def load(block_info=None):
        nonlocal most, read
        location = block_info[None]["array-location"]
        block = IMAGE[tuple(slice(*span) for span in location)].copy().view(Counted)
        read += 1
        alive.add(read)
        weakref.finalize(block, alive.discard, read)
        most = max(most, len(alive))
        return block

    array = da.map_blocks(load, chunks=((4,) * 10, (6,) * 10), dtype=bool)
    labels, number = label(array)
    out = np.empty(IMAGE.shape, np.int32)
    da.store(labels, out, lock=False)
    np.testing.assert_array_equal(out, by_scipy(IMAGE, 2)[0])
    assert read == 200
    assert most <= 2
    assert int(number) == by_scipy(IMAGE, 2)[1]


def test_an_image_that_changes_between_its_readings_is_an_error():
    counter = itertools.count()

    def load():
        return np.eye(8, dtype=bool)[::2] if next(counter) else np.zeros((4, 8), bool)

    array = da.from_delayed(dask.delayed(load, pure=False)(), (4, 8), dtype=bool)
    with pytest.raises(RuntimeError, match="the image changed while it was labelled"):
        label(array)[0].compute()


def test_several_threads_and_processes():
    image = noise(70, 90, share=0.4)
    array = da.from_array(image, chunks=(9, 16))
    labels, number = label(array)
    expected, count = by_scipy(image, 2)
    for scheduler in ("threads", "processes"):
        found, how_many = dask.compute(labels, number, scheduler=scheduler)
        assert how_many == count
        np.testing.assert_array_equal(found, expected)


def test_distributed():
    image = noise(70, 90, share=0.4)
    expected, count = by_scipy(image, 1)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            memory_limit=0,
            dashboard_address=None,
        ) as c,
        Client(c),
        dask.config.set(scheduler="distributed"),
    ):
        labels, number = dask.compute(*label(da.from_array(image, chunks=16), connectivity=1))
    assert number == count
    np.testing.assert_array_equal(labels, expected)
