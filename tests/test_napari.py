"""The plugin in napari itself: without a screen, and skipped where napari is not installed."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr

if importlib.util.find_spec("napari") is None:
    pytest.skip("napari is not installed (extra `napari`)", allow_module_level=True)

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# What napari's own imports and dependencies warn of is not ours to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer, Points
    from npe2 import PluginManifest

import gpuseg
from gpuseg import _napari, recipes, viewer
from gpuseg import positive_pixel_count as ppc
from gpuseg.measure import label, regionprops_table

pytestmark = pytest.mark.filterwarnings("ignore")

MANIFEST = Path(gpuseg.__file__).with_name("napari.yaml")


@pytest.fixture
def window() -> ViewerModel:
    return ViewerModel()


def blobs(shape=(120, 160)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (100 + 100 * np.sin(x / 9) * np.sin(y / 7)).astype(np.uint8)


def test_image_labels_and_points_lie_on_each_other(window):
    image = blobs()
    labels, _ = label(image > 150)
    table = regionprops_table(labels, properties=("label", "centroid", "area"), spacing=0.5)
    viewer.add(window, image, name="image", scale=0.5)
    viewer.add(window, [labels, labels[::2, ::2]], name="labels", scale=0.5)
    (points,) = viewer.add(window, table, name="points")
    assert [type(layer) for layer in window.layers] == [Image, Labels, Points]
    extents = [layer.extent.world for layer in window.layers]
    np.testing.assert_array_equal(extents[0], extents[1])
    assert (extents[2] >= extents[0][0]).all()
    assert (extents[2] <= extents[0][1]).all()
    assert points.features["area"].tolist() == table["area"].tolist()
    # The point of an object lies on its label.
    at = window.layers["labels"].get_value(points.data[5], world=True)
    assert at[1] == points.features["label"][5]


def test_what_is_shown_is_read_lazily(window, tmp_path):
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.zeros((1, 50, 50), np.uint8)

    stack = da.map_blocks(block, chunks=((1,) * 40, (50,), (50,)), dtype=np.uint8)
    viewer.add(window, stack, name="stack")
    assert len({at[0] for at in read}) <= 3, "only what is on the screen"


def test_a_pyramid_from_disk(window, tmp_path):
    from gpuseg.measure import label_to_zarr

    label_to_zarr(np.kron(np.eye(8, dtype=int), np.ones((16, 16), int)), tmp_path / "a.zarr",
                  scale=(0.25, 0.25), unit="micrometer", chunks=32)  # fmt: skip
    (layer,) = viewer.add(window, tmp_path / "a.zarr")
    assert isinstance(layer, Labels)
    assert layer.multiscale
    assert tuple(layer.scale) == (0.25, 0.25)
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
    assert all(isinstance(level, da.Array) for level in layer.data)
    assert layer.get_value((1, 1), world=True)[1] == 1


def test_a_run(window, tmp_path):
    from gpuseg.pipeline import Run, Storage, step

    @step(version="1", storage=Storage(scale=(0.5, 0.5)))
    def smoothed(image):
        return image // 2

    @step(version="1", storage=Storage(scale=(0.5, 0.5)))
    def found(image):
        return label(image > 75)[0]

    run = Run(tmp_path / "run")
    image = run(smoothed, blobs())
    viewer.add(window, image)
    viewer.add(window, run(found, image))
    viewer.add(window, image)  # once more: it replaces itself
    assert [type(layer) for layer in window.layers] == [Labels, Image]
    again = ViewerModel()
    viewer.add(again, tmp_path / "run")
    assert {layer.name for layer in again.layers} == {layer.name for layer in window.layers}


def test_manifest_names_what_exists():
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    contributed = manifest.contributions
    used = [*contributed.readers, *contributed.sample_data, *contributed.widgets]
    assert {each.command for each in used} == {each.id for each in contributed.commands}


def test_reader_takes_its_own_files_only(tmp_path):
    from gpuseg.pipeline import Run

    zarr.create_array(tmp_path / "a.zarr", data=np.ones((4, 4)))
    (tmp_path / "plain").mkdir()
    run = Run(tmp_path / "run")
    run(np.ones, 3).get()
    ours = ["a.zarr", "run", "slide.svs"]
    for name in (*ours, "plain", "a.tif"):
        reader = _napari.get_reader(str(tmp_path / name))
        assert (reader is not None) is (name in ours), name
    assert _napari.get_reader([str(tmp_path / "a.zarr")]) is not None
    assert _napari.get_reader([str(tmp_path / "a.zarr")] * 2) is None
    ((data, options, kind),) = _napari.get_reader(str(tmp_path / "a.zarr"))(
        str(tmp_path / "a.zarr")
    )
    assert (data.shape, options["name"], kind) == ((4, 4), "a", "image")


PARAMETERS = ppc.Parameters(hue_value=0.05)._asdict()


def sample(window: ViewerModel) -> Image:
    ((image, options, kind),) = _napari.immunohistochemistry()
    assert kind == "image"
    return window.add_image(image, scale=(0.5, 0.5), **options)


def test_positive_pixels_of_the_sample(window):
    layer = sample(window)
    made = Layer.create(*_napari.classify(layer, **PARAMETERS))
    window.add_layer(made)
    assert isinstance(made, Labels)
    assert tuple(made.scale) == (0.5, 0.5)
    np.testing.assert_array_equal(made.data, ppc.classify(layer.data, ppc.Parameters(**PARAMETERS)))
    expected = ppc.count(layer.data, ppc.Parameters(**PARAMETERS))
    assert made.metadata["output"] == expected._asdict()
    grey = window.add_image(np.ones((4, 4)), name="grey")
    with pytest.raises(ValueError, match="grey is no colour image"):
        _napari.classify(grey, **PARAMETERS)


def test_positive_pixels_of_a_pyramid_stay_lazy(window):
    image = _napari.immunohistochemistry()[0][0]
    levels = [da.from_array(image[::k, ::k], chunks=(100, 100, 3)) for k in (1, 2)]
    layer = window.add_image(levels, multiscale=True, rgb=True)
    made = Layer.create(*_napari.classify(layer, **PARAMETERS))
    assert made.multiscale
    assert all(isinstance(level, da.Array) for level in made.data)
    assert "output" not in made.metadata


def test_a_recipe(window):
    layer = window.add_image(blobs(), name="blobs")
    made = Layer.create(*_napari.segment(layer, "nuclei"))
    assert isinstance(made, Labels)
    assert made.name == "blobs nuclei"
    recipe = recipes.load("nuclei")
    expected = recipe.segment(layer.data)
    np.testing.assert_array_equal(made.data, expected)
    assert made.features["index"].tolist() == list(range(1, expected.max() + 1))
    with pytest.raises(ValueError, match="is for"):
        _napari.segment(sample(window), "nuclei")


def test_recipes_in_micrometres_know_the_layers_unit(window):
    volume = np.stack([blobs((60, 70))] * 12)
    nanometres = {"scale": (1000, 500, 500), "units": ("nanometer",) * 3}
    made = [
        _napari.segment(window.add_image(volume, **options), "cells_3d")
        for options in (nanometres, {"scale": (1, 0.5, 0.5)})
    ]
    np.testing.assert_array_equal(made[0][0], made[1][0])
    assert recipes.load("cells_3d").unit == "um"
    with pytest.raises(ValueError, match="pixel size must be known"):
        _napari.segment(window.add_image(volume), "cells_3d")


@pytest.fixture
def application():
    """A Qt application on no screen."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from qtpy.QtWidgets import QApplication
    except Exception as error:  # qtpy raises errors of its own where there is no Qt
        pytest.skip(f"no Qt: {error}")
    return QApplication.instance() or QApplication([])


def test_widgets(application, window):
    widget = _napari.positive_pixels()
    assert [each.name for each in widget] == ["image", *ppc.Parameters._fields, "call_button"]
    assert widget.hue_value.value == 0.05
    layer = sample(window)
    widget.image.choices = [layer]
    widget.hue_width.value = 0.2
    data, options, kind = widget()
    assert kind == "labels"
    assert options["metadata"]["parameters"]["hue_width"] == 0.2
    np.testing.assert_array_equal(
        data, ppc.classify(layer.data, ppc.Parameters(**{**PARAMETERS, "hue_width": 0.2}))
    )
    form = _napari.recipe()
    assert list(form.recipe.choices) == recipes.names()
    form.image.choices = [window.add_image(blobs(), name="blobs")]
    form.recipe.value = "nuclei"
    assert form()[2] == "labels"
