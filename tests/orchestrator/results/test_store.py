"""What is committed is stored, and nothing completed is overwritten."""

import json
import random
from datetime import UTC, datetime

import duckdb
import pytest

from orchestrator.errors import StoreError
from orchestrator.results.store import ResultStore
from tests.factories import (
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
    make_vocabulary,
)
from tests.orchestrator.results.committing import FAILURE, ON_TEST, commit, fail


def test_a_completed_trial_reads_back_with_all_that_was_given(store):
    spec, result = make_trial_spec(seed=3), make_trial_result(achieved_sparsity=0.525)
    assert commit(store, spec, result)
    (row,) = store.read("trials").to_pylist()
    assert (row["trial_id"], row["cell_id"]) == (spec.trial_id(), spec.cell_id())
    assert row["dense_trial_id"] == make_trial_spec(seed=3, target_sparsity=0.0).trial_id()
    assert (row["language"], row["target_sparsity"], row["seed"], row["sweep"]) == (
        "sw",
        0.5,
        3,
        "demo",
    )
    assert (row["status"], row["num_attempts"], row["error_kind"]) == ("completed", 1, None)
    assert row["started_at"] == datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC)
    assert row["duration_s"] == 90.5
    assert (row["achieved_sparsity"], row["peak_gpu_memory_gib"], row["device"]) == (
        0.525,
        None,
        "cpu",
    )
    assert (row["num_scores"], row["num_curve_points"], row["num_layers"]) == (24, 2, 2)
    assert row["num_vocabularies"] == 1
    assert (row["num_robustness_scores"], row["num_predictions"]) == (2, 2)
    assert (row["regime"], row["languages"], row["embedding_sparsity"]) == (
        "monolingual",
        ["sw"],
        0.0,
    )
    assert (row["training_lr"], row["pruning_scope"], row["evaluation_splits"]) == (
        2e-5,
        "global",
        ["validation", "test"],
    )
    assert (row["provenance_commit"], row["provenance_is_dirty"], row["provenance_ray"]) == (
        "c0ffee",
        False,
        None,
    )
    assert json.loads(row["asked_json"]) == {"name": "demo"}
    assert type(spec).from_json(row["spec_json"]) == spec


def test_scores_curves_and_layers_read_back_in_order(store):
    score = make_score(
        entity_type="LOC",
        precision=None,
        recall=0.0,
        f1=0.0,
        support=3,
        num_predicted=0,
        num_correct=0,
    )
    commit(store, result=make_trial_result(scores=(make_score(f1=0.75), score)))
    assert store.read(
        "scores", ["split", "entity_type", "precision", "f1", "support"]
    ).to_pylist() == [
        {"split": "test", "entity_type": "micro", "precision": 0.5, "f1": 0.75, "support": 16},
        {"split": "test", "entity_type": "LOC", "precision": None, "f1": 0.0, "support": 3},
    ]
    assert store.read("curves", ["language", "step", "loss"]).to_pydict() == {
        "language": ["sw", "sw"],
        "step": [10, 20],
        "loss": [1.5, 0.5],
    }
    assert store.read("layers", ["name", "shape", "sparsity"]).to_pylist() == [
        {"name": "encoder.layer.10.weight", "shape": [4, 6], "sparsity": 0.625},  # 15 of 24
        {"name": "encoder.layer.2.weight", "shape": [8, 2], "sparsity": 0.3125},  # 5 of 16
    ]


def test_what_languages_use_of_the_vocabulary_reads_back_a_row_a_language(store):
    spec = make_trial_spec(regime="multilingual", languages=("sw", "yo"))
    used = (make_vocabulary(language="yo", num_weights=None, num_zeros=None), make_vocabulary())
    commit(store, spec, make_trial_result(vocabulary=used))
    assert [tuple(row.values()) for row in store.read("vocabulary").to_pylist()] == [
        (spec.trial_id(), "multilingual", "sw", 0.5, 0.0, 0, 60, 90, 2, 40, 320, 4),
        (spec.trial_id(), "multilingual", "yo", 0.5, 0.0, 0, 60, 90, 2, 40, None, None),
    ]
    assert store.read("trials", ["num_vocabularies"])["num_vocabularies"].to_pylist() == [2]
    assert store.verify([spec.trial_id()]) == []
    before = store.read("vocabulary")
    store.compact()
    assert store.read("vocabulary").equals(before)


def test_a_dense_trial_has_no_pruning_settings_and_nothing_to_be_compared_with(store):
    commit(store, make_trial_spec(target_sparsity=0.0))
    (row,) = store.read("trials").to_pylist()
    assert row["dense_trial_id"] is None
    assert {row[name] for name in row if name.startswith("pruning_")} == {None}


def test_trials_come_sorted_by_language_sparsity_and_seed(store):
    grid = [
        (language, sparsity, seed)
        for language in ("sw", "yo")
        for sparsity in (0.0, 0.5, 0.9)
        for seed in (0, 1, 10)
    ]
    for language, sparsity, seed in random.Random(0).sample(grid, len(grid)):
        commit(store, make_trial_spec(language=language, target_sparsity=sparsity, seed=seed))
    rows = store.read("trials", ["language", "target_sparsity", "seed"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == grid


def test_a_failed_trial_keeps_kind_message_and_traceback_and_has_no_numbers(store):
    assert fail(store, kind="bad_data", message="tag B-MISC", traceback="Traceback …")
    (row,) = store.read("trials").to_pylist()
    assert (row["status"], row["error_kind"], row["error_message"]) == (
        "failed",
        "bad_data",
        "tag B-MISC",
    )
    assert (row["error_traceback"], row["achieved_sparsity"], row["num_scores"]) == (
        "Traceback …",
        None,
        0,
    )
    assert store.statuses() == {make_trial_spec().trial_id(): "failed"}
    assert store.read("scores").num_rows == 0


def test_nothing_is_written_when_one_number_is_nan(store):
    with pytest.raises(
        StoreError, match=r"scores\.f1: nan is not stored; give a finite number, or null"
    ):
        commit(store, result=make_trial_result(f1=float("nan")))
    assert store.statuses() == {}
    assert store.read("attempts").num_rows == 0


# Attempts, and what is never overwritten


def test_a_completed_trial_is_never_overwritten(store):
    assert commit(store, result=make_trial_result(f1=0.5))
    assert not commit(store, result=make_trial_result(f1=0.75), sweep="other")
    assert not fail(store)
    assert store.statuses() == {make_trial_spec().trial_id(): "completed"}
    assert store.read("trials", ["sweep", "num_attempts"]).to_pylist() == [
        {"sweep": "demo", "num_attempts": 1}
    ]
    assert set(store.read("scores").filter(ON_TEST)["f1"].to_pylist()) == {0.5}
    assert store.read("attempts")["status"].to_pylist() == ["completed", "duplicate", "failed"]


def test_a_failed_trial_is_replaced_by_a_newer_failure_and_then_by_success(store):
    fail(store, message="first")
    fail(store, message="second")
    assert store.read("trials", ["error_message", "num_attempts"]).to_pylist() == [
        {"error_message": "second", "num_attempts": 2}
    ]
    assert commit(store)
    assert store.is_completed(make_trial_spec().trial_id())
    assert store.read("trials", ["error_message", "num_attempts"]).to_pylist() == [
        {"error_message": None, "num_attempts": 3}
    ]
    attempts = store.read("attempts", ["attempt", "status", "error_message", "host"]).to_pylist()
    assert attempts == [
        {"attempt": 1, "status": "failed", "error_message": "first", "host": "node-1"},
        {"attempt": 2, "status": "failed", "error_message": "second", "host": "node-1"},
        {"attempt": 3, "status": "completed", "error_message": None, "host": "node-1"},
    ]


def test_an_attempt_that_will_be_tried_again_is_recorded_and_does_not_make_a_trial(store):
    store.record_attempt(make_trial_spec(), **FAILURE, **make_circumstances())
    assert store.statuses() == {}
    commit(store, make_trial_spec(seed=1))
    commit(store)
    assert store.read("trials", ["seed", "num_attempts"]).to_pydict() == {
        "seed": [0, 1],
        "num_attempts": [2, 1],
    }


# Predictions and their sentences


def test_sentences_are_stored_once_and_predictions_name_them(store):
    for seed in (0, 1):
        commit(store, make_trial_spec(seed=seed))
    sentences, predictions = store.read("sentences"), store.read("predictions")
    assert sentences.select(["sentence", "tokens", "gold", "is_seen"]).to_pylist() == [
        {"sentence": 0, "tokens": ["habari", "Nairobi"], "gold": ["O", "B-LOC"], "is_seen": True},
        {
            "sentence": 1,
            "tokens": ["Asha", "wa", "Tanga"],
            "gold": ["B-PER", "O", "B-LOC"],
            "is_seen": False,
        },
    ]
    assert predictions.num_rows == 4
    found = duckdb.sql(
        "select predicted, gold, support, num_predicted, num_correct from predictions "
        "join sentences using (set_id, sentence) where seed = 1 order by sentence"
    ).fetchall()
    assert found == [
        (["O", "B-LOC"], ["O", "B-LOC"], 1, 1, 1),
        (["B-PER", "O", "O"], ["B-PER", "O", "B-LOC"], 2, 1, 1),
    ]


# Plans


def test_a_plan_is_kept_in_its_order_and_replaced_by_the_next(store):
    store.write_plan("demo", [make_trial_spec(seed=seed) for seed in (7, 3)])
    assert store.read("plans", ["seed"])["seed"].to_pylist() == [7, 3]
    store.write_plan("demo", [make_trial_spec(seed=4)])
    store.write_plan("other", [make_trial_spec(seed=5)])
    assert store.read("plans", ["sweep", "position", "seed"]).to_pydict() == {
        "sweep": ["demo", "other"],
        "position": [0, 0],
        "seed": [4, 5],
    }


def test_sweeps_that_were_run_are_named(store):
    assert store.planned_sweeps() == []
    store.write_plan("other", [])
    store.write_plan("demo", [])
    assert store.planned_sweeps() == ["demo", "other"]


# Refusals


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("", r"results: '': a location is empty; give a folder, s3://"),
        ("hdfs://x/y", r"results: hdfs://x/y: not a location that is known; give a folder"),
        ("s3://key:secret@bucket/x", r"results: s3://bucket/x: the location contains credentials"),
    ],
)
def test_what_is_no_location_is_refused(location, message):
    with pytest.raises(StoreError, match=message):
        ResultStore(location)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError,
        match=r"results: .*/file/x: cannot be written .*give a place where you may write",
    ):
        ResultStore(str(tmp_path / "file" / "x")).check_writable()


def test_checkpoints_lie_beside_the_results(store):
    assert str(store.checkpoint("0123")) == f"{store.location}/checkpoints/0123.safetensors"
