"""Run the benchmarks and write their results: `python -m benchmarks.run [NAME ...] [--quick]`.

Each `bench_<noun>.py` has `run(quick) -> list of rows` (see `_harness`). Results go to
`benchmarks/results/cpu.json`, a row replacing the earlier one of the same name and size; `cpu.md`
and the README's table are written anew from that file, losses included.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks._harness import Row

_HERE = Path(__file__).parent
_RESULTS = _HERE / "results" / "cpu.json"
_TABLE = _HERE / "results" / "cpu.md"
_README = _HERE.parent / "README.md"
_BEGIN, _END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
_PEERS = (
    "numpy", "numba", "scipy", "scikit-image", "dask", "dask-image", "histomicstk", "large-image",
    "tifffile", "imagecodecs", "zarr", "connected-components-3d", "opencv-python-headless",
    "scikit-learn", "stardist", "cellpose",
)  # fmt: skip


def names() -> list[str]:
    """Nouns that have a benchmark."""
    return sorted(path.stem.removeprefix("bench_") for path in _HERE.glob("bench_*.py"))


def machine() -> dict[str, str]:
    """Processor, cores used and versions, as the results name them."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"processor": model, "cores": str(cores), "python": platform.python_version()}
    for package in _PEERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def table(results: dict[str, Any], *, whole: bool = True) -> str:
    """Markdown table: of every row all peers, or only the one that does best; losses included."""
    info = results["machine"]
    lines = [
        f"Medians on {info['cores']} cores of {info['processor']}; each line was measured side by "
        "side in one run, equal answers checked first. Ratio above 1: gpuseg is faster, or better."
        + ("" if whole else " The fastest peer of each: [all of them](benchmarks/results/cpu.md)."),
        "",
        "| what | size | gpuseg | peer | its time | ratio |",
        "|---|---|---:|---|---:|---:|",
    ]
    for row in results["rows"]:
        ours = next(iter(row["seconds"]))
        peers = sorted(row["ratio"].items(), key=lambda pair: pair[1])
        if whole and not peers:
            lines.append(f"| {row['name']} | {row['size']} | {_shown(row, ours)} | | | |")
        for peer, ratio in peers if whole else peers[:1]:
            lines.append(
                f"| {row['name']} | {row['size']} | {_shown(row, ours)} | {peer} "
                f"| {_shown(row, peer)} | {ratio:.{1 if ratio >= 10 else 2}f} |"
            )
    return "\n".join(lines)


def _shown(row: Row, who: str) -> str:
    value, unit = row["seconds"][who], row.get("measured_in", "s")
    shown = _time(value) if unit == "s" else f"{value:.3g} {unit}"
    peak = row.get("peak_mb", {}).get(who)
    return shown if peak is None else f"{shown}, {peak:.0f} MB"


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def write_readme(results: dict[str, Any]) -> None:
    """Replace the table between the README's markers."""
    text = _README.read_text(encoding="utf-8")
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    short = table(results, whole=False)
    _README.write_text(f"{head}{_BEGIN}\n{short}\n{_END}{tail}", encoding="utf-8")
    _TABLE.write_text(f"# Results on CPUs\n\n{table(results)}\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"of {', '.join(names())}; all where none is named"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing is written")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {"rows": []}
    if _RESULTS.exists():
        results = json.loads(_RESULTS.read_text(encoding="utf-8"))
    for name in options.names or names():
        for row in importlib.import_module(f"benchmarks.bench_{name}").run(options.quick):
            print(json.dumps(row), flush=True)
            if not options.quick:
                keep(results, row)


def keep(results: dict[str, Any], row: Row) -> None:
    """Write a row into the results and the README at once: a run of hours may be stopped."""
    key = (row["name"], row["size"])
    same = [i for i, old in enumerate(results["rows"]) if (old["name"], old["size"]) == key]
    if same:
        results["rows"][same[0]] = row
    else:
        results["rows"].append(row)
    results["machine"] = machine()
    _RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_readme(results)


if __name__ == "__main__":
    main()
