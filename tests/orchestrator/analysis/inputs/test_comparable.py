"""Which cells may be compared: series of equal settings, and what tells them apart."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.analysis.inputs.aggregate import aggregate
from orchestrator.analysis.inputs.comparable import embeddings_name
from orchestrator.analysis.show_aggregate import f1_table
from tests.factories import (
    PRUNING,
    STARTED_AT,
    make_circumstances,
    make_robustness,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import (
    commit,
    commit_together,
    commit_with_all_scores,
    rows_of,
    shown,
)


def test_cells_that_differ_in_settings_are_told_apart_and_share_their_dense_trials(store):
    commit_with_all_scores(store, "sw", 0.0, 0, 0.75)
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    commit_with_all_scores(store, "sw", 0.5, 0, 0.25, pruning=replace(PRUNING, scope="layer"))
    rows = aggregate(store).table.to_pylist()
    assert {(row["settings"], row["f1_mean"], row["delta_dense_mean"]) for row in rows} == {
        (None, 0.75, None),
        ("pruning.scope=global", 0.5, -0.25),
        ("pruning.scope=layer", 0.25, -0.5),
    }
    assert "pruning.scope=layer" in shown(f1_table(aggregate(store)), width=160)


def test_numbers_of_updates_are_told_apart(store):
    """Also of trials on other languages, which share no place in the grid."""
    for number, code in ((20, "sw"), (40, "yo")):
        pruning = replace(PRUNING, update_every_steps=None, num_updates=number)
        commit_with_all_scores(store, code, 0.5, 0, 0.5, pruning=pruning)
    assert set(aggregate(store).table["settings"].to_pylist()) == {
        "pruning.num_updates=20",
        "pruning.num_updates=40",
    }
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    assert set(aggregate(store).table["settings"].to_pylist()) == {
        "pruning.update_every_steps=10, pruning.num_updates=None",
        "pruning.update_every_steps=None, pruning.num_updates=20",
        "pruning.update_every_steps=None, pruning.num_updates=40",
    }


def test_a_sweep_of_which_nothing_has_run_is_told_apart_by_its_name(store):
    other = make_trial_spec(pruning=replace(PRUNING, scope="layer"))
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    store.write_plan("demo", [other])
    assert set(aggregate(store).table["settings"].to_pylist()) == {None, "sweep demo"}


def test_planned_cells_have_the_settings_of_their_sweep(store):
    layer = replace(PRUNING, scope="layer")
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    commit_with_all_scores(store, "sw", 0.5, 0, 0.25, pruning=layer)
    planned = (("sw", 0.5, 0), ("sw", 0.9, 0), ("yo", 0.5, 3))
    store.write_plan(
        "by-layer",
        [
            make_trial_spec(language=code, target_sparsity=at, seed=seed, pruning=layer)
            for code, at, seed in planned
        ],
    )
    rows = aggregate(store).table.select(["language", "target_sparsity", "settings"]).to_pylist()
    assert [tuple(row.values()) for row in rows if row["settings"] == "pruning.scope=layer"] == [
        ("sw", 0.5, "pruning.scope=layer"),
        ("sw", 0.9, "pruning.scope=layer"),
        ("yo", 0.5, "pruning.scope=layer"),
    ]


def test_pruned_embeddings_and_the_data_of_another_language_are_no_other_settings(store):
    corpus = make_trial_spec().corpus
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    commit_with_all_scores(
        store, "sw", 0.5, 0, 0.25, pruning=replace(PRUNING, embedding_sparsity=0.5)
    )
    commit_with_all_scores(
        store, "yo", 0.5, 0, 0.75, corpus=replace(corpus, fingerprint="of other files")
    )
    assert aggregate(store).table["settings"].to_pylist() == [None, None, None]


def test_a_validation_split_that_one_language_has_and_another_gets_is_no_other_setting(store):
    """Of one language two fractions are two versions of its data."""
    corpus = make_trial_spec().corpus
    held, other = (replace(corpus, validation_from_train=part) for part in (0.1, 0.2))
    for sparsity in (0.0, 0.5):
        commit_with_all_scores(store, "sw", sparsity, 0, 0.5)
        commit_with_all_scores(store, "yo", sparsity, 0, 0.75, corpus=held)
    found = aggregate(store).table
    assert found["settings"].to_pylist() == [None] * 4
    assert found["delta_dense_mean"].to_pylist().count(0.0) == 2
    commit_with_all_scores(store, "yo", 0.5, 0, 0.25, corpus=other)
    rows = aggregate(store).table.to_pylist()
    assert len({row["settings"] for row in rows if row["target_sparsity"] == 0.5}) == 2


def test_versions_of_a_languages_data_are_told_apart_the_newest_first(store):
    corpus = make_trial_spec().corpus
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    newer = make_trial_spec(corpus=replace(corpus, fingerprint="newer files"))
    later = make_circumstances()["started_at"] + timedelta(days=1)
    store.commit_completed(
        newer, make_trial_result(f1=0.125), **make_circumstances(started_at=later, ended_at=later)
    )
    found = aggregate(store).table.select(["settings", "f1_mean"]).to_pylist()
    assert {tuple(row.values()) for row in found} == {("data=2", 0.5), ("data=1", 0.125)}


def test_a_model_folder_that_was_moved_is_no_other_setting(store):
    model = replace(make_trial_spec().model, fingerprint="abc")
    for sparsity, name in ((0.5, "/here"), (0.9, "/there")):
        commit_with_all_scores(store, "sw", sparsity, 0, 0.5, model=replace(model, name=name))
    assert aggregate(store).table["settings"].to_pylist() == [None, None]


def test_cells_that_nothing_known_tells_apart_are_told_apart_by_their_ids(store):
    """The data of sw changed after its trial; of the trial that is planned for it since, nothing is
    known but that its sweep's other trials have the same settings."""
    corpus = make_trial_spec().corpus
    old = commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    other = commit_with_all_scores(store, "yo", 0.5, 0, 0.5)
    new = make_trial_spec(language="sw", corpus=replace(corpus, fingerprint="newer files"))
    store.write_plan("demo", [other, new])
    rows = aggregate(store).table.select(["language", "settings"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        *(("sw", f"cell {cell_id}") for cell_id in sorted([old.cell_id(), new.cell_id()])),
        ("yo", None),
    ]


def test_sets_of_languages_trained_on_together_are_settings(store):
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.75})
    three = make_trial_spec(regime="multilingual", languages=("jv", "sw", "yo"))
    store.commit_completed(three, make_trial_result(scores=(make_score(),)), **make_circumstances())
    assert set(aggregate(store).table["settings"].to_pylist()) == {
        "languages=sw+yo",
        "languages=jv+sw+yo",
    }


@pytest.mark.slow
def test_settings_are_never_mixed(store):
    training = make_trial_spec().training
    for lr, dense, sparse in ((1e-5, 0.5, 0.25), (2e-5, 0.75, 0.875)):
        for language in ("de", "fr"):
            for sparsity, f1 in ((0.0, dense), (0.5, sparse)):
                commit(store, language, sparsity, 0, f1, training=replace(training, lr=lr))
    names = ("settings", "worst_f1", "dense_worst_f1", "num_languages")
    found = rows_of(store, "disparity", *names)
    assert found == [("training.lr=1e-05", 0.25, 0.5, 2), ("training.lr=2e-05", 0.875, 0.75, 2)]
    assert {row[0] for row in rows_of(store, "groups", "settings")} == {
        "training.lr=1e-05",
        "training.lr=2e-05",
    }


@pytest.mark.slow
def test_data_that_changed_for_one_language_does_not_part_the_others(store):
    """The present data of all languages are compared, whether a language's ever changed or not."""
    old, new = (replace(make_trial_spec().corpus, fingerprint=name) for name in ("old", "new"))
    for language, corpus, f1, hours in (
        ("sw", old, 0.9, 0),
        ("sw", new, 0.7, 1),
        ("yo", old, 0.5, 2),
    ):
        for sparsity, change in ((0.0, 0.0), (0.5, -0.25)):
            spec = make_trial_spec(language=language, target_sparsity=sparsity, corpus=corpus)
            times = {
                "started_at": STARTED_AT + timedelta(hours=hours),
                "ended_at": STARTED_AT + timedelta(hours=hours + 1),
            }
            result = make_trial_result(scores=(make_score(language=language, f1=f1 + change),))
            store.commit_completed(spec, result, **make_circumstances(**times))
    rows = rows_of(
        store, "groups", "grouping", "settings", "target_sparsity", "f1_mean", "num_languages"
    )
    overall = [row for row in rows if row[0] == "all" and row[2] == 0.0]
    assert overall == [
        ("all", "data=1", 0.0, pytest.approx(0.6), 2),
        ("all", "data=2", 0.0, pytest.approx(0.9), 1),
    ]


def test_embeddings_are_named_by_what_was_done_to_them():
    assert [embeddings_name(0.9, value) for value in (0.0, 0.9, 0.5)] == [
        "dense",
        "pruned",
        "pruned to 0.5",
    ]


def test_how_much_is_scored_beyond_f1_is_no_other_setting(store):
    """What is scored beside F1 on published sentences changes no F1 that is compared."""
    evaluation = make_trial_spec().evaluation
    robustness = make_robustness("within_language")
    for language, changes in (
        ("sw", {}),
        ("yo", {"evaluation": replace(evaluation, predictions=())}),
        ("jv", {"evaluation": replace(evaluation, splits=("test",), batch_size=7)}),
        ("my", {"robustness": robustness}),
    ):
        commit(store, language, 0.5, 0, 0.5, **changes)
    assert aggregate(store).table["settings"].to_pylist() == [None] * 4


def test_the_batch_size_of_scoring_is_a_setting_where_scores_choose_the_epoch(store):
    evaluation = replace(make_trial_spec().evaluation, selection="best_epoch")
    for batch_size in (64, 128):
        commit(store, "sw", 0.5, 0, 0.5, evaluation=replace(evaluation, batch_size=batch_size))
    assert set(aggregate(store).table["settings"].to_pylist()) == {
        "evaluation.batch_size=64",
        "evaluation.batch_size=128",
    }
