"""Find, join and compile `kernels/*.cu`.

The text of `common.cuh` is joined in front of each kernel file, and that of other headers put where
they are included: CuPy's cache key covers the source text but no included header, so an edited
header would otherwise run the old binary.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cupy

_HERE = Path(__file__).resolve().parent.parent


def kernels_folder() -> Path:
    """Folder of the `.cu` files: in the wheel beside the package, in a checkout one folder up."""
    for folder in (_HERE / "kernels", _HERE.parent / "kernels"):
        if (folder / "common.cuh").is_file():
            return folder
    raise FileNotFoundError(f"no kernels folder beside {_HERE} or one folder above it")


def source(name: str) -> str:
    """CUDA text of kernel file `name` with its headers; line numbers stay the files' own."""
    folder = kernels_folder()
    text = (folder / f"{name}.cu").read_text(encoding="utf-8")

    def header(found: re.Match[str]) -> str:
        line = text.count("\n", 0, found.start()) + 2
        return f'{_marked(folder / found[1])}#line {line} "{name}.cu"'

    joined = re.sub(r'^#include "(\w+\.cuh)"$', header, text, flags=re.MULTILINE)
    return f'{_marked(folder / "common.cuh")}#line 1 "{name}.cu"\n{joined}'


def _marked(path: Path) -> str:
    return f'#line 1 "{path.name}"\n{path.read_text(encoding="utf-8")}\n'


@cache
def module(name: str, *options: str, instances: tuple[str, ...] = ()) -> "cupy.RawModule":
    """Compiled module of kernel file `name`, once per process and set of options.

    `instances` are the C++ name expressions of template instances to build.
    """
    return cupy.RawModule(
        code=source(name),
        options=("--std=c++17", *options),
        name_expressions=instances or None,
    )


class Build(NamedTuple):
    """One compilation of a kernel file.

    A launcher lists all of its own in `BUILDS`: what it runs is what the tests compile for each
    architecture.

    Attributes
    ----------
    name
        Kernel file, without `.cu`.
    options
        NVRTC options beyond the C++ standard.
    instances
        C++ name expressions of its template instances.
    """

    name: str
    options: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()

    def kernel(self, name: str) -> "cupy.RawKernel":
        """Compiled kernel, by its name or the name expression of an instance."""
        return _kernel(self, name)


@cache
def _kernel(build: Build, name: str) -> "cupy.RawKernel":
    """Kernel, remembered: looking it up again costs as much as a launch."""
    return module(build.name, *build.options, instances=build.instances).get_function(name)
