"""Examples that begin with a folder of images: what they find is what SciPy's loops find."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import skimage.color
import skimage.filters
import skimage.measure
import tifffile
from scipy import ndimage
from skimage.io import imread

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
CROSS = ndimage.generate_binary_structure(2, 1)


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nuclei_of(frame):
    """The steps on one frame; dask-image takes a sixth of a frame's sides less 1 as deviations."""
    smooth = ndimage.gaussian_filter(frame, 1)
    sigma = (np.array(frame.shape) - 1) / 6
    mask = smooth > ndimage.gaussian_filter(smooth.astype(float), sigma, mode="reflect")
    labels, number = ndimage.label(ndimage.binary_opening(mask, CROSS), CROSS)
    ids = range(1, number + 1)
    return ndimage.sum_labels(np.ones(frame.shape), labels, ids), ndimage.mean(frame, labels, ids)


def check_nuclei(found, frames):
    areas, means = zip(*map(nuclei_of, frames), strict=True)
    assert found["number"] == sum(map(len, areas))
    np.testing.assert_array_equal(found["area"], np.concatenate(areas))
    np.testing.assert_allclose(found["mean"], np.concatenate(means), rtol=1e-12)
    return [len(area) for area in areas]


def test_nuclei(tmp_path, capsys):
    module = example("segment_nuclei")
    pattern = module.make_up(tmp_path)
    check_nuclei(module.segment(pattern), map(tifffile.imread, sorted(tmp_path.glob("*.tif"))))
    assert f"Number of nuclei: {module.main()['number']}\n" in capsys.readouterr().out


def test_nuclei_of_the_post(test_data):
    folder = test_data / "nuclei" / "bbbc039" / "images"
    found = example("segment_nuclei").segment(str(folder / "*.tif"))
    assert found["number"] == 271
    frames = map(tifffile.imread, sorted(folder.glob("*.tif"))[:3])
    assert check_nuclei(found, frames) == [89, 62, 120]


POST = """
import numpy as np
from gpuseg.imread import imread
from gpuseg import ndfilters, ndmorph, ndmeasure

images = imread('data/BBBC039/images/*.tif')
smoothed = ndfilters.gaussian_filter(images, sigma=[0, 1, 1])
thresh = ndfilters.threshold_local(smoothed, images.chunksize)
threshold_images = smoothed > thresh
structuring_element = np.array([
    [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]],
    [[0, 0, 0], [0, 0, 0], [0, 0, 0]]])
binary_images = ndmorph.binary_opening(threshold_images, structure=structuring_element)
label_images, num_features = ndmeasure.label(binary_images[:3], structuring_element)
index = np.arange(num_features - 1) + 1  # [1, 2, 3, ...num_features]
print("Number of nuclei:", num_features.compute())
area = ndmeasure.area(images[:3], label_images, index)
mean_intensity = ndmeasure.mean(images[:3], label_images, index)
"""


def run_post(folder, tmp_path, monkeypatch):
    """The post's steps in its own words, but for the imports."""
    (tmp_path / "data" / "BBBC039").mkdir(parents=True)
    (tmp_path / "data" / "BBBC039" / "images").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(POST, names)
    return names["area"].compute(), names["mean_intensity"].compute()


def test_words_of_the_post(tmp_path, monkeypatch, capsys):
    (tmp_path / "frames").mkdir()
    example("segment_nuclei").make_up(tmp_path / "frames")
    area, mean = run_post(tmp_path / "frames", tmp_path, monkeypatch)
    frames = map(tifffile.imread, sorted((tmp_path / "frames").glob("*.tif")))
    areas, means = (np.concatenate(each) for each in zip(*map(nuclei_of, frames), strict=True))
    # The post's index has one less than there are.
    np.testing.assert_array_equal(area, areas[:-1])
    np.testing.assert_allclose(mean, means[:-1], rtol=1e-12)
    assert capsys.readouterr().out == f"Number of nuclei: {len(areas)}\n"


def test_words_of_the_post_on_its_images(test_data, tmp_path, monkeypatch, capsys):
    run_post(test_data / "nuclei" / "bbbc039" / "images", tmp_path, monkeypatch)
    assert capsys.readouterr().out == "Number of nuclei: 271\n"


def cells_of(name, module):
    """Areas of the cells of one photograph."""
    smooth = skimage.filters.gaussian(skimage.color.rgb2gray(imread(name)), 1)
    threshold = skimage.filters.threshold_local(smooth, module.SURROUNDINGS, offset=module.OFFSET)
    labels = skimage.measure.label(smooth < threshold, connectivity=1)
    return np.bincount(labels.ravel())[1:]


def check_smears(module, names):
    table = module.prepare(names)
    areas = [cells_of(name, module) for name in names]
    np.testing.assert_array_equal(np.bincount(table["image"]), [len(each) for each in areas])
    np.testing.assert_array_equal(table["area"], np.concatenate(areas))


def test_blood_smears(tmp_path, capsys):
    module = example("blood_smears")
    module.make_up(tmp_path)
    check_smears(module, sorted(tmp_path.glob("*.jpg")))
    assert len(module.main()["area"]) > 4
    assert capsys.readouterr().out.startswith("image 0: ")


def test_real_blood_smears(test_data):
    folder = test_data / "blood_smear" / "bccd" / "JPEGImages"
    check_smears(example("blood_smears"), sorted(folder.glob("*.jpg"))[:4])


def test_smooth_and_threshold(tmp_path, capsys):
    module = example("smooth_and_threshold")
    module.make_up(tmp_path)
    counts = []
    for name in sorted(tmp_path.glob("*.jpeg")):
        smooth = ndimage.gaussian_filter(imread(name).mean(2), module.SIGMA)
        counts.append(ndimage.label(smooth > smooth.mean())[1])
    assert module.main(str(tmp_path / "*.jpeg")) == counts
    assert module.main() == counts
    assert capsys.readouterr().out.startswith(f"Objects in each image: {counts[0]} ")


@pytest.mark.parametrize("name", ["segment_nuclei", "blood_smears", "smooth_and_threshold"])
def test_no_images(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file matches"):
        example(name).main(str(tmp_path / "*.tif"))
