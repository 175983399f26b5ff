import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import StoreError
from orchestrator.results.parquet import encode_small
from orchestrator.results.schema import SCHEMA_VERSION, TABLES, TRIALS
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_score, make_trial_result, make_trial_spec

ROOT = Path(__file__).parents[3]
ON_TEST = pc.field("split") == "test"
WANTED = "split == 'test' and entity_type == 'micro' and subset == 'all'"
FAILURE = {"kind": "worker_died", "message": "killed by signal 9", "traceback": None}


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"))


def commit(store, spec=None, result=None, **changes):
    return store.commit_completed(
        spec or make_trial_spec(), result or make_trial_result(), **make_circumstances(**changes)
    )


def fail(store, spec=None, **changes):
    failure = {name: changes.pop(name, value) for name, value in FAILURE.items()}
    return store.commit_failed(
        spec or make_trial_spec(), **failure, **make_circumstances(**changes)
    )


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


# What is stored


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


# Dying and competing


CRASH = """
import os, signal, sys
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec

def die(event, arguments):  # at the first touch of the given kind on the given table
    if event == sys.argv[2] and f"/{sys.argv[3]}/" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
ResultStore(sys.argv[1]).commit_completed(make_trial_spec(), make_trial_result(), **make_circumstances())
"""


@pytest.mark.parametrize("failed_before", [False, True])
@pytest.mark.parametrize(
    ("event", "table"),
    [("open", "scores"), ("open", "layers"), ("open", "trials"), ("os.rename", "trials")],
)
def test_a_commit_killed_before_its_row_leaves_no_trial_and_is_done_again(
    store, event, table, failed_before
):
    if failed_before:
        fail(store)
    before = store.statuses()
    dying = run_python(CRASH, store.location, event, table)
    dying.communicate()
    assert dying.returncode == -signal.SIGKILL
    assert store.statuses() == before
    assert store.read("scores").num_rows == 0
    assert commit(store, result=make_trial_result(f1=0.75))
    assert store.verify([make_trial_spec().trial_id()]) == []
    assert store.read("scores").filter(ON_TEST)["f1"].to_pylist() == [0.75] * 12


COMMIT_MANY = """
import sys, time
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec

store, name, f1 = ResultStore(sys.argv[1]), sys.argv[2], float(sys.argv[3])
result = make_trial_result(f1=f1, device_name=name, curve=make_trial_result().curve * (1 if name == "a" else 3))
print("ready", flush=True)
while not store.location.entries():  # the starting shot
    time.sleep(0.001)
won = 0
for seed in range(int(sys.argv[4])):
    won += store.commit_completed(make_trial_spec(seed=seed), result, **make_circumstances(sweep=name))
print(won)
"""


@pytest.mark.slow
def test_two_processes_that_commit_the_same_trials_do_not_mix_their_numbers(store):
    racers = [
        run_python(COMMIT_MANY, store.location, name, f1, 30)
        for name, f1 in (("a", 0.25), ("b", 0.75))
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    (store.location / "go").write_atomic(b"")
    won = [int(racer.communicate()[0]) for racer in racers]
    assert sum(won) == 30

    trials = store.read(
        "trials", ["trial_id", "device_name", "sweep", "num_curve_points"]
    ).to_pylist()
    assert store.verify(row["trial_id"] for row in trials) == []
    scores = store.read("scores").filter(ON_TEST).to_pylist()
    f1 = {row["trial_id"]: row["f1"] for row in scores}
    assert len(trials) == 30
    for row in trials:
        assert row["sweep"] == row["device_name"]
        expected = {"a": (0.25, 2), "b": (0.75, 6)}[row["device_name"]]
        assert (f1[row["trial_id"]], row["num_curve_points"]) == expected
    assert (
        sorted(store.read("attempts")["status"].to_pylist())
        == ["completed"] * 30 + ["duplicate"] * 30
    )


@pytest.mark.slow
def test_a_driver_killed_at_any_moment_leaves_whole_trials_only(store):
    specs = [make_trial_spec(seed=seed) for seed in range(200)]
    rounds = 0
    while len(store.statuses()) < len(specs) and rounds < 4:
        done = len(store.statuses())
        driver = run_python(COMMIT_MANY, store.location, "a", 0.5, 200)
        driver.stdout.readline()
        (store.location / "go").write_atomic(b"")
        while len(store.statuses()) < done + 5 and driver.poll() is None:
            time.sleep(0.01)
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
        committed = store.statuses()
        assert set(committed.values()) == {"completed"}
        assert store.verify(committed) == []
        rounds += 1
    assert rounds > 1


# Compact files, and reading


def test_reading_is_the_same_with_and_without_a_compact_file(store):
    def everything():
        return [
            store.read(name)
            for name in ("trials", "scores", "curves", "layers", "attempts", "plans")
        ]

    store.write_plan("demo", [make_trial_spec(seed=seed) for seed in range(3)])
    fail(store, make_trial_spec(seed=1))
    commit(store, make_trial_spec(seed=2))
    before = everything()
    store.compact()
    assert everything() == before

    commit(store, make_trial_spec(seed=0))  # new
    commit(store, make_trial_spec(seed=1))  # failed in the compact file
    store.write_plan("demo", [make_trial_spec(seed=5)])
    with_compact = everything()
    for name in ("trials", "scores", "curves", "layers", "attempts", "plans"):
        (store.location / "compact" / f"{name}.parquet").delete()
    assert everything() == with_compact
    assert with_compact[0]["status"].to_pylist() == ["completed"] * 3
    assert with_compact[5]["seed"].to_pylist() == [5]


def test_a_trial_deleted_by_hand_is_gone_and_may_be_run_again(store):
    spec = make_trial_spec()
    commit(store, spec, make_trial_result(f1=0.25))
    store.compact()
    row = Path(store.location.path, "trials", f"{spec.trial_id()}.parquet")
    row.unlink()
    assert store.statuses() == {}
    assert store.read("scores").num_rows == 0
    commit(store, spec, make_trial_result(f1=0.75))
    assert set(store.read("scores").filter(ON_TEST)["f1"].to_pylist()) == {0.75}


RENEWED_EVERY = "orchestrator.results.store.COMPACT_EVERY_ATTEMPTS"


def test_the_compact_file_of_trials_is_renewed_while_a_sweep_runs(store, monkeypatch):
    monkeypatch.setattr(RENEWED_EVERY, 3)
    compact = Path(store.location.path, "compact", "trials.parquet")
    specs = [make_trial_spec(seed=seed) for seed in range(7)]
    fail(store, specs[0])
    commit(store, specs[1])
    assert not compact.exists()
    commit(store, specs[2])
    assert pq.read_table(compact, columns=["seed", "status"]).to_pylist() == [
        {"seed": 0, "status": "failed"},
        {"seed": 1, "status": "completed"},
        {"seed": 2, "status": "completed"},
    ]
    commit(store, specs[0])  # failed in the compact file
    commit(store, specs[3])
    assert set(store.statuses().values()) == {"completed"}
    Path(store.location.path, "trials", f"{specs[1].trial_id()}.parquet").unlink()
    assert set(store.statuses()) == {specs[seed].trial_id() for seed in (0, 2, 3)}
    commit(store, specs[4])
    assert pq.read_table(compact)["seed"].to_pylist() == [0, 2, 3, 4]
    store.compact()
    assert store.read("trials").equals(pq.read_table(compact))


def test_numbers_older_than_a_renewed_compact_file_of_trials_are_not_taken_for_new_ones(
    store, monkeypatch
):
    commit(store, result=make_trial_result(f1=0.25))
    store.compact()
    Path(store.location.path, "trials", f"{make_trial_spec().trial_id()}.parquet").unlink()
    commit(store, result=make_trial_result(f1=0.75))
    monkeypatch.setattr(RENEWED_EVERY, 1)
    commit(
        store, make_trial_spec(seed=1), make_trial_result(f1=0.5)
    )  # compact/trials.parquet is now the newest file
    scores = store.read("scores").filter(ON_TEST)
    assert scores["f1"].to_pylist() == [0.75] * 12 + [0.5] * 12


def test_a_trial_is_kept_when_the_compact_file_cannot_be_renewed(store, monkeypatch, caplog):
    monkeypatch.setattr(RENEWED_EVERY, 2)
    commit(store)
    damaged = _file(store, "trials")
    whole = damaged.read_bytes()
    damaged.write_bytes(b"damaged")
    assert commit(store, make_trial_spec(seed=1))
    assert (
        f"compact/trials.parquet is not renewed: {damaged}: cannot be read as Parquet"
        in caplog.text
    )
    damaged.write_bytes(whole)
    assert set(store.statuses().values()) == {"completed"}


DIE_RENEWING = (
    "import orchestrator.results.store as store\nstore.COMPACT_EVERY_ATTEMPTS = 1\n" + CRASH
)


@pytest.mark.parametrize("event", ["open", "os.rename"])
def test_dying_while_the_compact_file_is_renewed_leaves_the_trial(store, event):
    dying = run_python(DIE_RENEWING, store.location, event, "compact")
    dying.communicate()
    assert dying.returncode == -signal.SIGKILL
    assert store.statuses() == {make_trial_spec().trial_id(): "completed"}
    assert store.verify([make_trial_spec().trial_id()]) == []


def test_one_file_of_another_version_among_many_is_refused(store):
    for seed in range(40):
        commit(store, make_trial_spec(seed=seed))
    file, row = _file(store, "trials", make_trial_spec(seed=33)), store.read("trials").slice(0, 1)
    with pq.ParquetWriter(file, row.schema) as writer:
        writer.write_table(row)
        writer.add_key_value_metadata(
            {"sparsweep.schema_version": "2", "sparsweep.table": "trials"}
        )
    with pytest.raises(
        StoreError, match=rf"{file}: results of schema version 2, this sparsweep knows 3"
    ):
        store.statuses()


ASK = """
import sys
from orchestrator.results.store import ResultStore

print(sorted(ResultStore(sys.argv[1]).statuses().values()))
print([name for name in ("pandas", "torch", "ray") if name in sys.modules])
"""


def test_asking_for_statuses_imports_nothing_slow(store):
    fail(store, make_trial_spec(seed=1))
    commit(store)
    store.compact()
    commit(store, make_trial_spec(seed=2))
    out, _ = run_python(ASK, store.location).communicate()
    assert out.splitlines() == ["['completed', 'completed', 'failed']", "[]"]


def test_compact_files_do_not_depend_on_the_order_of_commits_or_on_earlier_ones(tmp_path):
    specs = [
        make_trial_spec(seed=seed, language=language)
        for seed in range(3)
        for language in ("yo", "sw")
    ]
    one, two = ResultStore(str(tmp_path / "one")), ResultStore(str(tmp_path / "two"))
    for spec in specs:
        commit(one, spec)
    for spec in reversed(specs):
        commit(two, spec)
        two.compact()
    one.compact()
    for name in ("trials", "scores", "curves", "layers", "plans"):  # attempts have random ids
        file = f"compact/{name}.parquet"
        assert (one.location / file).read_bytes() == (two.location / file).read_bytes()


def test_an_empty_store_has_no_trials_and_compacts_to_empty_tables(store):
    assert store.statuses() == {}
    assert [file.name for file in store.compact()] == [
        f"{name}.parquet"
        for name in (
            *("trials", "scores", "robustness", "predictions", "sentences"),
            *("curves", "layers", "attempts", "plans"),
        )
    ]
    assert pq.read_table(store.location.path + "/compact/trials.parquet").num_rows == 0


@pytest.mark.parametrize("pattern", ["compact/{}.parquet", "{}/*.parquet"])
def test_duckdb_polars_and_pandas_read_what_is_written(store, pattern):
    commit(store, make_trial_spec(language="sw"))
    commit(store, make_trial_spec(language="yo", target_sparsity=0.0))
    fail(store, make_trial_spec(language="jv"))
    store.compact()
    trials, layers = (f"{store.location}/{pattern.format(name)}" for name in ("trials", "layers"))
    query = f"select language, pruning_scope, epoch(started_at), evaluation_splits from '{trials}' order by language"
    found = duckdb.sql(query).fetchall()
    assert [row[:2] for row in found] == [("jv", "global"), ("sw", "global"), ("yo", None)]
    assert found[0][2] == make_circumstances()["started_at"].timestamp()
    assert found[0][3] == ["validation", "test"]
    assert polars.read_parquet(trials).sort("language")["status"].to_list() == [
        "failed",
        "completed",
        "completed",
    ]
    assert polars.read_parquet(layers)["shape"].to_list() == [[4, 6], [8, 2], [4, 6], [8, 2]]
    frames = [
        pandas.read_parquet(path)
        for path in sorted(Path(store.location.path).glob(pattern.format("scores")))
    ]
    assert pandas.concat(frames).query(WANTED)["f1"].to_list() == [0.5, 0.5]


def test_duckdb_reads_version_and_meanings_from_the_footer(store):
    commit(store)
    store.compact()
    file = store.location / "compact" / "trials.parquet"
    rows = duckdb.sql(f"select key, value from parquet_kv_metadata('{file}')").fetchall()
    footer = {bytes(key).decode(): bytes(value).decode() for key, value in rows}
    assert footer["sparsweep.schema_version"] == str(SCHEMA_VERSION)
    assert json.loads(footer["sparsweep.columns"])["train_s"]["unit"] == "s"


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


def test_predictions_are_compacted_in_parts_to_the_same_rows(store, monkeypatch):
    for seed in range(20):  # more than are read at a time
        commit(store, make_trial_spec(seed=seed))
    before = store.read("predictions")
    monkeypatch.setattr("orchestrator.results.table_files.ROWS_OF_PART", 5)
    store.compact()
    file = pq.ParquetFile(store.location.path + "/compact/predictions.parquet")
    assert file.num_row_groups > 1
    assert file.read().equals(before)
    assert store.read("predictions").equals(before)
    first = Path(store.location.path + "/compact/predictions.parquet").read_bytes()
    store.compact()
    assert Path(store.location.path + "/compact/predictions.parquet").read_bytes() == first


def test_predictions_whose_sentences_are_gone_are_no_valid_trial(store):
    commit(store)
    trial_id = make_trial_spec().trial_id()
    (file,) = Path(store.location.path, "sentences").glob("*.parquet")
    file.unlink()
    (problem,) = store.verify([trial_id])
    assert problem.what == (
        f"sentences/{file.name}: missing; delete trials/{trial_id}.parquet (of trials with this set one is enough), "
        "then run the sweep again"
    )
    file_of_trial = Path(store.location.path, "trials", f"{trial_id}.parquet")
    file_of_trial.unlink()
    commit(store)
    assert store.verify([trial_id]) == []


def test_predictions_for_other_sentences_are_no_valid_trial(store):
    commit(store)
    (file,) = Path(store.location.path, "sentences").glob("*.parquet")
    rows = store.read("sentences").slice(0, 1)
    file.write_bytes(encode_small(TABLES["sentences"], rows))
    (problem,) = store.verify([make_trial_spec().trial_id()])
    assert "1 sentences, trial" in problem.what
    assert "has predictions for 2; delete it and trials/" in problem.what


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


@pytest.mark.parametrize(
    ("table", "file"),
    [("trials", "trials"), ("scores", "trials"), ("attempts", "attempts"), ("plans", "plans")],
)
def test_a_damaged_file_names_the_file_whose_deletion_mends_it(store, table, file):
    commit(store)
    store.write_plan("demo", [make_trial_spec()])
    damaged = next((Path(store.location.path) / table).iterdir())
    damaged.write_bytes(b"damaged")
    with pytest.raises(
        StoreError,
        match=rf"/{table}/{damaged.name}: cannot be read .*; delete .*/{file}/{damaged.name},",
    ):
        store.read(table)


def test_sweeps_that_were_run_are_named(store):
    assert store.planned_sweeps() == []
    store.write_plan("other", [])
    store.write_plan("demo", [])
    assert store.planned_sweeps() == ["demo", "other"]


# Verify


def _problem(store, spec=None):
    (problem,) = store.verify([(spec or make_trial_spec()).trial_id()])
    return problem.what


def _file(store, table, spec=None):
    return Path(store.location.path, table, f"{(spec or make_trial_spec()).trial_id()}.parquet")


def test_verify_finds_nothing_wrong_with_completed_trials(store):
    specs = [
        make_trial_spec(),
        make_trial_spec(target_sparsity=0.0),
        make_trial_spec(language="yo"),
    ]
    for spec in specs:
        commit(store, spec, make_trial_result(curve=()))
    assert store.verify(spec.trial_id() for spec in specs) == []


def test_verify_names_each_trial_that_is_missing_or_failed(store):
    specs = [make_trial_spec(seed=seed) for seed in range(3)]
    commit(store, specs[0])
    fail(store, specs[2], kind="bad_data", message="tag B-MISC")
    problems = store.verify([spec.trial_id() for spec in specs])
    assert [problem.trial_id for problem in problems] == [specs[1].trial_id(), specs[2].trial_id()]
    assert problems[0].what == "missing: it has not been run to its end; run the sweep again"
    assert problems[1].what == "failed: bad_data: tag B-MISC; run with --retry-failed"


def test_verify_finds_a_truncated_row(store):
    commit(store)
    row = _file(store, "trials")
    row.write_bytes(row.read_bytes()[:-100])
    assert "cannot be read as Parquet" in _problem(store)
    assert "then run the sweep again" in _problem(store)


def test_verify_finds_a_flipped_bit_in_scores(store):
    commit(store)
    scores = _file(store, "scores")
    data = bytearray(scores.read_bytes())
    data[60] ^= 1
    scores.write_bytes(data)
    assert f"scores/{make_trial_spec().trial_id()}.parquet: cannot be read as Parquet" in _problem(
        store
    )


def test_verify_finds_missing_and_incomplete_tables(store):
    one, other = make_trial_spec(), make_trial_spec(seed=1)
    commit(store, one)
    commit(store, other, make_trial_result(curve=make_trial_result().curve[:1]))
    _file(store, "curves", one).write_bytes(_file(store, "curves", other).read_bytes())
    assert "1 rows, its row in trials says 2; delete trials/" in _problem(store, one)
    _file(store, "curves", one).unlink()
    assert f"curves/{one.trial_id()}.parquet: missing; delete trials/" in _problem(store, one)


def test_verify_finds_files_of_another_trial(store):
    one, other = make_trial_spec(), make_trial_spec(seed=1)
    commit(store, one)
    commit(store, other)
    _file(store, "layers", one).write_bytes(_file(store, "layers", other).read_bytes())
    assert "holds rows of another trial" in _problem(store, one)
    _file(store, "trials", one).write_bytes(_file(store, "trials", other).read_bytes())
    assert f"its spec_json is trial {other.trial_id()}; delete it" in _problem(store, one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"language": "yo"}, "language is 'yo', its spec_json says 'sw'"),
        ({"training_lr": 0.5}, "training_lr is 0.5, its spec_json says 2e-05"),
        ({"spec_json": "{}"}, "spec_json: not a trial spec"),
    ],
)
def test_verify_finds_rows_that_contradict_themselves(store, change, message):
    commit(store)
    row = store.read("trials").to_pylist()[0]
    _file(store, "trials").write_bytes(encode_small(TRIALS, TRIALS.build([row | change])))
    assert message in _problem(store)


def test_verify_finds_a_second_row(store):
    commit(store)
    row = store.read("trials").to_pylist()[0]
    _file(store, "trials").write_bytes(encode_small(TRIALS, TRIALS.build([row, row])))
    assert "2 rows, exactly 1 is valid; delete it" in _problem(store)


# Refusals


def test_a_damaged_row_stops_reading_and_is_named(store):
    commit(store)
    _file(store, "trials").write_bytes(b"PAR1")
    with pytest.raises(
        StoreError,
        match=rf"trials/{make_trial_spec().trial_id()}\.parquet: cannot be read as Parquet",
    ):
        store.statuses()


def test_results_of_another_schema_version_are_refused(store):
    commit(store)
    rows = store.read("trials")
    with pq.ParquetWriter(_file(store, "trials"), rows.schema) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(
            {"sparsweep.schema_version": "99", "sparsweep.table": "trials"}
        )
    with pytest.raises(
        StoreError,
        match="results of schema version 99, this sparsweep knows 3; use the sparsweep that",
    ):
        store.statuses()


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
