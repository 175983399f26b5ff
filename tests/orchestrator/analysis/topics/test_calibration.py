"""Calibration of stored probabilities, worked out by hand."""

import numpy as np
import pytest

from orchestrator.analysis.topics.calibration import measure_calibration
from tests.factories import make_predicted_set
from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of

NUMBERS = ("num_words", "accuracy_mean", "confidence_mean", "ece_mean", "brier_mean")


def test_errors_are_means_over_words_of_the_gaps_of_ten_bins():
    chances = np.array([0.95, 0.91, 0.55, 0.51, 1.0])
    is_right = np.array([True, False, True, True, True])
    found = measure_calibration(chances, is_right)
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
