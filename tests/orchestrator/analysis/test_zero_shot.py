"""Scores in languages that a trial was not trained on are a regime of their own in every table."""

import polars
import pytest

from orchestrator.analysis.inputs.aggregate import aggregate
from orchestrator.analysis.topics.layers import USED_EMBEDDINGS
from orchestrator.results.schema import ZERO_SHOT
from tests.factories import (
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
    make_vocabulary,
)
from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of

TRANSFERRED = "zero-shot from en"


def commit_with_transfer(store, sparsity, seed, f1s, language="en", num_train=1000):
    """A trial on English that is scored on the languages of `f1s`."""
    spec = make_trial_spec(language=language, target_sparsity=sparsity, seed=seed)
    scores = tuple(make_score(language=code, f1=f1) for code, f1 in f1s.items())
    result = make_trial_result(
        scores=scores, robustness=(), predictions=(), num_train_sentences=num_train,
        vocabulary=(make_vocabulary(language=language),),
    )  # fmt: skip
    store.commit_completed(spec, result, **make_circumstances())
    return spec


def fill(store):
    """English trials with scores in Swahili and Yoruba, and trials on Swahili itself."""
    for seed in (0, 1):
        commit_with_transfer(store, 0.0, seed, {"en": 0.8, "sw": 0.5, "yo": 0.25})
        commit_with_transfer(store, 0.5, seed, {"en": 0.7, "sw": 0.25, "yo": 0.125})
        commit(store, "sw", 0.0, seed, 0.9)
        commit(store, "sw", 0.5, seed, 0.85)


def test_changes_are_to_the_dense_trial_on_the_same_language(store):
    fill(store)
    rows = aggregate(store).table.filter(polars_mask(aggregate(store).table)).to_pylist()
    found = {
        (row["regime"], row["language"], row["f1_mean"], row["delta_dense_mean"], row["num_holes"])
        for row in rows
    }
    assert found == {
        ("monolingual", "en", 0.7, 0.7 - 0.8, 0),
        ("monolingual", "sw", 0.85, 0.85 - 0.9, 0),
        (TRANSFERRED, "sw", 0.25, -0.25, 0),
        (TRANSFERRED, "yo", 0.125, -0.125, 0),
    }


def polars_mask(table):
    return polars.from_arrow(table)["target_sparsity"].gt(0).to_arrow()


def test_means_over_languages_keep_them_apart(store):
    fill(store)
    columns = ("regime", "grouping", "target_sparsity", "f1_mean", "num_languages")
    groups = {row for row in rows_of(store, "groups", *columns) if row[1] == "all"}
    assert groups == {
        ("monolingual", "all", 0.0, (0.8 + 0.9) / 2, 2),
        ("monolingual", "all", 0.5, (0.7 + 0.85) / 2, 2),
        (TRANSFERRED, "all", 0.0, 0.375, 2),
        (TRANSFERRED, "all", 0.5, 0.1875, 2),
    }


@pytest.mark.slow
def test_what_a_language_uses_of_the_vocabulary_is_told_of_languages_trained_on(store):
    fill(store)
    rows = rows_of(store, "languages", "covariate", "regime", "language", "source")
    assert {row[1:] for row in rows if row[0] == "unknown_rate"} == {
        ("monolingual", "en", "words of the train split, 2 trials"),
        ("monolingual", "sw", "words of the train split, 2 trials"),
        (TRANSFERRED, "sw", "not trained on"),
        (TRANSFERRED, "yo", "not trained on"),
    }
    used = rows_of(store, "layer_sparsity", "kind", "regime", "language")
    assert {row[1:] for row in used if row[0] == USED_EMBEDDINGS} == {
        ("monolingual", "en"),
        ("monolingual", "sw"),
    }


@pytest.mark.slow
def test_every_table_can_be_made_and_shown(store):
    fill(store)
    tables = tables_of(store)
    regimes = {
        name: set(table.rows["regime"].to_pylist())
        for name, table in tables.items()
        if table.rows.num_rows
    }
    assert all(of_table <= {"monolingual", TRANSFERRED} for of_table in regimes.values())
    assert regimes["quality"] == {"monolingual", TRANSFERRED}
    assert TRANSFERRED in shown_tables(tables.values())


def test_of_a_language_that_was_not_trained_on_no_train_sentences_are_told(store):
    fill(store)
    facts = set(rows_of(store, "quality", "regime", "language", "num_train_sentences", "tier_used"))
    small = "up to 100"
    assert facts == {
        ("monolingual", "en", 1000, "up to 1,000"),
        ("monolingual", "sw", 100, small),
        (TRANSFERRED, "sw", None, None),
        (TRANSFERRED, "yo", None, None),
    }


def test_two_languages_that_are_trained_on_are_two_regimes(store):
    commit_with_transfer(store, 0.5, 0, {"en": 0.7, "yo": 0.125})
    commit_with_transfer(store, 0.5, 0, {"sw": 0.7, "yo": 0.5}, language="sw")
    rows = aggregate(store).table.select(["regime", "language", "f1_mean"]).to_pylist()
    assert [tuple(row.values()) for row in rows if row["language"] == "yo"] == [
        ("zero-shot from en", "yo", 0.125),
        ("zero-shot from sw", "yo", 0.5),
    ]


def test_a_trial_that_was_not_scored_elsewhere_is_no_hole(store):
    """One seed was run before the other languages were asked for."""
    commit_with_transfer(store, 0.5, 0, {"en": 0.7, "yo": 0.125})
    commit(store, "en", 0.5, 1, 0.75, num_train=1000)
    found = aggregate(store)
    assert found.holes == []
    rows = found.table.select(["language", "num_seeds", "num_holes"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("en", 2, 0), ("yo", 1, 0)]


def test_stored_rows_say_that_they_are_zero_shot(store):
    fill(store)
    scores = polars.from_arrow(store.read("scores", ["trial_id", "language", ZERO_SHOT.name]))
    assert scores.filter(polars.col(ZERO_SHOT.name)).height == 8
    assert set(scores.filter(polars.col(ZERO_SHOT.name))["language"]) == {"sw", "yo"}
