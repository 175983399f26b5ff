"""Reading: from compact files and others alike, and what is refused."""

from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.errors import StoreError
from orchestrator.results.parquet import decode
from orchestrator.results.schema import SCHEMA_VERSION, TABLES
from orchestrator.results.store import is_renewed_after
from tests.factories import make_trial_result, make_trial_spec
from tests.orchestrator.results.committing import ON_TEST, commit, fail, run_python, trial_file


def test_reading_is_the_same_with_and_without_a_compacttrial_file(store):
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


def test_tables_that_are_read_together_are_of_the_same_trials(store, monkeypatch):
    names = ("trials", "scores", "curves", "plans")
    store.write_plan("demo", [make_trial_spec()])
    commit(store)
    everything = dict.fromkeys(names)
    assert store.read_together(everything) == {name: store.read(name) for name in names}
    columns = {"scores": ("trial_id", "f1"), "plans": ("seed",)}
    some = {name: store.read(name, wanted) for name, wanted in columns.items()}
    assert store.read_together(columns) == some

    read_catalog = store._reader.catalog

    def and_then_a_trial_ends(columns=()):
        catalog = read_catalog(columns)
        commit(store, make_trial_spec(seed=7))
        return catalog

    monkeypatch.setattr(store._reader, "catalog", and_then_a_trial_ends)
    tables = store.read_together({name: ["trial_id"] for name in ("trials", "scores")})
    ids = [set(rows["trial_id"].to_pylist()) for rows in tables.values()]
    assert ids == [{make_trial_spec().trial_id()}] * 2


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


def test_compact_files_of_what_status_reads_are_renewed_while_a_sweep_runs(store, monkeypatch):
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
    assert sorted(file.stem for file in compact.parent.iterdir()) == [
        *("attempts", "scores", "trials")
    ], "what status reads"
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


def test_the_more_there_is_the_less_often_it_is_written_anew():
    after = [number for number in range(1, 40_000) if is_renewed_after(number)]
    assert after[:20] == list(range(200, 4_001, 200))
    shares = [(new - old) / old for old, new in pairwise(after) if old >= 2_000]
    assert max(shares) <= 0.1, "else many small files are read"
    assert len(after) <= 60


def test_a_trial_is_kept_when_the_compact_file_cannot_be_renewed(store, monkeypatch, caplog):
    monkeypatch.setattr(RENEWED_EVERY, 2)
    commit(store)
    damaged = trial_file(store, "trials")
    whole = damaged.read_bytes()
    damaged.write_bytes(b"damaged")
    assert commit(store, make_trial_spec(seed=1))
    assert f"compact files are not renewed: {damaged}: cannot be read as Parquet" in caplog.text
    damaged.write_bytes(whole)
    assert set(store.statuses().values()) == {"completed"}


ASK = """
import sys
from orchestrator.results.store import ResultStore

print(sorted(ResultStore(sys.argv[1]).statuses().values()))
print([name for name in ("pandas", "torch", "ray") if name in sys.modules])
"""


@pytest.mark.slow
def test_asking_for_statuses_imports_nothing_slow(store):
    fail(store, make_trial_spec(seed=1))
    commit(store)
    store.compact()
    commit(store, make_trial_spec(seed=2))
    out, _ = run_python(ASK, store.location).communicate()
    assert out.splitlines() == ["['completed', 'completed', 'failed']", "[]"]


# Refusals


LATER_VERSION = str(SCHEMA_VERSION + 1)


def _write_as_version(file, rows, version, writer=None):
    """A file of the table trials that says that this schema version wrote it."""
    footer = {"sparsweep.schema_version": version, "sparsweep.table": "trials"}
    with pq.ParquetWriter(file, rows.schema) as file_writer:
        file_writer.write_table(rows)
        file_writer.add_key_value_metadata(
            footer | ({"sparsweep.version": writer} if writer else {})
        )


@pytest.mark.slow
def test_one_file_of_a_later_version_among_many_is_refused(store):
    for seed in range(40):
        commit(store, make_trial_spec(seed=seed))
    file = trial_file(store, "trials", make_trial_spec(seed=33))
    _write_as_version(file, store.read("trials").slice(0, 1), LATER_VERSION, "0.9.1")
    message = (
        rf"{file}: has schema version {LATER_VERSION}, written by sparsweep 0\.9\.1; this one "
        rf"reads versions 1 to {SCHEMA_VERSION}, sparsweep 0\.9\.1 or a newer one reads it: use "
        "that, or other results$"
    )
    with pytest.raises(StoreError, match=message):
        store.statuses()
    with pytest.raises(StoreError, match=f"has schema version {LATER_VERSION}"):
        store.compact()


def test_a_later_version_that_does_not_say_who_wrote_it_is_refused(store):
    commit(store)
    _write_as_version(trial_file(store, "trials"), store.read("trials"), "99")
    message = (
        f"schema version 99, written by sparsweep unknown; .* {SCHEMA_VERSION}, a newer sparsweep "
        "reads it"
    )
    with pytest.raises(StoreError, match=message):
        store.statuses()


def test_a_compact_file_of_a_later_version_is_refused(store):
    commit(store)
    store.compact()
    compact = Path(store.location.path, "compact", "trials.parquet")
    _write_as_version(compact, store.read("trials"), "99", "2.0")
    message = "schema version 99, .*; or delete it: compact files are made from the others"
    with pytest.raises(StoreError, match=message):
        store.statuses()
    compact.unlink()
    assert list(store.statuses().values()) == ["completed"]


def test_a_damaged_compact_file_is_named_and_not_needed(store, caplog):
    commit(store)
    store.compact()
    scores = store.read("scores")
    for name in ("trials", "scores"):
        (store.location / "compact" / f"{name}.parquet").write_atomic(b"PAR1 half of it")
    assert list(store.statuses().values()) == ["completed"]
    assert store.read("scores").equals(scores)
    assert "compact/trials.parquet: cannot be read as Parquet" in caplog.text
    assert "reading the trials' own files instead" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1", "3"])
def test_a_file_that_lacks_what_its_version_has_is_named(store, version):
    for seed in range(20):
        commit(store, make_trial_spec(seed=seed))
    file = trial_file(store, "trials", make_trial_spec(seed=7))
    rows = store.read("trials").slice(0, 1).drop_columns(["sweep"])
    _write_as_version(file, rows, version)
    with pytest.raises(StoreError, match=rf"{file}: .*; delete {file}, then run the sweep again"):
        store.read("trials")


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


@pytest.mark.slow
@pytest.mark.parametrize("table", ["trials", "scores", "curves"])
def test_no_bit_of_a_file_can_flip_to_a_fault_of_ours_or_to_other_rows(store, table):
    """Pages have checksums; a footer has none, and names that are no text."""
    commit(store)
    (file,) = (Path(store.location.path) / table).iterdir()
    whole = file.read_bytes()
    rows = decode(TABLES[table], whole, file).rows
    refusals = []
    for position in range(len(whole) - 1, 0, -max(1, len(whole) // 400)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        try:
            read = decode(TABLES[table], bytes(damaged), file)
        except StoreError as error:
            refusals.append(str(error))
        else:
            assert read.version != SCHEMA_VERSION or read.rows.equals(rows), position
    assert len(refusals) > 100
    assert all(line.startswith(str(file)) and "\n" not in line for line in refusals)


def test_a_damaged_row_stops_reading_and_is_named(store):
    commit(store)
    trial_file(store, "trials").write_bytes(b"PAR1")
    with pytest.raises(
        StoreError,
        match=rf"trials/{make_trial_spec().trial_id()}\.parquet: cannot be read as Parquet",
    ):
        store.statuses()
