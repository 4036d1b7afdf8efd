"""Compile kernels for real architectures by NVIDIA's own compiler, without a GPU or driver.

`python tests/nvrtc.py` writes the table of what each kernel takes, `kernels/RESOURCES.md`.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from emulator.build import cache_folder

if TYPE_CHECKING:
    from gpuseg._cuda._source import Build

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "kernels" / "RESOURCES.md"
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")


class Resources(NamedTuple):
    """What one thread (registers, spilled bytes, stack) or block (shared bytes) takes."""

    registers: int
    shared: int
    stack: int
    spilled: int


class CompileError(RuntimeError):
    """NVRTC refused the text, or warned; its messages follow."""


@cache
def library() -> ctypes.CDLL | None:
    """NVRTC of the wheel nvidia-cuda-nvrtc; None without it."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*[0-9]")):
            return ctypes.CDLL(str(path))
    return None


def version() -> str:
    """Version of NVRTC, such as "13.1"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _nvrtc() -> ctypes.CDLL:
    found = library()
    if found is None:
        raise ModuleNotFoundError("the wheel nvidia-cuda-nvrtc is not installed")
    return found


def _log(program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _nvrtc().nvrtcGetProgramLogSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    _nvrtc().nvrtcGetProgramLog(program, text)
    return text.value.decode()


def _lowered(program: ctypes.c_void_p, expression: str) -> str:
    name = ctypes.c_char_p()
    _nvrtc().nvrtcGetLoweredName(program, expression.encode(), ctypes.byref(name))
    return (name.value or b"").decode()


_ENTRY = re.compile(
    r"Compiling entry function '(\w+)'.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


def _resources(log: str) -> Iterator[tuple[str, Resources]]:
    for name, stack, stores, loads, registers, rest in _ENTRY.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        yield (
            name,
            Resources(
                int(registers),
                int(shared[1]) if shared else 0,
                int(stack),
                int(stores) + int(loads),
            ),
        )


def _compile(
    code: str, architecture: str, options: tuple[str, ...], instances: tuple[str, ...]
) -> dict[str, Resources]:
    nvrtc, program = _nvrtc(), ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None)
    for expression in instances:
        nvrtc.nvrtcAddNameExpression(program, expression.encode())
    arguments = [
        f"--gpu-architecture={architecture}",
        "--std=c++17",
        "--warning-as-error=all-warnings",
        "--ptxas-options=-v",
        *options,
    ]
    encoded = (ctypes.c_char_p * len(arguments))(*(word.encode() for word in arguments))
    failed = nvrtc.nvrtcCompileProgram(program, len(arguments), encoded)
    log = _log(program)
    names = {} if failed else {_lowered(program, name): name for name in instances}
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if failed or "warning" in log.lower():
        raise CompileError(f"{architecture}: {log}")
    return {names.get(name, name): found for name, found in _resources(log)}


def compile_text(
    code: str, architecture: str, options: tuple[str, ...] = (), instances: tuple[str, ...] = ()
) -> dict[str, Resources]:
    """Compile CUDA text to machine code, warnings as errors; kernel names to their resources.

    Remembered on disk by what goes in, because a suite spread over processes asks in each.

    Raises
    ------
    CompileError
        With NVRTC's messages.
    """
    asked = repr((code, architecture, options, instances, version(), _script()))
    path = cache_folder() / f"nvrtc-{hashlib.sha256(asked.encode()).hexdigest()[:20]}.json"
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: Resources(*values) for name, values in stored.items()}
    found = _compile(code, architecture, options, instances)
    made = path.with_suffix(f".{os.getpid()}")
    made.write_text(json.dumps(found), encoding="utf-8")
    made.replace(path)
    return found


@cache
def _script() -> str:
    return Path(__file__).read_text(encoding="utf-8")


@cache
def compile_build(build: Build, architecture: str) -> dict[str, Resources]:
    """Compile what a launcher runs."""
    from gpuseg._cuda._source import source

    return compile_text(source(build.name), architecture, build.options, build.instances)


def launchers() -> list[Path]:
    """Modules of `gpuseg/_cuda` with kernels of their own; the others call CuPy's."""
    modules = sorted((ROOT / "gpuseg" / "_cuda").glob("[a-z]*.py"))
    return [path for path in modules if "._source import" in path.read_text(encoding="utf-8")]


def builds() -> dict[str, tuple[Build, ...]]:
    """What each launcher in `gpuseg/_cuda` compiles, by its own list."""
    found = {}
    for path in launchers():
        launcher = importlib.import_module(f"gpuseg._cuda.{path.stem}")
        if not getattr(launcher, "BUILDS", ()):
            raise AttributeError(f"{path} must list what it compiles: BUILDS = (Build(...), ...)")
        found[path.stem] = launcher.BUILDS
    return found


def row(build: Build, kernel: str) -> str:
    """Line of the table for one kernel."""
    found = [compile_build(build, architecture)[kernel] for architecture in ARCHITECTURES]
    shared = "/".join(str(size) for size in sorted({one.shared for one in found}))
    cells = " | ".join(
        f"{one.registers}" + (f" ({one.spilled} B spilled)" if one.spilled else "") for one in found
    )
    title = " ".join((f"`{kernel}`", *(f"`{option}`" for option in build.options)))
    return f"| {build.name} | {title} | {shared} | {cells} |"


def table() -> str:
    """Registers per thread and static shared memory of each kernel on each architecture."""
    with ThreadPoolExecutor() as pool:
        for build in (build for some in builds().values() for build in some):
            list(pool.map(compile_build, [build] * len(ARCHITECTURES), ARCHITECTURES))
    rows = [
        row(build, kernel)
        for some in builds().values()
        for build in some
        for kernel in sorted(compile_build(build, ARCHITECTURES[0]))
    ]
    return "\n".join(
        [
            "# What each kernel takes",
            "",
            f"Registers per thread by architecture, bytes of static shared memory per block; "
            f"compiled by NVRTC {version()}.",
            "`python tests/nvrtc.py` writes this file; tests compare it, and refuse spills and "
            "stack frames.",
            "",
            f"| file | kernel | shared | {' | '.join(ARCHITECTURES)} |",
            f"|---|---|---:|{'---:|' * len(ARCHITECTURES)}",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    if importlib.util.find_spec("cupy") is None:
        from emulator import standin

        standin.install()
    TABLE.write_text(table(), encoding="utf-8")
    sys.stdout.write(TABLE.read_text(encoding="utf-8"))
