"""Parquet holds the table that memory holds, in ranges of labels, whole or not at all."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from region_cases import assert_same_bits, blobs, values

from gpuseg._shared.region_columns import PROPERTIES
from gpuseg.measure import regionprops_table, regionprops_to_parquet

NAMES = [name for name, prop in PROPERTIES.items() if 2 in prop.ndims]


def read(folder):
    return {name: column.to_numpy() for name, column in pd.read_parquet(folder).items()}


@pytest.mark.parametrize("rows_per_file", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_equals_the_table_in_memory(tmp_path, rows_per_file, dtype, container):
    labels, image = blobs((60, 70), labels=150), values((60, 70), dtype)
    labels = labels.astype(np.int64) << 33
    expected = regionprops_table(labels, image, properties=NAMES)
    folder = tmp_path / "objects"
    count = regionprops_to_parquet(
        container(labels),
        container(image),
        folder,
        properties=NAMES,
        rows_per_file=rows_per_file,
    )
    assert count == expected["label"].size
    assert_same_bits(read(folder), expected)
    sizes = [len(pd.read_parquet(path)) for path in sorted(folder.iterdir())]
    assert max(sizes) <= rows_per_file
    assert [path.name for path in tmp_path.iterdir()] == ["objects"]


def test_many_chunks(tmp_path):
    labels = np.arange(1, 40 * 50 + 1).reshape(40, 50).repeat(3, 0).repeat(3, 1)
    chunked = da.from_array(labels, chunks=7)
    names = ("label", "area", "num_neighbors", "centroid")
    assert (
        regionprops_to_parquet(
            chunked, None, tmp_path / "objects", properties=names, rows_per_file=300
        )
        == 2000
    )
    expected = regionprops_table(labels, properties=names)
    assert_same_bits(read(tmp_path / "objects"), expected)
    assert 7 <= len(list((tmp_path / "objects").iterdir())) <= 20


def test_no_rows(tmp_path, container):
    labels = container(np.zeros((5, 5), np.int32))
    assert regionprops_to_parquet(labels, None, tmp_path / "none") == 0
    assert list(read(tmp_path / "none")) == ["label", "bbox-0", "bbox-1", "bbox-2", "bbox-3"]


def test_a_failure_leaves_nothing(tmp_path):
    def fail(block):
        raise RuntimeError("the disk is gone")

    labels = da.ones((8, 8), chunks=4, dtype=int).map_blocks(
        fail, dtype=int, meta=np.empty((0, 0), int)
    )
    with pytest.raises(RuntimeError, match="the disk is gone"):
        regionprops_to_parquet(labels, None, tmp_path / "objects")
    with pytest.raises(ValueError, match="must not be negative, got -3"):
        regionprops_to_parquet(np.full((3, 3), -3), None, tmp_path / "objects")
    assert list(tmp_path.iterdir()) == []


def test_bad_input(tmp_path):
    labels = np.ones((3, 3), int)
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match=r"there.*exists"):
        regionprops_to_parquet(labels, None, tmp_path / "there")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        regionprops_to_parquet(labels, None, tmp_path / "no" / "where")
    with pytest.raises(ValueError, match="rows_per_file must be at least 1, got 0"):
        regionprops_to_parquet(labels, None, tmp_path / "x", rows_per_file=0)
