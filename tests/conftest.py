"""Array module, container and data fixtures."""

from __future__ import annotations

import ast
import importlib.util
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import emulator
import numpy as np
import pytest
from emulator import standin


def _device_available() -> bool:
    if importlib.util.find_spec("cupy") is None:
        return False
    try:
        import cupy

        return cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:
        return False


HAS_DEVICE = _device_available()
if not HAS_DEVICE:
    # Before anything imports `gpuseg._cuda`, whose modules import cupy at their top.
    standin.install()


def _missing_compiler() -> str | None:
    try:
        emulator.compiler()
    except emulator.CompilerMissing as missing:
        return str(missing)
    return None


def _missing_imports(path: Path) -> list[str]:
    """Packages that a test file imports at its top and that are not installed."""
    named = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            named.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named.add(node.module.partition(".")[0])
    return sorted(name for name in named if importlib.util.find_spec(name) is None)


_LEFT_OUT: dict[str, list[str]] = {}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out files that need what is missing, where `ci/gpu.sh` asks for that."""
    if os.environ.get("GPUSEG_SKIP_MISSING") != "1" or collection_path.suffix != ".py":
        return None
    missing = _missing_imports(collection_path)
    if missing:
        _LEFT_OUT[collection_path.name] = missing
    return True if missing else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, missing in sorted(_LEFT_OUT.items()):
        terminalreporter.write_line(f"left out: {name}, which needs {', '.join(missing)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not HAS_DEVICE:
        if os.environ.get("GPUSEG_REQUIRE_GPU") == "1":
            pytest.fail("GPUSEG_REQUIRE_GPU=1, and no CUDA device is available", pytrace=False)
        pytest.skip("no CUDA device")
    if item.get_closest_marker("emulator") and (reason := _missing_compiler()):
        pytest.skip(reason)


# The launchers import one `cupy`: the real one where it has a device, else the emulator's.
_ARRAY_MODULES = [
    "numpy",
    pytest.param("cupy", marks=pytest.mark.gpu),
    *([] if HAS_DEVICE else [pytest.param("emulated", marks=pytest.mark.emulator)]),
]


@pytest.fixture(params=_ARRAY_MODULES)
def xp(request: pytest.FixtureRequest) -> Iterator:
    """Array module: every test body that takes it runs once on each.

    "emulated" runs the CUDA kernels on the CPU, a million pixels in a few seconds, under a random
    schedule that is the test's own and the same in every run.
    """
    if request.param == "cupy":
        import cupy

        yield cupy
    elif request.param == "emulated":
        with emulator.scheduled(emulator.Schedule.drawn(zlib.crc32(request.node.nodeid.encode()))):
            yield standin
    else:
        yield np


@pytest.fixture
def rng() -> np.random.Generator:
    """Same random numbers in every run."""
    return np.random.default_rng(0)


@pytest.fixture(params=["eager", "dask", "dask-ones"])
def container(request: pytest.FixtureRequest):
    """Function that wraps an array: eager, Dask in uneven chunks, Dask with chunks of size 1."""
    if request.param == "eager":
        return lambda array, axes=None: array
    da = pytest.importorskip("dask.array")

    def wrap(array, axes=None):
        """Chunk the first `axes` axes (default: two); the others stay whole."""
        axes = min(2, array.ndim) if axes is None else axes
        chunks = []
        for axis, size in enumerate(array.shape):
            if axis >= axes or size < 2:
                chunks.append((size,))
            elif request.param == "dask-ones" and axis == axes - 1:
                chunks.append((1, size - 1))
            else:
                first = max(1, size // 3)
                chunks.append((first, size - first))
        return da.from_array(array, chunks=tuple(chunks), asarray=False)

    return wrap


def to_numpy(array) -> np.ndarray:
    """NumPy copy of a NumPy, CuPy or Dask array."""
    if hasattr(array, "compute"):
        array = array.compute()
    return array.get() if hasattr(array, "get") else np.asarray(array)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real images; tests that ask for it skip where there is none."""
    named = os.environ.get("GPUSEG_TEST_DATA")
    if not named:
        pytest.skip("GPUSEG_TEST_DATA names no folder of real images")
    return Path(named)
