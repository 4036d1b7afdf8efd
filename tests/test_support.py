"""The table of docs/support.md: every operation is tried on every kind of array.

On arrays of the emulated device, with SciPy and scikit-image for cupyx and cuCIM. Write the table
with `GPUSEG_WRITE_SUPPORT=1 pytest tests/test_support.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _delegates
import dask
import dask.array as da
import numpy as np
import pytest
from emulator import standin

import gpuseg
from conftest import HAS_DEVICE, to_numpy

PAGE = Path(__file__).resolve().parent.parent / "docs" / "support.md"
KINDS = ("NumPy", "CuPy", "Dask", "Dask of CuPy")
MODULES = (
    "filters",
    "morphology",
    "color",
    "measure",
    "feature",
    "segmentation",
    "ndfilters",
    "ndmorph",
)

# What a function takes besides the image; its first argument is made by `_images`.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "difference_of_gaussians": (1, 2),
    "h_maxima": (20,),
    "h_minima": (20,),
    "apply_hysteresis_threshold": (50, 200),
    "threshold_local": (5,),
    "separate_stains": (np.eye(3),),
    "expand_labels": (2,),
    "map_array": (np.array([1, 2]), np.array([3, 4])),
    "gaussian": (1,),
    "gaussian_filter": (1,),
    "gaussian_laplace": (1,),
    "gaussian_gradient_magnitude": (1,),
    "convolve": (np.ones((3, 3)),),
    "correlate": (np.ones((3, 3)),),
    "percentile_filter": (50, 3),
    "rank_filter": (1, 3),
    "generic_filter": (np.ptp, 3),
}
OPTIONS = {name: {"size": 3} for name in ("maximum_filter", "median_filter", "minimum_filter")}
OPTIONS["threshold_multiotsu"] = {"nbins": 16}
# Results in files, models, and what takes no image.
ELSEWHERE = {"label_to_zarr", "regionprops_to_parquet", "predict", "OnnxModel", "stain_matrix"}

# What a mark alone would hide.
LIMITS = {
    "threshold_li": "integers only, but for NumPy arrays: of floats it is an iteration over all "
    "sorted values",
    "gaussian": "by sums on CuPy arrays, however wide",
}

GREY = np.random.default_rng(0).integers(0, 256, (12, 14)).astype(np.uint8)
LABELS = np.kron(np.array([[1, 0, 2], [0, 3, 0]], np.int32), np.ones((4, 4), np.int32))
RGB = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)


def _call(module: str, name: str) -> Callable[[Callable[[np.ndarray], Any]], Any]:
    """The function on an array of any kind, which `wrap` makes."""
    function = getattr(getattr(gpuseg, module), name)
    args, options = ARGUMENTS.get(name, ()), OPTIONS.get(name, {})
    image = GREY
    if module == "color":
        image = RGB
    elif module in ("measure", "segmentation") or name == "expand_labels":
        image = LABELS
    elif module in ("morphology", "ndmorph") and (
        "binary" in name or "_holes" in name or "edt" in name
    ):
        image = GREY > 90
    elif name == "remove_small_objects":
        image = LABELS
    if name == "split_touching":
        image = LABELS > 0
    if name == "watershed":
        markers = np.where(LABELS > 2, 1, LABELS)
        return lambda wrap: function(wrap(np.resize(GREY, LABELS.shape)), wrap(markers))
    return lambda wrap: function(wrap(image), *args, **options)


def _wraps() -> dict[str, Callable[[np.ndarray], Any]]:
    def chunked(array: Any) -> Any:
        chunks = [n // 2 + 1 if n != 3 else n for n in array.shape]
        return da.from_array(array, chunks=chunks, asarray=False)

    return {
        "NumPy": lambda array: array,
        "CuPy": standin.asarray,
        "Dask": chunked,
        "Dask of CuPy": lambda array: chunked(standin.asarray(array)),
    }


def _host(found: Any) -> Any:
    """Comparable values on the host; a lazy result is computed."""
    if isinstance(found, tuple):
        return [_host(part) for part in found]
    if isinstance(found, dict):
        return [_host(found[key]) for key in sorted(found)]
    (found,) = dask.compute(found)
    return to_numpy(found)


def _equal(found: Any, expected: Any) -> None:
    if isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            _equal(one, other)
        return
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def _says_why(error: TypeError) -> bool:
    return any(word in str(error) for word in ("not implemented", "convert", "NumPy", "compute()"))


def _supported(call: Callable[..., Any], wrap: Callable[..., Any], expected: Any) -> bool:
    try:
        found = _host(call(wrap))
    except TypeError as error:
        if not _says_why(error):
            raise
        return False
    _equal(found, expected)
    return True


def _names(module: str) -> list[str]:
    return [name for name in getattr(gpuseg, module).__all__ if name not in ELSEWHERE]


def _table(rows: dict[tuple[str, str], list[bool]]) -> str:
    lines = [
        "# What runs where",
        "",
        "Every operation was tried on every kind of array by `tests/test_support.py`, which wrote",
        "this table and fails where it is no longer true. On Dask arrays the answer is that of the",
        "whole array, for every chunking. What has no mark raises a `TypeError` that names the",
        "conversion. The columns of CuPy were tried on an emulated device, with SciPy and",
        "scikit-image in the place of cupyx and cuCIM.",
        "",
    ]
    for module in MODULES:
        lines += [
            f"## gpuseg.{module}",
            "",
            "| | " + " | ".join(KINDS) + " |",
            "|---|" + "---|" * 4,
        ]
        for (of, name), marks in rows.items():
            if of == module:
                shown = " | ".join("yes" if mark else "–" for mark in marks)
                lines.append(f"| `{name}` | {shown} |")
        notes = [f"`{name}`: {LIMITS[name]}." for name in _names(module) if name in LIMITS]
        lines += ["", *notes, ""] if notes else [""]
    return "\n".join(lines)


@pytest.mark.emulator
@pytest.mark.skipif(HAS_DEVICE, reason="the table is of the emulated device")
def test_table_is_true(monkeypatch):
    _delegates.install(monkeypatch)
    wraps = _wraps()
    rows = {}
    for module in MODULES:
        for name in _names(module):
            call = _call(module, name)
            expected = _host(call(wraps["NumPy"]))
            rows[module, name] = [_supported(call, wraps[kind], expected) for kind in KINDS]
    table = _table(rows)
    if os.environ.get("GPUSEG_WRITE_SUPPORT") == "1":
        PAGE.write_text(table, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == table, "write it again, see the top of this file"
