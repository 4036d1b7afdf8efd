"""napari's plugin: reader, sample data and widgets, as napari.yaml lists them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpuseg import positive_pixel_count as ppc
from gpuseg import recipes, viewer
from gpuseg.viewer import LayerData
from gpuseg.viewer._files import SLIDES, is_zarr
from gpuseg.viewer._values import is_result, is_run

_POSITIVE = {0: "transparent", 1: "#3c4ec2", 2: "#dddcdc", 3: "#b40426", None: "transparent"}


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerData]] | None:
    """Reader of OME-Zarr, slides, and folders of runs and results; None for anything else."""
    if not isinstance(path, str):
        if len(path) != 1:
            return None
        path = path[0]
    folder = os.path.isdir(path)
    if folder and (is_run(path) or is_result(path) or is_zarr(path)):
        return viewer.layers
    if not folder and path.lower().endswith(SLIDES):
        return viewer.layers
    return None


def immunohistochemistry() -> list[LayerData]:
    """Cells of colon in brown (DAB), other nuclei in blue, from scikit-image."""
    from skimage.data import immunohistochemistry

    return [(immunohistochemistry(), {"name": "immunohistochemistry", "rgb": True}, "image")]


def classify(image: Any, **parameters: float) -> LayerData:
    """Labels layer of the positive pixels of an image layer, lazy and with its levels.

    Raises
    ------
    ValueError
        If it is no colour image, or a parameter is out of range.
    """
    if not image.rgb:
        raise ValueError(f"{image.name} is no colour image")
    params = ppc.Parameters(**parameters).validate()
    levels = list(image.data) if image.multiscale else [image.data]
    found = [ppc.classify(level, params) for level in levels]
    options = {**_placed(image), "name": f"{image.name} positive", "opacity": 0.6}
    options |= {"colormap": _POSITIVE, "metadata": {"parameters": params._asdict()}}
    if isinstance(levels[0], np.ndarray):
        output = ppc.count(levels[0], params)
        options["metadata"]["output"] = output._asdict()
    if len(levels) > 1:
        options["multiscale"] = True
    return found if len(levels) > 1 else found[0], options, "labels"


def segment(image: Any, recipe: str) -> LayerData:
    """Labels layer of the objects that a recipe finds in an image layer.

    Raises
    ------
    ValueError
        If the image is not what the recipe is for.
    """
    made = recipes.load(recipe)
    data = image.data[0] if image.multiscale else image.data
    spacing = _micrometres(image, made.ndim)
    labels = made.segment(data, spacing=spacing)
    options = {**_placed(image), "name": f"{image.name} {made.name}"}
    if isinstance(labels, np.ndarray):
        table = made.measure(labels, data, spacing=spacing)
        options["features"] = {"index": table.pop("label"), **table}
    return labels, options, "labels"


def _micrometres(image: Any, axes: int) -> tuple[float, ...] | None:
    """Pixel size along the last axes; None where the layer has neither scale nor unit.

    A scale without a unit is taken for one in micrometres.
    """
    scale, units = np.abs(image.scale)[-axes:], image.units[-axes:]
    lengths = [str(unit) != "pixel" for unit in units]
    if not any(lengths) and (scale == 1).all():
        return None
    return tuple(
        float(step * (unit * 1.0).to("micrometer").magnitude if known else step)
        for step, unit, known in zip(scale, units, lengths, strict=True)
    )


def _placed(image: Any) -> dict[str, Any]:
    """Where an image lies."""
    return {
        "scale": tuple(image.scale),
        "translate": tuple(image.translate),
        "units": tuple(image.units),
    }


def positive_pixels() -> Any:
    """Widget that classifies an image layer's pixels."""
    from magicgui import magicgui
    from napari.layers import Image
    from napari.types import LayerDataTuple

    def run(image: Any, **parameters: Any) -> Any:
        return classify(image, **parameters)

    options: dict[str, Any] = {"image": {"annotation": Image, "label": "image"}}
    for name, default in ppc.Parameters(hue_value=0.05)._asdict().items():
        options[name] = {
            "annotation": float,
            "value": default,
            "min": 0.0,
            "max": 1.0,
            "step": 0.01,
            "label": name.replace("_", " "),
        }
    return magicgui(_with_signature(run, options, LayerDataTuple), call_button="Count", **options)


def recipe() -> Any:
    """Widget that segments an image layer."""
    from magicgui import magicgui
    from napari.layers import Image
    from napari.types import LayerDataTuple

    options: dict[str, Any] = {
        "image": {"annotation": Image, "label": "image"},
        "recipe": {"annotation": str, "choices": recipes.names(), "label": "recipe"},
    }
    return magicgui(_with_signature(segment, options, LayerDataTuple), call_button="Segment",
                    **options)  # fmt: skip


def _with_signature(
    function: Callable[..., Any], options: dict[str, dict[str, Any]], returned: Any
) -> Callable[..., Any]:
    """The function with the parameters that a form is to show."""
    import inspect

    def shown(**given: Any) -> Any:
        return function(**given)

    kind = inspect.Parameter.KEYWORD_ONLY
    types = {name: about.pop("annotation") for name, about in options.items()}
    shown.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind, annotation=types[name]) for name in options],
        return_annotation=returned,
    )
    shown.__annotations__ = {**types, "return": returned}
    return shown
