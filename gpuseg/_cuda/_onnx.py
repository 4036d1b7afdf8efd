"""Run an ONNX session on CuPy arrays, in place: neither batch nor output leaves the device."""

from __future__ import annotations

from typing import Any

import cupy

from gpuseg.typing import Array

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


def run(session: Any, name: str, output: str, batch: Array) -> Array:
    """The named output for a batch."""
    batch = cupy.ascontiguousarray(batch)
    device = int(batch.device.id)
    binding = session.io_binding()
    binding.bind_input(name, "cuda", device, batch.dtype, batch.shape, batch.data.ptr)
    binding.bind_output(output, "cuda", device)
    # onnxruntime has a stream of its own.
    cupy.cuda.get_current_stream().synchronize()  # synchronize
    session.run_with_iobinding(binding)
    (value,) = binding.get_outputs()
    dtype = cupy.dtype(_DTYPES[value.data_type()])
    shape = tuple(value.shape())
    size = dtype.itemsize
    for length in shape:
        size *= length
    # The memory is onnxruntime's, which `value` keeps.
    memory = cupy.cuda.UnownedMemory(value.data_ptr(), size, value, device)
    return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))
