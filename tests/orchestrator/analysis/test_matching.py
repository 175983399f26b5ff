"""Two rules of matching are never in one comparison, and no trial counts twice."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.analysis.analyze import analyze
from orchestrator.analysis.inputs.aggregate import aggregate
from orchestrator.errors import StoreError
from tests.factories import (
    STARTED_AT,
    make_circumstances,
    make_predicted_set,
    make_robustness,
    make_robustness_score,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import rows_of, tables_of

ROBUSTNESS = make_robustness("within_language")
EVALUATION = make_trial_spec().evaluation


def commit_by(store, matching, sparsity, seed, f1s, hours=0):
    """A trial of Swahili that was run with a rule of matching, with scores by one or both rules.

    `f1s`: by rule, F1 on sentences as published and on perturbed ones.
    """
    spec = make_trial_spec(
        target_sparsity=sparsity,
        seed=seed,
        evaluation=replace(EVALUATION, matching=matching),
        robustness=ROBUSTNESS,
    )
    result = make_trial_result(
        scores=(make_score(f1=f1s[matching][0]),),
        robustness=(make_robustness_score(f1=f1s[matching][1]),),
        predictions=(make_predicted_set(),),
    )
    times = {
        "started_at": STARTED_AT + timedelta(hours=hours),
        "ended_at": STARTED_AT + timedelta(hours=hours + 1),
    }
    store.commit_completed(spec, result, **make_circumstances(**times))
    for rule in f1s.keys() - {matching}:
        other = replace(spec, evaluation=replace(spec.evaluation, matching=rule))
        f1, perturbed_f1 = f1s[rule]
        scores, robustness = [make_score(f1=f1)], [make_robustness_score(f1=perturbed_f1)]
        store.add_scores(spec.trial_id(), other, scores, robustness)
    return spec


BOTH = {"strict": (0.5, 0.25), "lenient": (0.875, 0.75)}
DENSE = {"strict": (0.75, 0.5), "lenient": (1.0, 0.9375)}


@pytest.mark.parametrize(("matching", "expected"), [("strict", 0.5), ("lenient", 0.875)])
def test_a_trial_with_scores_by_two_rules_counts_once_by_its_own(store, matching, expected):
    commit_by(store, matching, 0.5, 0, BOTH)
    rows = aggregate(store).table.select(["f1_mean", "num_seeds", "settings"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(expected, 1, None)]
    assert rows_of(store, "robustness", "f1_clean_mean", "f1_perturbed_mean", "num_draws") == [
        BOTH[matching] + (1,)
    ]


@pytest.mark.parametrize(("asked", "expected"), [("strict", 0.5), ("lenient", 0.875)])
@pytest.mark.parametrize("run_with", ["strict", "lenient"])
def test_the_rule_is_chosen_whichever_the_trials_were_run_with(store, run_with, asked, expected):
    commit_by(store, run_with, 0.5, 0, BOTH)
    assert aggregate(store, "test", asked).table["f1_mean"].to_pylist() == [expected]


def test_under_a_chosen_rule_the_rule_of_the_run_tells_no_series_apart(store):
    commit_by(store, "strict", 0.5, 0, BOTH)
    commit_by(store, "lenient", 0.7, 0, BOTH)
    table = aggregate(store, "test", "lenient").table
    assert table["settings"].to_pylist() == [None, None]
    assert table["f1_mean"].to_pylist() == [0.875, 0.875]


def test_a_trial_without_scores_by_the_rule_that_is_chosen_is_a_hole(store):
    commit_by(store, "strict", 0.5, 0, {"strict": BOTH["strict"]})
    commit_by(store, "strict", 0.7, 0, BOTH)
    chosen = aggregate(store, "test", "lenient")
    assert chosen.table["f1_mean"].to_pylist() == [None, 0.875]
    assert [hole.why for hole in chosen.holes] == [
        "not scored on test by the lenient rule of its cell"
    ]


@pytest.mark.parametrize("read", [aggregate, analyze])
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            "lenient",
            "matching: no score on test is by the lenient rule, all are by the strict one; `run` "
            "the sweep with evaluation.matching=lenient to add them",
        ),
        ("loose", "matching: 'loose' is no rule; give strict or lenient"),
    ],
)
def test_a_rule_without_any_score_is_refused(store, read, rule, message):
    commit_by(store, "strict", 0.5, 0, {"strict": BOTH["strict"]})
    with pytest.raises(StoreError) as error:
        read(store, "test", matching=rule)
    assert str(error.value) == message


def test_no_rule_is_refused_where_nothing_is_scored(store):
    spec = make_trial_spec()
    failure = {"kind": "bad_data", "message": "no sentences", "traceback": None}
    store.commit_failed(spec, **failure, **make_circumstances())
    assert len(aggregate(store, "test", "lenient").holes) == 1


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["strict", "lenient"])
def test_every_table_is_of_the_rule_that_is_chosen(store, rule):
    for seed in range(2):
        commit_by(store, "strict", 0.0, seed, DENSE)
        commit_by(store, "lenient", 0.5, seed, BOTH)
    tables = {table.name: table for table in analyze(store, matching=rule)}
    delta = BOTH[rule][0] - DENSE[rule][0]
    assert tables["quality"].rows["delta_dense_mean"].to_pylist() == [None, delta]
    assert tables["robustness"].rows["f1_perturbed_mean"].to_pylist() == [
        DENSE[rule][1],
        BOTH[rule][1],
    ]
    assert tables["significance"].rows["delta_mean"].to_pylist()[0] == delta
    assert f"Entities count by the {rule} rule of matching." in tables["quality"].notes


@pytest.mark.slow
def test_a_trial_that_was_run_again_by_another_rule_counts_once_by_either(store):
    """Without predictions, so that the strict scores are those of the first run."""
    spec = make_trial_spec(robustness=ROBUSTNESS)
    for hour, rule in enumerate(("strict", "lenient")):
        evaluation = replace(EVALUATION, matching=rule, predictions=())
        f1, perturbed_f1 = BOTH[rule]
        result = make_trial_result(
            f1=f1, robustness=(make_robustness_score(f1=perturbed_f1),), predictions=()
        )
        times = {"started_at": STARTED_AT + timedelta(hours=hour)}
        run = replace(spec, evaluation=evaluation)
        assert store.commit_completed(run, result, **make_circumstances(**times))
    for chosen, rule in ((None, "lenient"), ("lenient", "lenient"), ("strict", "strict")):
        found = aggregate(store, "test", chosen)
        assert found.table.select(["f1_mean", "num_seeds"]).to_pylist() == [
            {"f1_mean": BOTH[rule][0], "num_seeds": 1}
        ]
        assert found.notes == [f"Entities count by the {rule} rule of matching."]
        (row,) = analyze(store, only=["robustness"], matching=chosen)[0].rows.to_pylist()
        assert (row["f1_perturbed_mean"], row["num_draws"]) == (BOTH[rule][1], 1)


def test_which_rule_each_series_has_is_said(store):
    commit_by(store, "strict", 0.0, 0, DENSE)
    commit_by(store, "lenient", 0.5, 0, BOTH)
    assert aggregate(store).notes == [
        "Entities count by the rule of matching that the trials of each series were last run with: "
        "the lenient one in 1 cell, the strict one in 1 cell. --matching takes one for all."
    ]


def test_a_change_to_dense_is_of_one_rule(store):
    """The dense trial was run with the strict rule and has lenient scores since."""
    commit_by(store, "strict", 0.0, 0, DENSE)
    commit_by(store, "lenient", 0.5, 0, BOTH)
    rows = aggregate(store).table.select(["target_sparsity", "f1_mean", "delta_dense_mean"])
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        (0.0, 0.75, None),
        (0.5, 0.875, 0.875 - 1.0),
    ]
    names = ("target_sparsity", "f1_perturbed_mean", "delta_dense_mean", "delta_drop_mean")
    assert rows_of(store, "robustness", *names) == [
        (0.0, 0.5, None, None),
        (0.5, 0.75, 0.75 - 0.9375, (0.875 - 0.75) - (1.0 - 0.9375)),
    ]


def test_without_a_dense_score_by_the_same_rule_there_is_no_change(store):
    commit_by(store, "strict", 0.0, 0, {"strict": DENSE["strict"]})
    commit_by(store, "lenient", 0.5, 0, {"lenient": BOTH["lenient"]})
    names = ("target_sparsity", "delta_dense_mean", "num_pairs")
    assert rows_of(store, "quality", *names) == [(0.0, None, 0), (0.5, None, 0)]
    names = ("target_sparsity", "delta_dense_mean", "delta_drop_mean", "num_pairs")
    assert rows_of(store, "robustness", *names) == [(0.0, None, None, 0), (0.5, None, None, 0)]


def test_seeds_run_with_two_rules_are_compared_by_that_of_the_newest(store):
    commit_by(store, "strict", 0.5, 0, BOTH)
    alone = commit_by(store, "strict", 0.5, 1, {"strict": BOTH["strict"]})
    commit_by(store, "lenient", 0.5, 2, {"lenient": (0.625, 0.5)}, hours=1)
    found = aggregate(store)
    assert found.table["f1_mean"].to_pylist() == [(0.875 + 0.625) / 2]
    assert [(hole.trial_id, hole.why) for hole in found.holes] == [
        (alone.trial_id(), "not scored on test by the lenient rule of its cell")
    ]


@pytest.mark.slow
def test_predictions_counted_by_another_rule_are_not_used(store):
    """The dense trials' predictions are counted strictly; only their scores are lenient, too."""
    for seed in range(2):
        commit_by(store, "strict", 0.0, seed, DENSE)
        commit_by(store, "lenient", 0.5, seed, BOTH)
    row = tables_of(store)["significance"].rows.to_pylist()[0]
    assert (row["allows_for"], row["num_sentences"]) == ("nothing", None)
    assert (row["delta_mean"], row["reason"]) == (0.875 - 1.0, "no seed or sentence changes it")
