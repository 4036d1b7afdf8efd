"""Arrays on disk: shards, pyramids, chunks that are resumed."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg.pipeline import Run, RunError, Storage, step
from gpuseg.pipeline._arrays import average, make_plan, read, subsample, write_array
from gpuseg.pipeline._folders import LocalFolder
from gpuseg.pipeline._shards import Damaged

calls: list[object] = []
guard = threading.Lock()


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


def stored(folder, array, **options):
    plan = make_plan("a", array.shape, array.dtype, None, Storage(**options))
    write_array(folder, plan, array)
    return plan, zarr.open_group(f"{folder.path}/{plan.name}", mode="r")


def pyramid_of(array, levels, labels, axes):
    """Levels by the definition: one level from the whole of the one before."""
    found = [array]
    while len(found) < levels:
        found.append((subsample if labels else average)(found[-1], axes))
    return found


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_level_is_what_zarr_reads(data, tmp_path_factory):
    ndim = data.draw(st.integers(2, 3))
    shape = tuple(data.draw(st.lists(st.integers(1, 40), min_size=ndim, max_size=ndim)))
    chunks = tuple(data.draw(st.integers(1, 16)) for _ in shape)
    source = data.draw(st.none() | st.just(tuple(data.draw(st.integers(1, n)) for n in shape)))
    labels = data.draw(st.booleans())
    levels = data.draw(st.integers(1, 4))
    compressor = data.draw(st.sampled_from(["zstd", "gzip", None]))
    array = np.random.default_rng(0).integers(0, 5, shape).astype(np.uint16)
    storage = Storage(chunks=chunks, levels=levels, labels=labels, compressor=compressor)
    plan = make_plan("a", shape, array.dtype, source, storage)
    folder = LocalFolder(str(tmp_path_factory.mktemp("levels")))
    write_array(folder, plan, array)
    group = zarr.open_group(f"{folder.path}/{plan.name}", mode="r")
    expected = pyramid_of(array, len(plan.levels), labels, range(ndim))
    for number, level in enumerate(expected):
        np.testing.assert_array_equal(group[str(number)][:], level)
        np.testing.assert_array_equal(read(folder, f"{plan.name}/{number}"), level)
    window = tuple(slice(n // 3, n) for n in shape)
    np.testing.assert_array_equal(read(folder, f"{plan.name}/0", wanted=window), array[window])


def test_average_is_the_mean_of_what_there_is():
    for dtype in (np.uint8, np.int16, np.uint32, np.int32, np.float32):
        high = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1e30
        array = np.array([[high, high, 1], [high, high - 1, 4], [0, 2, 7]]).astype(dtype)
        found = average(array, (0, 1))
        blocks = [array[:2, :2], array[:2, 2:], array[2:, :2], array[2:, 2:]]
        if np.dtype(dtype).kind == "f":
            exact = [float(np.mean(block, dtype=float)) for block in blocks]
            np.testing.assert_allclose(found.ravel(), exact, rtol=1e-6)
        else:
            sums = [(sum(map(int, block.ravel())), block.size) for block in blocks]
            assert found.ravel().tolist() == [(2 * s + n) // (2 * n) for s, n in sums]
        assert found.dtype == dtype


def test_labels_of_64_bits_stay_exact(tmp_path):
    labels = np.full((70, 50), 2**64 - 1, np.uint64)
    labels[::2, ::2] = 2**53 + 1
    _, group = stored(LocalFolder(str(tmp_path)), labels, chunks=(16, 16), levels=3)
    assert np.unique(group["0"][:]).tolist() == [2**53 + 1, 2**64 - 1]
    assert np.unique(group["2"][:]).tolist() == [2**53 + 1]
    (tmp_path / "i").mkdir()
    image = np.full((4, 4), 2**63, np.uint64)
    _, group = stored(LocalFolder(str(tmp_path / "i")), image, labels=False, levels=2)
    assert np.unique(group["1"][:]).tolist() == [2**63]


def test_metadata_are_those_of_ome_zarr(tmp_path):
    options = {"levels": 3, "labels": False, "axes": "tyx", "scale": (1, 0.5, 0.5)}
    folder = LocalFolder(str(tmp_path))
    plan, group = stored(folder, np.zeros((3, 9, 8), np.uint8), unit="micrometer", **options)
    image = group.attrs["ome"]["multiscales"][0]
    assert image["axes"] == [
        {"name": "t", "type": "time"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    last = image["datasets"][2]["coordinateTransformations"]
    assert last == [
        {"type": "scale", "scale": [1.0, 2.0, 2.0]},
        {"type": "translation", "translation": [0.0, 0.75, 0.75]},
    ]
    assert group["2"].shape == (3, 3, 2)
    assert group["0"].metadata.dimension_names == ("t", "y", "x")
    (tmp_path / "labels").mkdir()
    labels, group = stored(LocalFolder(str(tmp_path / "labels")), np.zeros((3, 9), np.int32))
    assert labels.labels
    assert group.attrs["ome"]["image-label"] == {}
    yaozarrs = pytest.importorskip("yaozarrs", reason="yaozarrs checks metadata")
    for name in (plan.name, f"labels/{labels.name}"):
        document = json.loads((tmp_path / name / "zarr.json").read_text())
        yaozarrs.validate_ome_object(document["attributes"]["ome"])
        yaozarrs.validate_zarr_store(str(tmp_path / name))


def test_storage_is_chosen_for_viewing(tmp_path):
    plan = make_plan("a", (20000, 30000), np.dtype("u1"), None, Storage())
    assert plan.levels[0].format.chunks == (1024, 1024)
    assert plan.levels[-1].format.shape == (625, 938)
    assert math.prod(plan.levels[0].format.shards) <= 2**24
    plan = make_plan("a", (512, 4096, 4096), np.dtype("u2"), (256, 256, 256), Storage())
    assert plan.levels[0].format.shards == (256, 256, 256)
    assert plan.levels[0].format.chunks == (64, 128, 128)
    flat = Storage(chunks=(1, 4096, 4096), levels=1)
    plan = make_plan("a", (512, 4096, 4096), np.dtype("u2"), (256, 256, 256), flat)
    assert plan.levels[0].format.shards == (1, 4096, 4096)
    assert not make_plan("a", (5,), np.dtype("c8"), None, Storage()).is_image


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"chunks": (2,)}, r"chunks must have 2 axes like the array, got \(2,\)"),
        ({"axes": "ya"}, "axis_names must be 2 different letters of 'tczyx', got 'ya'"),
        ({"scale": (1.0, -1.0)}, "scale must be 2 positive numbers"),
    ],
)
def test_storage_that_does_not_fit_is_refused(options, reason, tmp_path):
    with pytest.raises(RunError, match=reason):
        Run(tmp_path)(step(version="1", storage=options)(np.zeros), (4, 4)).get()
    assert Run(tmp_path).results() == []


# -- Dask ----------------------------------------------------------------------------------------


def counted(block, block_id=None, block_info=None):
    with guard:
        calls.append(tuple(block_id))
    return block + 1


@step(version="1", storage={"levels": 5})
def plus_one(array, chunks):
    return da.from_array(array, chunks=chunks).map_blocks(counted, dtype=array.dtype)


@pytest.mark.parametrize("chunks", [(32, 32), (50, 17), ((10, 40, 30, 20), (64, 36))])
def test_each_source_block_is_computed_once(chunks, tmp_path):
    array = np.arange(10000, dtype=np.uint64).reshape(100, 100)
    result = Run(tmp_path)(plus_one, array, chunks)
    assert (result.get().compute() == array + 1).all()
    assert sorted(calls) == sorted(set(calls))
    group = zarr.open_group(f"{result.folder.path}/value.ome.zarr", mode="r")
    for number, level in enumerate(pyramid_of(array + 1, 5, True, (0, 1))):
        np.testing.assert_array_equal(group[str(number)][:], level)


@step(version="1")
def several(array):
    lazy = da.from_array(array, chunks=4).map_blocks(counted, dtype=array.dtype)
    return {"image": lazy, "sum": lazy.sum(), "number": 3}


def test_arrays_of_one_result_share_what_they_compute(tmp_path):
    result = Run(tmp_path)(several, np.arange(64).reshape(8, 8))
    value = result.get()
    assert int(value["sum"].compute()) == 64 * 63 // 2 + 64
    assert value["sum"].shape == ()
    assert (value["image"].compute()[0, :3] == [1, 2, 3]).all()
    assert len(calls) == 4
    assert int(result["sum"].get()) == 2080


failing: set[tuple[int, ...]] = set()


@step(version="1", storage={"levels": 2, "chunks": (4, 4)})
def fragile(array):
    def block(block, block_id=None):
        with guard:
            calls.append(block_id)
        if block_id in failing:
            raise ZeroDivisionError("this block")
        return block * 2

    meta = np.empty((0, 0), array.dtype)
    return da.from_array(array, chunks=8).map_blocks(block, dtype=array.dtype, meta=meta)


def test_failed_chunks_name_themselves_and_leave_the_others_done(tmp_path):
    failing.update({(0, 1), (2, 3)})
    array = np.arange(1024).reshape(32, 32)
    run = Run(tmp_path)
    with pytest.raises(RunError, match=r"2 chunks failed, the others are kept") as caught:
        run(fragile, array).get()
    assert r"chunk (0, 1) of value.ome.zarr (pixels [0:8, 8:16]): ZeroDivision" in str(caught.value)
    assert "chunk (2, 3)" in str(caught.value)
    assert "(of array=array <i8 (32, 32)" in str(caught.value)
    (name, folder), failure = run.store.drafts()[0], run.store.failures()
    assert failure[name]["ingredients"]["array"].startswith("array <i8 (32, 32)")
    assert len(list(folder.names("value.ome.zarr/0/c"))) == 14
    failing.clear()
    calls.clear()
    again = Run(tmp_path)(fragile, array)
    assert (again.get().compute() == array * 2).all()
    assert sorted(calls) == [(0, 1), (2, 3)]
    assert run.store.failures() == {}
    assert run.store.drafts() == []


def test_unfinished_chunks_are_checked_before_they_are_trusted(tmp_path):
    failing.add((3, 3))
    array = np.arange(1024).reshape(32, 32)
    run = Run(tmp_path)
    with pytest.raises(RunError):
        run(fragile, array).get()
    failing.clear()
    calls.clear()
    _, folder = run.store.drafts()[0]
    image = Path(folder.path) / "value.ome.zarr"
    for place, damage in {"0/c/0/0": 5, "0/c/1/2": 0, "1/c/2/2": 9}.items():
        data = bytearray((image / place).read_bytes())
        data[damage] ^= 1
        (image / place).write_bytes(data if damage else b"")
    (image / "0/c/0/.deadbeef").touch()
    assert (Run(tmp_path)(fragile, array).get().compute() == array * 2).all()
    assert sorted(calls) == [(0, 0), (1, 2), (2, 2), (3, 3)]


def test_a_draft_of_another_layout_begins_anew(tmp_path):
    failing.add((0, 0))
    array = np.arange(1024).reshape(32, 32)
    run = Run(tmp_path)
    with pytest.raises(RunError):
        run(fragile, array).get()
    failing.clear()
    calls.clear()
    other = step(version="1", storage={"levels": 1})(fragile.function)
    result = Run(tmp_path)(other, array)
    assert result.name == run(fragile, array).name
    assert (result.get().compute() == array * 2).all()
    assert len(calls) == 16
    assert not (tmp_path / result.name.path / "value.ome.zarr" / "1").exists()


def test_unknown_sizes_are_refused(tmp_path):
    @step(version="1")
    def positive(array):
        lazy = da.from_array(array, chunks=2)
        return lazy[lazy > 0]

    with pytest.raises(RunError, match=r"value has chunks of unknown sizes: compute_chunk_sizes"):
        Run(tmp_path)(positive, np.arange(4)).get()


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (lambda b: b * 1.5, r"must be int64 of shape \(2,\), as its array says, got float64"),
        (lambda b: b[:1], r"must be int64 of shape \(2,\), as its array says, got int64 of \(1,\)"),
    ],
)
def test_chunks_that_are_not_what_their_array_says_are_refused(block, reason, tmp_path):
    def wrong(array):
        return da.from_array(array, chunks=2).map_blocks(block, meta=np.empty(0, np.int64))

    with pytest.raises(RunError, match=reason):
        Run(tmp_path)(step(version="1")(wrong), np.arange(4)).get()


def test_a_damaged_chunk_is_never_read(tmp_path):
    folder = LocalFolder(str(tmp_path))
    array = np.arange(400, dtype=np.int16).reshape(20, 20)
    plan, group = stored(folder, array, chunks=(8, 8), levels=1)
    path = tmp_path / plan.path(0, (0, 0))
    whole = path.read_bytes()
    for damaged in (whole[:-3], whole[:10], b"", bytes([whole[0] ^ 1]) + whole[1:]):
        path.write_bytes(damaged)
        with pytest.raises(Damaged, match=r"a.ome.zarr/0/c/0/0: its (index|chunk .*) is not what"):
            read(folder, f"{plan.name}/0")
    with pytest.raises(ValueError, match=r"[Cc]hecksum"):
        group["0"][:]  # zarr finds it too
    path.unlink()
    with pytest.raises(Damaged, match=r"a.ome.zarr/0/c/0/0 is missing"):
        read(folder, f"{plan.name}/0")
