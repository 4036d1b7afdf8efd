"""Arithmetic in the type of the operands, for numba.

numba computes integers of any width in 64 bits and leaves it to LLVM to find out that the upper
half is not wanted. It does not for products of differences: those came out as 64-bit vector
multiplications, at a third of the speed.
"""

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic


@intrinsic
def add(typing_context: Any, a: Any, b: Any) -> Any:
    """Sum of two integers of one type; wraps around."""
    return a(a, a), lambda context, builder, signature, args: builder.add(*args)


@intrinsic
def sub(typing_context: Any, a: Any, b: Any) -> Any:
    """Difference of two integers of one type; wraps around."""
    return a(a, a), lambda context, builder, signature, args: builder.sub(*args)


@intrinsic
def mul(typing_context: Any, a: Any, b: Any) -> Any:
    """Product of two integers of one type; wraps around."""
    return a(a, a), lambda context, builder, signature, args: builder.mul(*args)
