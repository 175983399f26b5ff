"""Sentences whose modal prediction changes, and shares on which trials differ, worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.analysis.topics.disagreement import OF_SEEDS, compare_seeds, find_modes
from tests.factories import make_predicted_set
from tests.orchestrator.analysis.committing import commit, rows_of, tables_of


@pytest.mark.slow
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
    names = ("num_pies", "num_sentences", "pie_share", "num_undecided", "num_pairs")
    assert rows_of(store, "disagreement", *names) == [(1, 2, 0.5, 0, 3)]
    # Of a sentence that two of three sparse seeds change: pairs of sparse seeds differ in 2 of 3,
    # sparse and dense ones in 2 of 3, dense ones never.
    (row,) = rows_of(store, "disagreement", *OF_SEEDS)
    assert row == pytest.approx((0.0, 1 / 3, 1 / 3, 1 / 6, 2 / 4, 1 / 4))
    names = ("property", "pies_mean", "others_mean", "difference", "num_pies", "num_others")
    assert rows_of(store, "pies_profile", *names) == [
        ("words", 3.0, 2.0, 1.0, 1, 1),
        ("entities", 2.0, 1.0, 1.0, 1, 1),
        ("unseen_entities", 1.0, 0.0, 1.0, 1, 1),
        ("subwords_per_word", 5 / 3, 1.5, 5 / 3 - 1.5, 1, 1),
    ]
    # Dense seeds agree everywhere.
    names = ("unstable_mean", "unstable_difference", "num_unstable")
    assert rows_of(store, "pies_profile", *names) == [(None, None, 0)] * 4


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


def test_pies_are_compared_with_sentences_that_seeds_alone_change(store):
    one = make_predicted_set()
    first, second = (
        replace(one, predicted=[[tag, "B-LOC"], ["O", "O", last]], num_correct=[1, 0])
        for tag, last in (("B-PER", "O"), ("O", "O"))
    )
    for seed, (dense, sparse) in enumerate(((one, second), (first, second), (one, second))):
        commit(store, "sw", 0.0, seed, 0.8, predictions=(dense,))
        commit(store, "sw", 0.5, seed, 0.8, predictions=(sparse,))
    # Seed 1 changes both sentences; pruning, the second for certain.
    (row,) = rows_of(store, "pies_profile", "property", "unstable_mean", "num_unstable")[:1]
    assert row == ("words", 2.5, 2)


def test_one_seed_or_no_sentence_has_no_share():
    one = np.zeros((1, 4), np.int32)
    assert set(compare_seeds(one, one).values()) == {None}
    none = np.zeros((3, 0), np.int32)
    assert set(compare_seeds(none, none).values()) == {None}


def test_two_seeds_have_a_share_and_no_p_below_a_half():
    dense = np.array([[1, 1, 1, 1], [1, 1, 1, 2]], np.int32)
    sparse = np.array([[3, 3, 1, 1], [3, 3, 3, 1]], np.int32)
    found = tuple(compare_seeds(sparse, dense).values())
    # sparse 0 and dense 1: three sentences differ; dense 0 and sparse 1: three
    assert found == pytest.approx((1 / 4, 1 / 4, 3 / 4, 1 / 2, 1 / 2, 1 / 2))
    # Exchanged in one seed, pruning seems to do less than seeds do.
    swapped = compare_seeds(np.stack([dense[0], sparse[1]]), np.stack([sparse[0], dense[1]]))
    assert (swapped["excess_share"], swapped["p"]) == (-1 / 2, 1.0)


def test_p_is_that_of_all_exchanges_counted_one_by_one():
    random = np.random.default_rng(5)
    dense, sparse = (random.integers(0, 3, (5, 40)).astype(np.int32) for _ in range(2))
    sparse[:, :9] = 7

    def excess(first, second):
        found = compare_seeds(first, second)
        return found["cross_share"] - (found["dense_share"] + found["sparse_share"]) / 2

    both = np.stack([sparse, dense])
    excesses = [
        excess(*(both[bits ^ side, np.arange(5)] for side in (0, 1)))
        for number in range(32)
        for bits in [number >> np.arange(5) & 1]
    ]
    observed = excess(sparse, dense)
    found = compare_seeds(sparse, dense)
    assert found["p"] == np.mean(np.array(excesses) >= observed - 1e-12) == 1 / 16
    assert found["p_least"] == 1 / 16
    # What seeds alone change is no effect of pruning.
    same = compare_seeds(dense[::-1], dense)
    assert same["p"] > 0.05


def test_notes_say_how_many_seeds_make_a_mode_and_a_p(store):
    for seed in range(2):
        for sparsity in (0.0, 0.5):
            commit(store, "sw", sparsity, seed, 0.8, predictions=(make_predicted_set(),))
    tables = tables_of(store, only=["disagreement", "pies_profile"])
    notes = " ".join(tables["disagreement"].notes)
    assert "num_pairs is 1 or 2 there is no mode" in notes
    assert "cannot go below 0.5 with 2 seeds" in notes
    assert "unstable_difference" in " ".join(tables["pies_profile"].notes)
