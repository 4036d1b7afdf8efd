"""CUDA on the CPU, for tests: unmodified kernels run on NumPy arrays, every rule checked.

A kernel text is compiled by the system's g++ with hooks at each memory access, and its threads
run as fibers, in order or under a random schedule. The first broken rule ends the launch with a
`KernelFault` that names the line, block and thread: an access out of bounds or misaligned, a data
race, an uninitialised read of shared memory, a divergent barrier, a wrong warp mask, a deadlock
or hang, undefined behaviour.

Memory is sequentially consistent here, so a missing fence is not found. Two rules are stricter
than CUDA's: blocks pass data to each other within a launch only by atomic or volatile accesses,
and no thread leaves the kernel before the others' last barrier.
"""

from emulator.build import CompileError, CompilerMissing, compiler
from emulator.module import ByValue, Kernel, KernelFault, Module
from emulator.schedule import Schedule, scheduled

__all__ = [
    "ByValue",
    "CompileError",
    "CompilerMissing",
    "Kernel",
    "KernelFault",
    "Module",
    "Schedule",
    "compiler",
    "scheduled",
]
