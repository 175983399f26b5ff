"""Robustness by entity type, worked by hand."""

from dataclasses import replace

from tests.factories import (
    make_circumstances,
    make_robustness_score,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of
from tests.orchestrator.analysis.topics.test_robustness import ROBUSTNESS

NAMES = ("target_sparsity", "perturbation", "entity_type", "f1_clean_mean", "f1_perturbed_mean",
         "drop_mean", "delta_dense_mean", "delta_drop_mean", "num_seeds", "num_pairs",
         "num_holes")  # fmt: skip


def commit_types(store, sparsity, clean, perturbed, robustness=ROBUSTNESS):
    """A trial with these F1 of PER, and on each draw of perturbed sentences."""
    result = make_trial_result(
        scores=(make_score(f1=0.9), make_score(entity_type="PER", f1=clean)),
        robustness=tuple(
            make_robustness_score(draw=draw, entity_type=entity_type, f1=f1)
            for draw, of_draw in enumerate(perturbed)
            for entity_type, f1 in (("PER", of_draw), ("micro", 0.1))
        ),
        predictions=(),
    )
    spec = make_trial_spec(target_sparsity=sparsity, robustness=robustness)
    store.commit_completed(spec, result, **make_circumstances())


def found(store):
    return {row[:3]: row[3:] for row in rows_of(store, "robustness_types", *NAMES)}


def test_the_drop_of_a_type_is_of_its_own_clean_f1(store):
    commit_types(store, 0.0, 0.75, (0.5, 0.5))
    commit_types(store, 0.5, 0.5, (0.25, 0.0))
    rows = found(store)
    assert rows[0.5, "within_language", "PER"] == (0.5, 0.125, 0.375, -0.375, 0.125, 1, 1, 0)
    assert rows[0.0, "within_language", "PER"] == (0.75, 0.5, 0.25, None, None, 1, 0, 0)
    assert rows[0.0, "within_language", "LOC"] == (*(None,) * 5, 0, 0, 1)
    tables = tables_of(store, only=["robustness_types"])
    assert max(map(len, shown_tables(tables.values()).splitlines())) <= 100


def test_a_dense_trial_on_other_perturbed_sentences_is_no_pair(store):
    commit_types(store, 0.0, 0.75, (0.5,), replace(ROBUSTNESS, seed=1))
    commit_types(store, 0.5, 0.5, (0.25,))
    assert found(store)[0.5, "within_language", "PER"][-3:] == (1, 0, 0)


def test_without_perturbed_sentences_a_note_says_why(store):
    commit(store, "sw", 0.5, 0, 0.5)
    table = tables_of(store, only=["robustness_types"])["robustness_types"]
    assert table.rows.num_rows == 0
    assert "No perturbed sentences were scored" in table.notes[0]
