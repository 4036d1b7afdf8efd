"""Label pyramids: what readers see, and what a crash leaves behind."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import textwrap
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

from gpuseg._cpu.downsample import halve
from gpuseg.io import _checkpoint
from gpuseg.io.label_pyramid import COLOURS, LabelPyramid, colour, fingerprint_of

SHAPE = (1101, 1543)
SMALL = {"box": 256, "chunk": 32, "fingerprint": "slide and parameters"}


def picture(shape=SHAPE, seed=0):
    """Labels in patches with noise, and a corner without any."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 4, (shape[0] // 30 + 1, shape[1] // 30 + 1), np.uint8)
    labels = np.kron(patches, np.ones((30, 30), np.uint8))[: shape[0], : shape[1]]
    noise = rng.integers(0, 4, shape, np.uint8)
    labels = np.where(rng.random(shape) < 0.1, noise, labels)
    labels[: shape[0] // 2, : shape[1] // 2] = 0
    return labels


def halved(labels, rule="mode"):
    """Plain NumPy: count each value in each block, edges repeated."""
    labels = np.pad(labels, [(0, size % 2) for size in labels.shape], mode="edge")
    blocks = [labels[y::2, x::2] for y in (0, 1) for x in (0, 1)]
    if rule == "any":
        return np.max(blocks, axis=0)
    values = np.unique(labels)[::-1]
    counts = [sum(block == value for block in blocks) for value in values]
    return values[np.argmax(counts, axis=0)]


def levels_of(labels, count, rule="mode"):
    levels = [labels]
    while len(levels) < count:
        levels.append(halved(levels[-1], rule))
    return levels


def write_all(pyramid, labels):
    for box in pyramid.todo(pyramid.boxes()):
        write(pyramid, labels, box)


def write(pyramid, labels, box):
    top, left, height, width = box
    pyramid.write(box, labels[top : top + height, left : left + width], {"corner": [top, left]})


def stored(path):
    """All levels of a finished image, by independent readers."""
    if path.is_dir():
        group = zarr.open_group(path, mode="r")
        return [group[item["path"]][:] for item in multiscale(path)["datasets"]]
    with tifffile.TiffFile(path) as tiff:
        return [page.asarray() for page in tiff.pages]


def multiscale(path):
    (found,) = zarr.open_group(path, mode="r").attrs["ome"]["multiscales"]
    return found


def files_in(path):
    """Bytes of each file below a folder."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


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
    assert [level.shape for level in levels] == [(1101, 1543), (551, 772), (276, 386)]
    for level, expected in zip(levels, levels_of(labels, 3, rule), strict=True):
        assert level.dtype == np.uint8
        assert (level == expected).all()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (2049, 1), (512, 512), (513, 513), (64, 1025)])
@pytest.mark.parametrize("layout", [{}, {"box": 128, "chunk": 128}, {"box": 384, "chunk": 48}])
def test_shapes_and_layouts(name, shape, layout, tmp_path):
    labels = picture(shape)
    pyramid = LabelPyramid(tmp_path / name, shape, fingerprint="f", **layout)
    write_all(pyramid, labels)
    levels = stored(pyramid.finish())
    assert max(levels[-1].shape) <= 512
    assert all(max(level.shape) > 512 for level in levels[:-1])
    for level, expected in zip(levels, levels_of(labels, len(levels)), strict=True):
        assert (level == expected).all()


def test_levels_beyond_a_box(tmp_path):
    # Five levels, of which a box of 128 holds whole chunks of two.
    labels = picture((300, 5000))
    pyramid = LabelPyramid(tmp_path / "a.zarr", labels.shape, box=128, chunk=64, fingerprint="f")
    write_all(pyramid, labels)
    levels = stored(pyramid.finish())
    assert [level.within for level in pyramid.levels] == [True, True, False, False, False]
    for level, expected in zip(levels, levels_of(labels, 5), strict=True):
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
    assert len(files_in(pyramid.finish())) == 1 + 3
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
        assert (first.subfiletype, [page.subfiletype for page in reduced]) == (0, [1, 1])
        assert first.tile == (32, 32)
        resolutions = [page.get_resolution("MICROMETER") for page in tiff.pages]
        assert np.allclose(resolutions, [(4, 2), (2, 1), (1, 0.5)])


def test_openslide_opens_the_tiff(tmp_path):
    labels = picture()
    pyramid = LabelPyramid(tmp_path / "a.tif", SHAPE, mpp=(0.5, 0.25), **SMALL)
    write_all(pyramid, labels)
    with openslide.OpenSlide(pyramid.finish()) as slide:
        assert slide.level_dimensions == ((1543, 1101), (772, 551), (386, 276))
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


# -- crashes -------------------------------------------------------------------------------------

CRASH = """
    import os, signal, sys
    import numpy as np
    from gpuseg.io.label_pyramid import LabelPyramid

    destination, source, fatal = sys.argv[1:]
    labels = np.load(source)
    pyramid = LabelPyramid(destination, labels.shape, box=256, chunk=32, fingerprint="f")
    moves = 0

    def watched(function):
        # Dies when the n-th file is about to get its name, or around the moves of whole images.
        def move(*names):
            global moves
            moves += 1
            passed = {"before": names[1], "after": names[1], "aside": names[0]}.get(fatal)
            mortal = str(passed) == destination if passed else moves == int(fatal)
            if mortal and fatal not in ("after", "aside"):
                os.kill(os.getpid(), signal.SIGKILL)
            function(*names)
            if mortal:
                os.kill(os.getpid(), signal.SIGKILL)
        return move

    os.replace, os.rename = watched(os.replace), watched(os.rename)
    for top, left, height, width in pyramid.todo(pyramid.boxes()):
        part = labels[top : top + height, left : left + width]
        pyramid.write((top, left, height, width), part, {"corner": [top, left]})
    pyramid.finish()
    print(moves)
"""
CRASHING = (600, 520)


def crash(destination, labels, fatal):
    source = destination.parent / "labels.npy"
    np.save(source, labels)
    command = [sys.executable, "-c", textwrap.dedent(CRASH), str(destination), str(source), fatal]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def resumed(destination, labels):
    pyramid = LabelPyramid(destination, labels.shape, box=256, chunk=32, fingerprint="f")
    before = dict(pyramid.done)
    write_all(pyramid, labels)
    assert pyramid.done == {box: {"corner": list(box[:2])} for box in pyramid.boxes()}
    return before, pyramid.finish()


# A box makes two files and a record, nine boxes are 27 moves after the first, of the marker, which
# is made before the watch begins.
@pytest.mark.parametrize(
    ("name", "fatal", "done"),
    [("a.zarr", "1", 0), ("a.zarr", "12", 3), ("a.tif", "17", 5), ("a.tif", "26", 8)],
)
def test_killed_while_writing(name, fatal, done, tmp_path):
    labels = np.maximum(picture(CRASHING, seed=3), 1)
    _, whole = resumed(tmp_path / f"whole-{name}", labels)
    assert crash(tmp_path / name, labels, fatal).returncode == -9
    assert not (tmp_path / name).exists()
    before, path = resumed(tmp_path / name, labels)
    assert len(before) == done
    assert all(extra == {"corner": list(box[:2])} for box, extra in before.items())
    if path.is_dir():
        assert files_in(path) == files_in(whole)
    else:
        assert path.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"{name}.partial").exists()


@pytest.mark.parametrize(
    ("name", "fatal"),
    [("a.zarr", "aside"), ("a.zarr", "after"), ("a.tif", "before"), ("a.tif", "after")],
)
def test_killed_while_replacing_an_older_image(name, fatal, tmp_path):
    older, newer = picture(CRASHING, seed=4), picture(CRASHING, seed=5)
    _, path = resumed(tmp_path / name, older)
    assert crash(path, newer, fatal).returncode == -9
    if fatal == "aside":
        assert not path.exists()
    else:
        assert (stored(path)[0] == (newer if fatal == "after" else older)).all()
    _, path = resumed(path, newer)
    assert (stored(path)[0] == newer).all()
    assert {entry.name for entry in tmp_path.iterdir()} == {name, "labels.npy"}


def test_other_fingerprint_starts_anew(tmp_path):
    labels = picture()
    first = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    write_all(first, labels)
    same = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    assert len(same.done) == 35
    assert same.todo(same.boxes()) == []
    for changed in ({"fingerprint": "x"}, {"downsampling": "any"}, {"chunk": 64}):
        other = LabelPyramid(tmp_path / "a.zarr", SHAPE, **{**SMALL, **changed})
        assert other.done == {}
        write_all(other, labels)


@pytest.mark.parametrize("damage", ["flip", "shorten", "remove", "record"])
def test_damaged_boxes_are_written_again(damage, tmp_path):
    labels = picture()
    pyramid = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    write_all(pyramid, labels)
    file = pyramid.levels[1].path(4, 6)
    if damage == "record":
        file = tmp_path / "a.zarr.partial" / "boxes" / "1024_1536.json"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(data if damage == "flip" else data[:-3])
    again = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    assert again.todo(again.boxes()) == [(1024, 1536, 77, 7)]
    write_all(again, labels)
    assert (stored(again.finish())[0] == labels).all()


# -- full disks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_disk_that_takes_no_more(name, tmp_path):
    resource = pytest.importorskip("resource")
    labels = picture()
    pyramid = LabelPyramid(tmp_path / name, SHAPE, **SMALL)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # Records fit, and so do shards of the background.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        with pytest.raises(
            OSError, match=rf"writing box .* of .*{name} failed: .*goes on"
        ) as caught:
            write_all(pyramid, labels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno
    assert not (tmp_path / name).exists()
    assert not list((tmp_path / f"{name}.partial" / "scratch").iterdir())
    again = LabelPyramid(tmp_path / name, SHAPE, **SMALL)
    assert 0 < len(again.done) < 35
    write_all(again, labels)
    assert (stored(again.finish())[0] == labels).all()


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_disk_that_fills_up_at_the_end(name, tmp_path, monkeypatch):
    labels = picture()
    pyramid = LabelPyramid(tmp_path / name, SHAPE, **SMALL)
    write_all(pyramid, labels)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match=f"finishing of .*{name} failed: No space") as caught:
            pyramid.finish()
    assert caught.value.errno == 28
    assert not (tmp_path / name).exists()
    again = LabelPyramid(tmp_path / name, SHAPE, **SMALL)
    assert len(again.done) == 35
    assert (stored(again.finish())[0] == labels).all()


def test_failed_move_gives_the_older_image_back(tmp_path, monkeypatch):
    older, newer = picture(), picture(seed=1)
    first = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    write_all(first, older)
    first.finish()
    second = LabelPyramid(tmp_path / "a.zarr", SHAPE, **SMALL)
    write_all(second, newer)

    def refuse(source, target):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *names: refuse(*names))
        patch.setattr(_checkpoint, "write_atomic", lambda *_: None)
        with pytest.raises(OSError, match="Permission denied"):
            second.finish()
    assert (stored(tmp_path / "a.zarr")[0] == older).all()
    second.finish()
    assert (stored(tmp_path / "a.zarr")[0] == newer).all()


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
