"""Recipes: what is refused before any work, and what the steps do."""

from __future__ import annotations

import inspect
import tomllib

import numpy as np
import pytest
from scipy import ndimage
from skimage import measure as sk_measure

from gpuseg import recipes
from gpuseg.recipes import RecipeError, steps
from gpuseg.recipes._text import text_of

HEAD = 'title = "t"\nimage = "grey"\nndim = 2\n'


def step(name: str, **parameters: object) -> str:
    lines = [f"{key} = {value}" for key, value in parameters.items()]
    return "\n".join([f'[[steps]]\nstep = "{name}"', *lines, ""])


def discs(centres, radius=9, side=96, height=200) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side), 10, np.uint16)
    for (cy, cx), h in zip(centres, np.broadcast_to(height, len(centres)), strict=True):
        image[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = h
    return image


@pytest.mark.parametrize("name", recipes.names())
def test_shipped_recipes_are_read(name):
    recipe = recipes.load(name)
    assert recipe.title
    assert recipe.steps[-1].makes == "labels"
    assert tomllib.loads(recipe.source)["title"] == recipe.title


@pytest.mark.parametrize("name", steps.__all__)
def test_every_step_can_be_described(name):
    function = getattr(steps, name)
    assert inspect.getdoc(function)
    assert function.__annotations__["return"] in ("Image", "Mask", "Labels")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title", "is no TOML"),
        (HEAD, r"has no \[\[steps\]\]"),
        (HEAD + 'colour = "grey"\n', "unknown entry 'colour'"),
        (HEAD.replace("2", "4") + step("label"), "ndim must be 2 or 3, got 4"),
        (HEAD.replace("grey", "gray") + step("label"), "image must be 'grey' or 'rgb', got 'gray'"),
        (HEAD + step("treshold"), "step 1: unknown step 'treshold'; did you mean 'threshold'"),
        (HEAD + step("gaussian", sigam=1), "unknown parameter 'sigam'; did you mean 'sigma'"),
        (HEAD + step("gaussian", sigma='"a"'), "sigma must be a number or a list of numbers"),
        (HEAD + step("gaussian"), "needs the parameter 'sigma'"),
        (HEAD + step("threshold", method='"otus"'), "method must be 'otsu' or 'li'"),
        (HEAD + step("threshold", log=1), "log must be true or false, got 1"),
        (HEAD + step("label"), r"step 1 \(label\) takes mask, which no step before it makes"),
        (HEAD + step("threshold"), "must end in labels"),
        (HEAD + 'properties = ["aera"]\n' + step("threshold") + step("label"), "mean 'area'"),
        (HEAD + "[[steps]]\nsigma = 1", "must name its function"),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_any_work(text, message):
    with pytest.raises(RecipeError, match=message):
        recipes.parse(text, "mine")


def test_an_unknown_recipe_lists_those_there_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="blood_smear, cells_3d, ihc_nuclei, nuclei"):
        recipes.load("nucleus")
    file = tmp_path / "mine.toml"
    file.write_text(recipes.load("nuclei").source)
    assert recipes.load(file).name == "mine"


def test_settings_replace_values():
    text = recipes.load("nuclei").source
    assert recipes.parse(text, "n", {"6.contrast": 0.3}).steps[5].parameters["contrast"] == 0.3
    with pytest.raises(RecipeError, match="several steps 'fill_holes': name it by number, 3 or 7"):
        recipes.parse(text, "n", {"fill_holes.x": 1})
    with pytest.raises(RecipeError, match="unknown step 'spilt'; did you mean 'split'"):
        recipes.parse(text, "n", {"spilt.depth": 1})


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("nuclei", (30, 30, 3), r"for grey images \(M, N\), got \(30, 30, 3\); an RGB image needs"),
        ("nuclei", (30,), r"for grey images \(M, N\), got \(30,\)"),
        ("blood_smear", (30, 30), r"for colour images \(M, N, 3\), got \(30, 30\)"),
        ("cells_3d", (3, 30, 30), "lengths in um: the pixel size must be known"),
    ],
)
def test_images_of_another_kind_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        recipes.load(name).segment(np.zeros(shape, np.uint8))


def test_spacing_and_values_are_checked():
    image = np.zeros((4, 30, 30), np.float32)
    with pytest.raises(ValueError, match="spacing must be 3 numbers above 0"):
        recipes.load("cells_3d").segment(image, spacing=(5, 2))
    image[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="image must be finite, got nan"):
        recipes.load("cells_3d").segment(image, spacing=(5, 2, 2))


def test_nuclei_dim_and_touching_ones_too():
    centres = [(20, 20), (20, 36), (60, 20), (60, 70)]
    image = discs(centres, height=np.array([240, 240, 60, 500]))
    labels = recipes.load("nuclei").segment(image)
    assert labels.max() == 4
    assert {int(labels[y, x]) for y, x in centres} == {1, 2, 3, 4}


def test_cut_is_at_a_share_of_each_objects_height():
    image = ndimage.gaussian_filter(
        discs([(30, 30), (70, 70)], height=np.array([50, 1000])) * 1.0, 3
    )
    low = image > 14
    labels = sk_measure.label(low, connectivity=1)
    kept = steps.cut(labels, image, contrast=0.6)
    background = image[~low].mean()
    for region in sk_measure.regionprops(labels, image):
        level = background + 0.6 * (region.intensity_mean - background)
        inside = labels == region.label
        np.testing.assert_array_equal(kept[inside], image[inside] > level)
    assert not kept[~low].any()


def test_an_image_without_nuclei_has_none(rng):
    image = rng.poisson(140, (96, 96)).astype(np.uint16)
    assert recipes.load("nuclei").segment(image).max() == 0
    text = HEAD + step("threshold") + step("label")
    assert recipes.parse(text, "plain").segment(image).max() > 100


def test_cells_of_a_volume_have_sizes_in_micrometres():
    z, y, x = np.ogrid[:24, :60, :60]
    volume = np.zeros((24, 60, 60), np.uint16)
    for cz, cy, cx in ((6, 15, 15), (16, 40, 42)):
        inside = (5 * (z - cz)) ** 2 + (2 * (y - cy)) ** 2 + (2 * (x - cx)) ** 2 <= 12**2
        volume[inside] = 900
    volume[20, 5, 50] = 60000  # a hot pixel is too small to be a cell, even smoothed
    recipe = recipes.load("cells_3d")
    labels = recipe.segment(volume, spacing=(5, 2, 2))
    table = recipe.measure(labels, volume, spacing=(5, 2, 2))
    found = np.stack([table[f"centroid-{n}"] for n in range(3)], 1)
    for centre in ((30, 30, 30), (80, 80, 84)):
        assert np.linalg.norm(found - centre, axis=1).min() < 2


def test_cells_of_a_chunked_volume_are_the_same(rng):
    da = pytest.importorskip("dask.array")
    volume = ndimage.gaussian_filter(rng.random((20, 50, 50)), 2).astype(np.float32)
    text = HEAD.replace("2", "3") + 'unit = "um"\n' + step(
        "difference_of_gaussians", low_sigma=2.0, high_sigma=6.0
    ) + step("threshold", deviations=1.0) + step("label", connectivity=3)  # fmt: skip
    recipe = recipes.parse(text, "volume")
    whole = recipe.segment(volume, spacing=(4, 2, 2))
    assert whole.max() > 5
    lazy = recipe.segment(da.from_array(volume, chunks=(7, 20, 33)), spacing=(4, 2, 2))
    np.testing.assert_array_equal(lazy.compute(), whole)


def test_blood_smear_counts_cells(test_data):
    from skimage import io

    image = io.imread(test_data / "blood_smear" / "bccd" / "JPEGImages" / "BloodImage_00000.jpg")
    labels = recipes.load("blood_smear").segment(image)
    assert 10 <= labels.max() <= 40


def test_nuclei_beside_brown_are_found_in_the_counterstain():
    import skimage.data

    image = skimage.data.immunohistochemistry()[200:400, 180:330]
    labels = recipes.load("ihc_nuclei").segment(image)
    blue = image[..., 2].astype(int) - image[..., 0]
    assert 25 < labels.max() < 70
    assert blue[labels > 0].mean() > blue[labels == 0].mean() + 20


def test_a_file_that_is_no_text_is_no_recipe(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0\x91")
    with pytest.raises(RecipeError, match=r"recipe '.*a.tif' is no text in UTF-8: .* byte 0x91"):
        recipes.load(tmp_path / "a.tif")


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_with_settings_reads_back_as_the_same(name: str):
    source = recipes.load(name).source
    whole = recipes.load(name)
    key, value = next(iter(whole.steps[0].parameters.items()), ("", None))
    settings = {f"1.{key}": value} if key else {"label.connectivity": 2}
    used = recipes.parse(source, name, settings)
    again = recipes.parse(text_of(used), name)
    assert again.steps == used.steps
    assert (again.title, again.image, again.ndim) == (used.title, used.image, used.ndim)
    assert (again.unit, again.properties) == (used.unit, used.properties)
    assert text_of(whole) == source


@pytest.mark.parametrize("name", ["nuclei", "ihc_nuclei", "blood_smear"])
def test_flat_recipes_of_chunks_are_the_same(name):
    import dask.array as da
    import skimage.data

    recipe = recipes.load(name)
    image = skimage.data.immunohistochemistry()[:180, :200]
    if recipe.image == "grey":
        image = 255 - image[..., 0]
    chunks = (70, 90, 3)[: image.ndim]
    whole = recipe.segment(image)
    lazy = recipe.segment(da.from_array(image, chunks=chunks))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), whole)
    assert whole.max() > 3
