"""Which share a running number belongs to: exact over a period, smooth within it, and kept nowhere.

The shares lie side by side on a circle of `total` units. Each number goes one stride further; the stride is close to the
golden section of the circle and coprime to it. Coprime means that `total` steps in a row visit every unit exactly once.
Golden means that any number of steps in a row is spread about as evenly as points on a circle can be: all requests of a
share of three in ten are not the first three of ten.

========================  =========================  ====================================================
weights                   circle                     promise
========================  =========================  ====================================================
up to three decimals      their sum, in whole units  each exactly its share over any `total` numbers in a row
any others                2 ** 64                    shares in the long run
========================  =========================  ====================================================

How far the count of a share is ever off its ideal over the first numbers grows with the logarithm of the total: at most 4
for every set of weights with a total of up to 1,000, whatever their number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import gcd, sqrt

_GOLDEN = (sqrt(5.0) - 1.0) / 2.0
#: How far from the golden section the search for a stride goes, in units.
_SEARCH = 32
_DECIMALS = 1000
#: How far a weight may be off a multiple of 1 / _DECIMALS, in such units, by the rounding of floats.
_ROUNDING = 1e-6
_CIRCLE_BITS = 64
#: The odd number nearest to the golden section of 2 ** 64, so large a circle that it has no steps.
_CIRCLE_STRIDE = 0x9E3779B97F4A7C15


def share_of(sequence: int, weights: Sequence[float]) -> int:
    """Return the position of the weight whose turn it is at *sequence*; weights of 0 or below never are.

    Raises:
        ValueError: no weight is above 0.
    """
    distinct = set(weights)
    if min(distinct) < 0:
        return share_of(sequence, [max(weight, 0.0) for weight in weights])
    high = max(distinct)
    if high <= 0:
        raise ValueError("no weight is above 0")
    if len(distinct) == 1:
        return _step(sequence, len(weights))
    units = _whole_units(distinct)
    if units is not None:
        bounds = list(accumulate(map(units.__getitem__, weights)))
        return bisect_right(bounds, _step(sequence, bounds[-1]))
    angle = ((sequence * _CIRCLE_STRIDE) & ((1 << _CIRCLE_BITS) - 1)) / (1 << _CIRCLE_BITS)
    shares = list(accumulate(weight / high for weight in weights))
    chosen = bisect_right(shares, angle * shares[-1])
    # Rounding may put the angle on the very end of the circle, behind the last share.
    return chosen if chosen < len(weights) else weights.index(high)


def _whole_units(weights: set[float]) -> dict[float, int] | None:
    """Return the smallest whole numbers in the ratio of *weights*, None when three decimals do not write them."""
    if max(weights) >= 2**53 / _DECIMALS:
        return None
    units = list(map(int, weights))
    if units != list(weights):
        units.clear()
        for weight in weights:
            scaled = weight * _DECIMALS
            unit = round(scaled)
            if abs(unit - scaled) > _ROUNDING or (not unit and scaled):
                return None
            units.append(unit)
    common = gcd(*units)
    return {weight: unit // common for weight, unit in zip(weights, units, strict=True)}


def _step(sequence: int, total: int) -> int:
    return (sequence * stride(total)) % total


# The memory of a pure function of one number; without it the search would cost more than the ranking.
@lru_cache(maxsize=1024)
def stride(total: int) -> int:
    """Return the number near the golden section of *total*, coprime to it, whose multiples spread most evenly modulo it."""
    middle = round(total * _GOLDEN)
    near = range(max(1, middle - _SEARCH), middle + _SEARCH + 1)
    coprime = [number for number in near if gcd(number, total) == 1]
    return min(coprime, key=lambda number: (_unevenness(number, total), abs(number - middle)), default=1)


def _unevenness(number: int, total: int) -> int:
    """Return the sum of the partial quotients of number / total, which bounds how unevenly the multiples spread.

    All quotients of the golden section are 1, the least there can be.
    """
    quotients = 0
    while number:
        quotient, remainder = divmod(total, number)
        quotients += quotient
        total, number = number, remainder
    return quotients


__all__ = ["share_of", "stride"]
