"""Compact files: for analysts of any tool, the same whatever came before, safe to be killed."""

import json
import signal
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.parquet as pq
import pytest

from orchestrator.results.schema import SCHEMA_VERSION, TABLES
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_spec
from tests.golden_results import unpack
from tests.orchestrator.results.committing import commit, fail, run_python

WANTED = "split == 'test' and entity_type == 'micro' and subset == 'all'"


@pytest.mark.slow
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
            *("curves", "layers", "vocabulary", "attempts", "plans"),
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
    columns = "language, pruning_scope, epoch(started_at), evaluation_splits"
    query = f"select {columns} from '{trials}' order by language"
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


@pytest.mark.slow
def test_predictions_are_compacted_in_parts_to_the_same_rows(store, monkeypatch):
    for seed in range(20):  # more than are read at a time
        commit(store, make_trial_spec(seed=seed))
    before = store.read("predictions")
    monkeypatch.setattr("orchestrator.results.reading.ROWS_OF_PART", 5)
    store.compact()
    file = pq.ParquetFile(store.location.path + "/compact/predictions.parquet")
    assert file.num_row_groups > 1
    assert file.read().equals(before)
    assert store.read("predictions").equals(before)
    first = Path(store.location.path + "/compact/predictions.parquet").read_bytes()
    store.compact()
    assert Path(store.location.path + "/compact/predictions.parquet").read_bytes() == first


# Killed at any moment

COMPACT_AND_DIE = """
import os, signal, sys
from orchestrator.results.store import ResultStore

touched = 0

def die(event, arguments):  # at the given touch of a compact file: opening it, giving it its name
    global touched
    if event in ("open", "os.rename") and "/compact/." in str(arguments[0]):
        touched += 1
        if touched == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
ResultStore(sys.argv[1]).compact()
"""


def _everything(store):
    return {name: store.read(name).to_pylist() for name in TABLES}


@pytest.mark.slow
@pytest.mark.parametrize("touch", range(1, 2 * len(TABLES) + 1, 3))
@pytest.mark.parametrize("old", [None, "results/v2"], ids=["new", "mixed"])
def test_compacting_that_is_killed_loses_nothing(store, touch, old):
    if old:
        unpack(Path(store.location.path), old)
    store.write_plan("demo", [make_trial_spec(seed=seed) for seed in range(4)])
    fail(store, make_trial_spec(seed=1))
    commit(store, make_trial_spec(seed=2))
    store.compact()  # what lies there is older than what comes now
    commit(store, make_trial_spec(seed=0))
    commit(store, make_trial_spec(seed=1))
    before = _everything(store)
    files = _bytes_of_files(store)

    dying = run_python(COMPACT_AND_DIE, store.location, touch)
    dying.communicate()
    assert dying.returncode == -signal.SIGKILL
    assert _everything(ResultStore(str(store.location))) == before
    assert _bytes_of_files(store) == files
    statuses = store.statuses()
    assert store.verify(key for key in statuses if statuses[key] == "completed") == []

    store.compact()
    assert _everything(ResultStore(str(store.location))) == before
    assert _bytes_of_files(store) == files


@pytest.mark.slow
def test_who_reads_while_others_compact_sees_the_same_rows(store):
    for seed in range(3):
        commit(store, make_trial_spec(seed=seed))
    before = _everything(store)
    compacting = run_python(COMPACT_AND_DIE, store.location, 0)  # which no touch is
    while compacting.poll() is None:
        assert _everything(store) == before
    compacting.communicate()
    assert compacting.returncode == 0
    assert _everything(store) == before


def _bytes_of_files(store):
    """All that is stored but compact files."""
    folder = Path(store.location.path)
    files = (file for file in folder.rglob("*.parquet") if file.parent.name != "compact")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
