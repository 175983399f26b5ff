"""The whole analysis of results where something is missing, and its files."""

import csv

import polars
import pyarrow.parquet as pq
import pytest

from orchestrator.analysis.analyze import analyze, write_tables
from orchestrator.analysis.tables import ANALYSES
from orchestrator.errors import StoreError
from tests.factories import (
    make_circumstances,
    make_predicted_set,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import (
    commit,
    commit_together,
    shown_tables,
    tables_of,
)


def assert_whole(store):
    """Every table is there, can be shown, and says why where it is empty."""
    tables = tables_of(store)
    assert list(tables) == list(ANALYSES)
    assert all(table.rows.num_rows or table.notes for table in tables.values())
    assert max(len(line) for line in shown_tables(tables.values()).splitlines()) <= 100
    return tables


def notes_of(tables, name):
    return " ".join(tables[name].notes)


@pytest.mark.slow
def test_without_dense_trials_there_is_no_change(store):
    for seed in range(3):
        commit(store, "sw", 0.5, seed, 0.5)
    tables = assert_whole(store)
    assert (
        "No change to dense of 3 sparse trials: the same seed's dense trial has no F1"
        in notes_of(tables, "quality")
    )
    assert tables["worst"].rows["name"].to_pylist() == [None] * 5
    assert tables["tally"].rows["num_missing"].to_pylist() == [1]
    assert tables["significance"].rows["allows_for"].to_pylist() == ["nothing"]
    assert tables["tests"].rows["p"].to_pylist() == [None]
    assert "no model of 0 languages; it takes 3 or more" in notes_of(tables, "model")


@pytest.mark.slow
def test_with_dense_trials_only_nothing_is_compared(store):
    commit(store, "sw", 0.0, 0, 0.5)
    tables = assert_whole(store)
    assert tables["quality"].rows.num_rows == 1
    assert "No sparse trials" in notes_of(tables, "tests")
    assert "No sparse trials" in notes_of(tables, "model")


@pytest.mark.slow
def test_one_seed_and_no_predictions_have_no_spread_and_no_interval(store):
    commit(store, "sw", 0.0, 0, 0.5)
    commit(store, "sw", 0.5, 0, 0.25)
    tables = assert_whole(store)
    assert "No cell has two seeds" in notes_of(tables, "quality")
    assert "No interval of 1 change: one seed, no predictions." in tables["significance"].notes
    assert "1 of 1 cells and languages have no predictions" in notes_of(tables, "disagreement")
    assert "No perturbed sentences were scored" in notes_of(tables, "robustness")
    assert "Out of reach of p = 0.05 with the language families there are: 1 test" in notes_of(
        tables, "tests"
    )
    assert "cannot go below p = 1 with 1 seed" in notes_of(tables, "tests")


@pytest.mark.slow
def test_three_seeds_cannot_tell_within_a_language(store):
    for seed in range(3):
        commit(store, "sw", 0.0, seed, 0.5)
        commit(store, "sw", 0.5, seed, 0.25)
    commit(store, "sw", 0.0, 3, 0.5)  # without a sparse trial it is in no pair
    tables = assert_whole(store)
    assert "cannot go below p = 0.25 with 3 seeds" in notes_of(tables, "tests")
    assert tables["significance"].rows["verdict"].to_pylist() == ["undecided"]
    assert (
        "No interval of 1 change: no seed or sentence changes it." in tables["significance"].notes
    )


@pytest.mark.slow
def test_multilingual_results_alone_say_that_their_languages_share_a_model(store):
    for seed in range(2):
        commit_together(store, 0.0, seed, {"de": 0.75, "my": 0.5, "sw": 0.5, "yo": 0.5})
        for sparsity in (0.5, 0.9):
            f1s = {
                "de": 0.75,
                "my": 0.4 - sparsity / 10,
                "sw": 0.5 - sparsity / 20,
                "yo": 0.4 + seed / 100,
            }
            commit_together(store, sparsity, seed, f1s)
    tables = assert_whole(store)
    assert "share its model and are not independent" in notes_of(tables, "tests")
    assert set(tables["tests"].rows["num_trials"].to_pylist()) == {2}
    assert "no model of 2 sparsities; it takes 3 or more" in notes_of(tables, "model")


@pytest.mark.slow
def test_what_is_only_planned_is_a_hole(store):
    store.write_plan("demo", [make_trial_spec(target_sparsity=sparsity) for sparsity in (0.0, 0.5)])
    tables = assert_whole(store)
    assert (
        tables["quality"].rows.select(["f1_mean", "num_seeds", "num_holes"]).to_pylist()
        == [{"f1_mean": None, "num_seeds": 0, "num_holes": 1}] * 2
    )
    assert "2 of 2 trials lack an F1 (2 not run yet)" in notes_of(tables, "quality")


def test_failures_are_holes_that_are_counted_by_kind(store):
    commit(store, "sw", 0.0, 0, 0.5)
    for seed in (1, 2):
        spec = make_trial_spec(target_sparsity=0.0, seed=seed)
        store.commit_failed(
            spec, kind="bad_data", message="no", traceback=None, **make_circumstances()
        )
    tables = assert_whole(store)
    assert "2 of 3 trials lack an F1 (2 failed)" in notes_of(tables, "quality")


def test_empty_results_are_refused(store):
    with pytest.raises(
        StoreError, match="results: no trials, run or planned; give the results of a sweep"
    ):
        analyze(store)


def test_a_split_that_is_never_scored_is_refused(store):
    commit(store, "sw", 0.5, 0, 0.5)
    with pytest.raises(
        StoreError, match="split: 'train' is never scored; give one of validation, test"
    ):
        analyze(store, "train")


def test_a_missing_file_of_predictions_is_refused(store, tmp_path):
    spec = commit(store, "sw", 0.5, 0, 0.5, predictions=(make_predicted_set(),))
    (tmp_path / "results" / "predictions" / f"{spec.trial_id()}.parquet").unlink()
    with pytest.raises(
        StoreError,
        match=rf"{spec.trial_id()}.parquet: missing; delete .*, then run the sweep again",
    ):
        analyze(store)


def test_a_missing_set_of_sentences_is_refused(store, tmp_path):
    for sparsity in (0.0, 0.5):
        commit(store, "sw", sparsity, 0, 0.5, predictions=(make_predicted_set(),))
    (tmp_path / "results" / "sentences" / "00112233445566ff.parquet").unlink()
    with pytest.raises(StoreError, match="sentences: the set 00112233445566ff is missing"):
        analyze(store)


@pytest.mark.slow
def test_files_that_cannot_be_written_are_refused(whole, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError,
        match=r"file/quality\.parquet: cannot be written .*give a folder where you may write",
    ):
        write_tables(whole, str(tmp_path / "file"))


@pytest.mark.slow
def test_files_hold_all_digits_and_the_meaning_of_each_column(whole, tmp_path):
    files = write_tables(whole, str(tmp_path / "new"))
    assert [file.name for file in files[:2]] == ["quality.parquet", "quality.csv"]
    assert len(files) == 2 * len(ANALYSES)
    for table in whole:
        stored = polars.read_parquet(tmp_path / "new" / f"{table.name}.parquet")
        assert stored.to_dicts() == table.rows.to_pylist()
        for column in table.table.columns:
            field = pq.read_schema(tmp_path / "new" / f"{table.name}.parquet").field(column.name)
            assert field.metadata[b"meaning"].decode() == column.meaning
        with (tmp_path / "new" / f"{table.name}.csv").open() as lines:
            assert len(list(csv.reader(lines))) == 1 + table.rows.num_rows
    with (tmp_path / "new" / "quality.csv").open() as lines:
        row = next(csv.DictReader(lines))
    first = whole[0].rows.to_pylist()[0]
    assert (float(row["f1_mean"]), row["settings"]) == (first["f1_mean"], "")


@pytest.mark.slow
def test_tables_that_are_asked_for_are_those_of_the_whole_analysis(store, tmp_path):
    """Alone, a table is what it is among all; what it does not need is not read."""
    for seed in range(2):
        for sparsity, f1 in ((0.0, 0.75), (0.5, 0.5)):
            predictions = (make_predicted_set(),)
            spec = commit(store, "sw", sparsity, seed, f1, predictions=predictions)
    whole = tables_of(store)
    for name in ("tally", "pies_profile", "significance", "model"):
        (table,) = tables_of(store, only=[name]).values()
        assert (table.name, table.notes) == (name, whole[name].notes)
        assert table.rows.equals(whole[name].rows)
    (tmp_path / "results" / "predictions" / f"{spec.trial_id()}.parquet").unlink()
    assert list(tables_of(store, only=["tests", "steps"])) == ["steps", "tests"]


def test_a_table_that_is_none_is_refused(store):
    with pytest.raises(StoreError, match=r"only: no table qualty; there are quality, groups, "):
        analyze(store, only=["quality", "qualty"])
