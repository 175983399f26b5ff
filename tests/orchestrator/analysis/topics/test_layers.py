"""Sparsity by layer and kind of matrix, worked by hand."""

from dataclasses import replace

import pytest

from orchestrator.analysis.topics.layers import USED_EMBEDDINGS, split_name
from tests.factories import (
    PRUNING,
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
    make_vocabulary,
)
from tests.orchestrator.analysis.committing import commit_together, rows_of, tables_of
from workers.result import LayerSparsity

QUERY = "encoder.layer.0.attention.self.query.weight"
WORDS = "embeddings.word_embeddings.weight"
EMBEDDINGS = replace(PRUNING, embedding_sparsity=0.5)


def commit_layers(store, sparsity, seed, num_zeros, **changes):
    """A trial with matrices of ten weights, of which so many are zeros, by name."""
    layers = tuple(
        LayerSparsity(name=name, shape=(2, 5), num_zeros=number, num_weights=10)
        for name, number in num_zeros.items()
    )
    sizes = {"num_prunable": 10 * len(layers), "overall_sparsity": sum(num_zeros.values()) / 100}
    f1, vocabulary = changes.pop("f1", 0.5), changes.pop("vocabulary", ())
    result = make_trial_result(
        layers=layers, vocabulary=vocabulary, scores=(make_score(f1=f1),), robustness=(),
        predictions=(), num_parameters=100, **sizes,
    )  # fmt: skip
    spec = make_trial_spec(target_sparsity=sparsity, seed=seed, **changes)
    store.commit_completed(spec, result, **make_circumstances())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (QUERY, (0, "attention.self.query")),
        ("encoder.block.11.layer.1.DenseReluDense.wi.weight", (11, "layer.1.DenseReluDense.wi")),
        (WORDS, (None, "embeddings.word_embeddings")),
        ("classifier.0", (None, "classifier.0")),
    ],
)
def test_the_layer_is_the_first_number_in_a_name(name, expected):
    assert split_name(name) == expected


def test_sparsity_over_seeds_and_the_smallest_density(store):
    commit_layers(store, 0.5, 0, {QUERY: 4, WORDS: 5})
    commit_layers(store, 0.5, 1, {QUERY: 6, WORDS: 5})
    names = ("name", "layer", "sparsity_mean", "sparsity_min", "sparsity_max", "density_min",
             "is_sparsest", "num_collapsed", "num_trials")  # fmt: skip
    rows = rows_of(store, "layer_sparsity", *names)
    assert [row[:5] for row in rows] == [(QUERY, 0, 0.5, 0.4, 0.6), (WORDS, None, 0.5, 0.5, 0.5)]
    assert [row[5:] for row in rows] == [(0.4, True, 0, 2), (0.5, False, 0, 2)]


def test_a_matrix_without_any_weight_is_a_collapse(store):
    commit_layers(store, 0.5, 0, {QUERY: 5, WORDS: 5})
    commit_layers(store, 0.9, 0, {QUERY: 10, WORDS: 8})
    table = tables_of(store, only=["layer_sparsity"])["layer_sparsity"]
    assert [row["num_collapsed"] for row in table.rows.to_pylist()] == [0, 0, 1, 0]
    assert table.notes[0] == f"The smallest density is 0, of {QUERY} at sparsity 0.9 (sw)."
    assert "A matrix has no weight left in 1 cell:" in table.notes[1]


def test_a_model_of_several_languages_is_one(store):
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.5})
    rows = rows_of(store, "layer_sparsity", "language", "num_trials", "name")
    assert [row[:2] for row in rows] == [("multilingual", 1)] * 2 + [("sw", 1), ("yo", 1)]
    assert [row[2] for row in rows[2:]] == [USED_EMBEDDINGS] * 2


def test_rows_of_embeddings_that_a_language_uses_stand_beside_the_whole_matrix(store):
    for seed, num_zeros in enumerate((80, 320)):
        commit_layers(
            store, 0.5, seed, {WORDS: 5, QUERY: 4}, pruning=EMBEDDINGS,
            vocabulary=(make_vocabulary(num_zeros=num_zeros),),
        )  # fmt: skip
    names = ("name", "kind", "layer", "language", "num_weights", "sparsity_mean", "sparsity_max",
             "is_sparsest", "num_collapsed", "num_trials")  # fmt: skip
    rows = rows_of(store, "layer_sparsity", *names)
    assert [row[0] for row in rows] == [USED_EMBEDDINGS, WORDS, QUERY]
    assert rows[0][1:] == (USED_EMBEDDINGS, None, "sw", 320, 0.625, 1.0, True, 1, 2)
    assert rows[1][4:7] == (10, 0.5, 0.5)


def test_models_without_a_matrix_of_embeddings_have_no_rows_that_are_used(store):
    nothing = make_vocabulary(num_weights=None, num_zeros=None)
    commit_layers(store, 0.5, 0, {QUERY: 4}, vocabulary=(nothing,))
    assert rows_of(store, "layer_sparsity", "name") == [(QUERY,)]


def test_results_without_layers_say_so(store):
    store.write_plan("demo", [make_trial_spec(target_sparsity=0.5)])
    table = tables_of(store, only=["layer_sparsity"])["layer_sparsity"]
    assert table.notes == ("No layers are stored of these trials.",)
