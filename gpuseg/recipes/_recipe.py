"""A checked recipe, and what running it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gpuseg import measure
from gpuseg._backend import floor
from gpuseg.recipes._units import in_pixels
from gpuseg.typing import Array, NumpyArray

Kind = Literal["grey", "rgb"]


@dataclass(frozen=True)
class Step:
    """One call: which function, what it takes from what came before, what it makes."""

    name: str
    function: Callable[..., Array]
    takes: tuple[str, ...]
    makes: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """Steps from an image to labelled objects; `gpuseg.recipes.load` makes it.

    Attributes
    ----------
    name, title : str
    image : "grey" or "rgb"
        What one image is: without or with a last axis of 3 channels.
    ndim : int
        Axes in space of one image, 2 or 3.
    unit : "pixel" or "um"
        Of lengths (`sigma`, `radius`, `distance` …) and sizes (`max_size`) in the steps.
    steps : tuple
        In order.
    properties : tuple of str
        What `measure` measures, names of `gpuseg.measure.regionprops_table`.
    source : str
        The file's text.
    settings : mapping
        Values that were set in place of the file's.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import recipes
    >>> image = np.zeros((64, 64), np.uint8)
    >>> image[10:30, 10:30] = image[40:60, 35:55] = 200
    >>> recipe = recipes.load("nuclei")
    >>> labels = recipe.segment(image)
    >>> recipe.measure(labels, image)["intensity_mean"].round()
    array([200., 200.])
    """

    name: str
    title: str
    image: Kind
    ndim: int
    unit: Literal["pixel", "um"]
    steps: tuple[Step, ...]
    properties: tuple[str, ...]
    source: str
    settings: Mapping[str, Any]

    def segment(self, image: Array, *, spacing: Sequence[float] | None = None) -> Array:
        """Labels of one image, of its kind of array.

        Parameters
        ----------
        image : array
            NumPy or Dask array, (M, N[, 3]) or (P, M, N[, 3]) as the recipe says.
        spacing : sequence of float, optional
            Pixel size along each axis in space, in µm; needed where the recipe's unit is "um".

        Returns
        -------
        labels : array of int
            Objects are numbered from 1, background is 0.

        Raises
        ------
        ValueError
            If the image's shape is not what the recipe is for, a float image has a NaN or infinity,
            or the spacing is needed and missing.
        """
        self.check(image.shape, spacing)
        if image.dtype.kind == "f" and floor(image) == "_cpu" and not np.isfinite(image).all():
            bad = image[~np.isfinite(image)][0]
            raise ValueError(f"image must be finite, got {bad}")
        state: dict[str, Array] = {"image": image}
        for step in self.steps:
            given = [state[name] for name in step.takes]
            parameters = in_pixels(step.parameters, self.unit, spacing, self.ndim)
            state[step.makes] = step.function(*given, **parameters)
        return state["labels"]

    def measure(
        self, labels: Array, image: Array, *, spacing: Sequence[float] | None = None
    ) -> dict[str, NumpyArray]:
        """Table of the objects, measured in the original image.

        Parameters
        ----------
        labels, image : array
            As `segment` returned and took them.
        spacing : sequence of float, optional
            Pixel size along each axis in space.

        Returns
        -------
        dict of str to NumPy array
        """
        return measure.regionprops_table(
            labels, image, properties=("label", *self.properties), spacing=spacing
        )

    def check(self, shape: Sequence[int], spacing: Sequence[float] | None = None) -> None:
        """Check that images of a shape are what the recipe is for.

        Raises
        ------
        ValueError
            With the shape that it expects.
        """
        axes = ("P", "M", "N")[3 - self.ndim :]
        colour = len(shape) == self.ndim + 1 and shape[-1] in (3, 4)
        expected = f"({', '.join(axes)}{', 3' if self.image == 'rgb' else ''})"
        if self.image == "rgb" and not colour:
            raise ValueError(f"{self.name} is for colour images {expected}, got {tuple(shape)}")
        if self.image == "grey" and len(shape) != self.ndim:
            hint = "; an RGB image needs another recipe" if colour else ""
            raise ValueError(f"{self.name} is for grey images {expected}, got {tuple(shape)}{hint}")
        if self.unit == "um" and spacing is None:
            raise ValueError(
                f"{self.name} has lengths in um: the pixel size must be known (spacing)"
            )
        if spacing is not None and (len(spacing) != self.ndim or not all(s > 0 for s in spacing)):
            raise ValueError(f"spacing must be {self.ndim} numbers above 0, got {tuple(spacing)}")
