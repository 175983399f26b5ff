"""Calibration of stored probabilities, worked out by hand."""

import operator

import duckdb
import numpy as np
import pytest

from orchestrator.analysis.topics.calibration import count_bins, measure_calibration
from tests.factories import make_predicted_set
from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of

NUMBERS = ("num_words", "accuracy_mean", "confidence_mean", "ece_mean", "brier_mean")


def test_errors_are_means_over_words_of_the_gaps_of_ten_bins():
    chances = np.array([0.95, 0.91, 0.55, 0.51, 1.0])
    is_right = np.array([True, False, True, True, True])
    found = measure_calibration(chances, is_right, count_bins(chances, is_right))
    gaps = abs(2 - (0.95 + 0.91 + 1.0)) + abs(2 - (0.55 + 0.51))
    squares = 0.05**2 + 0.91**2 + 0.45**2 + 0.49**2
    assert found == pytest.approx([5, 4 / 5, chances.mean(), gaps / 5, squares / 5])


def test_words_are_all_and_those_predicted_as_entities(store):
    """O, B-LOC | B-PER, O, O where the last one is a B-LOC."""
    commit(store, "sw", 0.5, 0, 0.5, predictions=(make_predicted_set(),))
    every, of_entities = rows_of(store, "calibration", *NUMBERS)
    chances = np.array([255, 204, 128, 250, 60]) / 255
    right = np.array([1, 1, 1, 1, 0])
    assert every == pytest.approx(
        (5, 0.8, chances.mean(), abs(right - chances).sum() / 5, ((chances - right) ** 2).mean()),
        abs=0.02,
    )
    assert of_entities[:3] == pytest.approx((2, 1.0, (204 + 128) / 510))
    assert of_entities[4] == pytest.approx((0.2**2 + (127 / 255) ** 2) / 2)


def test_changes_are_to_the_dense_trial_of_the_seed(store):
    surer = make_predicted_set(confidence=[[255, 255], [255, 255, 255]])
    for seed, dense in ((0, make_predicted_set()), (1, surer)):
        commit(store, "sw", 0.0, seed, 0.5, predictions=(dense,))
        commit(store, "sw", 0.5, seed, 0.5, predictions=(surer,))
    names = ("target_sparsity", "words", "delta_brier_mean", "num_seeds", "num_pairs")
    rows = {row[:2]: row[2:] for row in rows_of(store, "calibration", *names)}
    own = 1 / 5
    dense = np.mean((np.array([255, 204, 128, 250, 60]) / 255 - [1, 1, 1, 1, 0]) ** 2)
    assert rows[0.5, "all"] == pytest.approx(((own - dense) / 2, 2, 2))
    assert rows[0.0, "all"] == (None, 2, 0)


def test_cells_without_probabilities_have_null_and_a_note(store):
    commit(store, "sw", 0.5, 0, 0.5)
    table = tables_of(store, only=["calibration"])["calibration"]
    assert table.rows["ece_mean"].to_pylist() == [None, None]
    assert table.rows["num_holes"].to_pylist() == [1, 1]
    assert "1 of 1 cell and languages have no stored probabilities" in " ".join(table.notes)
    assert shown_tables([table])


def test_bins_count_words_and_how_many_are_right(store):
    """Two seeds that predict O, B-LOC | B-PER, O, O, where the last is a B-LOC."""
    given = [[[255, 204], [128, 250, 60]], [[51, 203], [25, 254, 127]]]
    for seed, confidence in enumerate(given):
        predictions = (make_predicted_set(confidence=confidence),)
        commit(store, "sw", 0.5, seed, 0.5, predictions=predictions)
    commit(store, "yo", 0.5, 0, 0.5)  # nothing is stored of it
    names = ("language", "words", "bin_low", "bin_high", "num_words", "accuracy", "num_seeds")
    rows = rows_of(store, "reliability", *names)
    assert {row[0] for row in rows} == {"sw"}
    assert [row[2:] for row in rows if row[1] == "all"] == [
        (0.0, 0.1, 1, 1.0, 2),  # 25 of 255 is 0.098
        (0.1, 0.2, 0, None, 2),
        (0.2, 0.3, 2, 0.5, 2),  # 51 is 0.2, and the wrong 60
        (0.3, 0.4, 0, None, 2),
        (0.4, 0.5, 1, 0.0, 2),  # 127, wrong
        (0.5, 0.6, 1, 1.0, 2),
        (0.6, 0.7, 0, None, 2),
        (0.7, 0.8, 1, 1.0, 2),  # 203
        (0.8, 0.9, 1, 1.0, 2),  # 204 is 0.8
        (0.9, 1.0, 3, 1.0, 2),
    ]
    of_entities = [row[2:5] for row in rows if row[1] == "entity" and row[4]]
    assert of_entities == [(0.0, 0.1, 1), (0.5, 0.6, 1), (0.7, 0.8, 1), (0.8, 0.9, 1)]


def test_bins_again_by_sql(store, tmp_path):
    random = np.random.default_rng(0)
    for seed in range(2):
        for sparsity in (0.0, 0.5):
            chances = [random.integers(37, 256, size).tolist() for size in (2, 3)]
            predictions = (make_predicted_set(confidence=chances),)
            commit(store, "sw", sparsity, seed, 0.5, predictions=predictions)
    found = rows_of(
        store,
        "reliability",
        *("target_sparsity", "words", "bin_low", "num_words", "confidence", "accuracy"),
    )
    folder = store.location.path
    expected = duckdb.sql(f"""
        with words as (
            select target_sparsity, unnest(confidence) as chance, unnest(predicted) as tag,
                unnest(gold) as true_tag
            from '{folder}/predictions/*.parquet' join '{folder}/sentences/*.parquet'
                using (set_id, sentence)
        ), kinds as (select *, 'all' as kind from words
            union all select *, 'entity' from words where tag != 'O')
        select target_sparsity, kind, least(chance::int * 10 // 255, 9) / 10, count(*),
            avg(chance / 255), avg((tag = true_tag)::int)
        from kinds group by all
    """).fetchall()
    key = operator.itemgetter(0, 1, 2)
    assert sorted(map(key, expected)) == sorted(key(row) for row in found if row[3])
    numbers = {key(row): row[3:] for row in found}
    for row in expected:
        assert numbers[key(row)] == pytest.approx(row[3:])


def test_without_probabilities_there_are_no_bins(store):
    commit(store, "sw", 0.5, 0, 0.5)
    table = tables_of(store, only=["reliability"])["reliability"]
    assert table.rows.num_rows == 0
    assert "No probabilities" in table.notes[0]
    assert "No probabilities" in shown_tables([table])
