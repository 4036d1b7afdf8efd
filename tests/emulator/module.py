"""Load compiled kernels and launch them on NumPy arrays."""

from __future__ import annotations

import ctypes
import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from emulator.build import build
from emulator.schedule import current

_launching = threading.Lock()  # the runtime's state is one per process and library


class KernelFault(RuntimeError):
    """A kernel broke a rule; the message names the rule, source line, block and thread."""


class Parameter(NamedTuple):
    """Kind ('p' pointer, 'c' to const, 'i' 'u' 'f' scalar, 's' struct) and size in bytes."""

    kind: str
    size: int


class ByValue(NamedTuple):
    """Bytes of a struct parameter."""

    data: bytes


class _Array(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("dynamic_shared", ctypes.c_size_t),
        ("seed", ctypes.c_uint64),
        ("resident", ctypes.c_uint),
        ("preempt", ctypes.c_uint),
        ("step_limit", ctypes.c_uint64),
        ("array_count", ctypes.c_uint),
        ("arrays", ctypes.POINTER(_Array)),
    )


def _scalar(value: Any, parameter: Parameter, position: int) -> bytes:
    """Bytes of a scalar argument; CUDA would read whatever was given as what it expects."""
    if isinstance(value, bool | int | float):
        value = np.asarray(value)[()]  # as CuPy: long long, double or bool
    if not isinstance(value, np.generic):
        raise TypeError(f"argument {position} must be an array or a scalar, got {type(value)}")
    kind = {"b": "u"}.get(value.dtype.kind, value.dtype.kind)
    if kind not in "iuf":
        kind = "s"
    if (kind, value.dtype.itemsize) != parameter:
        raise TypeError(
            f"argument {position} is {value.dtype}, the kernel takes "
            f"{parameter.kind}{parameter.size}"
        )
    return value.tobytes()


def _pointer(array: np.ndarray, parameter: Parameter, position: int) -> tuple[int, int]:
    """Address and bytes of an array argument."""
    if parameter.kind not in "pc":
        raise TypeError(
            f"argument {position} is an array, the kernel takes {parameter.kind}{parameter.size}"
        )
    if parameter.kind == "p" and not array.flags.writeable:
        raise TypeError(f"argument {position} is a read-only array, the kernel may write to it")
    low, high = byte_bounds(array) if array.size else (array.ctypes.data, array.ctypes.data)
    return low, high - low


class Kernel:
    """One kernel of a module; call it with a grid, a block and arguments."""

    def __init__(self, module: Module, number: int, name: str) -> None:
        self.name = name
        self._module = module
        self._entry = module.library[f"emulator_call_{number}"]
        signature = module.library[f"emulator_signature_{number}"]
        signature.restype = ctypes.c_char_p
        self.parameters = [
            Parameter(word[0], int(word[1:])) for word in signature().decode().split()
        ]

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared: int = 0
    ) -> None:
        """Launch under the current schedule.

        Raises
        ------
        TypeError
            If the arguments do not fit the kernel's parameters.
        KernelFault
            If the kernel breaks a rule.
        """
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments, got {len(args)}")
        arrays: list[tuple[int, _Array]] = []
        values: list[Any] = []
        for position, (value, parameter) in enumerate(zip(args, self.parameters, strict=True)):
            if isinstance(value, np.ndarray):
                address, size = _pointer(value, parameter, position)
                arrays.append((position, _Array(address, size)))
                values.append(ctypes.c_uint64(value.ctypes.data))
            elif isinstance(value, ByValue):
                if parameter != ("s", len(value.data)):
                    raise TypeError(
                        f"argument {position} is a struct of {len(value.data)} bytes, the kernel "
                        f"takes {parameter.kind}{parameter.size}"
                    )
                values.append(ctypes.create_string_buffer(value.data, len(value.data)))
            else:
                data = _scalar(value, parameter, position)
                values.append(ctypes.create_string_buffer(data, len(data)))
        self._module.run(self, grid, block, arrays, values, shared)


def _three(
    sizes: Sequence[int], limits: tuple[int, int, int], what: str
) -> ctypes.Array[ctypes.c_uint]:
    padded = [*map(int, sizes), 1, 1][:3]
    fit = all(1 <= size <= limit for size, limit in zip(padded, limits, strict=True))
    if not 1 <= len(sizes) <= 3 or not fit:
        raise ValueError(f"{what} must be 1 to 3 sizes of 1 to {limits}, got {tuple(sizes)}")
    return (ctypes.c_uint * 3)(*padded)


class Module:
    """Kernels of one CUDA text.

    Parameters
    ----------
    code
        CUDA C++ text.
    defines
        `-DNAME=VALUE` options.
    expressions
        Name expressions of template instances.
    """

    def __init__(
        self, code: str, defines: Sequence[str] = (), expressions: Sequence[str] = ()
    ) -> None:
        self.path, self.names = build(code, defines, expressions)
        self.library = ctypes.CDLL(str(self.path))
        self.library.emulator_report.restype = ctypes.c_char_p
        # Asking for a signature is instrumented code too: not while another thread launches.
        with _launching:
            self.kernels = {name: Kernel(self, i, name) for i, name in enumerate(self.names)}

    def run(
        self,
        kernel: Kernel,
        grid: Sequence[int],
        block: Sequence[int],
        arrays: Sequence[tuple[int, _Array]],
        values: Sequence[Any],
        shared: int,
    ) -> None:
        """Launch `kernel`; `arrays` are the memory it may touch, `values` its parameters."""
        schedule = current()
        launch = _Launch(
            _three(grid, (2**31 - 1, 65535, 65535), "grid"),
            _three(block, (1024, 1024, 64), "block"),
            shared,
            schedule.seed,
            schedule.resident,
            schedule.preempt,
            schedule.step_limit,
            len(arrays),
            (_Array * len(arrays))(*(array for _, array in arrays)),
        )
        if np.prod(launch.block[:], dtype=np.int64) > 1024:
            raise ValueError(f"block must have at most 1024 threads, got {tuple(block)}")
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        with _launching:
            failed = self.library.emulator_run(kernel._entry, pointers, ctypes.byref(launch))
            report = self.library.emulator_report().decode()
        if failed:
            positions = [position for position, _ in arrays]
            raise KernelFault(
                f"{kernel.name}: {explain(report, self.path, positions)} ({schedule})"
            )

    def statistics(self) -> dict[str, int]:
        """Memory accesses, thread switches and basic blocks of the last launch."""
        out = (ctypes.c_uint64 * 3)()
        self.library.emulator_statistics(out)
        return dict(zip(("accesses", "switches", "steps"), out, strict=True))


def explain(report: str, library: Path, positions: Sequence[int]) -> str:
    """Put source lines and the launch's argument positions into the runtime's report."""
    report = re.sub(r"argument (\d+)", lambda found: f"argument {positions[int(found[1])]}", report)
    return re.sub(r"\{pc:(\w+)\}", lambda found: source_line(library, int(found[1], 16)), report)


def source_line(library: Path, offset: int) -> str:
    """Innermost line of the kernel's own text at a return address, and from where it was called."""
    found = subprocess.run(
        ["addr2line", "-i", "-e", str(library), hex(offset - 1)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    lines = []
    for where in found:
        file, _, line = where.split(" ")[0].rpartition(":")
        if "/emulator/native/" not in file and line.isdecimal():
            lines.append(f"{Path(file).name}:{line}")
    return ", called at ".join(lines) or f"offset {offset:#x}"
