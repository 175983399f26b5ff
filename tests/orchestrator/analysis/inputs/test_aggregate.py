"""F1 over seeds by language and sparsity, and what is missing of it."""

import math

import pytest

from orchestrator.analysis.inputs.aggregate import aggregate
from orchestrator.analysis.show_aggregate import f1_table
from orchestrator.errors import StoreError
from tests.factories import make_circumstances, make_score, make_trial_result, make_trial_spec
from tests.orchestrator.analysis.committing import (
    commit_together,
    commit_with_all_scores,
    fail,
    shown,
)

NUMBERS = (
    "language",
    "target_sparsity",
    "f1_mean",
    "f1_std",
    "num_seeds",
    "delta_dense_mean",
    "relative_dense_mean",
    "num_pairs",
    "num_holes",
)


def test_mean_spread_and_paired_difference_over_seeds(store):
    for seed, f1 in enumerate((0.75, 0.5, 1.0)):
        commit_with_all_scores(store, "sw", 0.0, seed, f1)
    for seed, f1 in enumerate((0.5, 0.5)):
        commit_with_all_scores(store, "sw", 0.5, seed, f1)
    commit_with_all_scores(store, "sw", 0.5, 3, 0.875)  # a seed without its dense trial
    dense, pruned = aggregate(store).table.select(NUMBERS).to_pylist()
    # dense: mean 2.25 / 3; deviations 0, -0.25, 0.25, sum of squares 0.125, over n - 1 = 2: 0.0625,
    # root 0.25
    assert tuple(dense.values()) == ("sw", 0.0, 0.75, 0.25, 3, None, None, 0, 0)
    # pruned: mean (0.5 + 0.5 + 0.875) / 3; pairs 0.5 - 0.75 and 0.5 - 0.5, as parts of dense -1 / 3
    # and 0
    std, relative = pytest.approx(math.sqrt(0.09375 / 2)), pytest.approx(-1 / 6)
    assert tuple(pruned.values()) == ("sw", 0.5, 0.625, std, 3, -0.125, relative, 2, 0)


def test_one_seed_has_no_spread(store):
    commit_with_all_scores(store, "sw", 0.0, 0, 0.75)
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    row = aggregate(store).table.to_pylist()[1]
    assert (row["f1_mean"], row["f1_std"], row["num_seeds"]) == (0.5, None, 1)
    assert (row["delta_dense_mean"], row["delta_dense_std"], row["num_pairs"]) == (-0.25, None, 1)


def test_spread_of_the_paired_difference(store):
    for seed, (dense, pruned) in enumerate(((0.5, 0.5), (0.75, 0.25))):
        commit_with_all_scores(store, "sw", 0.0, seed, dense)
        commit_with_all_scores(store, "sw", 0.5, seed, pruned)
    row = aggregate(store).table.to_pylist()[1]
    # differences 0 and -0.5: mean -0.25, deviations 0.25, sum of squares 0.125 over 1
    assert (row["delta_dense_mean"], row["delta_dense_std"]) == (
        -0.25,
        pytest.approx(math.sqrt(0.125)),
    )


def test_cells_are_sorted_by_language_then_sparsity_as_a_number(store):
    for language, sparsity in (("yo", 0.5), ("sw", 0.95), ("sw", 0.0), ("sw", 0.5)):
        commit_with_all_scores(store, language, sparsity, 0, 0.5)
    table = aggregate(store).table
    cells = list(
        zip(table["language"].to_pylist(), table["target_sparsity"].to_pylist(), strict=True)
    )
    assert cells == [("sw", 0.0), ("sw", 0.5), ("sw", 0.95), ("yo", 0.5)]


def test_the_split_is_chosen(store):
    commit_with_all_scores(store, "sw", 0.5, 0, 0.75)
    assert aggregate(store, "test").table["f1_mean"].to_pylist() == [0.75]
    assert aggregate(store, "validation").table.select(["split", "f1_mean"]).to_pylist() == [
        {"split": "validation", "f1_mean": 0.25}
    ]


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_split_that_is_never_scored_is_refused(store, split):
    with pytest.raises(
        StoreError, match=rf"split: '{split}' is never scored; give one of validation, test"
    ):
        aggregate(store, split)


def test_holes_are_named_with_the_reason(store):
    planned = [make_trial_spec(seed=seed) for seed in range(5)]
    store.write_plan("demo", planned)
    commit_with_all_scores(store, "sw", 0.5, 0, 0.75)
    fail(store, planned[1], "non_finite_loss", "loss is nan at step 7")
    undefined = make_trial_result(
        scores=(make_score(precision=None, recall=None, f1=None, support=0),)
    )
    store.commit_completed(planned[2], undefined, **make_circumstances())
    unscored = make_trial_result(scores=(make_score(split="validation"),))
    store.commit_completed(planned[3], unscored, **make_circumstances())
    found = aggregate(store)
    assert [(hole.language, hole.target_sparsity, hole.seed, hole.why) for hole in found.holes] == [
        ("sw", 0.5, 1, "failed: non_finite_loss: loss is nan at step 7"),
        ("sw", 0.5, 2, "no F1 on test: nothing predicted and nothing to find"),
        ("sw", 0.5, 3, "not scored on test"),
        ("sw", 0.5, 4, "not run yet"),
    ]
    assert found.table.select(NUMBERS).to_pylist()[0]["num_holes"] == 4
    assert found.table["num_seeds"].to_pylist() == [1]


def test_a_cell_of_which_nothing_has_run_is_listed_without_numbers(store):
    store.write_plan("demo", [make_trial_spec(language="yo", seed=seed) for seed in (0, 1)])
    row = aggregate(store).table.to_pylist()[0]
    assert (row["language"], row["f1_mean"], row["f1_std"], row["num_seeds"], row["num_holes"]) == (
        "yo",
        None,
        None,
        0,
        2,
    )


def test_a_trial_planned_by_two_sweeps_counts_once(store):
    for sweep in ("demo", "again"):
        store.write_plan(sweep, [make_trial_spec()])
    commit_with_all_scores(store, "sw", 0.5, 0, 0.75)
    found = aggregate(store)
    assert found.table["num_seeds"].to_pylist() == [1]
    assert found.holes == []


def test_a_multilingual_trial_has_a_row_for_each_language(store):
    commit_together(store, 0.0, 0, {"sw": 0.75, "yo": 0.5})
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.75})
    commit_with_all_scores(store, "sw", 0.0, 0, 1.0)  # the other regime's dense trial is no pair
    rows = (
        aggregate(store)
        .table.select(["regime", "language", "f1_mean", "delta_dense_mean"])
        .to_pylist()
    )
    assert [tuple(row.values()) for row in rows] == [
        ("monolingual", "sw", 1.0, None),
        ("multilingual", "sw", 0.75, None),
        ("multilingual", "sw", 0.5, -0.25),
        ("multilingual", "yo", 0.5, None),
        ("multilingual", "yo", 0.75, 0.25),
    ]


def test_a_hole_of_a_multilingual_trial_is_one_hole_and_missing_from_each_language(store):
    specs = [
        make_trial_spec(regime="multilingual", languages=("sw", "yo"), seed=seed)
        for seed in range(4)
    ]
    store.write_plan("demo", specs)
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.75})
    fail(store, specs[1], "out_of_memory", "it did not fit")
    commit_together(store, 0.5, 2, {"sw": 0.5, "yo": None})
    found = aggregate(store)
    assert [(hole.language, hole.seed, hole.why) for hole in found.holes] == [
        ("multilingual", 1, "failed: out_of_memory: it did not fit"),
        ("multilingual", 2, "no F1 on test for yo: nothing predicted and nothing to find"),
        ("multilingual", 3, "not run yet"),
    ]
    rows = found.table.select(["language", "num_seeds", "num_holes"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("sw", 2, 2), ("yo", 1, 3)]


def test_a_multilingual_cell_of_which_nothing_is_known_stands_for_its_languages(store):
    spec = make_trial_spec(regime="multilingual", languages=("sw", "yo"))
    store.write_plan("demo", [spec])
    assert aggregate(store).table["language"].to_pylist() == ["multilingual"]
    fail(store, spec, "bad_data", "no")
    assert aggregate(store).table["language"].to_pylist() == ["sw", "yo"]
    assert len(aggregate(store).holes) == 1


def test_a_language_that_was_not_scored_is_a_hole(store):
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.75})
    commit_together(store, 0.5, 1, {"sw": 0.5}, languages=("sw", "yo"))
    assert [hole.why for hole in aggregate(store).holes] == ["not scored on test for yo"]


def test_a_part_of_a_dense_f1_of_zero_is_null(store):
    commit_with_all_scores(store, "sw", 0.0, 0, 0.0)
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    row = aggregate(store).table.to_pylist()[1]
    assert (row["delta_dense_mean"], row["relative_dense_mean"], row["num_pairs"]) == (0.5, None, 1)


def test_only_the_cells_asked_for_are_kept_with_their_holes(store):
    commit_with_all_scores(store, "sw", 0.5, 0, 0.5)
    commit_with_all_scores(store, "sw", 0.9, 0, 0.25)
    store.write_plan(
        "demo", [make_trial_spec(seed=1), make_trial_spec(target_sparsity=0.9, seed=1)]
    )
    found = aggregate(store).of_cells([make_trial_spec(target_sparsity=0.9).cell_id()])
    assert found.table["f1_mean"].to_pylist() == [0.25]
    assert [hole.target_sparsity for hole in found.holes] == [0.9]


def test_an_empty_location_has_no_cells_and_no_holes(store):
    found = aggregate(store)
    assert (found.table.num_rows, found.holes) == (0, [])
    assert "F1" in shown(f1_table(found), width=160)
