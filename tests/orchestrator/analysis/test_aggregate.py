"""Aggregates over seeds: means, spreads, holes, and which trials are one cell."""

import io
import math
import re
from dataclasses import replace
from datetime import timedelta

import polars
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from orchestrator.analysis.aggregate import aggregate
from orchestrator.analysis.report import f1_table, hole_table
from orchestrator.analysis.tables import AGGREGATES
from orchestrator.errors import StoreError
from orchestrator.results.export import write_csv, write_parquet
from orchestrator.results.store import ResultStore
from tests.factories import (
    PRUNING,
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
)


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"))


def commit(store, language, sparsity, seed, f1, **changes):
    spec = make_trial_spec(language=language, target_sparsity=sparsity, seed=seed, **changes)
    result = make_trial_result(f1=f1)
    # Only micro on all sentences of the split asked for counts; the others must not leak into the
    # means.
    scores = tuple(
        score
        if score.entity_type == "micro" and score.subset == "all"
        else replace(score, f1=0.125)
        for score in result.scores
    )
    scores = tuple(replace(score, language=language) for score in scores)
    store.commit_completed(spec, replace(result, scores=scores), **make_circumstances())
    return spec


def commit_together(store, sparsity, seed, f1s, **changes):
    """A multilingual trial of Swahili and Yoruba, with a micro F1 for each language scored."""
    spec = make_trial_spec(
        regime="multilingual",
        languages=("sw", "yo"),
        target_sparsity=sparsity,
        seed=seed,
        **changes,
    )
    scores = tuple(make_score(language=language, f1=f1) for language, f1 in f1s.items())
    store.commit_completed(spec, make_trial_result(scores=scores), **make_circumstances())
    return spec


def fail(store, spec, kind, message):
    store.commit_failed(spec, kind=kind, message=message, traceback=None, **make_circumstances())


def shown(table):
    terminal = io.StringIO()
    Console(file=terminal, width=160).print(table)
    return terminal.getvalue()


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
        commit(store, "sw", 0.0, seed, f1)
    for seed, f1 in enumerate((0.5, 0.5)):
        commit(store, "sw", 0.5, seed, f1)
    commit(store, "sw", 0.5, 3, 0.875)  # a seed without its dense trial
    dense, pruned = aggregate(store).table.select(NUMBERS).to_pylist()
    # dense: mean 2.25 / 3; deviations 0, -0.25, 0.25, sum of squares 0.125, over n - 1 = 2: 0.0625,
    # root 0.25
    assert tuple(dense.values()) == ("sw", 0.0, 0.75, 0.25, 3, None, None, 0, 0)
    # pruned: mean (0.5 + 0.5 + 0.875) / 3; pairs 0.5 - 0.75 and 0.5 - 0.5, as parts of dense -1 / 3
    # and 0
    std, relative = pytest.approx(math.sqrt(0.09375 / 2)), pytest.approx(-1 / 6)
    assert tuple(pruned.values()) == ("sw", 0.5, 0.625, std, 3, -0.125, relative, 2, 0)


def test_one_seed_has_no_spread(store):
    commit(store, "sw", 0.0, 0, 0.75)
    commit(store, "sw", 0.5, 0, 0.5)
    row = aggregate(store).table.to_pylist()[1]
    assert (row["f1_mean"], row["f1_std"], row["num_seeds"]) == (0.5, None, 1)
    assert (row["delta_dense_mean"], row["delta_dense_std"], row["num_pairs"]) == (-0.25, None, 1)


def test_spread_of_the_paired_difference(store):
    for seed, (dense, pruned) in enumerate(((0.5, 0.5), (0.75, 0.25))):
        commit(store, "sw", 0.0, seed, dense)
        commit(store, "sw", 0.5, seed, pruned)
    row = aggregate(store).table.to_pylist()[1]
    # differences 0 and -0.5: mean -0.25, deviations 0.25, sum of squares 0.125 over 1
    assert (row["delta_dense_mean"], row["delta_dense_std"]) == (
        -0.25,
        pytest.approx(math.sqrt(0.125)),
    )


def test_cells_are_sorted_by_language_then_sparsity_as_a_number(store):
    for language, sparsity in (("yo", 0.5), ("sw", 0.95), ("sw", 0.0), ("sw", 0.5)):
        commit(store, language, sparsity, 0, 0.5)
    table = aggregate(store).table
    cells = list(
        zip(table["language"].to_pylist(), table["target_sparsity"].to_pylist(), strict=True)
    )
    assert cells == [("sw", 0.0), ("sw", 0.5), ("sw", 0.95), ("yo", 0.5)]


def test_the_split_is_chosen(store):
    commit(store, "sw", 0.5, 0, 0.75)
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
    commit(store, "sw", 0.5, 0, 0.75)
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
    commit(store, "sw", 0.5, 0, 0.75)
    found = aggregate(store)
    assert found.table["num_seeds"].to_pylist() == [1]
    assert found.holes == []


def test_cells_that_differ_in_settings_are_told_apart_and_share_their_dense_trials(store):
    commit(store, "sw", 0.0, 0, 0.75)
    commit(store, "sw", 0.5, 0, 0.5)
    commit(store, "sw", 0.5, 0, 0.25, pruning=replace(PRUNING, scope="layer"))
    rows = aggregate(store).table.to_pylist()
    assert {(row["settings"], row["f1_mean"], row["delta_dense_mean"]) for row in rows} == {
        (None, 0.75, None),
        ("pruning.scope=global", 0.5, -0.25),
        ("pruning.scope=layer", 0.25, -0.5),
    }
    assert "pruning.scope=layer" in shown(f1_table(aggregate(store)))


def test_a_sweep_of_which_nothing_has_run_is_told_apart_by_its_name(store):
    other = make_trial_spec(pruning=replace(PRUNING, scope="layer"))
    commit(store, "sw", 0.5, 0, 0.5)
    store.write_plan("demo", [other])
    assert set(aggregate(store).table["settings"].to_pylist()) == {None, "sweep demo"}


def test_planned_cells_have_the_settings_of_their_sweep(store):
    layer = replace(PRUNING, scope="layer")
    commit(store, "sw", 0.5, 0, 0.5)
    commit(store, "sw", 0.5, 0, 0.25, pruning=layer)
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
    commit(store, "sw", 0.5, 0, 0.5)
    commit(store, "sw", 0.5, 0, 0.25, pruning=replace(PRUNING, embedding_sparsity=0.5))
    commit(store, "yo", 0.5, 0, 0.75, corpus=replace(corpus, fingerprint="of other files"))
    assert aggregate(store).table["settings"].to_pylist() == [None, None, None]


def test_versions_of_a_languages_data_are_told_apart_the_newest_first(store):
    corpus = make_trial_spec().corpus
    commit(store, "sw", 0.5, 0, 0.5)
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
        commit(store, "sw", sparsity, 0, 0.5, model=replace(model, name=name))
    assert aggregate(store).table["settings"].to_pylist() == [None, None]


def test_cells_that_nothing_known_tells_apart_are_told_apart_by_their_ids(store):
    """The data of sw changed after its trial; of the trial that is planned for it since, nothing is
    known but that its sweep's other trials have the same settings."""
    corpus = make_trial_spec().corpus
    old = commit(store, "sw", 0.5, 0, 0.5)
    other = commit(store, "yo", 0.5, 0, 0.5)
    new = make_trial_spec(language="sw", corpus=replace(corpus, fingerprint="newer files"))
    store.write_plan("demo", [other, new])
    rows = aggregate(store).table.select(["language", "settings"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        *(("sw", f"cell {cell_id}") for cell_id in sorted([old.cell_id(), new.cell_id()])),
        ("yo", None),
    ]


def test_a_multilingual_trial_has_a_row_for_each_language(store):
    commit_together(store, 0.0, 0, {"sw": 0.75, "yo": 0.5})
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.75})
    commit(store, "sw", 0.0, 0, 1.0)  # the other regime's dense trial is no pair
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


def test_sets_of_languages_trained_on_together_are_settings(store):
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.75})
    three = make_trial_spec(regime="multilingual", languages=("jv", "sw", "yo"))
    store.commit_completed(three, make_trial_result(scores=(make_score(),)), **make_circumstances())
    assert set(aggregate(store).table["settings"].to_pylist()) == {
        "languages=sw+yo",
        "languages=jv+sw+yo",
    }


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
    commit_together(store, 0.5, 1, {"sw": 0.5})
    assert [hole.why for hole in aggregate(store).holes] == ["not scored on test for yo"]


def test_a_part_of_a_dense_f1_of_zero_is_null(store):
    commit(store, "sw", 0.0, 0, 0.0)
    commit(store, "sw", 0.5, 0, 0.5)
    row = aggregate(store).table.to_pylist()[1]
    assert (row["delta_dense_mean"], row["relative_dense_mean"], row["num_pairs"]) == (0.5, None, 1)


def test_the_table_shows_regimes_and_embeddings_where_there_are_several(store):
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.75})
    commit(store, "sw", 0.5, 0, 0.25, pruning=replace(PRUNING, embedding_sparsity=0.5))
    lines = [
        line.split() for line in shown(f1_table(aggregate(store))).splitlines() if "lingual" in line
    ]
    assert [line[:5] for line in lines] == [
        ["monolingual", "sw", "0.5", "0.5", "0.250"],
        ["multilingual", "sw", "0.5", "0", "0.500"],
        ["multilingual", "yo", "0.5", "0", "0.750"],
    ]


def test_only_the_cells_asked_for_are_kept_with_their_holes(store):
    commit(store, "sw", 0.5, 0, 0.5)
    commit(store, "sw", 0.9, 0, 0.25)
    store.write_plan(
        "demo", [make_trial_spec(seed=1), make_trial_spec(target_sparsity=0.9, seed=1)]
    )
    found = aggregate(store).of_cells([make_trial_spec(target_sparsity=0.9).cell_id()])
    assert found.table["f1_mean"].to_pylist() == [0.25]
    assert [hole.target_sparsity for hole in found.holes] == [0.9]


def test_an_empty_location_has_no_cells_and_no_holes(store):
    found = aggregate(store)
    assert (found.table.num_rows, found.holes) == (0, [])
    assert "F1" in shown(f1_table(found))


def test_the_table_on_the_terminal(store):
    for seed, f1 in enumerate((0.8, 0.9)):
        commit(store, "sw", 0.0, seed, f1)
    commit(store, "sw", 0.9, 0, 0.7)
    store.write_plan(
        "demo", [make_trial_spec(language=code, target_sparsity=0.0) for code in ("sw", "yo")]
    )
    body = re.search(r"──\s*\n(.*?)\n\s*\n", shown(f1_table(aggregate(store))), re.DOTALL)
    lines = [line.split() for line in body[1].splitlines()]
    assert lines == [
        ["sw", "0", "0.850", "±", "0.071", "2", "–"],
        ["0.9", "0.700", "1", "-0.100", "1"],
        ["yo", "0", "–", "0", "–", "1"],
    ]
    assert "1 trials without F1" in shown(hole_table(aggregate(store)))
    assert "not run yet" in shown(hole_table(aggregate(store)))


def test_files_hold_all_digits_and_empty_fields_for_null(store, tmp_path):
    commit(store, "sw", 0.5, 0, 1 / 3)
    found = aggregate(store)
    write_csv(found.table, str(tmp_path / "new" / "f1.csv"))
    write_parquet(AGGREGATES, found.table, str(tmp_path / "f1.parquet"))
    row = polars.read_csv(tmp_path / "new" / "f1.csv").row(0, named=True)
    assert (row["language"], row["f1_mean"], row["f1_std"]) == ("sw", 1 / 3, None)
    assert polars.read_parquet(tmp_path / "f1.parquet")["f1_mean"].to_list() == [1 / 3]
    assert (
        b"Mean micro F1"
        in pq.read_schema(tmp_path / "f1.parquet").field("f1_mean").metadata[b"meaning"]
    )


def test_a_file_that_cannot_be_written_is_refused(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"file/f1\.csv: cannot be written .*give a path where you may write"
    ):
        write_csv(aggregate(store).table, str(tmp_path / "file" / "f1.csv"))
