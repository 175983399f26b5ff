"""Scores that are ranked as magnitudes are, and how many are pruned."""

import math

import pytest
import torch

from workers.pruning.ranking import count_pruned, rankable


def test_rankable_scores_are_positive_and_lie_in_their_order():
    scores = (
        torch.cat([torch.randn(100_000) * 10.0**power for power in range(-36, 36, 8)]).sort().values
    )
    ranked = rankable(scores)
    assert ranked.min() > 0
    assert ranked.isfinite().all()
    assert (ranked[1:] >= ranked[:-1]).all()
    is_equal = ranked[1:] == ranked[:-1]  # in the last of 24 bits only
    assert (
        (scores[1:] - scores[:-1])[is_equal] <= scores[1:].abs()[is_equal] * 2.0**-22 + 1e-44
    ).all()
    assert rankable(torch.tensor([math.nan, -math.nan])).isnan().all()


@pytest.mark.parametrize(
    ("sparsity", "num_weights", "expected"), [(0.5, 5, 2), (0.5, 7, 4), (0.9, 11, 10), (0.0, 9, 0)]
)
def test_number_of_pruned_weights_is_the_nearest_integer_halves_to_even(
    sparsity, num_weights, expected
):
    assert count_pruned(sparsity, num_weights) == expected
