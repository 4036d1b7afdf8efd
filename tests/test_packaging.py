"""pyproject.toml, conda-env.yml and the built wheel tell one story."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# PyPI name -> conda name, where they differ.
CONDA_NAMES = {
    "dask": "dask-core",
    "openslide-bin": "openslide",
    "nvidia-cuda-nvrtc": "cuda-nvrtc",
    "nvidia-cuda-runtime": "cuda-cudart-dev",
    "nvidia-cuda-cccl": "cuda-cccl",
    "cupy-cuda13x": "cupy",
    "cucim-cu13": "cucim",
    "xxhash": "python-xxhash",
}
# conda packages whose least version is counted otherwise than on PyPI.
OTHER_VERSIONS = {"openslide"}


def requirements(*lists: list[str]) -> dict[str, str]:
    """Conda name -> version constraint of the PyPI requirements, `gpuseg[...]` left out."""
    found = {}
    for requirement in (one for many in lists for one in many):
        name, constraint = re.fullmatch(
            r"([\w-]+)(?:\[[\w,]+\])?(.*)", requirement.partition(";")[0].strip()
        ).groups()
        if name != "gpuseg":
            found[CONDA_NAMES.get(name, name)] = constraint.strip()
    return found


def test_conda_environment_agrees():
    extras = PROJECT["optional-dependencies"]
    wanted = requirements(
        PROJECT["dependencies"],
        *(extras[name] for name in ("parquet", "onnx", "test", "cuda13")),
    )
    listed = yaml.safe_load((ROOT / "conda-env.yml").read_text(encoding="utf-8"))
    found = {}
    for line in listed["dependencies"]:
        name, constraint = re.fullmatch(r"([\w-]+)(.*)", line).groups()
        found[name] = constraint
    assert found.pop("python") == PROJECT["requires-python"]
    del found["pip"], found["cuda-version"]
    for name in OTHER_VERSIONS:
        wanted[name] = found[name]
    assert found == wanted
    assert listed["channels"] == ["rapidsai", "conda-forge"]


def test_cuda_extras_name_the_same_packages():
    extras = PROJECT["optional-dependencies"]
    twelve = [re.split(r"[>=]", one)[0] for one in extras["cuda12"]]
    thirteen = [re.split(r"[>=]", one)[0] for one in extras["cuda13"]]
    assert [re.sub("12", "13", name) for name in twelve] == thirteen


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is not installed")
def test_wheel_holds_the_kernels(tmp_path):
    if (
        importlib.util.find_spec("hatchling") is None
        or importlib.util.find_spec("hatch_vcs") is None
    ):
        pytest.skip("the build backend (hatchling, hatch-vcs) is not installed")
    # A build writes `_version.py`, which other tests are reading.
    source = tmp_path / "source"
    for name in ("gpuseg", "kernels", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    kernels = {f"gpuseg/kernels/{p.name}" for p in (ROOT / "kernels").glob("*.cu*")}
    assert kernels
    assert kernels <= names
    assert "gpuseg/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
