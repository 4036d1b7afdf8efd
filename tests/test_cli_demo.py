"""`gpuseg demo`: everything that the main job writes, from the image that scikit-image ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import zarr
from PIL import Image

from gpuseg import positive_pixel_count as ppc
from gpuseg.cli import main


def test_demo_writes_what_it_says(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    written = ("overlay.png", "table.csv", "labels.zarr")
    assert all(str(Path("gpuseg-demo", name)) in out for name in written)
    assert all(Path("gpuseg-demo", name).exists() for name in written)
    assert "262,144" in out
    assert "59.3" in out
    assert "1 counted" in err

    image = skimage.data.immunohistochemistry()
    labels = zarr.open_array("gpuseg-demo/labels.zarr/0", mode="r")[:]
    assert np.array_equal(labels, ppc.classify(image, ppc.Parameters(hue_value=0.05)))
    attributes = json.loads(Path("gpuseg-demo/labels.zarr/zarr.json").read_text())["attributes"]
    assert "image-label" in attributes["ome"]
    with Image.open("gpuseg-demo/overlay.png") as overlay:
        left, right = 10, 10 + 512
        panel = np.asarray(overlay)[:, left:right]
    assert any(np.array_equal(panel[top : top + 480], image[:480]) for top in range(60, 120)), (
        "the image itself is beside its classes"
    )

    assert main(["demo"]) == 0
    assert "1 already counted" in capsys.readouterr().err


def test_demo_numbers_are_histomicstks(tmp_path: Path):
    """Golden numbers of HistomicsTK 1.4.0 for the image and the tutorial's parameters."""
    assert main(["demo", "--out", str(tmp_path / "here")]) == 0
    text = (tmp_path / "here" / "table.csv").read_text().splitlines()
    row = dict(zip(text[0].split(","), text[1].split(","), strict=True))
    assert [int(row[f"Number{name}Positive"]) for name in ("Weak", "", "Strong")] == [
        *(17012, 121289, 17165)
    ]
    assert float(row["IntensityAverage"]) == pytest.approx(0.4999276810540253, rel=1e-13)


def test_demo_refuses_a_file_for_its_folder(tmp_path: Path, capsys):
    (tmp_path / "file").touch()
    assert main(["demo", "--out", str(tmp_path / "file")]) == 2
    assert "--out must be a folder, got the file" in capsys.readouterr().err
