"""Labels written to disk chunk by chunk: equal to the whole's, and taken up after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import skimage.measure
import zarr
from label_cases import blobs, by_first_pixel, by_graph, by_scipy, noise

from gpuseg.measure import label_to_zarr

IMAGE = noise(61, 90, seed=5)
EXPECTED, COUNT = by_scipy(IMAGE, 2)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "labels.zarr"


def stored(path, level=0):
    return zarr.open_group(path, mode="r")[str(level)][:]


def attributes(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]


def lazy():
    return da.from_array(IMAGE, chunks=(16, 20), name="the image")


@pytest.mark.parametrize(
    ("image", "chunks"),
    [
        (IMAGE, 16),
        (IMAGE, None),
        (noise(200, 300), (64, 300)),
        (blobs(20, 30, 40), (8, 30, 11)),
        (noise(3, 9, 20, 30, share=0.2), (1, 5, 9, 30)),
        (np.zeros((20, 30), bool), 7),
        (np.ones((20, 30), bool), 7),
    ],
)
def test_equals_scipy(target, image, chunks):
    for connectivity in (1, image.ndim):
        expected, count = by_scipy(image, connectivity)
        assert label_to_zarr(image, target, chunks=chunks, connectivity=connectivity) == count
        np.testing.assert_array_equal(stored(target), expected)
        assert not target.with_name("labels.zarr.partial").exists()


def test_options_of_label(target):
    image = np.random.default_rng(0).integers(0, 3, (6, 20, 20))
    options = {"axes": (1, 2), "wrap_axes": 2, "background": 1}
    expected, count = by_graph(image, 1, axes=(1, 2), wrap_axes=(2,), background=1)
    assert label_to_zarr(image, target, connectivity=1, chunks=(2, 7, 7), **options) == count
    np.testing.assert_array_equal(stored(target), expected)
    axes = attributes(target)["ome"]["multiscales"][0]["axes"]
    assert [axis["name"] for axis in axes] == ["t", "y", "x"]


def test_uneven_chunks_are_made_even(target):
    array = da.from_array(IMAGE, chunks=((5, 30, 26), (90,)))
    assert label_to_zarr(array, target) == COUNT
    np.testing.assert_array_equal(stored(target), EXPECTED)
    assert zarr.open_group(target)["0"].shards == (30, 90)


def test_sources(tmp_path, target):
    array = zarr.create_array(
        tmp_path / "mask.zarr", shape=IMAGE.shape, dtype=bool, chunks=(10, 15), shards=(20, 30)
    )
    array[:] = IMAGE
    for source in (array, tmp_path / "mask.zarr", str(tmp_path / "mask.zarr")):
        assert label_to_zarr(source, target) == COUNT
        np.testing.assert_array_equal(stored(target), EXPECTED)
        assert zarr.open_group(target)["0"].shards == (20, 30)


def test_an_image_gets_labels(tmp_path):
    image = tmp_path / "image.zarr"
    label_to_zarr(IMAGE, image, chunks=32, axis_names="yx", scale=(0.5, 0.25), unit="micrometer")
    for name in ("cells", "again", "cells"):
        target = image / "labels" / name
        target.parent.mkdir(exist_ok=True)
        count = label_to_zarr(image, target, connectivity=1)
        expected, number = by_graph(EXPECTED, 1)
        assert count == number
        np.testing.assert_array_equal(stored(target), expected)
        multiscale = attributes(target)["ome"]["multiscales"][0]
        assert multiscale["axes"] == [
            {"name": name, "type": "space", "unit": "micrometer"} for name in "yx"
        ]
        scales = [item["coordinateTransformations"] for item in multiscale["datasets"]]
        assert scales[0] == [{"type": "scale", "scale": [0.5, 0.25]}]
    assert attributes(image / "labels")["ome"] == {"version": "0.5", "labels": ["cells", "again"]}


def test_levels_are_every_second_pixel(target):
    image = noise(3, 45, 70)
    label_to_zarr(image, target, chunks=(3, 16, 16), axes=(1, 2))
    group = zarr.open_group(target, mode="r")
    datasets = attributes(target)["ome"]["multiscales"][0]["datasets"]
    assert [item["path"] for item in datasets] == ["0", "1", "2", "3"]
    assert attributes(target)["ome"]["image-label"] == {}
    expected, number = by_graph(image, 2, axes=(1, 2))
    for k, item in enumerate(datasets):
        np.testing.assert_array_equal(group[str(k)][:], expected[:, :: 2**k, :: 2**k])
        (step,) = item["coordinateTransformations"]
        assert step == {"type": "scale", "scale": [1, 2**k, 2**k]}
    assert group["0"].metadata.dimension_names == ("t", "y", "x")
    assert attributes(target)["gpuseg"] == {"number": number}


@pytest.mark.parametrize(("levels", "count"), [(1, 1), (3, 3), (50, 7)])
def test_number_of_levels(target, levels, count):
    label_to_zarr(noise(40, 50), target, chunks=20, levels=levels)
    assert len(attributes(target)["ome"]["multiscales"][0]["datasets"]) == count


def test_smallest_dtype(target):
    dots = np.zeros((60, 60), bool)
    dots[::2, ::2] = True
    for image, dtype in ((dots[:20], np.uint16), (dots[:10], np.uint8), (IMAGE, np.uint8)):
        label_to_zarr(image, target, chunks=20)
        assert stored(target).dtype == dtype
    label_to_zarr(dots, target, chunks=20, dtype=np.int64)
    assert stored(target).dtype == np.int64
    np.testing.assert_array_equal(stored(target), by_scipy(dots, 2)[0])


def test_too_many_labels_for_the_dtype(target):
    dots = np.zeros((60, 60), bool)
    dots[::2, ::2] = True
    with pytest.raises(OverflowError, match="dtype must hold the 900 labels, got uint8"):
        label_to_zarr(dots, target, dtype=np.uint8, chunks=20)
    assert not target.exists()
    assert not list(target.with_name("labels.zarr.partial").glob("image/**/c"))


def test_schedulers(target):
    for scheduler in (None, "processes"):
        assert label_to_zarr(lazy(), target, scheduler=scheduler, workers=2) == COUNT
        np.testing.assert_array_equal(stored(target), EXPECTED)


def test_progress(target, capsys):
    seen = []
    label_to_zarr(lazy(), target, progress=lambda *steps: seen.append(steps), workers=1)
    done, totals = zip(*seen, strict=True)
    assert len(set(totals)) == 1
    assert done[0] == 0
    assert done[-1] == totals[0]
    assert list(done) == sorted(done)
    label_to_zarr(lazy(), target, progress=True)
    assert "labelling" in capsys.readouterr().err


class Stop(Exception):
    pass


@pytest.mark.parametrize("reads", [0, 1, 7, 19, 20, 21, 33, 39])
def test_what_is_done_is_not_done_again(target, reads):
    total = 20
    left = [reads]

    def load(block):
        if left[0] == 0:
            raise Stop
        left[0] -= 1
        return block

    array = lazy().map_blocks(load, name="loaded", dtype=bool)
    assert array.npartitions == total
    with pytest.raises(Stop):
        label_to_zarr(array, target, workers=1)
    assert not target.exists()
    left[0] = 1000
    first = []
    assert label_to_zarr(array, target, workers=1, progress=lambda *s: first.append(s)) == COUNT
    # Two threads may each have read a block that was not yet recorded.
    assert 1000 - left[0] <= 2 * total - reads + 2
    np.testing.assert_array_equal(stored(target), EXPECTED)


def test_other_questions_start_anew(target):
    array = lazy()
    levels = {"levels": 1}
    with pytest.raises(OverflowError):
        label_to_zarr(np.indices((40, 40)).sum(0) % 2 > 0, target, connectivity=1, dtype="i1")
    assert label_to_zarr(array, target, connectivity=1, **levels) == by_scipy(IMAGE, 1)[1]
    np.testing.assert_array_equal(stored(target), by_scipy(IMAGE, 1)[0])


MORTAL = """
import itertools, os, signal, sys
import numpy as np, dask.array as da
from gpuseg.measure import label_to_zarr
sys.path.insert(0, {tests!r})
from label_cases import noise
reads = itertools.count(1)
def load(block):
    os.write(1, b"read\\n")
    if next(reads) == int(os.environ["READS"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return block
image = da.from_array(noise(61, 90, seed=5), chunks=(16, 20), name="the image")
image = image.map_blocks(load, name="loaded", dtype=bool, meta=np.empty((0, 0), bool))
print(label_to_zarr(image, {target!r}, workers=2))
"""


def test_killed_processes(target):
    code = MORTAL.format(tests=os.path.dirname(__file__), target=str(target))

    def run(reads):
        environment = {**os.environ, "READS": str(reads)}
        return subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)

    for reads in (5, 24):
        killed = run(reads)
        assert killed.returncode == -9, killed.stderr
        assert not target.exists()
    whole = run(0)
    assert whole.returncode == 0, whole.stderr
    *reads, count = whole.stdout.split()
    assert int(count) == COUNT
    assert len(reads) < 25
    np.testing.assert_array_equal(stored(target), EXPECTED)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"axis_names": "xx"}, ValueError, "axis_names must be 2 different letters of 'tczyx'"),
        ({"axis_names": "zyx"}, ValueError, "axis_names must be 2 different letters.* got 'zyx'"),
        ({"scale": (1,)}, ValueError, r"scale must be 2 positive numbers, got \(1.0,\)"),
        ({"scale": (1, 0)}, ValueError, r"scale must be 2 positive numbers, got \(1.0, 0.0\)"),
        ({"levels": 0}, ValueError, "levels must be at least 1, got 0"),
        ({"dtype": float}, TypeError, "dtype must be an integer type, got float64"),
        ({"connectivity": 3}, ValueError, "connectivity must be between 1 and 2"),
        ({"source": IMAGE[0]}, ValueError, r"OME-Zarr images have 2 to 5 axes, got shape \(90,\)"),
        ({"source": IMAGE[:0]}, ValueError, r"image must have pixels, got shape \(0, 90\)"),
        ({"source": IMAGE.astype(float)}, TypeError, "image must be bool or integer, got float64"),
        ({"source": 5}, TypeError, "source must be a Dask, NumPy or zarr array or a path, got int"),
    ],
)
def test_errors(target, options, error, message):
    with pytest.raises(error, match=message):
        label_to_zarr(**{"source": IMAGE, "destination": target, **options})
    assert not target.exists()


def test_a_group_that_is_no_image(tmp_path, target):
    zarr.create_group(tmp_path / "group.zarr")
    (tmp_path / "image.tif").write_bytes(b"II*\0")
    for name in ("group.zarr", "image.tif"):
        with pytest.raises(ValueError, match=f"{name} is neither a zarr array nor an OME-Zarr"):
            label_to_zarr(tmp_path / name, target)
    with pytest.raises(FileNotFoundError):
        label_to_zarr(tmp_path / "nothing.zarr", target)


def test_what_others_made_is_kept(target):
    target.mkdir()
    (target / "precious").touch()
    with pytest.raises(FileExistsError, match="exists and isn't a label image of gpuseg"):
        label_to_zarr(IMAGE, target)
    assert (target / "precious").exists()
    label_to_zarr(IMAGE, target, overwrite=True)
    np.testing.assert_array_equal(stored(target), EXPECTED)


def test_real_zarr(test_data, target):
    root = test_data / "zarr/ez_zarr/example_data_zarr3/6001240_labels_v0.5.zarr"
    nuclei = zarr.open_group(root / "labels", mode="r")
    name = next(iter(nuclei.group_keys()))
    path = root / "labels" / name
    values = zarr.open_group(path, mode="r")["0"][:]
    expected = by_first_pixel(skimage.measure.label(values[0]))
    assert label_to_zarr(path, target, axes=(1, 2, 3)) == expected.max()
    np.testing.assert_array_equal(stored(target)[0], expected)
    axes = [axis["name"] for axis in attributes(target)["ome"]["multiscales"][0]["axes"]]
    assert axes == ["c", "z", "y", "x"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunks": 0}, ValueError, "chunks must be positive, or -1 for all, got 0"),
        ({"levels": "2"}, TypeError, "levels must be an integer, got '2'"),
        ({"scale": "a"}, TypeError, "scale must be a real number, got 'a'"),
        ({"scheduler": "nope"}, ValueError, "scheduler must be None, .*, got 'nope'"),
        ({"workers": 0}, ValueError, "workers must be a positive integer, got 0"),
        ({"scale": 0.5}, TypeError, "scale must be 2 positive numbers, got 0.5"),
        ({"axis_names": 5}, TypeError, "axis_names must be a string such as 'zyx', got 5"),
        ({"unit": 3}, TypeError, "unit must be a string such as 'micrometer', got 3"),
        ({"unit": "um"}, ValueError, "unit must be a length .* as 'micrometer', got 'um'"),
        ({"unit": ""}, ValueError, "unit must be a length .* as 'micrometer', got ''"),
    ],
)
def test_options_of_other_types(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        label_to_zarr(np.ones((4, 4), bool), tmp_path / "labels.zarr", **options)
    assert not list(tmp_path.iterdir())
