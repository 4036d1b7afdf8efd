"""ONNX files as models for `predict`."""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import lru_cache
from typing import Any

import numpy as np

from gpuseg._backend import floor
from gpuseg.typing import Array

__all__ = ["OnnxModel"]

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class OnnxModel:
    """An ONNX file that `predict` runs where the image is: on the CPU, or by CUDA for CuPy.

    A batch is cast to the type of the model's input. Where the model takes one channel more than
    tiles have, they get an axis of one channel, which a single channel of output loses again.

    Parameters
    ----------
    path : path
        The file; it must have one input.
    output : str, optional
        Name of the output; needed where there are several.

    Attributes
    ----------
    path : str
    output : str
    shape : tuple of int or None
        Of a batch, as the file has it; None is any size.

    Raises
    ------
    ImportError
        If onnxruntime is missing (``pip install gpuseg[onnx]``).
    FileNotFoundError
        If there is no file.
    ValueError
        If it is no model with one input, or has no such output.
    RuntimeError
        When it is called with CuPy arrays and onnxruntime has no CUDA: nothing moves silently.

    Examples
    --------
    >>> OnnxModel("unet.onnx")
    Traceback (most recent call last):
    FileNotFoundError: unet.onnx: there is no such file
    """

    def __init__(self, path: str | os.PathLike[str], output: str | None = None) -> None:
        self.path = os.path.abspath(path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{os.fspath(path)}: there is no such file")
        if importlib.util.find_spec("onnxruntime") is None:
            raise ImportError(f"{os.fspath(path)!r} needs onnxruntime: `pip install gpuseg[onnx]`")
        session = self._session("CPUExecutionProvider", 0)
        inputs, outputs = session.get_inputs(), [each.name for each in session.get_outputs()]
        if len(inputs) != 1:
            named = ", ".join(each.name for each in inputs)
            raise ValueError(f"{self.path}: a model must have one input, it has {named}")
        if (output is None and len(outputs) > 1) or (output is not None and output not in outputs):
            raise ValueError(
                f"{self.path}: output must be one of {', '.join(outputs)}, got {output!r}"
            )
        self.output = output or outputs[0]
        self._input, kind = inputs[0].name, inputs[0].type
        if kind not in _DTYPES:
            raise ValueError(f"{self.path}: input {self._input} of type {kind} is not supported")
        self._dtype = np.dtype(_DTYPES[kind])
        self.shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)

    def __repr__(self) -> str:
        sizes = " x ".join("any" if size is None else str(size) for size in self.shape)
        return f"<OnnxModel {self.path!r}: {sizes}>"

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return self.path, self.output, os.stat(self.path).st_mtime_ns

    def _session(self, provider: str, device: int) -> Any:
        return _open(self.path, os.stat(self.path).st_mtime_ns, provider, device)

    def __call__(self, batch: Array) -> Array:
        """Outputs for a batch of tiles, (B, *tile) or (B, channels, *tile)."""
        lone = batch.ndim + 1 == len(self.shape)
        given = batch[:, None] if lone else batch
        fits = len(given.shape) == len(self.shape) and all(
            size in (None, had) for size, had in zip(self.shape, given.shape, strict=True)
        )
        if not fits:
            sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
            raise ValueError(
                f"{self.path}: takes batches of shape ({sizes}), got {tuple(given.shape)}; "
                "see batch, tile and channel_axis"
            )
        if given.dtype != self._dtype:
            given = given.astype(self._dtype)
        if floor(given) == "_cuda":
            session = self._session("CUDAExecutionProvider", int(given.device.id))
            on_device = importlib.import_module("gpuseg._cuda._onnx")
            out = on_device.run(session, self._input, self.output, given)
        else:
            session = self._session("CPUExecutionProvider", 0)
            (out,) = session.run([self.output], {self._input: np.ascontiguousarray(given)})
        return out[:, 0] if lone and out.ndim == given.ndim and out.shape[1] == 1 else out


# One session a process, file and device: Dask's tasks carry the path, not the weights.
@lru_cache(maxsize=8)
def _open(path: str, stamp: int, provider: str, device: int) -> Any:
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(
            f"{path}: CuPy arrays need {provider}, which this onnxruntime lacks: "
            "`pip install onnxruntime-gpu`, or convert them with `array.get()`"
        )
    options = onnxruntime.SessionOptions()
    # One thread each: batches run side by side, and no sum depends on how many threads there are.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    settings = [(provider, {"device_id": device} if "CUDA" in provider else {})]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=settings)
    except Exception as error:  # onnxruntime's own types, and protobuf's
        raise ValueError(f"{path}: not a readable ONNX model: {error}") from error
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"{path}: onnxruntime offers {provider} but did not start it")
    return session
