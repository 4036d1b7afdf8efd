"""Counts that others have published for real images."""

from __future__ import annotations

import dask.array as da
import imagecodecs
import numpy as np
import pytest
import skimage.io
import tifffile
from label_cases import by_scipy, structure
from scipy import ndimage

from gpuseg.measure import label

# Of leptonica's pages, black is foreground: 4-connected, 8-connected.
PAGES = {
    "bois-2.tif": (522, 522),
    "boismort.1.tif": (1699, 1142),
    "feyn.tif": (4452, 4305),
    "harmoniam-11.tif": (846, 786),
    "lucasta.1.300.tif": (1514, 1498),
    "ortiz-03.tif": (649, 518),
    "pageseg1.tif": (10614, 9360),
    "pageseg4.tif": (5606, 5487),
    "scots-frag.tif": (13202, 12900),
    "shearer.148.tif": (4533, 4530),
    "tel_3.tif": (248, 234),
    "tickets.tif": (3494, 3390),
    "witten.tif": (5208, 4972),
    "words.15.tif": (1213, 1181),
    "words.44.tif": (1499, 1488),
}


def page(folder, name):
    """Ink of a page of one bit per pixel."""
    with tifffile.TiffFile(folder / "binary/leptonica" / name) as tiff:
        bits = tiff.asarray()
        white = tiff.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
    return bits.astype(bool) if white else ~bits.astype(bool)


@pytest.mark.parametrize("name", PAGES)
def test_pages(test_data, name):
    image = page(test_data, name)
    for connectivity, count in enumerate(PAGES[name], 1):
        labels, number = label(image, connectivity=connectivity)
        assert number == count
        if name == "feyn.tif":
            np.testing.assert_array_equal(labels, by_scipy(image, connectivity)[0])


@pytest.mark.parametrize("chunks", [(700, 1000), (2528, 97)])
def test_page_in_chunks(test_data, chunks):
    image = page(test_data, "feyn.tif")
    for connectivity, count in enumerate(PAGES["feyn.tif"], 1):
        labels, number = da.compute(
            *label(da.from_array(image, chunks=chunks), connectivity=connectivity)
        )
        assert number == count
        np.testing.assert_array_equal(labels, by_scipy(image, connectivity)[0])


def test_cochlea(test_data):
    folder = test_data / "volumes/skimage_history/bat"
    volume = tifffile.imread(folder / "bat-cochlea-volume.tif") > 0
    for connectivity, count in ((1, 3), (3, 1)):
        labels, number = label(volume, connectivity=connectivity)
        assert number == count
        np.testing.assert_array_equal(labels, by_scipy(volume, connectivity)[0])
        chunked = label(da.from_array(volume, chunks=(50, 60, 121)), connectivity=connectivity)
        np.testing.assert_array_equal(chunked[0], labels)


def test_nuclei_of_the_dask_blog(test_data):
    # https://blog.dask.org: 271 nuclei in the first three frames of BBBC039.
    files = sorted((test_data / "nuclei/bbbc039/images").glob("*.tif"))[:3]
    frames = np.stack([tifffile.imread(file) for file in files])
    smoothed = ndimage.gaussian_filter(frames, [0, 1, 1])
    # threshold_local with blocks as large as a frame: sigma = (size - 1) / 6.
    sigma = [0, *((size - 1) / 6 for size in frames.shape[1:])]
    local = ndimage.gaussian_filter(smoothed.astype(float), sigma)
    cross = np.zeros((3, 3, 3), bool)
    cross[1] = structure(2, 1)
    opened = ndimage.binary_opening(smoothed > local, cross)
    labels, number = label(da.from_array(opened, chunks=(1, 300, 300)), structure=cross)
    assert int(number) == 271
    np.testing.assert_array_equal(labels, ndimage.label(opened, cross)[0])


def test_nuclei_drawn_as_colours(test_data):
    files = sorted((test_data / "nuclei/bbbc039/masks").glob("*.png"))[:3]
    counts = [label(imagecodecs.imread(file)[..., 0], connectivity=1)[1] for file in files]
    assert counts == [110, 71, 156]


def test_three_dimensional_labels_stay_apart(test_data):
    labels = tifffile.imread(test_data / "nuclei/stardist/stardist/data/images/mask2d.tif")
    whole, number = label(labels, connectivity=2)
    assert number == 125
    assert len(np.unique(labels)) == 126
    np.testing.assert_array_equal(whole > 0, labels > 0)


def test_binary_images_of_scikit_image(test_data):
    for file in sorted((test_data / "binary/skimage").glob("*.png")):
        image = skimage.io.imread(file)
        mask = image > image.mean() if image.ndim == 2 else image[..., 0] > 128
        for connectivity in (1, 2):
            expected, count = by_scipy(mask, connectivity)
            labels, number = label(mask, connectivity=connectivity)
            assert number == count
            np.testing.assert_array_equal(labels, expected)
