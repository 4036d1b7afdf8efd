"""Find, join and compile `kernels/*.cu`.

The text of `common.cuh` is joined in front of each kernel file: CuPy's cache key covers the
source text but no included header, so an edited header would otherwise run the old binary.
"""

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
    """CUDA text of kernel file `name` with `common.cuh` in front; line numbers stay the file's."""
    folder = kernels_folder()
    common = (folder / "common.cuh").read_text(encoding="utf-8")
    text = (folder / f"{name}.cu").read_text(encoding="utf-8")
    return f'#line 1 "common.cuh"\n{common}\n#line 1 "{name}.cu"\n{text}'


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
        return module(self.name, *self.options, instances=self.instances).get_function(name)
