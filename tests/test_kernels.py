"""Every kernel compiles for every architecture without warnings, spills or surprises."""

from __future__ import annotations

import re
import tomllib

import nvrtc
import pytest

from ci import mutants
from gpuseg._cuda._source import Build, kernels_folder

pytestmark = pytest.mark.skipif(nvrtc.library() is None, reason="no wheel nvidia-cuda-nvrtc")

BUILDS = [build for some in nvrtc.builds().values() for build in some]

# At this many an SM, with its 65,536, still holds two blocks of 256 threads.
REGISTERS = 96


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize(
    "build", BUILDS, ids=lambda build: " ".join((build.name, *build.options, *build.instances[:1]))
)
def test_compiles_without_warnings_or_spills(build: Build, architecture: str):
    kernels = nvrtc.compile_build(build, architecture)
    assert kernels
    for name, found in kernels.items():
        assert (found.spilled, found.stack) == (0, 0), f"{name}: {found}"
        assert found.registers <= REGISTERS, f"{name}: {found}"
        assert found.shared <= 48 * 1024, f"{name}: {found}"


def test_every_kernel_and_instance_is_compiled():
    """A kernel that no launcher lists would be proven by nobody."""
    for path in kernels_folder().glob("*.cu"):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        launch_bounds = r"(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?"
        written = set(re.findall(rf"__global__\s+void\s+{launch_bounds}(\w+)\s*\(", text))
        listed = [build for build in BUILDS if build.name == path.stem]
        compiled = {
            re.split(r"[<:]+", name.split("<")[0])[-1]
            for build in listed
            for name in nvrtc.compile_build(build, "sm_90")
        }
        assert written == compiled, path.name


def test_table_is_up_to_date():
    """A change of registers or shared memory shows in review; other compilers count otherwise."""
    committed = nvrtc.TABLE.read_text(encoding="utf-8")
    written_by = re.search(r"NVRTC (\d+\.\d+)", committed)
    assert written_by
    if written_by[1] != nvrtc.version():
        pytest.skip(f"the table is NVRTC {written_by[1]}'s, this is {nvrtc.version()}")
    assert committed == nvrtc.table(), "run `python tests/nvrtc.py` and look at what changed"


def test_planted_mistakes_are_found():
    """kernels/MUTANTS.md, which `ci/mutants.py --write` writes: too long a run for a suite."""
    rows = {}
    for line in (kernels_folder() / "MUTANTS.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 6 and cells[3].isdecimal():
            rows[cells[1]] = int(cells[3]), int(cells[4])
    assert rows.keys() == mutants.TESTS.keys()
    for name, (planted, killed) in rows.items():
        assert planted >= 12, name
        assert killed >= 0.95 * planted, name
    texts = [path.read_text(encoding="utf-8") for path in kernels_folder().glob("*.cu*")]
    for entries in tomllib.loads(mutants.EQUIVALENT.read_text(encoding="utf-8")).values():
        for entry in entries:
            assert any(entry["line"] in text for text in texts), f"stale: {entry['line']}"


BAD = {
    "error": ('extern "C" __global__ void k(int* a) { a = undeclared; }', "undeclared"),
    "warning": ('extern "C" __global__ void k(int* a) { int unused; *a = 1; }', "never referenced"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_and_warnings_are_refused(name: str):
    code, message = BAD[name]
    with pytest.raises(nvrtc.CompileError, match=message):
        nvrtc.compile_text(code, "sm_90")


def test_resources_are_read():
    code = """
    template <class T> __global__ void __launch_bounds__(1024, 2) k(T* a, int n)
    {
        __shared__ T s[256];
        T v[64];
        for (int i = 0; i < 64; i++) v[i] = a[i * n] * a[i + n];
        s[threadIdx.x % 256] = v[n];
        __syncthreads();
        for (int i = 0; i < 64; i++) a[i] = v[i] + s[(i * n) % 256] + v[(i + n) % 64];
    }"""
    found = nvrtc.compile_text(code, "sm_80", (), ("k<float>", "k<double>"))
    assert set(found) == {"k<float>", "k<double>"}
    assert found["k<float>"].shared == 1024
    assert found["k<double>"].shared == 2048
    assert found["k<double>"].stack >= 64 * 8
    assert 0 < found["k<float>"].registers <= 32
