"""The exact colour histogram of an image, from which any parameters are answered exactly."""

from __future__ import annotations

import itertools
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpuseg._backend import implementation
from gpuseg._shared.hsi import Output, Parameters, Tally, make_rule, pixel_area_mm2
from gpuseg._shared.hsi_parameters import as_parameters
from gpuseg.typing import NumpyArray

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class ColourHistogram:
    """How often each colour occurs; `+` merges two.

    Attributes
    ----------
    colours : uint32 array (n,)
        R << 16 | G << 8 | B, strictly increasing.
    counts : int64 array (n,)
        Pixels of each colour, at least 1.
    unreadable : int
        Pixels left out because their tile could not be decoded.
    pixel_area_mm2 : float or None
        For areas in `count`; None where the pixel size is unknown, or not the same for what was
        merged.

    Raises
    ------
    ValueError
        If the arrays are no such histogram.

    Examples
    --------
    >>> import numpy as np
    >>> half = ColourHistogram(np.array([0x0000FF, 0xFFFFFF], np.uint32), np.array([3, 1]))
    >>> half + half
    ColourHistogram(2 colours, 8 pixels)
    """

    colours: NumpyArray
    counts: NumpyArray
    unreadable: int = 0
    pixel_area_mm2: float | None = None

    def __post_init__(self) -> None:
        colours, counts = np.asarray(self.colours), np.asarray(self.counts)
        if colours.ndim != 1 or colours.shape != counts.shape:
            raise ValueError(
                f"colours and counts must be of one length, got {colours.shape} and {counts.shape}"
            )
        if {colours.dtype.kind, counts.dtype.kind} - set("iu"):
            raise ValueError(
                f"colours and counts must be integers, got {colours.dtype} and {counts.dtype}"
            )
        if len(colours) and not (colours[0] >= 0 and colours[-1] < 1 << 24):
            raise ValueError(f"colours must be below 2^24, got {colours[0]} to {colours[-1]}")
        if (colours[1:] <= colours[:-1]).any():
            raise ValueError("colours must be strictly increasing")
        if len(counts) and counts.min() < 1:
            raise ValueError(f"counts must be at least 1, got {counts.min()}")
        object.__setattr__(self, "colours", np.ascontiguousarray(colours, np.uint32))
        object.__setattr__(self, "counts", np.ascontiguousarray(counts, np.int64))

    def __repr__(self) -> str:
        return f"ColourHistogram({len(self.colours)} colours, {self.pixels} pixels)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ColourHistogram):
            return NotImplemented
        return (
            np.array_equal(self.colours, other.colours)
            and np.array_equal(self.counts, other.counts)
            and self.unreadable == other.unreadable
            and self.pixel_area_mm2 == other.pixel_area_mm2
        )

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: ColourHistogram) -> ColourHistogram:
        """Histogram of both."""
        floor = implementation(self.colours, "colour_histogram")
        colours, counts = floor.merge((self.colours, self.counts), (other.colours, other.counts))
        area = self.pixel_area_mm2 if self.pixel_area_mm2 == other.pixel_area_mm2 else None
        return ColourHistogram(colours, counts, self.unreadable + other.unreadable, area)

    @property
    def pixels(self) -> int:
        """Number of pixels counted."""
        return int(self.counts.sum())

    def tally(self, params: Parameters, negative: Parameters | None = None) -> Tally:
        """Tally that counting the image itself would give."""
        words = implementation(self.colours, "colour_histogram").weigh(
            self.colours, self.counts, make_rule(params, negative)
        )
        return replace(Tally.from_ints(words.tolist()), unreadable=self.unreadable)

    def count(
        self, params: Parameters, *, negative: Parameters | None = None, mpp: float | None = None
    ) -> Output:
        """Statistics that counting the image itself would give, in about half a millisecond."""
        area = self.pixel_area_mm2 if mpp is None else pixel_area_mm2(mpp)
        return self.tally(params, negative).to_output(make_rule(params, negative), area)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NumPy `.npz` file, whole or not at all: about 4 bytes per colour."""
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        area = math.nan if self.pixel_area_mm2 is None else self.pixel_area_mm2
        try:
            with part.open("xb") as file:
                np.savez_compressed(
                    file,
                    format=_FORMAT,
                    steps=np.diff(self.colours, prepend=np.uint32(0)),
                    counts=self.counts,
                    unreadable=self.unreadable,
                    pixel_area_mm2=area,
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> ColourHistogram:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the file is no colour histogram, is damaged, or comes from a newer version.
        """
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                if int(file["format"]) != _FORMAT:
                    raise ValueError(f"format must be {_FORMAT}, got {int(file['format'])}")
                area = float(file["pixel_area_mm2"])
                return ColourHistogram(
                    np.cumsum(file["steps"], dtype=np.int64),
                    file["counts"],
                    int(file["unreadable"]),
                    None if math.isnan(area) else area,
                )
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{os.fspath(path)!r} is no colour histogram: {error}") from error


def sweep(
    histogram: ColourHistogram,
    grid: Mapping[str, Sequence[float]] | Iterable[Parameters],
    params: Parameters | None = None,
    *,
    negative: Parameters | None = None,
) -> list[dict[str, Any]]:
    """Statistics for many parameters, from one histogram.

    Parameters
    ----------
    histogram : ColourHistogram
    grid : mapping of names to values, or iterable of Parameters
        A mapping stands for all combinations of its values; the last name varies fastest.
    params : Parameters, optional
        Values of the parameters that the mapping doesn't name.
    negative : Parameters, optional
        Counterstain, as in `count`; not varied.

    Returns
    -------
    list of dict
        A row for each setting: the seven parameters, then the fields of `Output`. It is what
        `pandas.DataFrame` takes.

    Raises
    ------
    ValueError
        If a name is no parameter, or a setting is out of range; nothing is computed then.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import positive_pixel_count as ppc
    >>> histogram = ppc.colour_histogram(np.array([[[200, 150, 110], [80, 40, 20]]], "uint8"))
    >>> rows = ppc.sweep(histogram, {"hue_value": [0.05, 0.55], "hue_width": [0.15, 0.3]})
    >>> [(row["hue_value"], row["hue_width"], row["RatioTotalToPixels"]) for row in rows]
    [(0.05, 0.15, 1.0), (0.05, 0.3, 1.0), (0.55, 0.15, 0.0), (0.55, 0.3, 0.0)]
    """
    if not isinstance(histogram, ColourHistogram):
        raise TypeError(f"histogram must be a ColourHistogram, got {type(histogram)}")
    if isinstance(grid, Mapping):
        if unknown := set(grid) - set(Parameters._fields):
            raise ValueError(
                f"grid must name fields of Parameters, got {', '.join(map(repr, sorted(unknown)))}"
            )
        base = Parameters() if params is None else as_parameters(params, "params")
        settings = [
            base._replace(**dict(zip(grid, values, strict=True)))
            for values in itertools.product(*grid.values())
        ]
    else:
        settings = [as_parameters(setting, "setting") for setting in grid]
    settings = [setting.validate() for setting in settings]
    return [
        {**setting._asdict(), **histogram.count(setting, negative=negative)._asdict()}
        for setting in settings
    ]
