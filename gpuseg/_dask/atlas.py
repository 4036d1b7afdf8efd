"""Annotations in chunks: each is read once and kept as codes of 2 or 4 bytes a voxel."""

from __future__ import annotations

from functools import partial

import numpy as np

from gpuseg._backend import implementation, limit_threads
from gpuseg._cpu.atlas import code_type
from gpuseg._shared.structures import Structures
from gpuseg.typing import Array, NumpyArray


def index_regions(annotation: Array, structures: Structures) -> NumpyArray:
    """Codes of an annotation's voxels, in memory, as `_cpu.atlas.index_regions` has them."""
    dtype = code_type(structures)
    task = partial(_index_block, structures=structures)
    codes: NumpyArray = annotation.map_blocks(
        task, dtype=dtype, meta=np.empty((0, 0, 0), dtype)
    ).compute()
    return codes


def _index_block(block: Array, structures: Structures) -> NumpyArray:
    with limit_threads(1):
        codes: NumpyArray = implementation(block, "atlas").index_regions(block, structures)
    return codes
