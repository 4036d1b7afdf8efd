"""The table of shared pixels against SciPy's sparse one, for every container and dtype."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from conftest import to_numpy
from gpuseg import compare
from gpuseg._backend import limit_threads
from gpuseg._cpu import overlap as cpu
from gpuseg._shared.overlap import Overlap, merge

DTYPES = [bool, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4"]


def blocks(shape=(40, 50), seed=0, step=5, labels=9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, labels, tuple(size // step + 1 for size in shape))
    for axis in range(len(shape)):
        coarse = coarse.repeat(step, axis)
    return coarse[tuple(map(slice, shape))]


def by_scipy(true, test) -> list[tuple[int, int, int]]:
    """Rows of the table by a sparse matrix over the ranks of labels."""
    (names, i), (others, j) = (np.unique(a, return_inverse=True) for a in (true, test))
    ones = np.ones(true.size, np.int64)
    found = sparse.coo_array((ones, (i.ravel(), j.ravel())), (names.size, others.size))
    found = found.tocsr().tocoo()
    return sorted(
        (int(names[a]), int(others[b]), int(n))
        for a, b, n in zip(*found.coords, found.data, strict=True)
    )


def rows(table: Overlap) -> list[tuple[int, int, int]]:
    return [tuple(map(int, row)) for row in zip(*table, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("other", [np.uint8, np.int64])
def test_equals_scipy(dtype, other, container):
    true, test = blocks().astype(dtype), blocks(seed=1).astype(other)
    table = compare.compare_labels(container(true), container(test)).overlap
    assert rows(table) == by_scipy(true, test)
    assert [column.dtype for column in table] == [np.uint64, np.uint64, np.int64]


@pytest.mark.parametrize("shape", [(1,), (7,), (1, 1), (0, 5), (1, 9), (5, 1, 6), (3, 4, 5, 2)])
def test_shapes(shape):
    rng = np.random.default_rng(0)
    true, test = rng.integers(0, 3, (2, *shape))
    assert rows(cpu.overlap(true, test)) == by_scipy(true, test)


def test_memory_layouts():
    true, test = blocks((30, 44)), blocks((30, 44), 1)
    expected = by_scipy(true[::2, ::-3], test[::2, ::-3])
    assert rows(cpu.overlap(true[::2, ::-3], test[::2, ::-3])) == expected
    fortran = np.asfortranarray(true)
    fortran.setflags(write=False)
    assert rows(cpu.overlap(fortran, test)) == by_scipy(true, test)


def test_more_pairs_than_the_first_table_holds():
    """Every pixel a pair of its own: the hash table grows several times."""
    true = np.arange(70_000, dtype=np.uint32).reshape(100, 700)
    test = true[::-1, ::-1].astype(np.int64) * 2**36
    assert rows(cpu.overlap(true, test)) == by_scipy(true, test)


def test_the_largest_labels():
    true = np.array([2**64 - 1, 2**63, 0, 5], np.uint64)
    test = np.array([1, 0, 0, -(2**62)], np.int64)
    with pytest.raises(ValueError, match=rf"got {-(2**62)} in image_test"):
        cpu.overlap(true, test)
    assert rows(cpu.overlap(true, np.abs(test))) == by_scipy(true, np.abs(test).astype(np.uint64))
    found = compare.compare_labels(true, true)
    assert found.matches().true.tolist() == [5, 2**63, 2**64 - 1]


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_negative_labels(dtype, container):
    true = np.zeros((6, 8), dtype)
    true[2, 3] = -7
    with pytest.raises(ValueError, match="must not be negative, got -7 in image_true"):
        compare.compare_labels(container(true), container(np.ones((6, 8), np.uint16)))


def test_rows_longer_than_a_band(monkeypatch):
    monkeypatch.setattr(cpu, "_BAND_MOST", 50)
    true, test = blocks((9, 120)), blocks((9, 120), 1)
    assert rows(cpu.overlap(true, test)) == by_scipy(true, test)


def test_threads_and_strips_change_nothing(monkeypatch):
    monkeypatch.setattr(cpu, "_STRIP", 300)
    monkeypatch.setattr(cpu, "_BAND", 128)
    true, test = blocks((60, 70)), blocks((60, 70), 1, 7)
    for threads in (1, 2, 5):
        with limit_threads(threads):
            assert rows(cpu.overlap(true, test)) == by_scipy(true, test)


@given(
    st.integers(1, 17),
    st.integers(1, 23),
    st.integers(1, 17),
    st.integers(1, 23),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None)
def test_chunking_changes_nothing(rows_true, columns_true, rows_test, columns_test, seed):
    rng = np.random.default_rng(seed)
    true, test = rng.integers(0, 4, (2, 17, 23))
    found = compare.compare_labels(
        da.from_array(true, chunks=(rows_true, columns_true)),
        da.from_array(test, chunks=(rows_test, columns_test)),
    )
    assert rows(found.overlap) == by_scipy(true, test)


def test_one_of_them_chunked():
    true, test = blocks(), blocks(seed=1)
    chunked = da.from_array(test, chunks=13)
    for pair in ((true, chunked), (da.from_array(true, chunks=(7, 50)), test)):
        assert rows(compare.compare_labels(*pair).overlap) == by_scipy(true, test)


def test_graph_is_small_and_each_chunk_read_once():
    read = []

    def load(block, block_info=None):
        read.append(block_info[0]["chunk-location"])
        return block

    true = da.ones((64, 64), chunks=8, dtype=np.int32).map_blocks(load, dtype=np.int32)
    read.clear()
    table = compare.compare_labels(true, da.ones((64, 64), chunks=8, dtype=np.int32)).overlap
    assert rows(table) == [(1, 1, 64 * 64)]
    assert sorted(read) == sorted(set(read))
    assert len(read) == 64


def test_merge_of_nothing():
    empty = Overlap(*(np.empty(0, kind) for kind in (np.uint64, np.uint64, np.int64)))
    assert rows(merge([empty, empty])) == []


BAD = [
    (np.ones((2, 2)), np.ones((2, 2), int), TypeError, "image_true must be bool or .* float64"),
    (np.ones((2, 2), int), np.ones((2, 2), complex), TypeError, "image_test must .* complex128"),
    (np.ones((2, 2), int), np.ones((2, 3), int), ValueError, r"got \(2, 2\) and \(2, 3\)"),
    (np.ma.masked_equal([1], 1), np.ones(1, int), TypeError, "masked"),
    (np.array(1), np.array(1), ValueError, r"got shape \(\)"),
    ([1, 2], [1, 2], TypeError, "got builtins.list"),
]  # fmt: skip


@pytest.mark.parametrize(("true", "test", "error", "message"), BAD)
def test_bad_input(true, test, error, message):
    with pytest.raises(error, match=message):
        compare.compare_labels(true, test)


def test_unknown_chunks():
    known = da.arange(9, chunks=3)
    with pytest.raises(ValueError, match="known sizes"):
        compare.compare_labels(known[known > 3], known[known > 3])


def test_no_kernel(xp):
    if xp is np:
        pytest.skip("for devices")
    image = xp.asarray(blocks())
    with pytest.raises(TypeError, match=r"not implemented for CuPy arrays; .*\.get\(\)"):
        compare.compare_labels(image, image)
    with pytest.raises(TypeError, match="same memory"):
        compare.compare_labels(image, to_numpy(image))
