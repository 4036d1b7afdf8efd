"""Eight doubles as one value, for numba.

LLVM turns a loop into vector instructions only where it can show that nothing written is read
again, which it cannot for transforms in place: their scalar loops took four times as long. With
vectors as values there is nothing to show. They fit every processor, in as many registers as it
needs, and each lane is computed as a double alone would be.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 8
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


class Lanes(types.Type):  # type: ignore[misc]
    """numba's type of eight doubles."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_lanes = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = signature.args[0]
    view = context.make_array(kind)(context, builder, args[0])
    at = context.cast(builder, args[1], signature.args[1], types.intp)
    pointer = cgutils.get_item_pointer(context, builder, kind, view, [at], wraparound=False)
    return builder.bitcast(pointer, _VECTOR.as_pointer())


@intrinsic
def load(typing_context: Any, array: Any, at: Any) -> Any:
    """array[at : at + 8] of a contiguous line of doubles."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args), align=8)

    return _lanes(array, at), codegen


@intrinsic
def store(typing_context: Any, array: Any, at: Any, lanes: Any) -> Any:
    """array[at : at + 8] = lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature, args), align=8)
        return context.get_dummy_value()

    return types.none(array, at, lanes), codegen


@intrinsic
def _splat(typing_context: Any, number: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nothing, index = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
        first = builder.insert_element(nothing, args[0], index(0))
        zeros = ir.Constant(ir.VectorType(index, LANES), None)
        return builder.shuffle_vector(first, nothing, zeros)

    return _lanes(types.float64), codegen


def _binary(name: str) -> Any:
    @intrinsic
    def apply(typing_context: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if name in "<>":
                return builder.select(builder.fcmp_ordered(name, *args), *args)
            return getattr(builder, name)(*args)

        return _lanes(_lanes, _lanes), codegen

    return apply


lesser, greater = _binary("<"), _binary(">")


def _overload(operation: Any, function: Any) -> None:
    @overload(operation, strict=False)
    def choose(a: Any, b: Any) -> Any:
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: function(a, b)
        if isinstance(a, Lanes) and b is types.float64:
            return lambda a, b: function(a, _splat(b))
        return None


_overload(operator.add, _binary("fadd"))
_overload(operator.sub, _binary("fsub"))
_overload(operator.mul, _binary("fmul"))
