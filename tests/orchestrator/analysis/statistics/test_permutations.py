"""Permutations by hand: how many there are, that each is one, and what p they give."""

from itertools import product

import numpy as np
import pytest

from orchestrator.analysis.statistics.permutations import MOST, exchanges, p_value, sign_flips


@pytest.mark.parametrize("number", [1, 2, 5])
def test_flips_are_all_there_are_up_to_the_opposite(number):
    flips = {tuple(row) for row in sign_flips(number)}
    assert len(flips) == len(sign_flips(number)) == 2 ** (number - 1)
    opposite = {tuple(-value for value in row) for row in flips}
    assert flips | opposite == set(product((1.0, -1.0), repeat=number))
    assert sign_flips(number)[0].tolist() == [1.0] * number


def test_the_families_of_all_languages_are_flipped_in_all_ways_and_more_by_a_sample():
    assert len(np.unique(sign_flips(14), axis=0)) == len(sign_flips(14)) == MOST
    assert sign_flips(40).shape == (MOST, 40)
    assert abs(sign_flips(40)[1:].mean()) < 0.01
    assert sign_flips(40)[0].tolist() == [1.0] * 40


def test_exchanges_within_families_are_all_there_are():
    found = {tuple(row) for row in exchanges(["a", "b", "a", "b", "c"])}
    assert found == {(0, 1, 2, 3, 4), (2, 1, 0, 3, 4), (0, 3, 2, 1, 4), (2, 3, 0, 1, 4)}
    assert exchanges([]).shape == (1, 0)
    assert len(exchanges(["a"] * 7)) == 5040


def test_a_sample_of_exchanges_leaves_everybody_in_the_family():
    families = np.array(["a"] * 12 + ["b"] * 3 + ["c"])
    found = exchanges(families.tolist())
    assert found.shape == (MOST, 16)
    assert found[0].tolist() == list(range(16))
    assert (families[found] == families).all()
    assert (np.sort(found, axis=1) == np.arange(16)).all()
    places = np.bincount(found[1:, 0], minlength=12)
    assert places.min() > 0.8 * MOST / 12
    assert places.max() < 1.2 * MOST / 12


def test_p_counts_what_is_as_large():
    assert p_value(np.array([3.0, 1.0, 3.0 - 1e-13, 4.0])) == (3 / 4, 1 / 4)
    assert p_value(np.zeros(4)) == (1.0, 1.0)
    assert p_value(np.array([-1e-17, 1e-17])) == (1.0, 1.0)
