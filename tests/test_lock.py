"""Two runs that would write the same file: the second is told at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import tifffile
from _slides import smooth_image, write_pyramid

from gpuseg import positive_pixel_count as ppc
from gpuseg.cli import main
from gpuseg.io import SlideError, _lock
from gpuseg.io._lock import locked

PARAMS = ppc.Parameters(hue_value=0.05)

pytestmark = pytest.mark.skipif(_lock.fcntl is None, reason="no locks on this system")


@pytest.fixture
def slide(tmp_path):
    return write_pyramid(tmp_path / "slide.tif", smooth_image(300, 400), compression="deflate")


def test_the_second_is_refused_and_the_next_is_not(tmp_path):
    path = tmp_path / "a.csv"
    with locked(path):
        with (
            pytest.raises(BlockingIOError, match=rf"a\.csv is being .*process {os.getpid()} on "),
            locked(path),
        ):
            pass
        with locked(tmp_path / "b.csv"):
            pass
    with locked(path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_process_locks_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; from gpuseg.io._lock import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "a.csv"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=f"process {other.pid} on "), locked(path):
            pass
        other.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()), "its file is still there"
    with locked(path):
        pass


def test_one_at_a_time(tmp_path):
    """Taken and given back by many, it is never held twice, and never lost."""
    held, worst = 0, 0

    def work():
        nonlocal held, worst
        entered = 0
        while entered < 50:
            try:
                with locked(tmp_path / "a"):
                    held += 1
                    worst, entered = max(worst, held), entered + 1
                    held -= 1
            except BlockingIOError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == 1
    assert not list(tmp_path.iterdir())


def test_folders_that_are_not_there_are_left_to_whoever_writes(tmp_path):
    with locked(tmp_path / "none" / "a.csv"):
        pass


def test_tables_and_label_images(slide, tmp_path, capsys):
    labels, table = tmp_path / "labels.zarr", tmp_path / "table.csv"
    with locked(labels):
        with pytest.raises(BlockingIOError, match=r"labels\.zarr is being written by another run"):
            ppc.count_regions(slide, PARAMS, labels=labels)
        assert main(["count", str(slide), "--labels", str(labels), "--quiet"]) == 1
    with locked(table):
        assert main(["count", str(slide), "--table", str(table), "--quiet"]) == 1
    assert capsys.readouterr().err.count("is being written by another run") == 2
    assert not table.exists()
    assert main(["count", str(slide), "--table", str(table), "--quiet"]) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".tif", ".csv", ".jsonl"}


def test_a_slide_that_would_fail_again_leaves_nothing(slide, tmp_path):
    """But what a full disk or a signal stops is gone on with; see the tests of those."""
    with tifffile.TiffFile(slide) as tiff:
        offset = tiff.pages[0].dataoffsets[10]
    with slide.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 16)
    with pytest.raises(SlideError, match="is unreadable"):
        ppc.count_regions(slide, PARAMS, labels=tmp_path / "labels.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["slide.tif"]
    deep = tmp_path / "deep.tif"
    tifffile.imwrite(deep, np.full((64, 64, 3), 900, np.uint16), photometric="rgb")
    with pytest.raises(ValueError, match="max_value=100"):
        ppc.count_regions(deep, PARAMS, max_value=100, labels=tmp_path / "labels.tif")
    assert {path.name for path in tmp_path.iterdir()} == {"slide.tif", "deep.tif"}
