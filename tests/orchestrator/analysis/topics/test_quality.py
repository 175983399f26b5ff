"""Tables of F1 and its change, from small results worked by hand."""

from dataclasses import replace

import pytest

from tests.factories import (
    PRUNING,
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import commit, rows_of, tables_of


def test_groups_are_means_of_languages_however_many_seeds_they_have(store):
    for language, seed, dense, sparse in (
        ("de", 0, 0.5, 0.25),
        ("de", 1, 0.5, 0.25),
        ("fr", 0, 0.75, 0.25),
    ):
        commit(store, language, 0.0, seed, dense)
        commit(store, language, 0.5, seed, sparse)
    found = rows_of(
        store,
        "groups",
        "grouping",
        "group",
        "target_sparsity",
        "f1_mean",
        "delta_dense_mean",
        "num_trials",
    )
    assert ("family", "Indo-European", 0.0, 0.625, None, 3) in found
    assert ("family", "Indo-European", 0.5, 0.25, -0.375, 3) in found  # -0.25 of de and -0.5 of fr


@pytest.mark.slow
def test_the_worst_language_and_groups(store):
    for language, sparse in (("de", 0.5), ("yo", 0.25), ("sw", 0.75)):
        commit(store, language, 0.0, 0, 0.75)
        commit(store, language, 0.5, 0, sparse)
    names = ("kind", "name", "delta_dense_mean", "num_languages", "num_compared")
    assert rows_of(store, "worst", *names) == [
        (
            "family",
            "Indo-European",
            -0.25,
            1,
            2,
        ),  # Niger-Congo: -0.5 and 0; of equals the first in the alphabet
        ("language", "yo", -0.5, 1, 3),
        ("script", "Latn", -0.25, 3, 1),
        ("tier", "up to 100", -0.5, 1, 3),
        ("tier_used", "up to 100", -0.25, 3, 1),  # all were trained on 100 sentences
    ]


@pytest.mark.slow
def test_pruned_embeddings_are_compared_by_seed(store):
    pruned = replace(PRUNING, embedding_sparsity=0.5)
    for seed, (dense, sparse) in enumerate(((0.5, 0.25), (0.75, 0.75), (0.875, None))):
        commit(store, "sw", 0.5, seed, dense)
        commit(store, "sw", 0.5, seed, sparse, pruning=pruned)
    commit(store, "sw", 0.5, 3, 0.5)
    names = (
        "embeddings",
        "f1_pruned_mean",
        "f1_dense_mean",
        "delta_embeddings_mean",
        "num_pairs",
        "num_holes",
    )
    assert rows_of(store, "embeddings", *names) == [("pruned", 0.5, 0.625, -0.125, 2, 2)]


def test_a_fixed_target_of_the_embeddings_is_one_row(store):
    commit(store, "sw", 0.0, 0, 0.8)
    for sparsity, f1 in ((0.5, 0.8), (0.9, 0.4)):
        pruning = replace(PRUNING, embedding_sparsity=0.5)
        spec = make_trial_spec(language="sw", target_sparsity=sparsity, pruning=pruning)
        result = make_trial_result(scores=(make_score(f1=f1),))
        store.commit_completed(spec, result, **make_circumstances())
    names = ("embeddings", "num_sparsities", "undecided_at")
    assert rows_of(store, "tolerance", *names) == [("pruned to 0.5", 2, 0.5)]


@pytest.mark.slow
def test_a_sparsity_that_is_on_two_curves_of_embeddings_is_a_point_of_both(store):
    commit(store, "sw", 0.0, 0, 0.8)
    for sparsity, embeddings in ((0.5, 0.5), (0.9, 0.5), (0.9, 0.9)):
        pruning = replace(PRUNING, embedding_sparsity=embeddings)
        commit(store, "sw", sparsity, 0, 0.4, pruning=pruning)
    names = ("embeddings", "num_sparsities", "undecided_at")
    assert rows_of(store, "tolerance", *names) == [("pruned", 2, 0.5), ("pruned to 0.5", 2, 0.5)]

    # All other tables have it once, as what it is, and quality says what else it is.
    for sparsity in (0.5, 0.9):
        commit(store, "sw", sparsity, 0, 0.6)
    points = [(0.5, "pruned to 0.5"), (0.9, "pruned"), (0.9, "pruned to 0.5")]
    place = ("target_sparsity", "embeddings")
    assert sorted(rows_of(store, "embeddings", *place)) == points
    with_dense = sorted([*points, (0.0, "dense"), (0.5, "dense"), (0.9, "dense")])
    for name in ("quality", "budget"):
        assert sorted(rows_of(store, name, *place)) == with_dense
    notes = tables_of(store, only=["quality"])["quality"].notes
    assert notes[-1] == (
        "At sparsity 0.5 the row of embeddings pruned to 0.5 is a point of the curve of pruned "
        "ones, too."
    )


def test_a_fixed_target_alone_is_a_point_of_one_curve(store):
    for sparsity in (0.5, 0.9):
        pruning = replace(PRUNING, embedding_sparsity=0.5)
        commit(store, "sw", sparsity, 0, 0.4, pruning=pruning)
    notes = " ".join(tables_of(store, only=["quality"])["quality"].notes)
    assert "is a point of the curve" not in notes
