"""F1 at equal size, worked by hand."""

from dataclasses import replace

import pytest

from tests.factories import PRUNING, make_trial_spec
from tests.orchestrator.analysis.committing import rows_of, shown_tables, tables_of
from tests.orchestrator.analysis.topics.test_layers import QUERY, WORDS, commit_layers

NAMES = ("target_sparsity", "embeddings", "f1_mean", "overall_sparsity", "num_bytes",
         "num_multiplications", "f1_equal_size", "delta_equal_size", "reason")  # fmt: skip


def commit_pruned(store, sparsity, embedding_sparsity, num_zeros, f1):
    pruning = replace(PRUNING, embedding_sparsity=embedding_sparsity)
    commit_layers(store, sparsity, 0, num_zeros, pruning=pruning, f1=f1)


def found(store):
    return {row[:2]: row[2:] for row in rows_of(store, "budget", *NAMES)}


def test_bytes_multiplications_and_the_f1_of_dense_embeddings_of_that_size(store):
    commit_layers(store, 0.0, 0, {QUERY: 0}, f1=0.8)
    commit_layers(store, 0.9, 0, {QUERY: 9}, f1=0.2)
    commit_pruned(store, 0.4, 0.4, {QUERY: 4, WORDS: 1}, 0.7)
    commit_pruned(store, 0.9, 0.9, {QUERY: 9, WORDS: 9}, 0.1)
    rows = found(store)
    # A hundred parameters of four bytes; a bit a prunable weight, rounded up.
    assert rows[0.0, "dense"] == (0.8, 0.0, 400, 10, None, None, None)
    assert rows[0.9, "dense"] == (0.2, 0.09, 366, 1, None, None, None)
    of_curve = 0.2 + (383 - 366) / (400 - 366) * 0.6
    assert rows[0.4, "pruned"] == (0.7, 0.05, 383, 6, pytest.approx(of_curve),
                                   pytest.approx(0.7 - of_curve), None)  # fmt: skip
    assert rows[0.9, "pruned"][4:] == (None, None, "no dense embeddings at this size")
    tables = tables_of(store, only=["budget"])
    assert "1 cell with pruned embeddings is smaller or larger" in tables["budget"].notes[1]
    assert max(map(len, shown_tables(tables.values()).splitlines())) <= 100


def test_without_dense_embeddings_or_a_size_there_is_nothing_of_equal_size(store):
    commit_pruned(store, 0.5, 0.5, {QUERY: 5, WORDS: 5}, 0.7)
    assert found(store)[0.5, "pruned"][4:] == (None, None, "no F1 with dense embeddings")
    commit_layers(store, 0.5, 0, {QUERY: 5}, f1=0.5)
    pruned = replace(PRUNING, embedding_sparsity=0.9)
    store.write_plan("demo", [make_trial_spec(target_sparsity=0.9, pruning=pruned)])
    assert found(store)[0.9, "pruned"] == (*(None,) * 6, "size is not known")
