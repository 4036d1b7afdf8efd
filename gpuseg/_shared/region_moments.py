"""Moments up to the third power of each coordinate, from sums modulo 2^64 and modulo primes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gpuseg._shared.region_rows import POWERS
from gpuseg._shared.region_table import Table
from gpuseg.typing import NumpyArray


def moments(t: Table) -> NumpyArray:
    """Sums of products of powers of coordinates, from the bounding box on: (labels, 4, ...)."""
    return _scaled(_about(t, t.lower()), t)


def moments_central(t: Table) -> NumpyArray:
    """The same about the centroid.

    About its floor first, in integers; then only the fraction is left to shift by, and what it
    takes away is small.
    """
    sums = [t.block(f"first{axis}") for axis in range(t.ndim)]
    whole, fraction = [], []
    for limbs in sums:
        total = limbs[:, 0].astype(object)
        if limbs.shape[1] > 1:
            total = total + (limbs[:, 1].astype(object) << 32)
        floor = total // t.count
        whole.append(floor.astype(np.int64))
        fraction.append((total - floor * t.count).astype(np.float64) / t.count)
    result = _about(t, np.stack(whole, axis=-1))
    for axis, shift in enumerate(fraction):
        result = _shift(result, axis, shift, 0)
    # The first ones are 0 by definition, and would be rounding.
    for powers in np.eye(t.ndim, dtype=int):
        result[_at(powers)] = 0.0
    return _scaled(result, t)


def moments_normalized(t: Table) -> NumpyArray:
    """Central moments over the area to the power that makes scale vanish; NaN below order 2."""
    central = moments_central(t)
    area = central[_at((0,) * t.ndim)]
    scale = t.spacing.min()
    result = np.full_like(central, np.nan)
    for powers in np.ndindex(*(POWERS,) * t.ndim):
        order = sum(powers)
        if order >= 2:
            moment = central[_at(powers)] / scale**order
            result[_at(powers)] = moment / area ** (order / t.ndim + 1)
    return result


def moments_hu(t: Table) -> NumpyArray:
    """Hu's seven numbers, which translation, scale and rotation leave alone (2-D)."""
    nu = moments_normalized(t)
    a, b = nu[:, 3, 0] + nu[:, 1, 2], nu[:, 2, 1] + nu[:, 0, 3]
    c, d = nu[:, 3, 0] - 3 * nu[:, 1, 2], 3 * nu[:, 2, 1] - nu[:, 0, 3]
    difference, mixed = nu[:, 2, 0] - nu[:, 0, 2], 4 * nu[:, 1, 1]
    aa, bb = a * a, b * b
    u, v = a * (aa - 3 * bb), b * (3 * aa - bb)
    return np.stack(
        [
            nu[:, 2, 0] + nu[:, 0, 2],
            difference**2 + mixed * nu[:, 1, 1],
            c * c + d * d,
            aa + bb,
            c * u + d * v,
            difference * (aa - bb) + mixed * a * b,
            d * u - c * v,
        ],
        axis=-1,
    )


def _at(powers: Iterable[int]) -> Any:
    """Index of one moment of all labels."""
    return (slice(None), *(int(power) for power in powers))


def _scaled(values: NumpyArray, t: Table) -> NumpyArray:
    for axis, step in enumerate(t.spacing):
        shape = [1] * values.ndim
        shape[axis + 1] = POWERS
        values = values * np.power(step, np.arange(POWERS)).reshape(shape)
    return values


def _about(t: Table, origin: NumpyArray) -> NumpyArray:
    """Moments about integer points (labels, axes), exact until they are rounded to float64."""
    shape = (t.labels.size, *(POWERS,) * t.ndim)
    primes = t.plan.primes
    residues = t.block("powers").reshape(t.labels.size, 1 + len(primes), POWERS**t.ndim)
    found = []
    for k, modulus in enumerate((0, *primes)):
        # Merged parts have been added up without a division.
        values = (residues[:, k] % modulus if modulus else residues[:, k]).reshape(shape)
        for axis in range(t.ndim):
            values = _shift(values, axis, origin[:, axis], modulus)
        found.append(values)
    result = found[0].astype(np.float64)
    # What 64 bits surely hold needs no primes: nearly every object.
    extent = np.maximum(np.abs(t.lower() - origin), np.abs(t.upper() - origin)) + 1.0
    large = t.count * np.prod(extent ** (POWERS - 1), axis=1) >= 2.0**62
    if large.any() and primes:
        result[large] = _from_residues([values[large] for values in found], primes)
    return result


def _shift(values: NumpyArray, axis: int, origin: NumpyArray, modulus: int) -> NumpyArray:
    """Moments along an axis about another origin, by the binomial theorem."""
    step = (-origin % modulus if modulus else -origin).reshape(-1, *(1,) * (values.ndim - 2))
    old = np.moveaxis(values, axis + 1, 0)
    new = np.zeros_like(old)
    power = [np.ones_like(step)]
    for _ in range(POWERS - 1):
        power.append(power[-1] * step % modulus if modulus else power[-1] * step)
    for j in range(POWERS):
        for i in range(j + 1):
            term = math.comb(j, i) * power[j - i]
            term = old[i] * (term % modulus) % modulus if modulus else old[i] * term
            new[j] = (new[j] + term) % modulus if modulus else new[j] + term
    return np.moveaxis(new, 0, axis + 1)


def _from_residues(found: list[NumpyArray], primes: tuple[int, ...]) -> NumpyArray:
    """Signed numbers from their residues (Garner's algorithm), as float64."""
    whole = found[0].astype(object) % (1 << 64)
    modulus = 1 << 64
    for prime, residue in zip(primes, found[1:], strict=True):
        missing = (residue.astype(object) - whole) * pow(modulus, -1, prime) % prime
        whole = whole + missing * modulus
        modulus *= prime
    signed = np.where(whole > modulus // 2, whole - modulus, whole)
    values: NumpyArray = signed.astype(np.float64)
    return values
