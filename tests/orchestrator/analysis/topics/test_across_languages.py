"""Interquartile means, probabilities of improvement and profiles, worked by hand."""

import numpy as np
import pytest

from orchestrator.analysis.tables import THRESHOLDS
from orchestrator.analysis.topics.across_languages import interquartile_mean
from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of

NAMES = ("target_sparsity", "statistic", "value", "low", "high", "reason", "num_languages")


def found(store):
    rows = rows_of(store, "across_languages", *NAMES)
    return {row[:2]: row[2:] for row in rows}


def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end():
    values = np.array([[0.0, 9.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    assert interquartile_mean(values).tolist() == [1.5, 1.0]
    assert interquartile_mean(np.array([[4.0, 1.0, 1.0]])).tolist() == [2.0]
    assert np.isnan(interquartile_mean(np.zeros((1, 0)))).all()


def test_a_sparse_run_is_compared_with_all_dense_ones_of_its_language(store):
    for language, dense, sparse in (("sw", (0.5, 0.7), (0.6, 0.7)), ("yo", (0.2, 0.2), (0.1, 0.1))):
        for seed in (0, 1):
            commit(store, language, 0.0, seed, dense[seed])
            commit(store, language, 0.5, seed, sparse[seed])
    rows = found(store)
    # sw: 0.6 > 0.5, 0.7 > 0.5, and 0.7 = 0.7 for half; yo: never.
    value, low, high, reason, num_languages = rows[0.5, "improvement"]
    assert (value, reason, num_languages) == (pytest.approx((2.5 / 4 + 0) / 2), None, 2)
    assert 0 <= low <= value <= high <= 0.5
    assert rows[0.5, "iqm"][0] == pytest.approx((0.1 + 0.6) / 2)
    assert rows[0.0, "iqm"][0] == pytest.approx((0.2 + 0.5) / 2)
    assert (0.0, "improvement") not in rows
    profile = rows_of(store, "profiles", "target_sparsity", "threshold", "value")
    assert len(profile) == 2 * len(THRESHOLDS)
    assert {(0.5, 0.0, 1.0), (0.5, 0.1, 0.5), (0.5, 0.6, 0.25), (0.0, 0.2, 0.5)} <= set(profile)


def test_one_seed_has_no_interval_and_no_dense_trial_no_improvement(store):
    commit(store, "sw", 0.5, 0, 0.0)
    rows = found(store)
    assert rows[0.5, "iqm"] == (0.0, None, None, "one seed: no interval", 1)
    assert rows[0.5, "improvement"][:4] == (None, None, None, "no dense trial has an F1")
    tables = tables_of(store, only=["across_languages", "profiles"])
    assert "One seed a language is behind 1 of 2 numbers." in tables["across_languages"].notes
    assert max(map(len, shown_tables(tables.values()).splitlines())) <= 100


def test_intervals_do_not_depend_on_other_cells(store):
    for seed in range(3):
        commit(store, "sw", 0.5, seed, 0.5 + seed / 10)
    before = found(store)[0.5, "iqm"]
    for seed in range(3):
        commit(store, "sw", 0.9, seed, 0.1 * seed)
    assert found(store)[0.5, "iqm"] == before


def test_equal_f1_everywhere_is_no_improvement_and_no_loss(store):
    for seed in (0, 1):
        for language in ("sw", "yo"):
            for sparsity in (0.0, 0.5):
                commit(store, language, sparsity, seed, 0.5)
    assert found(store)[0.5, "improvement"] == (0.5, 0.5, 0.5, None, 2)
