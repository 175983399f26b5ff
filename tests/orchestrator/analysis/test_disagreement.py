"""Sentences whose modal prediction changes, worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.analysis.disagreement import find_modes
from tests.factories import make_predicted_set
from tests.orchestrator.analysis.committing import commit, rows_of


def test_sentences_whose_mode_changes_and_what_they_are(store):
    one = make_predicted_set()
    other = replace(
        one,
        predicted=[["O", "B-LOC"], ["B-PER", "O", "B-LOC"]],
        num_correct=[1, 2],
        num_predicted=[1, 2],
    )
    for seed, sparse in enumerate((other, other, one)):
        commit(store, "sw", 0.0, seed, 0.8, predictions=(one,))
        commit(store, "sw", 0.5, seed, 0.8, predictions=(sparse,))
    names = ("num_pies", "num_sentences", "pie_share", "num_undecided", "seed_share", "num_pairs")
    assert rows_of(store, "disagreement", *names) == [(1, 2, 0.5, 0, 0.0, 3)]
    names = ("property", "pies_mean", "others_mean", "difference", "num_pies", "num_others")
    assert rows_of(store, "pies_profile", *names) == [
        ("words", 3.0, 2.0, 1.0, 1, 1),
        ("entities", 2.0, 1.0, 1.0, 1, 1),
        ("unseen_entities", 1.0, 0.0, 1.0, 1, 1),
        ("subwords_per_word", 5 / 3, 1.5, 5 / 3 - 1.5, 1, 1),
    ]


@pytest.mark.parametrize(
    ("column", "mode", "is_tied"),
    [
        ((4, 4, 9), 4, False),
        ((9, 4, 4), 4, False),
        ((9, 4, 7), 9, True),  # all unlike: the lowest seed's
        ((4, 9), 4, True),
        ((5, 7, 7, 5), 5, True),
        ((3,), 3, False),
    ],
)
def test_the_mode_is_the_most_frequent_and_of_equals_the_first(column, mode, is_tied):
    modes, ties = find_modes(np.array([[value, 1] for value in column], np.int32))
    assert (modes.tolist(), ties.tolist()) == ([mode, 1], [is_tied, False])
