"""`dask_image.imread` under its own name; `gpuseg.io.imread` can do more."""

from __future__ import annotations

import os
from typing import Literal

from gpuseg import io
from gpuseg.typing import Array

__all__ = ["imread"]


def imread(
    fname: str | os.PathLike[str],
    nframes: int = 1,
    *,
    arraytype: Literal["numpy", "cupy"] = "numpy",
) -> Array:
    """Read image data into a Dask array, as `dask_image.imread.imread` does.

    A pattern gives ``(files, …)`` in natural order, the file of a stack ``(frames, …)``.

    Parameters
    ----------
    fname : str or path
        File, pattern or URL.
    nframes : int
        Files, or frames of one file, in each chunk; -1 for all.
    arraytype : {"numpy", "cupy"}
        What the chunks are.

    Returns
    -------
    dask.array.Array

    Raises
    ------
    FileNotFoundError
        If no file matches.
    OSError
        If a file cannot be read.
    ValueError
        If files differ in shape or type, or an argument is out of range.

    Notes
    -----
    Unlike dask-image, a pattern may match one file, ``nframes=2`` drops no files, nothing warns of
    a last chunk that is smaller, and only the first file is opened.

    Examples
    --------
    >>> import numpy as np, tempfile, tifffile
    >>> folder = tempfile.mkdtemp()
    >>> for t in range(3):
    ...     tifffile.imwrite(f"{folder}/t{t}.tif", np.full((20, 30), t, np.uint16))
    >>> imread(f"{folder}/*.tif").chunks
    ((1, 1, 1), (20,), (30,))
    """
    return io.imread(fname, nframes=nframes, arraytype=arraytype)
