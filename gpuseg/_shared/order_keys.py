"""Unsigned integers in the order of an array's values."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuseg.typing import NumpyArray


def key_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of the keys of an array: one whose largest value no key has."""
    small = dtype.itemsize < 4 or (dtype.itemsize == 4 and dtype.kind == "f")
    return np.dtype(np.uint32 if small else np.uint64)


def order_keys(values: NumpyArray) -> NumpyArray:
    """Keys of real numbers without NaN: equal where these are, and in their order.

    The two largest integers of 64 bits share a key, since the largest key means that there is
    nothing.
    """
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    wanted = key_type(native.dtype)
    if native.dtype.kind == "f":
        wide = np.dtype(f"f{wanted.itemsize}")
        # 0 - -0 is 0, so that both zeros get one key.
        bits = (native.astype(wide, copy=False) + wide.type(0)).view(wanted)
        top = wanted.type(1 << (8 * wanted.itemsize - 1))
        # Of negative numbers all bits are turned, of others the sign.
        return np.where(bits & top, ~bits, bits | top)
    if native.dtype.itemsize < wanted.itemsize:
        lowest = 0 if native.dtype.kind in "bu" else -int(np.iinfo(native.dtype).min)
        return (native.astype(np.int64) + lowest).astype(wanted)
    if native.dtype.kind == "i":
        native = native.view(np.uint64) ^ np.uint64(1 << 63)
    return np.minimum(native, np.uint64(2**64 - 2))


def raw_bits(values: NumpyArray) -> tuple[NumpyArray, bool]:
    """Keys, or the bits of floats where it is left to others to make keys of them; and which."""
    kind = key_type(values.dtype)
    if values.dtype.kind != "f":
        return order_keys(values), False
    floats = np.ascontiguousarray(values, f"f{kind.itemsize}")
    return floats.view(kind), True
