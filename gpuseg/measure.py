"""Label and measure objects: connected components of images of any size."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpuseg._backend import floor, implementation
from gpuseg._shared import neighbours as _neighbours
from gpuseg._shared.region_request import make_request
from gpuseg._validate import check_background, check_labelable
from gpuseg.typing import Array, NumpyArray

if TYPE_CHECKING:
    from gpuseg.cluster import Cluster

__all__ = ["label", "label_to_zarr", "regionprops_table", "regionprops_to_parquet"]


def label(
    image: Array,
    *,
    connectivity: int | None = None,
    background: int = 0,
    structure: npt.ArrayLike | None = None,
    axes: Sequence[int] | int | None = None,
    wrap_axes: Sequence[int] | int | None = None,
    out: Array | None = None,
) -> tuple[Array, Any]:
    """Label connected components, numbered in the raster order of their first pixels.

    The answer is that of `scipy.ndimage.label` on the whole array, number for number, however the
    array is chunked and wherever it is computed.

    Parameters
    ----------
    image : bool or integer array, at least 1-D
        NumPy, CuPy or Dask array. Pixels of a bool image connect where both are foreground; pixels
        of an integer image connect where they are equal and not background, as in
        `skimage.measure.label`.
    connectivity : int, optional
        Along how many axes two neighbours may differ, from 1 (4 neighbours in 2-D, 6 in 3-D) to
        the number of connected axes (8, 26), which is the default, as in scikit-image. SciPy's
        default is 1.
    background : int
        Pixels of this value get label 0. If the image's dtype cannot hold it, there are none.
    structure : array_like, optional
        SciPy's way to say `connectivity` and `axes`: one of `generate_binary_structure`, or such a
        one within zeros, which leaves axes unconnected.
    axes : int or sequence of int, optional
        Axes along which pixels connect; all by default. ``axes=(1, 2)`` labels each frame of a
        stack for itself, numbers going on from frame to frame.
    wrap_axes : int or sequence of int, optional
        Axes whose two ends meet.
    out : array, optional
        Where to write the labels: of the image's shape, int32 or int64, on the same device. Not
        for Dask arrays.

    Returns
    -------
    labels : array
        0 for background, then 1 to `number`. int32, or int64 for images of 2^31 pixels or more.
        A Dask array in the image's chunks if that is one.
    number : int
        Count of components; a 0-d Dask array for Dask arrays.

    Raises
    ------
    TypeError
        If the image is neither bool nor integer, or `out` is no array that it can be written to.
    ValueError
        If the image is 0-d, its chunks have unknown sizes, or an argument is out of range.

    Notes
    -----
    Runs of pixels are united by Rem's algorithm [1]_ in strips of rows; chunks are labeled for
    themselves and merged along their faces. A Dask image is computed twice, and never held:
    persist it, or store it first, if that is dear.

    References
    ----------
    .. [1] M. M. A. Patwary, J. Blair and F. Manne, "Experiments on union-find algorithms for the
       disjoint-set data structure", SEA 2010, doi:10.1007/978-3-642-13193-6_35.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.measure import label
    >>> image = np.array([[1, 1, 0, 2], [0, 0, 1, 2], [3, 0, 0, 0]], np.uint8)
    >>> label(image != 0, connectivity=1)
    (array([[1, 1, 0, 2],
           [0, 0, 2, 2],
           [3, 0, 0, 0]], dtype=int32), 3)
    >>> labels, number = label(image)
    >>> labels
    array([[1, 1, 0, 2],
           [0, 0, 1, 2],
           [3, 0, 0, 0]], dtype=int32)
    """
    check_labelable(image, out)
    neighbours = _neighbours.resolve(image.ndim, connectivity, structure, axes, wrap_axes)
    extra = {} if floor(image) == "_dask" else {"out": out}
    return implementation(image, "label").label(
        image,
        neighbours.connectivity,
        background=check_background(background),
        axes=neighbours.axes,
        wrap_axes=neighbours.wrap_axes,
        **extra,
    )


def label_to_zarr(
    source: Array | str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    connectivity: int | None = None,
    background: int = 0,
    structure: npt.ArrayLike | None = None,
    axes: Sequence[int] | int | None = None,
    wrap_axes: Sequence[int] | int | None = None,
    chunks: Any = None,
    dtype: npt.DTypeLike | None = None,
    levels: int | None = None,
    axis_names: str | None = None,
    scale: Sequence[float] | None = None,
    unit: str | None = None,
    overwrite: bool = False,
    scheduler: str | Cluster | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | bool = False,
) -> int:
    """Label an image of any size to an OME-Zarr label image on disk.

    The labels are those of `label`. Until they are all there they lie in `<destination>.partial`, a
    folder beside the destination; a run that died is taken up, from the chunks that are done, by
    calling again with the same arguments.

    Parameters
    ----------
    source : array, zarr array or path
        Bool or integer image: a Dask, NumPy or zarr array, or the path or URL of a zarr array or of
        an OME-Zarr image, whose full resolution is labelled.
    destination : path
        Folder to make, best ending in `.zarr`, or `<image>.zarr/labels/<name>`, which is then
        listed there. One that gpuseg made is replaced when the new one is whole.
    connectivity, background, structure, axes, wrap_axes
        As in `label`.
    chunks : int or tuple, optional
        Chunks in which to work, which become the shards of the result; the source's own by default.
        A worker needs about 20 bytes for each pixel of a chunk.
    dtype : integer dtype, optional
        Of the labels; by default the smallest unsigned one that holds their number.
    levels : int, optional
        How many levels the pyramid gets; by default until one fits into a chunk. A coarser one
        has every second pixel along each axis in space.
    axis_names : str, optional
        Letters of "tczyx", one for each axis; by default those of an OME-Zarr source, else as many
        of the last ones as there are axes ("tyx" for a stack labelled with ``axes=(1, 2)``).
    scale : sequence of float, optional
        Size of a pixel along each axis; by default that of an OME-Zarr source, else 1.
    unit : str, optional
        Unit of lengths by its name in OME-Zarr, such as "micrometer"; by default that of an
        OME-Zarr source.
    overwrite : bool
        Replace a destination even if gpuseg didn't make it.
    scheduler, workers
        Where to compute, see `gpuseg.cluster.connect`; by default in threads. Workers on other
        machines must see the same folder.
    progress : callable or bool
        Called as ``progress(done, total)``; each chunk is two steps. True shows a bar.

    Returns
    -------
    number : int
        Count of components.

    Raises
    ------
    TypeError
        If the source is no image as above, or an option of another type.
    ValueError
        If an argument is out of range, or the image has fewer than 2 or more than 5 axes.
    OverflowError
        If `dtype` cannot hold the labels; none is written then.
    FileExistsError
        If something that gpuseg didn't make is at the destination, or beside it.
    RuntimeError
        If the image changed while it was labelled.

    Notes
    -----
    What an unfinished run has done is taken up if the source has the same name: the same path or
    URL, or a Dask array of the same graph. After changing the data behind it, delete the partial
    folder.

    Examples
    --------
    >>> import tempfile, numpy as np, zarr
    >>> from gpuseg.measure import label_to_zarr
    >>> image = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1]], bool)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     number = label_to_zarr(image, f"{folder}/labels.zarr", chunks=2)
    ...     labels = zarr.open(f"{folder}/labels.zarr", mode="r")["0"][:]
    >>> number
    3
    >>> labels
    array([[1, 0, 2],
           [1, 0, 0],
           [0, 0, 3]], dtype=uint8)
    """
    from gpuseg._jobs.label_to_zarr import run
    from gpuseg._progress import shown
    from gpuseg.io._label_levels import check_unit
    from gpuseg.io._zarr_source import as_image

    check_unit(unit)
    image, known = as_image(source, chunks)
    check_labelable(image)
    neighbours = _neighbours.resolve(image.ndim, connectivity, structure, axes, wrap_axes)
    given = {"axis_names": axis_names, "scale": scale, "unit": unit}
    layout = {**known, **{name: value for name, value in given.items() if value is not None}}
    wanted = None if dtype is None else np.dtype(dtype)
    if wanted is not None and wanted.kind not in "iu":
        raise TypeError(f"dtype must be an integer type, got {wanted}")
    with shown(progress, "labelling") as told:
        return run(
            image,
            destination,
            neighbours,
            check_background(background),
            wanted,
            {**layout, "levels": levels},
            overwrite,
            {"scheduler": scheduler, "workers": workers},
            told,
        )


def regionprops_table(
    labels: Array,
    image: Array | None = None,
    *,
    properties: Sequence[str] = ("label", "bbox"),
    spacing: float | Sequence[float] | None = None,
    ids: Sequence[int] | npt.NDArray[Any] | None = None,
    separator: str = "-",
) -> dict[str, NumpyArray]:
    """Measure labelled regions in one pass, as columns of a table.

    Names, values and units are those of `skimage.measure.regionprops_table`; sums are exact until
    they are rounded once, so that the bits depend on no chunks, threads or device.

    Parameters
    ----------
    labels : (M, N) or (P, M, N) array of integers
        NumPy, CuPy or Dask array. Label 0 is background; labels may be sparse and unconnected.
    image : array, optional
        Of the labels' shape, or with one more, last axis of channels; its chunks may differ.
        Booleans, integers, or floats of at most 64 bits.
    properties : sequence of str
        Of every region: label, num_pixels, area, area_bbox, axis_major_length, axis_minor_length,
        bbox, centroid, centroid_local, equivalent_diameter_area, euler_number, extent,
        inertia_tensor, inertia_tensor_eigvals, moments, moments_central, moments_normalized,
        num_neighbors (of other labels that touch it, at corners too); in 2-D eccentricity,
        moments_hu, orientation, perimeter, perimeter_crofton; in 3-D
        surface_area (Crofton's formula over 13 directions). With an image: intensity_mean,
        intensity_sum, intensity_std, intensity_variance, intensity_min, intensity_max,
        intensity_min_position and intensity_max_position (index of the first one),
        centroid_weighted, centroid_weighted_local.
    spacing : float or sequence of float, optional
        Pixel size along each axis; positions of extrema and bounding boxes stay in pixels.
    ids : sequence of int, optional
        Labels to report, in this order; by default those found, in increasing order. A label that
        no pixel has gets area 0, other integers 0, and floats NaN.
    separator : str
        Between a property's name and the index of its element, as in ``bbox-0``.

    Returns
    -------
    dict of str to NumPy array
        One row a label, ready for `pandas.DataFrame`. Dask arrays are computed: how many rows
        there are is known only then.

    Raises
    ------
    TypeError
        If labels are no integers, or the image's dtype cannot be measured.
    ValueError
        If shapes differ, a label is negative, chunks have unknown sizes, or a property is unknown
        or not defined here.

    Notes
    -----
    `docs/design/regionprops.md` says how. Means and deviations of float32 images are more accurate
    than scikit-image's, which adds in float32.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.measure import regionprops_table
    >>> labels = np.array([[1, 1, 0], [0, 0, 7]])
    >>> image = np.array([[2, 4, 9], [9, 9, 5]])
    >>> regionprops_table(labels, image, properties=("label", "centroid", "intensity_mean"))
    {'label': array([1, 7]), 'centroid-0': array([0., 1.]), 'centroid-1': array([0.5, 2. ]),
     'intensity_mean': array([3., 5.])}
    """
    request = make_request(labels, image, properties, spacing, ids, separator)
    owner = image if image is not None and floor(image) == "_dask" else labels
    return implementation(owner, "regionprops").regionprops_table(labels, image, request)


def regionprops_to_parquet(
    labels: Array,
    image: Array | None,
    destination: str | os.PathLike[str],
    *,
    properties: Sequence[str] = ("label", "bbox"),
    spacing: float | Sequence[float] | None = None,
    separator: str = "-",
    rows_per_file: int = 1 << 20,
) -> int:
    """Measure labelled regions into Parquet, however many rows that is.

    The table of `regionprops_table`, written in ranges of labels: memory holds the rows of a few
    chunks, then those of one range for each thread. Rows of chunks wait beside the destination,
    which workers of a cluster must reach too; the destination appears when it is whole.

    Parameters
    ----------
    labels, image, properties, spacing, separator
        As in `regionprops_table`.
    destination : str or path
        Folder to make; its files sort as their labels do. Read it back with
        ``pandas.read_parquet(destination)``.
    rows_per_file : int
        About how many rows a file holds, at most.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    TypeError, ValueError
        As `regionprops_table`.
    ImportError
        If pyarrow is missing (``pip install gpuseg[parquet]``).
    FileExistsError, FileNotFoundError
        If the destination exists, or its folder does not.

    Examples
    --------
    >>> import tempfile
    >>> import dask.array as da
    >>> import numpy as np
    >>> from gpuseg.measure import regionprops_to_parquet
    >>> labels = da.from_array(np.arange(6).reshape(2, 3), chunks=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     regionprops_to_parquet(labels, None, f"{folder}/objects")
    5
    """
    from gpuseg.io.region_tables import write_regions

    request = make_request(labels, image, properties, spacing, None, separator)
    return write_regions(labels, image, request, destination, rows_per_file)
