"""Array module, container and data fixtures."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
import zlib
from collections.abc import Generator, Iterator
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


with contextlib.suppress(ModuleNotFoundError):
    from hypothesis import HealthCheck, settings

    # A machine that is busy, or compiles for the first time, is no failure.
    unhurried = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("unhurried", settings.default, **unhurried)
    settings.load_profile("unhurried")


# Where `ci/gpu.sh` asks for that, what needs a package that is missing is left out.
_SKIP_MISSING = os.environ.get("GPUSEG_SKIP_MISSING") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    missing = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", str(report.longrepr))
    if _SKIP_MISSING and report.failed and missing and not missing[1].startswith("gpuseg"):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"needs {missing[1]}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if not _SKIP_MISSING or (error.name or "").startswith("gpuseg"):
            raise
        pytest.skip(f"needs {error.name}")


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


@pytest.fixture(scope="session", autouse=True)
def no_lines_of_progress() -> Iterator[None]:
    """What a job of five seconds or more tells of itself is in no test but those of it."""
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(ImportError):
            patch.setattr("gpuseg.cli.progress._EVERY_S", math.inf)
        yield


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
