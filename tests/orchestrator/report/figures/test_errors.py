"""Figures of errors and calibration, by hand."""

from dataclasses import replace

import pytest

from orchestrator.report.figures.errors import (
    FIGURES,
    draw_breakdown,
    draw_calibration,
    draw_errors,
    draw_reliability,
)
from orchestrator.report.material import read_material
from orchestrator.report.sections import needs
from orchestrator.results.store import ResultStore
from tests.factories import make_predicted_set, make_trial_spec
from tests.orchestrator.analysis.committing import commit


@pytest.fixture
def predicted(tmp_path):
    """Dense finds all entities; sparse misses one of three, and is sure of it."""
    store = ResultStore(str(tmp_path))
    whole = make_predicted_set(
        predicted=[["O", "B-LOC"], ["B-PER", "O", "B-LOC"]],
        confidence=[[255, 255], [255, 255, 255]],
        num_predicted=[1, 2],
        num_correct=[1, 2],
    )
    for seed in range(2):
        commit(store, "sw", 0.0, seed, 1.0, predictions=(whole,))
        sure = replace(make_predicted_set(), confidence=[[255, 255], [255, 255, 255]])
        commit(store, "sw", 0.5, seed, 0.8, predictions=(sure,))
    return read_material(store, needs(FIGURES))


@pytest.mark.slow
def test_shares_of_kinds_of_errors(predicted):
    drawing = draw_errors(predicted)
    rows = drawing.table[(drawing.table["side"] == "true") & (drawing.table["share_mean"] > 0)]
    assert rows[["target_sparsity", "kind", "share_mean"]].values.tolist() == [
        [0.0, "correct", 1.0],
        [0.5, "correct", pytest.approx(2 / 3)],
        [0.5, "missed", pytest.approx(1 / 3)],
    ]
    assert drawing.num_trials == 4


@pytest.mark.slow
def test_f1_of_distinct_sentences_stands_beside_that_of_all(predicted):
    drawing = draw_breakdown(predicted)
    rows = drawing.table[drawing.table["parts"] == "sentences"]
    found = rows.set_index(["target_sparsity", "part"])["f1_mean"]
    assert found[0.5, "all"] == 0.8
    assert found[0.5, "distinct"] == pytest.approx(2 * 2 / 5)
    assert drawing.num_trials == 4


@pytest.mark.slow
def test_confidence_and_accuracy_of_words(predicted):
    drawing = draw_calibration(predicted)
    rows = drawing.table[drawing.table["words"] == "all"].set_index("target_sparsity")
    assert rows["confidence_mean"].tolist() == [1.0, 1.0]
    assert rows.loc[0.5, "accuracy_mean"] == 0.8
    assert drawing.num_trials == 4


@pytest.mark.slow
def test_reliability_pools_the_words_of_all_seeds(predicted):
    drawing = draw_reliability(predicted)
    rows = drawing.table[drawing.table["words"] == "all words"].set_index("target_sparsity")
    assert rows.loc[0.5, ["confidence", "accuracy", "num_words"]].tolist() == [1.0, 0.8, 10]
    assert drawing.num_trials == 4
    assert drawing.notes == ["4 points of fewer than 30 words."]


def test_without_predictions_the_figures_say_so(tmp_path):
    store = ResultStore(str(tmp_path))
    commit(store, "sw", 0.5, 0, 0.5)
    material = read_material(store, needs(FIGURES))
    assert draw_errors(material).notes == ("No trial has stored predictions.",)
    for draw in (draw_calibration, draw_reliability):
        assert draw(material).notes == ("No trial has stored probabilities of its predicted tags.",)


@pytest.mark.slow
def test_what_was_planned_and_has_no_predictions_is_drawn_as_missing(predicted):
    """A row of each side stays in the table, and a sign is drawn of one kind of each."""
    predicted.store.write_plan("demo", [make_trial_spec(language="sw", target_sparsity=0.9)])
    drawing = draw_errors(read_material(ResultStore(str(predicted.store.location)), needs(FIGURES)))
    missing = drawing.table[drawing.table["share_mean"].isna() & (drawing.table["place"] == 0)]
    assert missing[["target_sparsity", "side"]].values.tolist() == [
        [0.9, "true"],
        [0.9, "predicted"],
    ]
    sign = drawing.chart.to_dict()["spec"]["layer"][1]
    assert sign["mark"]["text"] == "×"
    assert "share_mean === null" in str(sign["transform"])
