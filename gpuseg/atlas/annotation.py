"""An annotation volume with its structures, from arrays or from a folder of BrainGlobe's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg._backend import floor, implementation
from gpuseg._shared.atlas_frame import Affine, Midline, make_sides, triple
from gpuseg._shared.structures import Structures
from gpuseg.atlas._brainglobe import read_brainglobe
from gpuseg.io.structures import read_structures
from gpuseg.typing import Array, NumpyArray

__all__ = ["Atlas", "open_atlas"]


class Atlas:
    """An annotation volume and the structures that its voxels belong to.

    Parameters
    ----------
    annotation : (D, H, W) array of integers
        Id of each voxel's structure, 0 outside. NumPy, or Dask where it does not fit into memory:
        2 bytes a voxel are kept.
    structures : Structures, path or iterable of mappings
        As `read_structures` takes it.
    spacing : float or sequence of float
        Size of a voxel (z, y, x) in micrometres.
    origin : float or sequence of float
        Where the centre of the first voxel is, in micrometres. BrainGlobe measures from its corner:
        there it is half a voxel.
    hemispheres : (D, H, W) array of integers, optional
        1 on the left, 2 on the right, 0 on neither.
    midline : Midline, optional
        Instead of hemispheres, the plane between them.

    Attributes
    ----------
    structures : Structures
    shape, spacing, origin : tuple

    Raises
    ------
    TypeError
        If the annotation is no array of integers, or on a device.
    ValueError
        If it is not 3-D, has ids that the table lacks, or an argument doesn't fit.

    Examples
    --------
    >>> import numpy as np
    >>> annotation = np.zeros((2, 2, 4), np.uint32)
    >>> annotation[..., 1:] = 8
    >>> Atlas(annotation, [{"id": 8, "acronym": "grey"}], spacing=25, midline=Midline(2))
    <Atlas: 2 x 2 x 4 voxels of 25 x 25 x 25 µm, 1 structures, left and right>
    """

    def __init__(
        self,
        annotation: Array,
        structures: Structures | str | os.PathLike[str] | Sequence[Mapping[str, Any]],
        *,
        spacing: float | Sequence[float],
        origin: float | Sequence[float] = 0.0,
        hemispheres: npt.ArrayLike | None = None,
        midline: Midline | None = None,
    ) -> None:
        floor(annotation)
        if annotation.dtype.kind not in "iu":
            raise TypeError(
                f"annotation must hold integer ids, got {annotation.dtype}; "
                "floats of 32 bits lose those above 2^24"
            )
        if annotation.ndim != 3 or annotation.size == 0:
            raise ValueError(f"annotation must be 3-D with voxels, got shape {annotation.shape}")
        self.shape = tuple(int(size) for size in annotation.shape)
        self.spacing = triple(spacing, "spacing", positive=True)
        self.origin = triple(origin, "origin", positive=False)
        self.structures = (
            structures if isinstance(structures, Structures) else read_structures(structures)
        )
        self._sides = make_sides(self.shape, self.spacing, self.origin, hemispheres, midline)
        regions = implementation(annotation, "atlas")
        self._codes = regions.index_regions(annotation, self.structures)
        self._check_ids(annotation)

    def _check_ids(self, annotation: Array) -> None:
        marker = np.iinfo(self._codes.dtype).max
        if self._codes.max() == marker:
            missing = self._codes == marker
            whole = annotation.compute() if floor(annotation) == "_dask" else annotation
            ids = np.unique(whole[missing])
            named = ", ".join(map(str, ids[:10].tolist())) + (", ..." if ids.size > 10 else "")
            raise ValueError(
                f"structures must list all of the annotation's ids, {ids.size} are missing: {named}"
            )

    def __repr__(self) -> str:
        sides = ", left and right" if self.has_sides else ""
        return (
            f"<Atlas: {' x '.join(map(str, self.shape))} voxels of "
            f"{' x '.join(f'{step:g}' for step in self.spacing)} µm, "
            f"{len(self.structures)} structures{sides}>"
        )

    @property
    def has_sides(self) -> bool:
        """Whether left is told from right."""
        return self._sides.known

    @cached_property
    def voxels(self) -> NumpyArray:
        """Voxels of each code and side."""
        return self.tally(np.zeros((3, 4)), np.ones(3))

    def tally(self, matrix: NumpyArray, shape: NumpyArray) -> NumpyArray:
        """Voxels of each code and side whose centres a matrix leads into a box of a shape."""
        from gpuseg._cpu.atlas import tally

        return tally(self._codes, self._sides, len(self.structures) + 1, matrix, shape)

    def places(self, points: NumpyArray, to_voxels: Affine) -> NumpyArray:
        """Of each point 3 x code + side."""
        located: NumpyArray = implementation(points, "atlas").locate(
            points, to_voxels.packed(), self._codes, self._sides
        )
        return located


def open_atlas(path: str | os.PathLike[str]) -> Atlas:
    """Open an atlas as BrainGlobe's downloads lie on disk.

    Parameters
    ----------
    path : path
        Folder with `annotation.tiff`, `structures.json`, `metadata.json` and, unless the atlas is
        symmetric, `hemispheres.tiff`: such as `~/.brainglobe/allen_mouse_25um_v1.2`. Or, of
        brainglobe-atlasapi 3, the folder with an atlas' `manifest.json`, within
        `atlases/<name>/<version>`.

    Returns
    -------
    Atlas
        Its micrometres begin at the corner of the first voxel, as BrainGlobe's do.

    Raises
    ------
    FileNotFoundError
        If a file is missing, or the annotation has not been downloaded.
    ValueError
        If the files do not fit each other.

    Examples
    --------
    >>> import json, pathlib, tempfile, numpy as np, tifffile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> tifffile.imwrite(folder / "annotation.tiff", np.full((10, 12, 14), 997, np.uint32))
    >>> about = {"resolution": [100, 100, 100], "symmetric": True, "orientation": "asr"}
    >>> written = (folder / "metadata.json").write_text(json.dumps(about))
    >>> rows = [{"id": 997, "acronym": "root", "structure_id_path": [997]}]
    >>> written = (folder / "structures.json").write_text(json.dumps(rows))
    >>> open_atlas(folder)
    <Atlas: 10 x 12 x 14 voxels of 100 x 100 x 100 µm, 1 structures, left and right>
    """
    found = read_brainglobe(path)
    return Atlas(
        found.annotation,
        found.structures,
        spacing=found.spacing,
        origin=[step / 2 for step in found.spacing],
        hemispheres=found.hemispheres,
        midline=found.midline,
    )
