"""Label pyramids that are killed, damaged, or run out of disk."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from _disk import full_disk
from label_images import (
    SHAPE,
    SMALL,
    files_in,
    picture,
    stored,
    write_all,
)

from gpuseg.io import _checkpoint
from gpuseg.io.label_pyramid import LabelPyramid

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
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


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
    [("a.zarr", "1", 0), ("a.zarr", "16", 3), ("a.tif", "23", 5), ("a.tif", "35", 8)],
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
    labels = picture()
    write_all(LabelPyramid(tmp_path / f"elsewhere-{name}", SHAPE, **SMALL), labels)
    pyramid = LabelPyramid(tmp_path / name, SHAPE, **SMALL)
    # Records fit, and so do shards of the background.
    with (
        full_disk(4000),
        pytest.raises(OSError, match=rf"writing box .* of .*{name} failed: .*goes on") as caught,
    ):
        write_all(pyramid, labels)
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
