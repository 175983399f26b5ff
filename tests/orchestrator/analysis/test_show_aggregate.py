"""Aggregates on a terminal and in files."""

import re
from dataclasses import replace

import polars
import pyarrow.parquet as pq
import pytest

from orchestrator.analysis.inputs.aggregate import aggregate
from orchestrator.analysis.show_aggregate import f1_table, hole_table
from orchestrator.analysis.tables import AGGREGATES
from orchestrator.errors import StoreError
from orchestrator.results.export import write_csv, write_parquet
from tests.factories import (
    PRUNING,
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import commit_together, commit_with_all_scores, shown


def test_the_table_shows_regimes_and_embeddings_where_there_are_several(store):
    commit_together(store, 0.5, 0, {"sw": 0.5, "yo": 0.75})
    commit_with_all_scores(
        store, "sw", 0.5, 0, 0.25, pruning=replace(PRUNING, embedding_sparsity=0.5)
    )
    lines = [
        line.split()
        for line in shown(f1_table(aggregate(store)), width=160).splitlines()
        if "lingual" in line
    ]
    assert [line[:5] for line in lines] == [
        ["monolingual", "sw", "0.5", "0.5", "0.250"],
        ["multilingual", "sw", "0.5", "0", "0.500"],
        ["multilingual", "yo", "0.5", "0", "0.750"],
    ]


def test_the_table_on_the_terminal(store):
    for seed, f1 in enumerate((0.8, 0.9)):
        commit_with_all_scores(store, "sw", 0.0, seed, f1)
    commit_with_all_scores(store, "sw", 0.9, 0, 0.7)
    store.write_plan(
        "demo", [make_trial_spec(language=code, target_sparsity=0.0) for code in ("sw", "yo")]
    )
    body = re.search(
        r"──\s*\n(.*?)\n\s*\n", shown(f1_table(aggregate(store)), width=160), re.DOTALL
    )
    lines = [line.split() for line in body[1].splitlines()]
    assert lines == [
        ["sw", "0", "0.850", "±", "0.071", "2", "–"],
        ["0.9", "0.700", "1", "-0.100", "1"],
        ["yo", "0", "–", "0", "–", "1"],
    ]
    assert "1 trials without F1" in shown(hole_table(aggregate(store)), width=160)
    assert "not run yet" in shown(hole_table(aggregate(store)), width=160)


def test_seeds_that_predict_nothing_are_counted_apart(store):
    """An F1 of 0 may be bad, or of a model that predicts no entity."""
    for seed, num_predicted in enumerate((0, 7)):
        spec = make_trial_spec(target_sparsity=0.9, seed=seed)
        score = make_score(f1=0.0, num_predicted=num_predicted, num_correct=0)
        store.commit_completed(
            spec, make_trial_result(scores=(score,), predictions=()), **make_circumstances()
        )
    found = aggregate(store)
    assert found.table["num_silent"].to_pylist() == [1]
    text = shown(f1_table(found), width=160)
    assert "silent: seeds that predict no entity at all" in text
    assert any("no entity is predicted in 1 of 2 sparse trials" in note for note in found.notes)
    assert found.notes[-1].startswith("Entities count by the strict rule")


def test_files_hold_all_digits_and_empty_fields_for_null(store, tmp_path):
    commit_with_all_scores(store, "sw", 0.5, 0, 1 / 3)
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
