"""Compile CUDA text with the system's g++ into a shared library, cached by content."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_NATIVE = Path(__file__).parent / "native"

_COMMON = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-stack-protector")
# Instrumentation hooks only; neither sanitizer's library is linked. -ffp-contract=off rounds as
# --fmad=false does, and nvcc too lets a pointer to bytes be read as one to vectors.
_KERNEL = (
    *_COMMON,
    "-O1",
    "-g1",
    "-gdwarf-4",  # binutils 2.40 takes version 5's first file for another
    "-w",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fsigned-char",
    "-ftls-model=local-dynamic",
    "-fsanitize=thread",
    "--param=tsan-distinguish-volatile=1",
    "--param=tsan-instrument-func-entry-exit=0",
    "-fsanitize=alignment,bounds,shift-exponent,signed-integer-overflow,integer-divide-by-zero,"
    "return,unreachable",
    "-fsanitize-coverage=trace-pc",
)
_RUNTIME = (*_COMMON, "-O2")

_EXTERN_SHARED = re.compile(
    r"extern\s+__shared__\s+(?:__align__\s*\([^)]*\)\s*)?([\w\s:<>]+?)\s*(\w+)\s*\[\s*\]\s*;"
)
_KERNEL_NAME = re.compile(
    r'extern\s+"C"\s+__global__\s+(?:void\s+)?'
    r"(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?(?:void\s+)?(\w+)\s*\("
)


class CompilerMissing(RuntimeError):
    """The system has no g++ that the emulator can use."""


class CompileError(RuntimeError):
    """g++ refused the CUDA text; its messages follow."""


@cache
def compiler() -> str:
    """Path of the GNU C++ compiler (`$CXX`, else g++).

    Raises
    ------
    CompilerMissing
        With the reason, for a test to skip with.
    """
    path = shutil.which(os.environ.get("CXX", "g++"))
    if path is None:
        raise CompilerMissing("the emulator needs g++, and there is none on the PATH")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    if "Free Software Foundation" not in version:
        raise CompilerMissing(f"the emulator needs GNU g++, and {path} is another compiler")
    return path


def cache_folder() -> Path:
    """Folder of the compiled kernels; `GPUSEG_EMULATOR_CACHE` names another one."""
    named = os.environ.get("GPUSEG_EMULATOR_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(named) if named else Path(base) / "gpuseg" / "emulator"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"gpuseg-emulator-{os.getuid()}"
        folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process build `path`; the others wait and find it."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(arguments: Sequence[str | Path], folder: Path) -> str:
    done = subprocess.run([compiler(), *arguments], capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise CompileError(done.stderr)
    return done.stdout


def _digest(*parts: object) -> str:
    native = [path.read_bytes() for path in sorted(_NATIVE.iterdir())]
    text = repr((parts, compiler(), Path(compiler()).stat().st_mtime, _KERNEL, _RUNTIME))
    return hashlib.sha256(b"\0".join([text.encode(), *native])).hexdigest()[:20]


def _forget_old(folder: Path) -> None:
    """Remove what nothing has used for a month."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < time.time() - 30 * 86400:
                path.unlink()


def _runtime_object() -> Path:
    path = cache_folder() / f"runtime-{_digest()}.o"
    with _locked(path):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
                made = Path(scratch) / "runtime.o"
                _run([*_RUNTIME, "-c", _NATIVE / "runtime.cpp", "-o", made], Path(scratch))
                made.rename(path)
    return path


def _preprocess(code: str, defines: Sequence[str], folder: Path) -> str:
    """CUDA text without comments and with its own conditionals resolved, lines still marked."""
    (folder / "kernel.cu").write_text(code, encoding="utf-8")
    predefined = ("-D__CUDACC__", "-D__CUDACC_RTC__", "-D__CUDA_ARCH__=900")
    text = _run(["-E", "-x", "c++", "-std=c++17", *predefined, *defines, "kernel.cu"], folder)
    # What stands before is the preprocessor's own, whose marks would confuse the lines.
    return text[text.index('\n# 1 "kernel.cu"') :]


def kernel_names(text: str) -> list[str]:
    """Names of the `extern "C"` kernels in preprocessed `text`, in its order."""
    return _KERNEL_NAME.findall(text)


def _translation_unit(text: str, names: Sequence[str]) -> str:
    """Wrap `text` so that g++ takes it.

    Within the anonymous namespace all is internal: no kernel replaces a C function of its name.
    """
    text = re.sub(r'extern\s+"C"\s+(?=__global__)', "", text)
    text = _EXTERN_SHARED.sub(r"\1* const \2 = (\1*)emulator_dynamic_shared();", text)
    entries = "\n".join(f"EMULATOR_KERNEL({i}, {name})" for i, name in enumerate(names))
    return (
        f'#include "{_NATIVE}/device.h"\nnamespace {{\n{text}\n}}\n'
        f'# 1 "entries"\n#undef memcpy\n#undef memset\n#include "{_NATIVE}/glue.h"\n{entries}\n'
    )


def build(
    code: str, defines: Sequence[str] = (), expressions: Sequence[str] = ()
) -> tuple[Path, list[str]]:
    """Compile CUDA text.

    Parameters
    ----------
    code
        CUDA C++ without includes.
    defines
        `-DNAME=VALUE` options.
    expressions
        C++ name expressions of the template instances wanted, as NVRTC takes them.

    Returns
    -------
    library, names
        The shared library, and which kernel each of its numbered entries runs.
    """
    path = cache_folder() / f"kernels-{_digest(code, tuple(defines), tuple(expressions))}.so"
    names = path.with_suffix(".names")
    with _locked(path):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
                folder = Path(scratch)
                _forget_old(path.parent)
                runtime = _runtime_object()
                text = _preprocess(code, defines, folder)
                found = [*kernel_names(text), *expressions]
                (folder / "unit.cpp").write_text(_translation_unit(text, found), encoding="utf-8")
                _run([*_KERNEL, "-c", "unit.cpp", "-o", "unit.o"], folder)
                _run(["-shared", "unit.o", runtime, "-o", "made.so"], folder)
                names.write_text("\n".join(found), encoding="utf-8")
                (folder / "made.so").rename(path)
    for used in (path, names):
        used.touch()
    return path, names.read_text(encoding="utf-8").splitlines()
