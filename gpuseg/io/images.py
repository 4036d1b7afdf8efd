"""Many images as one Dask array."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Integral
from typing import Any, Literal

import numpy as np

from gpuseg._backend import threads
from gpuseg.io._image_files import Composed, Files, ReadFiles, ReadWhole
from gpuseg.io._image_names import URL, find, on_axes
from gpuseg.io._image_stack import ImageStack
from gpuseg.typing import Array, NumpyArray

__all__ = ["imread"]

_LISTED = 5


def imread(
    filename: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    imread: Callable[[str], Any] | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    *,
    nframes: int | None = None,
    arraytype: Literal["numpy", "cupy"] = "numpy",
    sequence: str | None = None,
    level: int = 0,
    check: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Array:
    r"""Read many images, or one, as a Dask array; only the first file is opened now.

    TIFF, BigTIFF, OME-TIFF and ImageJ stacks, PNG, JPEG, JPEG 2000, WebP, BMP and OME-Zarr, from
    local files or from URLs that fsspec knows (``s3://``, ``https://``, ``zip://``, …). What a
    file is its first bytes tell.

    Parameters
    ----------
    filename : str, path, or several
        A pattern such as ``"run/*.tif"`` (``**`` for folders within folders), whose files are
        sorted naturally: ``t9`` before ``t10``. Or files in the order given. Or one file.
    imread : function, optional
        Reads a file in place of the readers here: takes its name, returns an array.
    preprocess : function, optional
        Applied to each file's array.
    nframes : int, optional
        Length of a chunk along the first axis, the others being whole; -1 for all in one. By
        default a chunk is one frame (the page of a TIFF, a plain image), frames below 256 KiB are
        grouped to about 2 MiB, and OME-Zarr keeps its own chunks or groups of them.
    arraytype : {"numpy", "cupy"}
        What the chunks are.
    sequence : str, optional
        Regular expression that finds axes and indices in the names, as `tifffile.TiffSequence`
        takes it: ``r"_(C)(\d+)_(T)(\d+)"`` puts the files on two leading axes. Every place must
        have one file.
    level : int
        Resolution to read of OME-Zarr and of pyramidal TIFF; 0 is the finest.
    check : bool
        Open all files now, in threads, and name those that differ from the first one or cannot
        be read. Otherwise each is compared by its header when its chunk is read, before anything
        of it is decoded.
    storage_options : mapping, optional
        What fsspec's filesystem is to be told, such as ``{"anon": True}``.

    Returns
    -------
    dask.array.Array
        ``(files, …)`` for a pattern or several files; the files' axes in place of the first one
        with `sequence`. One named file gives its own axes, such as ``(pages, height, width)``, or
        ``(1, height, width)`` for a single image. Colour is the last axis; a grey image has none.

    Raises
    ------
    FileNotFoundError
        If no file matches, or the first one does not exist.
    OSError
        If a file cannot be read; the message names it. `gpuseg.io.SlideError` is one.
    ValueError
        If files differ in shape or type, `sequence` does not fit the names, or an argument is
        out of range.

    Notes
    -----
    It takes the arguments of `dask.array.image.imread`, and the keywords of `dask_image.imread`,
    whose function of the same arguments is `gpuseg.imread.imread`. TIFF is read as tifffile does:
    the first series, no palette applied. EXIF orientation is not applied. Slicing a chunk reads
    only the files and frames that are needed.

    Examples
    --------
    >>> import numpy as np, tempfile, tifffile
    >>> folder = tempfile.mkdtemp()
    >>> for t in range(12):
    ...     tifffile.imwrite(f"{folder}/t{t}.tif", np.full((20, 30), t, np.uint16))
    >>> images = imread(f"{folder}/t*.tif")
    >>> images.shape, images.chunks[0], images[:, 0, 0].compute()
    ((12, 20, 30), (12,), array([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11], dtype=uint16))
    >>> imread(f"{folder}/*.png")
    Traceback (most recent call last):
    FileNotFoundError: no file matches ...
    """
    _check_arguments(imread, preprocess, nframes, level, sequence)
    to_device = _device(arraytype)
    names, named = find(filename, storage_options or {})
    lead: tuple[int, ...] = (len(names),)
    if sequence is not None:
        names, lead = on_axes(names, sequence)
    files = _files(names[0], imread, preprocess, storage_options or {}, level, named)
    if named and sequence is None and len(files.shape) > files.frame_axes:
        lead = ()
    if check:
        _check_all(names, files)
    return _as_dask(ImageStack(names, lead, files, to_device), nframes)


def _check_arguments(
    read: object, preprocess: object, nframes: Any, level: Any, sequence: object
) -> None:
    for name, value in (("imread", read), ("preprocess", preprocess)):
        if value is not None and not callable(value):
            hint = f" (nframes={value})" if name == "imread" and isinstance(value, int) else ""
            raise TypeError(f"{name} must be a function, got {value!r}{hint}")
    if nframes is not None and (
        isinstance(nframes, bool)
        or not isinstance(nframes, Integral)
        or nframes < -1
        or nframes == 0
    ):
        raise ValueError(f"nframes must be a positive integer or -1, got {nframes!r}")
    if isinstance(level, bool) or not isinstance(level, Integral) or level < 0:
        raise ValueError(f"level must be an integer from 0 on, got {level!r}")
    if sequence is not None and not isinstance(sequence, str):
        raise TypeError(f"sequence must be a regular expression, got {sequence!r}")


def _device(arraytype: str) -> Callable[[NumpyArray], Array] | None:
    """What makes chunks of NumPy arrays; None if they are ones."""
    if arraytype == "numpy":
        return None
    if arraytype != "cupy":
        raise ValueError(f'arraytype must be "numpy" or "cupy", got {arraytype!r}')
    if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is None:
        raise ModuleNotFoundError(
            'arraytype="cupy" needs CuPy, not installed here: '
            "pip install 'gpuseg[cuda13]' (or [cuda12], by the driver)"
        )
    made: Callable[[NumpyArray], Array] = importlib.import_module(
        "gpuseg._cuda._transfer"
    ).to_device
    return made


def _files(
    first: str,
    read: Callable[[str], Any] | None,
    preprocess: Callable[[Any], Any] | None,
    options: Mapping[str, Any],
    level: int,
    named: bool,
) -> Files | ReadFiles:
    # Whether a file is in a set of OME-TIFFs matters where it stands for the set.
    whole_set = named and not URL.match(first)
    if read is None and preprocess is None:
        return Files(first, level=level, options=options, whole_set=whole_set)
    if read is not None and level:
        raise ValueError(f"level is for the readers here; with imread it must be 0, got {level}")
    whole = read or ReadWhole(level, options, whole_set)
    return ReadFiles(first, whole if preprocess is None else Composed(whole, preprocess))


def _check_all(names: list[str], files: Files | ReadFiles) -> None:
    """Compare every file with the first one, by its header."""
    with ThreadPoolExecutor(threads()) as pool:
        reasons = [reason for reason in pool.map(partial(_reason, files), names[1:]) if reason]
    if reasons:
        more = [f"and {len(reasons) - _LISTED} more"] if len(reasons) > _LISTED else []
        raise ValueError(
            f"{len(reasons)} of {len(names)} files do not fit: "
            + "; ".join([*reasons[:_LISTED], *more])
        )


def _reason(files: Files | ReadFiles, name: str) -> str:
    try:
        return files.difference(name)
    except OSError as error:
        return str(error)


def _as_dask(stack: ImageStack, nframes: int | None) -> Array:
    import dask.array as da

    # A name of its own each time: to tell whether 500 files are what they were would cost more
    # than all the rest, and an array that was persisted must not stand for files that changed.
    return da.from_array(
        stack,
        chunks=stack.plan_chunks(nframes),
        name=f"imread-{uuid.uuid4().hex}",
        asarray=False,
        meta=stack.to_chunk(np.empty((0,) * stack.ndim, stack.dtype)),
    )
