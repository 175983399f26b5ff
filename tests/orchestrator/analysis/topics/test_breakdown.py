"""F1 by part of the sentences and entity type, worked by hand."""

from dataclasses import replace

import pytest

from orchestrator.analysis.tables import SUBSETS
from tests.factories import (
    make_circumstances,
    make_predicted_set,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of

PART = ("subset", "entity_type")


def commit_parts(store, sparsity, seed, f1s, predictions=()):
    """A Swahili trial with an F1 on test for each (subset, entity type)."""
    scores = tuple(
        make_score(subset=subset, entity_type=entity_type, f1=f1, support=7, num_sentences=3)
        for (subset, entity_type), f1 in f1s.items()
    )
    result = make_trial_result(scores=scores, robustness=(), predictions=predictions)
    spec = make_trial_spec(target_sparsity=sparsity, seed=seed)
    store.commit_completed(spec, result, **make_circumstances())


def found(store, sparsity, *names):
    """By subset and entity type: these columns of a sparsity."""
    rows = rows_of(store, "breakdown", "target_sparsity", *PART, *names)
    return {row[1:3]: row[3:] for row in rows if row[0] == sparsity}


@pytest.mark.slow
def test_f1_and_its_change_by_subset_and_type_are_means_over_seeds(store):
    for seed, dense, sparse in ((0, 0.75, 0.25), (1, 0.5, 0.375), (2, None, 0.5)):
        commit_parts(store, 0.0, seed, {("all", "micro"): 0.9, ("unseen", "LOC"): dense})
        commit_parts(store, 0.5, seed, {("all", "micro"): 0.9, ("unseen", "LOC"): sparse})
    names = ("f1_mean", "delta_dense_mean", "num_seeds", "num_pairs", "num_holes", "support",
             "num_sentences", "reason")  # fmt: skip
    rows = found(store, 0.5, *names)
    assert len(rows) == len(SUBSETS) * 4
    assert rows["unseen", "LOC"] == (0.375, -0.3125, 3, 2, 0, 7, 3, None)
    assert rows["all", "micro"] == (0.9, 0.0, 3, 3, 0, 7, 3, None)
    assert rows["seen", "PER"] == (None, None, 0, 0, 3, None, None, "not scored")
    assert rows["distinct", "micro"][-1] == "no predictions are stored"
    assert found(store, 0.0, "f1_mean", "num_holes")["unseen", "LOC"] == (0.625, 1)


def with_sentences(one, **changes):
    return replace(one, sentences=replace(one.sentences, **changes))


REPEATED = with_sentences(
    make_predicted_set(
        predicted=[["O", "B-LOC"], ["O", "B-LOC"], ["B-PER", "O", "B-ORG"]],
        confidence=[[255, 204], [255, 204], [128, 250, 60]],
        support=[1, 1, 2], num_predicted=[1, 1, 2], num_correct=[1, 1, 1],
    ),
    tokens=[["habari", "Nairobi"], ["habari", "Nairobi"], ["Asha", "wa", "Tanga"]],
    gold=[["O", "B-LOC"], ["O", "B-LOC"], ["B-PER", "O", "B-LOC"]],
    num_subwords=[3, 3, 5], num_unseen_entities=[0, 0, 1], is_seen=[True, True, False],
)  # fmt: skip
"""Two sentences of which one is there twice: of four entities three are found."""


def test_a_sentence_that_is_there_twice_counts_once_among_distinct_ones(store):
    f1s = {("all", "micro"): 0.75, ("all", "ORG"): None, ("seen", "ORG"): None}
    commit_parts(store, 0.0, 0, f1s, (REPEATED,))
    rows = found(store, 0.0, "f1_mean", "num_sentences", "support", "reason")
    assert rows["distinct", "micro"] == (pytest.approx(2 * 2 / (3 + 3)), 2, 3, None)
    assert rows["distinct", "LOC"] == (pytest.approx(2 / 3), 2, 2, None)
    assert rows["distinct", "PER"] == (1.0, 2, 1, None)
    assert rows["distinct", "ORG"] == (0.0, 2, 0, None)
    no_entity = "no such entity is there or predicted"
    assert rows["all", "ORG"] == (None, 3, 7, no_entity)


def test_errors_are_told_by_subset_and_type(store):
    commit_parts(store, 0.0, 0, {("all", "micro"): 0.75}, (REPEATED,))
    rows = rows_of(store, "errors", *PART, "side", "kind", "num_mean", "total_mean", "share_mean")
    rows = {row[:4]: row[4:] for row in rows}
    assert rows["all", "micro", "true", "correct"] == (3.0, 4.0, 0.75)
    assert rows["seen", "micro", "true", "correct"] == (2.0, 2.0, 1.0)
    assert rows["unseen", "micro", "true", "type"] == (1.0, 2.0, 0.5)
    assert rows["distinct", "micro", "true", "correct"] == (2.0, 3.0, pytest.approx(2 / 3))
    # The type is that of the entity that is counted: true on one side, predicted on the other.
    assert rows["all", "LOC", "true", "type"] == (1.0, 3.0, pytest.approx(1 / 3))
    assert rows["all", "LOC", "predicted", "type"] == (0.0, 2.0, 0.0)
    assert rows["all", "ORG", "predicted", "type"] == (1.0, 1.0, 1.0)
    assert rows["all", "ORG", "true", "type"] == (0.0, 0.0, None)


def perturbed(draw, predicted, set_id):
    one = make_predicted_set(predicted=predicted, num_predicted=[1, 0], num_correct=[0, 0])
    place = {"perturbation": "within_language", "draw": draw, "set_id": set_id}
    return with_sentences(one, **place)


def test_errors_on_perturbed_sentences_are_means_over_draws(store):
    evaluation = replace(make_trial_spec().evaluation, predictions=("test", "perturbed"))
    wrong = [["O", "B-ORG"], ["O"] * 3]
    right = [["O", "B-LOC"], ["O"] * 3]
    for sparsity, drawn in ((0.0, (right, right)), (0.5, (wrong, right))):
        sets = [perturbed(draw, one, f"{draw:016x}") for draw, one in enumerate(drawn)]
        commit(store, "sw", sparsity, 0, 0.5, evaluation=evaluation,
               predictions=(make_predicted_set(), *sets))  # fmt: skip
    names = ("target_sparsity", "perturbation", "subset", "entity_type", "side", "kind",
             "num_mean", "share_mean", "delta_dense_mean")  # fmt: skip
    rows = {row[:6]: row[6:] for row in rows_of(store, "errors", *names)}
    place = (0.5, "within_language", "all", "micro", "true")
    assert rows[*place, "type"] == (0.5, pytest.approx(1 / 6), pytest.approx(1 / 6))
    assert rows[*place, "correct"] == (0.5, pytest.approx(1 / 6), pytest.approx(-1 / 6))
    # The clean sentences are not mixed with them.
    assert rows[0.5, "none", "all", "micro", "true", "correct"][0] == 2.0
    notes = tables_of(store, only=["errors"])["errors"].notes
    assert not any("perturbed in evaluation.predictions" in note for note in notes)


def test_nothing_but_zeros_and_three_sentences(store):
    for sparsity in (0.0, 0.5):
        commit_parts(store, sparsity, 0, dict.fromkeys([("all", "micro"), ("all", "PER")], 0.0))
    tables = tables_of(store, only=["breakdown", "errors"])
    rows = found(store, 0.5, "f1_mean", "f1_std", "delta_dense_mean", "delta_dense_std")
    assert rows["all", "micro"] == (0.0, None, 0.0, None)
    assert "2 of 2 cells and languages have no predictions" in " ".join(tables["breakdown"].notes)
    assert max(map(len, shown_tables(tables.values()).splitlines())) <= 100
