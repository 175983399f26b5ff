"""Steps and mask updates by resource tier, worked by hand."""

from dataclasses import replace

from orchestrator.analysis.tables import STEPS
from tests.factories import (
    PRUNING,
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import (
    commit,
    commit_together,
    fail,
    rows_of,
    shown_tables,
    tables_of,
)

NAMES = [
    *("trials", "grouping", "group", "num_steps_min", "num_steps_mean", "num_steps_max"),
    *("num_updates_min", "num_updates_max", "num_recovery_steps_min", "num_recovery_steps_max"),
    *("num_languages", "num_trials", "num_missing"),
]


def commit_steps(store, language, sparsity, num_steps, num_train, **changes):
    """A trial of so many steps, of which the last one is scored unless `selected_step` is given."""
    selected = changes.pop("selected_step", num_steps)
    spec = make_trial_spec(language=language, target_sparsity=sparsity, **changes)
    result = make_trial_result(
        scores=(make_score(language=language),), robustness=(), predictions=(),
        num_steps=num_steps, selected_step=selected, num_train_sentences=num_train,
    )  # fmt: skip
    store.commit_completed(spec, result, **make_circumstances())
    return spec


def test_steps_updates_and_recovery_by_the_tier_that_was_used(store):
    # Masks change from step 4 to 28 of 40, and from 32 to 224 of 320, every 10 steps.
    for language, num_steps, num_train in (("yo", 40, 100), ("sw", 320, 1000), ("en", 40, 100)):
        for sparsity in (0.0, 0.5):
            commit_steps(store, language, sparsity, num_steps, num_train)
    rows = rows_of(store, "steps", *NAMES)
    assert [row for row in rows if row[1] != "tier"] == [
        ("dense", "all", "all", 40, 400 / 3, 320, None, None, None, None, 3, 3, 0),
        ("dense", "tier_used", "up to 100", 40, 40.0, 40, None, None, None, None, 2, 2, 0),
        ("dense", "tier_used", "up to 1,000", 320, 320.0, 320, None, None, None, None, 1, 1, 0),
        ("sparse", "all", "all", 40, 400 / 3, 320, 3, 20, 12, 96, 3, 3, 0),
        ("sparse", "tier_used", "up to 100", 40, 40.0, 40, 3, 3, 12, 12, 2, 2, 0),
        ("sparse", "tier_used", "up to 1,000", 320, 320.0, 320, 20, 20, 96, 96, 1, 1, 0),
    ]
    # English with 100 sentences is published with 20,000.
    assert [row[2:4] for row in rows if row[:2] == ("dense", "tier")] == [
        ("up to 100", 40), ("up to 1,000", 320), ("over 10,000", 40),
    ]  # fmt: skip
    notes = tables_of(store, only=["steps"])["steps"].notes
    assert "monolingual dense trials have 40 steps on average in one tier and 320" in notes[0]


def test_recovery_ends_with_the_model_that_was_scored(store):
    few = replace(PRUNING, update_every_steps=None, num_updates=6)
    commit_steps(store, "sw", 0.5, 100, 100, pruning=few, selected_step=80)
    (row,) = [row for row in rows_of(store, "steps", *NAMES) if row[1] == "all"]
    assert row[3:10] == (100, 100.0, 100, 6, 6, 10, 10)


def test_of_trials_that_did_not_complete_nothing_is_known(store):
    fail(store, make_trial_spec(target_sparsity=0.5), "bad_data", "no")
    table = tables_of(store, only=["steps"])["steps"]
    assert {row["num_missing"] for row in table.rows.to_pylist()} == {1}
    assert {row["num_steps_min"] for row in table.rows.to_pylist()} == {None}
    assert {row["num_languages"] for row in table.rows.to_pylist()} == {0}


def test_one_multilingual_trial_is_counted_once_in_each_tier(store):
    commit_together(store, 0.0, 0, {"sw": 0.5, "yo": 0.5, "zh": 0.5})
    rows = rows_of(store, "steps", "grouping", "group", "num_languages", "num_trials")
    assert ("all", "all", 3, 1) in rows
    assert ("tier_used", "over 10,000", 1, 1) in rows
    assert tables_of(store, only=["steps"])["steps"].notes == ()


def test_equal_steps_have_no_note(store):
    commit(store, "sw", 0.0, 0, 0.5, num_train=1000)
    commit(store, "yo", 0.0, 0, 0.5, num_train=100)
    tables = tables_of(store, only=["steps"])
    assert tables["steps"].notes == ()
    assert STEPS.meaning[:20] in shown_tables(tables.values())
