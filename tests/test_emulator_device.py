"""Device functions and language features against their definitions in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from emulator import Module

pytestmark = pytest.mark.emulator


def run(expression: str, kind: str, *columns: np.ndarray) -> np.ndarray:
    """Evaluate a CUDA expression of the columns `a`, `b`, `c` for each row."""
    names = "abc"[: len(columns)]
    spelled = {"i4": "int", "u4": "unsigned", "i8": "long long", "u8": "unsigned long long"}
    spelled |= {"f4": "float", "f8": "double"}
    parameters = "".join(
        f"const {spelled[column.dtype.str[1:]]}* p{name}, "
        for name, column in zip(names, columns, strict=True)
    )
    loads = "".join(f"const auto {name} = p{name}[i]; " for name in names)
    code = (
        f'extern "C" __global__ void k({parameters}{spelled[kind]}* out)'
        f"{{ const int i = blockIdx.x * blockDim.x + threadIdx.x; {loads}out[i] = {expression}; }}"
    )
    out = np.empty(columns[0].size, kind)
    Module(code).kernels["k"]((1,), (out.size,), (*columns, out))
    return out


@pytest.fixture
def words(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    edges = np.array([0, 1, 2**31, 2**32 - 1, 0x80], np.uint32)
    return tuple(np.append(edges, rng.integers(0, 2**32, 59, np.uint32)) for _ in range(3))


BITS = {
    "__popc(a)": lambda a, b: a.bit_count(),
    "__clz(a)": lambda a, b: 32 - a.bit_length(),
    "__ffs(a)": lambda a, b: (a & -a).bit_length(),
    "__brev(a)": lambda a, b: int(f"{a:032b}"[::-1], 2),
    "__funnelshift_l(a, b, a & 63)": lambda a, b: ((b << 32 | a) << (a & 31)) >> 32,
    "__funnelshift_r(a, b, a & 63)": lambda a, b: (b << 32 | a) >> (a & 31),
    "__byte_perm(a, b, 0x3715)": lambda a, b: int.from_bytes(
        bytes((b << 32 | a).to_bytes(8, "little")[k] for k in (5, 1, 7, 3)), "little"
    ),
    "__umulhi(a, b)": lambda a, b: a * b >> 32,
    "__usad(a, b, 1)": lambda a, b: abs(a - b) + 1,
    "min(a, b) ^ max(a, 7)": lambda a, b: min(a, b) ^ max(a, 7),
    "__dp4a(a, b, 1u)": lambda a, b: (
        sum(x * y for x, y in zip(a.to_bytes(4), b.to_bytes(4), strict=True)) + 1
    ),
}


@pytest.mark.parametrize("expression", BITS)
def test_32_bit_intrinsics(expression: str, words: tuple[np.ndarray, ...]):
    got = run(expression, "u4", *words[:2])
    expected = [BITS[expression](int(a), int(b)) % 2**32 for a, b in zip(*words[:2], strict=True)]
    np.testing.assert_array_equal(got, np.array(expected, np.uint32))


LONG = {
    "__popcll(a)": lambda a, b: a.bit_count(),
    "__clzll(a)": lambda a, b: 64 - a.bit_length(),
    "__ffsll(a)": lambda a, b: (a & -a).bit_length(),
    "__brevll(a)": lambda a, b: int(f"{a:064b}"[::-1], 2),
    "__umul64hi(a, b)": lambda a, b: a * b >> 64,
}


@pytest.mark.parametrize("expression", LONG)
def test_64_bit_intrinsics(expression: str, rng: np.random.Generator):
    a, b = rng.integers(0, 2**64, (2, 64), np.uint64) >> rng.integers(0, 64, (2, 64), np.uint64)
    expected = [LONG[expression](int(x), int(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(run(expression, "u8", a, b), np.array(expected, np.uint64))


BYTES = {
    "__vadd4": lambda x, y: x + y,
    "__vsub4": lambda x, y: x - y,
    "__vminu4": np.minimum,
    "__vmaxu4": np.maximum,
    "__vabsdiffu4": lambda x, y: np.where(x < y, y - x, x - y),
    "__vcmpeq4": lambda x, y: np.where(x == y, 255, 0),
    "__vcmpne4": lambda x, y: np.where(x != y, 255, 0),
    "__vcmpgtu4": lambda x, y: np.where(x > y, 255, 0),
    "__vcmpgeu4": lambda x, y: np.where(x >= y, 255, 0),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytewise_intrinsics(name: str, words: tuple[np.ndarray, ...]):
    a, b = words[:2]
    expected = BYTES[name](a.view(np.uint8), b.view(np.uint8)).astype(np.uint8)
    np.testing.assert_array_equal(run(f"{name}(a, b)", "u4", a, b).view(np.uint8), expected)


ROUNDING = {
    "__fadd_rn(a, b)": ("f4", np.add),
    "__fsub_rn(a, b)": ("f4", np.subtract),
    "__fmul_rn(a, b)": ("f4", np.multiply),
    "__fdiv_rn(a, b)": ("f4", np.divide),
    "__fsqrt_rn(a * a)": ("f4", lambda a, b: np.sqrt(a * a)),
    "a * b + a": ("f4", lambda a, b: a * b + a),  # not contracted
    "__dadd_rn(a, b)": ("f8", np.add),
    "__dsub_rn(a, b)": ("f8", np.subtract),
    "__dmul_rn(a, b)": ("f8", np.multiply),
    "__ddiv_rn(a, b)": ("f8", np.divide),
    "a - a * b": ("f8", lambda a, b: a - a * b),
    "min(a, b) / max(a, b)": ("f8", lambda a, b: np.minimum(a, b) / np.maximum(a, b)),
}


@pytest.mark.parametrize("expression", ROUNDING)
def test_float_arithmetic_rounds_as_numpy_does(expression: str, rng: np.random.Generator):
    kind, expected = ROUNDING[expression]
    a, b = rng.standard_normal((2, 64)).astype(kind)
    np.testing.assert_array_equal(run(expression, kind, a, b), expected(a, b))


CONVERSIONS = {
    "__float2int_rn(a)": ("f4", "i4", np.rint),
    "__float2int_rz(a)": ("f4", "i4", np.trunc),
    "__float2int_rd(a)": ("f4", "i4", np.floor),
    "__float2int_ru(a)": ("f4", "i4", np.ceil),
    "__float2uint_rn(a)": ("f4", "u4", np.rint),
    "__double2int_rn(a)": ("f8", "i4", np.rint),
    "__double2ll_rn(a)": ("f8", "i8", np.rint),
    "__double2ll_rd(a)": ("f8", "i8", np.floor),
    "__double2ull_rn(a)": ("f8", "u8", np.rint),
}


@pytest.mark.parametrize("expression", CONVERSIONS)
def test_conversions_round_and_saturate(expression: str):
    source, target, rounded = CONVERSIONS[expression]
    a = np.array([0.5, 1.5, -2.5, 2.5, -0.2, 3e9, -3e9, 1e20, -1e20, np.nan], source)
    limits = np.iinfo(target)
    expected = [0 if np.isnan(v) else min(max(int(rounded(v)), limits.min), limits.max) for v in a]
    assert run(expression, target, a).tolist() == expected
