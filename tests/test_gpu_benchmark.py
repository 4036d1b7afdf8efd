"""The GPU benchmark runs from end to end, on tiny images and the emulated device.

Its figures mean nothing here; that it still fits launchers and writes its pages does.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from types import ModuleType, SimpleNamespace

import emulator
import numpy as np
import pytest
from emulator import standin
from scipy import ndimage

from conftest import HAS_DEVICE

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(HAS_DEVICE, reason="the benchmark itself runs on a device"),
]


class Event:
    """Time of the host."""

    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        pass


class Random:
    """Numbers drawn on the host and copied to the device."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)

    def __getattr__(self, name: str):
        return lambda *given, **options: standin.asarray(
            getattr(self._draw, name)(*given, **options)
        )


def fake_cupy() -> ModuleType:
    """The stand-in, with what only a benchmark asks for."""
    fake = ModuleType("cupy")
    for name in dir(np):
        function = getattr(np, name)
        if callable(function) and not isinstance(function, type):
            setattr(fake, name, function)
    for name in dir(standin):
        setattr(fake, name, getattr(standin, name))
    fake.arange = lambda *given: standin.asarray(np.arange(*given))
    fake.ones = lambda *given: standin.asarray(np.ones(*given))
    runtime = SimpleNamespace(
        getDeviceProperties=lambda number: {"name": b"Emulated GPU", "major": 9, "minor": 0},
        getDeviceCount=lambda: 0,
        runtimeGetVersion=lambda: 0,
        driverGetVersion=lambda: 0,
    )
    fake.cuda = SimpleNamespace(
        runtime=runtime,
        Event=Event,
        Device=lambda: SimpleNamespace(synchronize=lambda: None),
        get_elapsed_time=lambda start, stop: 1e3 * (stop.time - start.time) + 1e-6,
    )
    fake.random = SimpleNamespace(default_rng=Random)
    fake.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None)
    fake.__version__ = "0"
    return fake


def fake_cupyx() -> ModuleType:
    """SciPy's functions on the device's arrays."""
    module = ModuleType("cupyx.scipy.ndimage")
    for name in ("gaussian_filter", "distance_transform_edt"):
        function = getattr(ndimage, name)
        setattr(
            module,
            name,
            lambda array, *a, f=function, **k: standin.asarray(f(array.get(), *a, **k)),
        )
    module.label = lambda array, structure: ndimage.label(array.get(), structure)
    return module


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    ndimage_module = fake_cupyx()
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    scipy_module = ModuleType("cupyx.scipy")
    scipy_module.ndimage = ndimage_module
    monkeypatch.setitem(sys.modules, "cupyx", ModuleType("cupyx"))
    monkeypatch.setitem(sys.modules, "cupyx.scipy", scipy_module)
    monkeypatch.setitem(sys.modules, "cupyx.scipy.ndimage", ndimage_module)
    monkeypatch.delitem(sys.modules, "benchmarks.gpu", raising=False)
    module = importlib.import_module("benchmarks.gpu")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "REPEATS", 1)
    monkeypatch.setattr(module, "ROTATE", 1)
    yield module
    sys.modules.pop("benchmarks.gpu", None)


def test_all_parts_run_and_write_a_page(benchmark, tmp_path):
    with emulator.scheduled(emulator.Schedule()):
        assert benchmark.main(64) == 0
    result = json.loads((tmp_path / "gpu-emulated-gpu.json").read_text())
    assert {row["name"].split(",")[0].split(" by")[0] for row in result["rows"]} == {
        "HSI count with labels",
        "label",
        "label 3-D",
        "distance_transform_edt",
        "expand_labels",
        "watershed",
        "regionprops_table",
    }
    page = (tmp_path / "gpu-emulated-gpu.md").read_text()
    for kernel in ("hsi_tally", "unite_rows", "lines", "take<u32>", "tally"):
        assert kernel in page


def test_a_part_that_fails_does_not_lose_the_others(benchmark, tmp_path, monkeypatch):
    def broken(bandwidth, side):
        raise MemoryError("no room")

    monkeypatch.setattr(benchmark, "label_rows", broken)
    for name in ("hsi_rows", "edt_rows", "watershed_rows", "region_rows"):
        monkeypatch.setattr(benchmark, name, lambda bandwidth, side: [])
    assert benchmark.main(32) == 1
    page = (tmp_path / "gpu-emulated-gpu.md").read_text()
    assert "Skipped: broken (MemoryError: no room)" in page
    assert "label, from Python" in page
