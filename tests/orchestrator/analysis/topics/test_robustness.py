"""Tables of F1 on perturbed sentences, from small results worked by hand."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories import (
    STARTED_AT,
    make_circumstances,
    make_not_applicable,
    make_robustness,
    make_robustness_score,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of

ROBUSTNESS = make_robustness("within_language", "within_family")


@pytest.mark.slow
def test_robustness_is_dense_against_sparse_and_names_what_does_not_apply(store):
    for sparsity, clean, perturbed in ((0.0, 0.75, (0.25, 0.25)), (0.5, 0.5, (0.5, 0.25))):
        scores = tuple(make_robustness_score(draw=draw, f1=f1) for draw, f1 in enumerate(perturbed))
        scores += (make_robustness_score(entity_type="PER", f1=1.0), make_not_applicable())
        commit(store, "sw", sparsity, 0, clean, robustness_scores=scores, robustness=ROBUSTNESS)
    names = (
        "target_sparsity",
        "perturbation",
        "status",
        "reason",
        "f1_perturbed_mean",
        "drop_mean",
        "delta_drop_mean",
    )
    assert rows_of(store, "robustness", *names) == [
        (0.0, "within_family", "not_applicable", "sw is alone in its family", None, None, None),
        (0.5, "within_family", "not_applicable", "sw is alone in its family", None, None, None),
        (0.0, "within_language", "scored", None, 0.25, 0.5, None),
        (0.5, "within_language", "scored", None, 0.375, 0.125, -0.375),
    ]
    assert "n/a: sw within_family: sw is alone in its family" in shown_tables(
        tables_of(store).values()
    )


@pytest.mark.slow
def test_the_validation_split_is_analyzed_with_robustness_on_test(store):
    result = make_trial_result(
        scores=(make_score(split="validation", f1=0.25), make_score(f1=0.75)), predictions=()
    )
    store.commit_completed(make_trial_spec(robustness=ROBUSTNESS), result, **make_circumstances())
    tables = tables_of(store, "validation")
    assert tables["quality"].rows.select(["split", "f1_mean"]).to_pylist() == [
        {"split": "validation", "f1_mean": 0.25}
    ]
    assert tables["robustness"].rows["f1_clean_mean"].to_pylist() == [None, 0.75]


def test_scores_on_other_perturbed_sentences_are_not_mixed(store):
    """Seeds scored on sentences of another random draw: the newest of a cell decides, and a dense
    trial on other sentences is no pair."""
    other = replace(ROBUSTNESS, seed=1)
    for hours, (sparsity, seed, robustness, f1) in enumerate(
        (
            (0.0, 0, ROBUSTNESS, 0.25),
            (0.0, 1, other, 0.5),
            (0.5, 0, other, 0.125),
            (0.5, 1, other, 0.25),
            (0.5, 2, ROBUSTNESS, 0.75),
            (0.5, 3, other, 0.375),
            (0.5, 4, None, 0.0),
        )
    ):
        spec = make_trial_spec(target_sparsity=sparsity, seed=seed, robustness=robustness)
        perturbed = (make_robustness_score(f1=f1),) if robustness else ()
        result = make_trial_result(
            scores=(make_score(f1=0.75),), robustness=perturbed, predictions=()
        )
        times = {
            "started_at": STARTED_AT + timedelta(hours=hours),
            "ended_at": STARTED_AT + timedelta(hours=hours + 1),
        }
        store.commit_completed(spec, result, **make_circumstances(**times))
    names = ("target_sparsity", "f1_perturbed_mean", "delta_dense_mean", "num_seeds", "num_pairs")
    rows = rows_of(store, "robustness", "perturbation", *names)
    assert [row[1:] for row in rows if row[0] == "within_language"] == [
        (0.0, 0.5, None, 1, 0),
        (0.5, (0.125 + 0.25 + 0.375) / 3, 0.25 - 0.5, 3, 1),
    ]
