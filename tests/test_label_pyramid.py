"""Label pyramids: what readers see, and what a crash leaves behind."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import openslide
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_images import (
    SHAPE,
    SMALL,
    files_in,
    halved,
    levels_of,
    multiscale,
    picture,
    stored,
    write,
    write_all,
)

from gpuseg._cpu.downsample import halve
from gpuseg.io.label_pyramid import COLOURS, LabelPyramid, colour, fingerprint_of

# -- downsampling --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)),
    st.sampled_from(["mode", "any"]),
)
def test_halve_against_numpy(labels, rule):
    assert (halve(labels, rule) == halved(labels, rule)).all()


@pytest.mark.parametrize("rule", ["mode", "any"])
def test_halve_takes_any_memory_layout_and_label(rule):
    labels = np.random.default_rng(0).integers(0, 256, (131, 260), np.uint8)
    for view in (labels[::-1, ::2], labels.T, labels[:, 3:200]):
        view.setflags(write=False)
        assert (halve(view, rule) == halved(view, rule)).all()


def test_rare_label_survives_any_but_not_mode():
    labels = np.zeros((64, 64), np.uint8)
    labels[17, 40] = 1
    for _ in range(6):
        labels = halve(labels, "any")
    assert labels.item() == 1
    labels = np.array([[0, 0], [0, 1]], np.uint8)
    assert halve(labels, "mode").item() == 0
    assert halve(np.array([[0, 1], [1, 0]], np.uint8), "mode").item() == 1


# -- what readers see ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["mode", "any"])
@pytest.mark.parametrize("name", ["a.zarr", "a.tif", "a.TIFF"])
def test_every_level_reads_back(name, rule, tmp_path):
    labels = picture()
    pyramid = LabelPyramid(tmp_path / name, SHAPE, downsampling=rule, **SMALL)
    write_all(pyramid, labels)
    assert pyramid.finish() == tmp_path / name
    levels = stored(tmp_path / name)
    shapes = [(1101, 1543), (551, 772), (276, 386), (138, 193)]
    assert [level.shape for level in levels] == shapes
    for level, expected in zip(levels, levels_of(labels, 4, rule), strict=True):
        assert level.dtype == np.uint8
        assert (level == expected).all()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (2049, 1), (256, 256), (513, 513), (64, 1025)])
@pytest.mark.parametrize("layout", [{}, {"box": 128, "chunk": 128}, {"box": 384, "chunk": 48}])
def test_shapes_and_layouts(name, shape, layout, tmp_path):
    labels = picture(shape)
    pyramid = LabelPyramid(tmp_path / name, shape, fingerprint="f", **layout)
    write_all(pyramid, labels)
    levels = stored(pyramid.finish())
    assert max(levels[-1].shape) <= 256
    assert all(max(level.shape) > 256 for level in levels[:-1])
    for level, expected in zip(levels, levels_of(labels, len(levels)), strict=True):
        assert (level == expected).all()


def test_levels_beyond_a_box(tmp_path):
    # Six levels, of which a box of 128 holds whole chunks of two.
    labels = picture((300, 5000))
    pyramid = LabelPyramid(tmp_path / "a.zarr", labels.shape, box=128, chunk=64, fingerprint="f")
    write_all(pyramid, labels)
    levels = stored(pyramid.finish())
    assert [level.within for level in pyramid.levels] == [True, True, False, False, False, False]
    for level, expected in zip(levels, levels_of(labels, 6), strict=True):
        assert (level == expected).all()


def test_ome_zarr_metadata(tmp_path):
    pyramid = LabelPyramid(tmp_path / "a.ome.zarr", SHAPE, mpp=(0.5, 0.25), **SMALL)
    write_all(pyramid, picture())
    group = zarr.open_group(pyramid.finish(), mode="r")
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    (scales,) = ome["multiscales"]
    assert scales["axes"] == [
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert scales["datasets"][2] == {
        "path": "2",
        "coordinateTransformations": [
            {"type": "scale", "scale": [2.0, 1.0]},
            {"type": "translation", "translation": [0.75, 0.375]},
        ],
    }
    assert scales["type"] == "mode"
    label = ome["image-label"]
    assert [tuple(item["rgba"]) for item in label["colors"]] == [(*rgb, 255) for rgb in COLOURS]
    names = [item["name"] for item in label["properties"]]
    assert names == ["negative", "weak", "plain", "strong"]
    assert group["0"].metadata.dimension_names == ("y", "x")
    assert (group["0"].shards, group["0"].chunks) == ((256, 256), (32, 32))
    unknown = LabelPyramid(tmp_path / "b.zarr", (5, 5), fingerprint="f")
    write_all(unknown, np.zeros((5, 5), np.uint8))
    assert multiscale(unknown.finish())["axes"] == [
        {"name": "y", "type": "space"},
        {"name": "x", "type": "space"},
    ]


def test_background_takes_no_files(tmp_path):
    pyramid = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    write_all(pyramid, np.zeros(SHAPE, np.uint8))
    assert len(files_in(pyramid.finish())) == 1 + 4
    assert not any(level.any() for level in stored(tmp_path / "a.zarr"))


def test_boxes_that_are_not_asked_for_are_negative(tmp_path):
    labels = picture()
    pyramid = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    wanted = [(256, 512, 256, 256), (1024, 1536, 77, 7)]
    for box in pyramid.todo(wanted):
        write(pyramid, labels, box)
    found = stored(pyramid.finish())[0]
    expected = np.zeros_like(labels)
    for top, left, height, width in wanted:
        place = np.s_[top : top + height, left : left + width]
        expected[place] = labels[place]
    assert (found == expected).all()


def test_tiff_tags(tmp_path):
    pyramid = LabelPyramid(tmp_path / "a.tif", SHAPE, mpp=(0.5, 0.25), **SMALL)
    write_all(pyramid, picture())
    with tifffile.TiffFile(pyramid.finish()) as tiff:
        assert tiff.is_bigtiff
        first, *reduced = tiff.pages
        assert first.photometric == tifffile.PHOTOMETRIC.PALETTE
        assert np.array_equal(first.colormap[:, :4].T, np.multiply(COLOURS, 257))
        assert (first.subfiletype, [page.subfiletype for page in reduced]) == (0, [1, 1, 1])
        assert first.tile == (32, 32)
        resolutions = [page.get_resolution("MICROMETER") for page in tiff.pages]
        assert np.allclose(resolutions, [(4, 2), (2, 1), (1, 0.5), (0.5, 0.25)])


def test_openslide_opens_the_tiff(tmp_path):
    labels = picture()
    pyramid = LabelPyramid(tmp_path / "a.tif", SHAPE, mpp=(0.5, 0.25), **SMALL)
    write_all(pyramid, labels)
    with openslide.OpenSlide(pyramid.finish()) as slide:
        assert slide.level_dimensions == ((1543, 1101), (772, 551), (386, 276), (193, 138))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)
        for number, expected in enumerate(levels_of(labels, 3)):
            shown = slide.read_region((0, 0), number, slide.level_dimensions[number])
            assert (np.asarray(shown)[..., :3] == colour(expected)).all()


def test_own_colours(tmp_path):
    colours = [(0, 0, 0), (255, 0, 255)]
    pyramid = LabelPyramid(tmp_path / "a.tif", (5, 5), colormap=colours, fingerprint="f")
    write_all(pyramid, np.eye(5, dtype=np.uint8))
    with openslide.OpenSlide(pyramid.finish()) as slide:
        shown = np.asarray(slide.read_region((0, 0), 0, (5, 5)))[..., :3]
    assert (shown == colour(np.eye(5, dtype=np.uint8), colours)).all()


# -- many writers --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_boxes_may_come_from_anywhere_in_any_order(workers, tmp_path):
    labels = picture()
    one = LabelPyramid(tmp_path / "one.zarr", SHAPE, **SMALL)
    write_all(one, labels)
    many = LabelPyramid(tmp_path / "many.zarr", SHAPE, **SMALL)
    boxes = many.boxes()
    np.random.default_rng(1).shuffle(boxes)
    pool = (
        ThreadPoolExecutor(4)
        if workers == "threads"
        else ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    )
    with pool:
        jobs = []
        for top, left, height, width in many.todo(boxes):
            part = labels[top : top + height, left : left + width]
            jobs.append(pool.submit(many.write, (top, left, height, width), part, {}))
        for job in jobs:
            job.result()
    assert files_in(one.finish()) == files_in(many.finish())


def test_pickles_without_the_records(tmp_path):
    pyramid = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    write_all(pyramid, picture())
    assert len(pyramid.done) == 35
    copy = pickle.loads(pickle.dumps(pyramid))
    assert copy.done == {}
    copy.finish()
    assert (stored(tmp_path / "a.zarr")[0] == picture()).all()


# -- refusals ------------------------------------------------------------------------------------


def test_older_image_stays_until_the_new_one_is_whole(tmp_path):
    older, newer = picture(), picture(seed=1)
    for labels, fingerprint in ((older, "1"), (newer, "2")):
        pyramid = LabelPyramid(tmp_path / "a.zarr", SHAPE, **{**SMALL, "fingerprint": fingerprint})
        write_all(pyramid, labels)
        if labels is newer:
            assert fingerprint_of(tmp_path / "a.zarr") == "1"
            assert (stored(tmp_path / "a.zarr")[0] == older).all()
        pyramid.finish()
        assert fingerprint_of(tmp_path / "a.zarr") == fingerprint
    assert (stored(tmp_path / "a.zarr")[0] == newer).all()


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_foreign_destination_is_refused(name, tmp_path):
    path = tmp_path / name
    if name == "a.zarr":
        zarr.create_group(path)
    else:
        tifffile.imwrite(path, np.zeros((9, 9), np.uint8))
    assert fingerprint_of(path) is None
    with pytest.raises(FileExistsError, match=f"{name} exists and isn't a label image of gpuseg"):
        LabelPyramid(path, (5, 5), fingerprint="f")
    pyramid = LabelPyramid(path, (5, 5), fingerprint="f", overwrite=True)
    write_all(pyramid, np.ones((5, 5), np.uint8))
    assert stored(pyramid.finish())[0].all()


def test_foreign_folder_under_the_temporary_name_is_refused(tmp_path):
    (tmp_path / "a.zarr.partial").mkdir()
    (tmp_path / "a.zarr.partial" / "thesis.txt").write_text("do not delete")
    with pytest.raises(FileExistsError, match=r"a\.zarr\.partial exists and isn't an unfinished"):
        LabelPyramid(tmp_path / "a.zarr", (5, 5), fingerprint="f")
    assert (tmp_path / "a.zarr.partial" / "thesis.txt").exists()


@pytest.mark.parametrize("left", [["scratch"], ["scratch", "boxes"], ["image", "boxes"]])
def test_a_folder_whose_making_or_removal_was_stopped_is_no_obstacle(tmp_path, left):
    for name in left:
        (tmp_path / "a.zarr.partial" / name).mkdir(parents=True)
    pyramid = LabelPyramid(tmp_path / "a.zarr", (5, 5), fingerprint="f")
    write_all(pyramid, np.ones((5, 5), np.uint8))
    assert stored(pyramid.finish())[0].all()
    assert [each.name for each in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize(
    "name", ["a", "a.png", "a.ome.tif", "a.zarr.zip", "s3://bucket/a.zarr", "zarr"]
)
def test_unknown_suffixes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"got '{name}'"):
        LabelPyramid(name, (5, 5), fingerprint="f")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (0, 5)}, r"shape must be positive, got \(0, 5\)"),
        ({"box": 100}, "box must be a multiple of 128, got 100"),
        ({"chunk": 24}, r"chunk must be a multiple of 16 that divides box \(4096\), got 24"),
        ({"downsampling": "mean"}, "downsampling must be 'mode' or 'any', got 'mean'"),
        ({"colormap": [(0, 0, 256)]}, "colormap must be 1 to 256 colours"),
        ({"mpp": 0.0}, "mpp must be positive and finite, got"),
    ],
)
def test_arguments_out_of_range(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        LabelPyramid(tmp_path / "a.zarr", **{"shape": (5, 5), "fingerprint": "f", **arguments})
    assert not list(tmp_path.iterdir())


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        LabelPyramid(tmp_path / "nowhere" / "a.zarr", (5, 5), fingerprint="f")


@pytest.mark.parametrize(
    ("box", "labels"),
    [
        ((0, 0, 256, 256), np.zeros((256, 255), np.uint8)),
        ((0, 0, 256, 256), np.zeros((256, 256), np.int32)),
        ((0, 0, 256, 255), np.zeros((256, 255), np.uint8)),
        ((128, 0, 256, 256), np.zeros((256, 256), np.uint8)),
        ((1280, 0, 256, 256), np.zeros((256, 256), np.uint8)),
        ((-256, 0, 256, 256), np.zeros((256, 256), np.uint8)),
    ],
)
def test_boxes_off_the_grid(box, labels, tmp_path):
    pyramid = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    with pytest.raises(ValueError, match="must be"):
        pyramid.write(box, labels, {})


def test_finish_insists_on_every_box(tmp_path):
    pyramid = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    with pytest.raises(RuntimeError, match=r"35 of 35 boxes aren't written.* \(0, 0, 256, 256\)"):
        pyramid.finish()
    assert not (tmp_path / "a.zarr").exists()


def test_shards_are_what_zarr_itself_writes(tmp_path):
    """The same chunks, index and checksum, but for the order of chunks, which is free."""
    labels = picture((256, 256))
    pyramid = LabelPyramid(tmp_path / "a.zarr", labels.shape, box=256, chunk=64, fingerprint="f")
    write_all(pyramid, labels)
    ours = zarr.open_group(pyramid.finish(), mode="r")["0"]
    theirs = zarr.create_array(
        tmp_path / "b.zarr",
        shape=ours.shape,
        dtype=ours.dtype,
        chunks=ours.chunks,
        shards=ours.shards,
        compressors=zarr.codecs.ZstdCodec(level=1),
        dimension_names=["y", "x"],
        fill_value=0,
    )
    folders = [tmp_path / "a.zarr" / "0", tmp_path / "b.zarr"]
    ours, expected = (json.loads((folder / "zarr.json").read_text()) for folder in folders)
    assert ours == {key: expected[key] for key in ours}
    theirs[:] = labels
    sizes = [(folder / "c" / "0" / "0").stat().st_size for folder in folders]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)
