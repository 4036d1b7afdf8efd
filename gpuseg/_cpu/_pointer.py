"""Rows of any strided array inside numba, as contiguous arrays.

numba compiles strided access with unknown strides to scalar loads, and unpacks every array argument
at about 0.2 us. Rows given as addresses cost neither.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from gpuseg._cpu._jit import jit


@intrinsic
def _void_pointer(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), codegen


@jit(inline="always")
def row_at(address: int, size: int, dtype: Any) -> Any:
    """Contiguous 1-D array of `size` elements at `address`; the caller keeps the memory alive."""
    return numba.carray(_void_pointer(address), (size,), dtype)


def is_rows(array: np.ndarray) -> bool:
    """Whether all axes but the first are contiguous, so that an address and a stride say it all."""
    stride = array.itemsize
    for size, step in zip(array.shape[:0:-1], array.strides[:0:-1], strict=True):
        if size > 1 and step != stride:
            return False
        stride *= size
    return True
