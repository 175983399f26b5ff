"""What is said of models that predict no entity at all, whose F1 of 0 is not merely bad."""

import pyarrow as pa
import pytest

from orchestrator.planning.nothing_predicted import (
    SCORES_READ,
    TRIALS_READ,
    describe_silent,
    find_silent,
)
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_score, make_trial_result, make_trial_spec


@pytest.fixture
def store(tmp_path) -> ResultStore:
    return ResultStore(str(tmp_path / "results"))


def commit(store, language, sparsity, num_predicted, *, seed=0, num_steps=40, support=16, **spec):
    """A trial that predicts so many entities, of which none is right; returns its id."""
    languages = (language,) if isinstance(language, str) else language
    spec = make_trial_spec(languages=languages, target_sparsity=sparsity, seed=seed, **spec)
    scores = tuple(
        make_score(
            language=code,
            support=support,
            num_predicted=0 if code == "yo" else num_predicted,
            num_correct=0,
            precision=0.0 if num_predicted else None,
            recall=0.0,
            f1=0.0,
        )
        for code in (*spec.languages, *spec.evaluation.languages)
    )
    result = make_trial_result(
        scores=scores, robustness=(), predictions=(), num_steps=num_steps, selected_step=num_steps
    )
    store.commit_completed(spec, result, **make_circumstances())
    return spec.trial_id()


def said(store, trial_ids=None):
    trials = store.read("trials", list(TRIALS_READ))
    scores = store.read("scores", list(SCORES_READ))
    return describe_silent(trials, scores, "test", trial_ids)


def test_a_bad_f1_is_nothing_to_talk_of(store):
    commit(store, "sw", 0.0, 3)
    commit(store, "sw", 0.5, 1)
    commit(store, "de", 0.0, 0, support=0)  # nothing to find
    assert said(store) == []


def test_one_that_predicts_entities_by_one_rule_of_matching_alone_is_not_silent(store):
    """As where all predicted tags are I-: by `strict` matching these are no entities."""
    silent, begins_none = commit(store, "yo", 0.0, 0), commit(store, "sw", 0.0, 0)
    strict = store.read("scores")
    others = [
        row | {"matching": "lenient", "num_predicted": 3 if row["language"] == "sw" else 0}
        for row in strict.to_pylist()
    ]
    scores = pa.concat_tables([strict, pa.Table.from_pylist(others, strict.schema)])
    assert {one for one, _ in find_silent(strict, "test")} == {silent, begins_none}
    assert find_silent(scores, "test") == {(silent, "yo")}


def test_dense_trials_that_predict_nothing_are_told_with_their_steps_and_what_to_try(store):
    commit(store, "yo", 0.0, 0)
    commit(store, "yo", 0.9, 0)
    commit(store, "yo", 0.0, 0, seed=1, num_steps=60)
    commit(store, "sw", 0.0, 5)
    assert said(store) == [
        "no entity is predicted in 2 of 3 dense trials and 1 sparse trial beside such ones, after "
        "40 to 60 steps (yo): F1 is 0 for that, and tells nothing of what pruning does; set "
        "training.num_steps=300 or more"
    ]


def test_where_there_were_steps_enough_another_learning_rate_is_named(store):
    commit(store, "yo", 0.0, 0, num_steps=3_000)
    (line,) = said(store)
    assert "1 of 1 dense trial, after 3,000 steps (yo)" in line
    assert line.endswith("; try another training.lr, or training.warmup=0.1")


def test_what_pruning_ended_is_told_apart(store):
    commit(store, "sw", 0.0, 5)
    commit(store, "sw", 0.5, 5)
    silent = {commit(store, "sw", sparsity, 0) for sparsity in (0.9, 0.95)}
    line = (
        "no entity is predicted in 2 of 3 sparse trials, at sparsity 0.9, 0.95 (sw): F1 is 0 for "
        "that, while their dense trials predict some or are not there; a smaller pruning.end or "
        "more steps let them recover"
    )
    assert said(store) == [line]
    others = set(store.read("trials", ["trial_id"])["trial_id"].to_pylist())
    assert said(store, others - silent) == [], "of other sweeps"
    assert {trial_id for trial_id, _ in find_silent(store.read("scores"), "test")} == silent
    assert find_silent(store.read("scores"), "validation") == set()


def test_of_a_multilingual_trial_the_languages_are_named(store):
    commit(store, ("sw", "yo"), 0.0, 5, regime="multilingual")
    (line,) = said(store)
    assert "1 of 1 dense trial, after 40 steps (yo)" in line
