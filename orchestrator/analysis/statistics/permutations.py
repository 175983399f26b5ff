"""The permutations from which tests get their p: signs that are flipped, and places that are
exchanged within families. All of them where they are few, else a sample that is always the same.

The first permutation is the identity, so that no p is 0. Source: Phipson and Smyth 2010,
Permutation p-values should never be zero.
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from itertools import permutations, product
from math import factorial, prod

import numpy as np

MOST = 2**13
"""Permutations that are taken one by one: the sign flips of the 14 families of WikiANN's languages.
Where there are more, a sample of as many is drawn."""

ROUNDING = 1e-9
"""Statistics that differ by less than this part of the largest one are the same; so are those that
differ by a thousandth of this, as sums of fractions do that are 0 on paper."""


@lru_cache(maxsize=64)
def sign_flips(number: int) -> np.ndarray:
    """Ways to flip the signs of so many values; of two opposite ways only one.

    Returns:
        float64 (ways, number) of 1 and -1: all 2^(number - 1), or a sample of `MOST`.
    """
    if 2 ** (number - 1) > MOST:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (MOST, number))
        signs[0] = 1.0
        return signs
    # Bits of 0, 1, 2, ...: the first value keeps its sign.
    bits = np.arange(2 ** max(number - 1, 0))[:, None] >> np.arange(number)[::-1] & 1
    return 1.0 - 2.0 * bits


def numbered(families: Sequence[Hashable]) -> np.ndarray:
    """Families as numbers from 0, in the order in which they first come; int64 (members,)."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(family, len(numbers)) for family in families], np.int64)


def exchanges(families: Sequence[Hashable]) -> np.ndarray:
    """Ways to exchange the places of members within their families.

    Args:
        families: that of each member.

    Returns:
        int64 (ways, members), the place from which each member takes its value: all of them, or a
        sample of `MOST`.
    """
    return _exchanges(tuple(numbered(families).tolist()))


@lru_cache(maxsize=256)
def _exchanges(families: tuple[int, ...]) -> np.ndarray:
    places = [np.flatnonzero(np.array(families) == family) for family in sorted(set(families))]
    number = prod(factorial(len(members)) for members in places)
    ways = np.tile(np.arange(len(families)), (min(number, MOST), 1))
    if number <= MOST:
        for row, of_families in enumerate(product(*(permutations(one) for one in places))):
            for members, taken in zip(places, of_families, strict=True):
                ways[row, members] = taken
        return ways
    keys = np.random.default_rng(0).random(ways.shape)
    for members in places:
        ways[1:, members] = members[np.argsort(keys[1:, members], axis=1)]
    return ways


def p_value(statistics: np.ndarray) -> tuple[float, float]:
    """The p of the first of some statistics, and the lowest that any of them has.

    Args:
        statistics: float64 (ways,), of the data as they are and then of their permutations; the
            larger, the less likely by chance.

    Returns:
        The share of statistics that are at least as large as the first, and as the largest one.
    """
    tolerance = ROUNDING * max(float(np.abs(statistics).max()), 1e-3)
    at_least = [statistics >= value - tolerance for value in (statistics[0], statistics.max())]
    return float(at_least[0].mean()), float(at_least[1].mean())
