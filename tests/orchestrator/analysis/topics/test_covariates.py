"""What languages differ in, and where it is said to be from."""

from math import log2, log10

import pytest

from orchestrator.analysis.topics.covariates import WIKIPEDIA_MB
from orchestrator.spec.languages import XTREME
from tests.factories import make_predicted_set, make_trial_spec, make_vocabulary
from tests.orchestrator.analysis.committing import commit, commit_together, rows_of, tables_of


def test_every_language_has_the_size_of_its_wikipedia():
    assert set(WIKIPEDIA_MB) == set(XTREME)
    assert max(WIKIPEDIA_MB, key=WIKIPEDIA_MB.get) == "en"
    assert min(WIKIPEDIA_MB, key=WIKIPEDIA_MB.get) == "yo"


@pytest.mark.slow
def test_values_have_a_source_and_what_is_not_known_a_reason(store):
    for seed, f1 in enumerate((0.7, 0.8)):
        commit(store, "sw", 0.0, seed, f1, num_train=500)
        for sparsity in (0.5, 0.9):
            predictions = (make_predicted_set(),)
            commit(
                store, "sw", sparsity, seed, 0.5, num_train=500, predictions=predictions,
                vocabulary=(),
            )  # fmt: skip
    found = {name: rest for name, *rest in rows_of(store, "languages", *NAMES)}
    assert found["log10_train"] == [pytest.approx(log10(500)), "sentences that trials used", 4]
    assert found["dense_f1"] == [pytest.approx(0.75), "test, 2 dense trials", 4]
    assert found["log2_wikipedia_mb"][0] == pytest.approx(log2(30.3))
    assert found["fertility"] == [pytest.approx(8 / 5), "2 scored sentences", 4]
    assert found["unknown_rate"][0] is found["log10_embedding_rows"][0] is None
    assert "not stored" in found["unknown_rate"][1]
    notes = " ".join(tables_of(store, only=["languages"])["languages"].notes)
    assert "No unknown_rate of 1 language: not stored" in notes
    assert "No fertility" not in notes


@pytest.mark.slow
def test_the_words_of_the_train_split_tell_fertility_unknown_pieces_and_rows(store):
    predictions = (make_predicted_set(),)
    for seed, num_unknown in enumerate((2, 7)):
        used = make_vocabulary(num_unknown=num_unknown)
        commit(store, "sw", 0.5, seed, 0.5, predictions=predictions, vocabulary=(used,))
    commit(store, "sw", 0.9, 0, 0.5, vocabulary=())  # of an earlier version
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.5})
    rows = rows_of(store, "languages", "regime", "language", *NAMES)
    found = {(regime, code, name): rest for regime, code, name, *rest in rows}
    source = "words of the train split, 2 trials"
    assert found["monolingual", "sw", "fertility"][:2] == [pytest.approx(90 / 60), source]
    assert found["monolingual", "sw", "unknown_rate"][:2] == [pytest.approx(9 / 180), source]
    assert found["monolingual", "sw", "log10_embedding_rows"][0] == pytest.approx(log10(40))
    assert found["multilingual", "yo", "unknown_rate"][:2] == [
        pytest.approx(2 / 90),
        "words of the train split, 1 trial",
    ]
    notes = " ".join(tables_of(store, only=["languages"])["languages"].notes)
    assert not any(name in notes for name in ("fertility", "unknown_rate", "embedding_rows"))


NAMES = ("covariate", "value", "source", "num_trials")


def test_without_dense_trials_predictions_or_a_place_in_the_list(store):
    store.write_plan("demo", [make_trial_spec(language="sw", target_sparsity=0.5)])
    commit(store, "xx", 0.5, 0, 0.5, num_train=0, vocabulary=())
    rows = rows_of(store, "languages", "language", *NAMES)
    found = {(code, name): rest for code, name, *rest in rows}
    assert found["sw", "log10_train"] == [3.0, "WikiANN's published split, up to the limit", 0]
    assert found["xx", "log10_train"] == [None, "sentences that trials used", 1]
    assert found["xx", "dense_f1"][:2] == [None, "no dense trial has an F1"]
    assert found["xx", "fertility"][:2] == [None, "no predictions are stored"]
    assert found["xx", "log2_wikipedia_mb"][:2] == [None, "not in the list"]


def test_with_dense_trials_only_their_own_f1_is_given(store):
    commit(store, "sw", 0.0, 0, 0.5)
    found = {name: rest for name, *rest in rows_of(store, "languages", *NAMES)}
    assert found["dense_f1"] == [0.5, "test, 1 dense trial", 1]
