"""Sixty-four pixels in a word: bit x of a word is what holds for its pixel x.

numba has no packing of comparisons, and LLVM finds none in a loop over bytes. Written as one
comparison of vectors of 64 elements, whose result is read as an integer, it is one or two
instructions per register on every processor that LLVM knows.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gpuseg._cpu._jit import jit

WORD = 64
ZERO, ONE, LAST = np.uint64(0), np.uint64(1), np.uint64(63)


@intrinsic
def popcount(typingctx: Any, word: Any) -> Any:
    """Bits that are set in a uint64, as int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


def _pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    view = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, view, at, wraparound=False)


def _load(context: Any, builder: Any, kind: Any, array: Any, row: Any, x: Any) -> Any:
    """Sixty-four elements of a 2-D array whose last axis is contiguous."""
    pointer = _pointer(context, builder, kind, array, [row, x])
    vector = ir.VectorType(context.get_data_type(kind.dtype), WORD)
    loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    loaded.align = kind.dtype.bitwidth // 8
    return loaded


@intrinsic
def _differ(typingctx: Any, image: Any, row: Any, x: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pixels = _load(context, builder, image, *args[:3])
        element = ir.IntType(32)
        filled = ir.Constant(pixels.type, ir.Undefined)
        first = builder.insert_element(filled, args[3], element(0))
        zeros = ir.Constant(ir.VectorType(element, WORD), None)
        splat = builder.shuffle_vector(first, filled, zeros)
        return builder.bitcast(builder.icmp_unsigned("!=", pixels, splat), ir.IntType(WORD))

    return types.uint64(image, types.int64, types.int64, image.dtype), codegen


@intrinsic
def _equal(typingctx: Any, image: Any, row: Any, x: Any, other_row: Any, other_x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        mine = _load(context, builder, image, *args[:3])
        theirs = _load(context, builder, image, args[0], *args[3:])
        return builder.bitcast(builder.icmp_unsigned("==", mine, theirs), ir.IntType(WORD))

    return types.uint64(image, *(types.int64,) * 4), codegen


@intrinsic
def prefetch(typingctx: Any, image: Any, row: Any, x: Any) -> Any:
    """Ask for a pixel that will be read soon."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [address], kind)
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1:])
        # To read, and to keep; the last one says data rather than instructions.
        flags = number(0), number(3), number(1)
        builder.call(ask, [builder.bitcast(pointer, address), *flags])
        return context.get_dummy_value()

    return types.none(image, types.int64, types.int64), codegen


@jit(forceinline=True)
def differs(image: Any, row: int, word: int, value: Any) -> Any:
    """Where the pixels of a word of `row` differ from `value`; no bits beyond the row's end."""
    width = image.shape[1]
    x = word * WORD
    if x + WORD <= width:
        return _differ(image, row, x, value)
    if width >= WORD:  # the last 64 pixels, less those of the word before
        return _differ(image, row, width - WORD, value) >> np.uint64(x - width + WORD)
    bits = ZERO
    for i in range(width):
        bits |= np.uint64(image[row, i] != value) << np.uint64(i)
    return bits


@jit(forceinline=True)
def equals(image: Any, row: int, other: int, word: int) -> Any:
    """Where the pixels of a word are the same in `row` and in row `other`."""
    width = image.shape[1]
    x = word * WORD
    if x + WORD <= width:
        return _equal(image, row, x, other, x)
    if width >= WORD:
        x0 = width - WORD
        return _equal(image, row, x0, other, x0) >> np.uint64(x - x0)
    bits = ZERO
    for i in range(width):
        bits |= np.uint64(image[row, i] == image[other, i]) << np.uint64(i)
    return bits


@jit(forceinline=True)
def equals_left(image: Any, row: int, other: int, word: int) -> Any:
    """Where the pixels of a word of `row` are the same as those one to the left in row `other`."""
    width = image.shape[1]
    x = word * WORD
    if width <= WORD:
        bits = ZERO
        for i in range(1, width):
            bits |= np.uint64(image[row, i] == image[other, i - 1]) << np.uint64(i)
        return bits
    if x == 0:
        return _equal(image, row, 1, other, 0) << ONE
    x0 = min(x, width - WORD)
    return _equal(image, row, x0, other, x0 - 1) >> np.uint64(x - x0)


@intrinsic
def put_word(typingctx: Any, out: Any, at: Any, value: Any) -> Any:
    """Set the 64 elements of `out` from `at` on to one value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, at, value = args
        kind = signature.args[0]
        vector = ir.VectorType(context.get_data_type(kind.dtype), WORD)
        filled = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(filled, value, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), WORD), None)
        splat = builder.shuffle_vector(first, filled, zeros)
        pointer = _pointer(context, builder, kind, out, [at])
        target = builder.bitcast(pointer, vector.as_pointer())
        builder.store(splat, target).align = kind.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.none(out, types.int64, out.dtype), codegen


# Bits set among bits 0 to j of a byte, at [byte, j].
_RANKS = np.array([[(byte & ((2 << j) - 1)).bit_count() for j in range(8)] for byte in range(256)])
RANKS = _RANKS.astype(np.uint8)


@intrinsic
def put_eight(
    typingctx: Any, out: Any, at: Any, nodes: Any, first: Any, ranks: Any, byte: Any, here: Any
) -> Any:
    """Set out[at + j] to -nodes[first + ranks[byte, j]] where bit j of `here` is set, else to 0.

    All eight nodes are read before anything is written, so `out` may be `nodes`. Eight loads and
    one vector store: twice the rate of eight scalar stores, and no branch to mispredict, which
    costs expansion run by run a factor of 2 (nuclei) to 5 (noise).
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, at, nodes, first, ranks, byte, here = args
        kinds = signature.args
        octet, index, lane = ir.VectorType(ir.IntType(8), 8), ir.IntType(64), ir.IntType(32)
        row = _pointer(context, builder, kinds[4], ranks, [byte, index(0)])
        rank = builder.load(builder.bitcast(row, octet.as_pointer()))
        rank.align = 1
        base = _pointer(context, builder, kinds[2], nodes, [first])
        vector = ir.VectorType(context.get_data_type(kinds[0].dtype), 8)
        values = ir.Constant(vector, ir.Undefined)
        for j in range(8):
            step = builder.zext(builder.extract_element(rank, lane(j)), index)
            value = builder.load(builder.gep(base, [step]))
            values = builder.insert_element(values, value, lane(j))
        flags = builder.bitcast(builder.trunc(here, ir.IntType(8)), ir.VectorType(ir.IntType(1), 8))
        values = builder.sub(ir.Constant(vector, None), values)
        values = builder.and_(values, builder.sext(flags, vector))
        target = builder.bitcast(
            _pointer(context, builder, kinds[0], out, [at]), vector.as_pointer()
        )
        builder.store(values, target).align = kinds[0].dtype.bitwidth // 8
        return context.get_dummy_value()

    word = types.int64
    return types.none(out, word, nodes, word, ranks, word, word), codegen
