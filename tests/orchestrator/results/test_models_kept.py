"""A trial's model gets its name together with the trial's row, and belongs to it."""

import os
import signal
import time
from pathlib import Path

import pytest

from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from tests.orchestrator.results.committing import commit, fail, run_python
from workers.storage import Location

SPEC = make_trial_spec()
TRIAL_ID = SPEC.trial_id()


class Written:
    """A file that stands for a model, and its digest."""

    def __init__(self, location: Location, digest: str = "first"):
        self.digest = digest
        self.prepared = location.prepare_by(lambda file: file.write(digest.encode()))

    def publish(self) -> int:
        self.prepared.publish()
        return self.prepared.num_bytes

    def discard(self) -> None:
        self.prepared.discard()


def keep(store: ResultStore, digest: str = "first", **changes) -> bool:
    model = Written(store.model(TRIAL_ID), digest)
    return store.commit_completed(SPEC, make_trial_result(**changes), model, **make_circumstances())


def row_of(store: ResultStore) -> dict:
    (row,) = store.read("trials").to_pylist()
    return {name: row[name] for name in ("model_digest", "model_bytes", "file_key")}


def files(store: ResultStore) -> list[str]:
    """All of the folder of models, hidden ones included."""
    return sorted(os.listdir(Path(store.location.path, "models")))  # noqa: PTH208


def test_the_row_says_which_model_is_kept(store):
    assert keep(store)
    assert row_of(store) == {"model_digest": "first", "model_bytes": 5, "file_key": TRIAL_ID}
    assert store.model(TRIAL_ID).read_bytes() == b"first"
    assert store.model_ids() == {TRIAL_ID}
    assert store.has(SPEC, with_model=True)
    assert store.verify([TRIAL_ID]) == []


def test_only_its_own_file_is_asked_for(store, monkeypatch):
    """Folders of thousands of models take long to list, and each trial asks."""
    assert keep(store)
    monkeypatch.setattr(ResultStore, "model_ids", lambda self: pytest.fail("all are listed"))
    assert store.has(SPEC, with_model=True)
    assert not keep(store, "second")


def test_of_a_trial_that_is_there_already_no_second_model_is_kept(store):
    assert keep(store)
    assert not keep(store, "second")
    assert store.model(TRIAL_ID).read_bytes() == b"first"
    assert files(store) == [f"{TRIAL_ID}.safetensors"]


def test_a_trial_without_its_model_gets_one_from_another_run(store):
    assert commit(store)
    assert (store.has(SPEC), store.has(SPEC, with_model=True)) == (True, False)
    assert keep(store, f1=0.75)
    assert row_of(store)["file_key"] == f"{TRIAL_ID}-2"
    assert store.has(SPEC, with_model=True)
    store.model(TRIAL_ID).delete()
    assert not store.has(SPEC, with_model=True)
    assert keep(store, "third")
    assert row_of(store)["file_key"] == f"{TRIAL_ID}-3"
    assert store.verify([TRIAL_ID]) == []


def test_a_model_that_gets_no_name_leaves_the_numbers(store):
    class Refused(Written):
        def publish(self) -> None:
            self.discard()

    model = Refused(store.model(TRIAL_ID))
    assert store.commit_completed(SPEC, make_trial_result(), model, **make_circumstances())
    assert row_of(store) == {"model_digest": None, "model_bytes": None, "file_key": TRIAL_ID}
    assert not store.has(SPEC, with_model=True)
    assert files(store) == []


def test_a_failed_trial_leaves_no_model(store):
    fail(store)
    assert store.model_ids() == set()


CRASH = """
import os, signal, sys
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result
from tests.orchestrator.results.test_models_kept import SPEC, TRIAL_ID, Written

def die(event, arguments):  # at the first touch of the given kind on the given table
    if event == sys.argv[2] and f"/{sys.argv[3]}/" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

store = ResultStore(sys.argv[1])
model = Written(store.model(TRIAL_ID))
sys.addaudithook(die)
store.commit_completed(SPEC, make_trial_result(), model, **make_circumstances())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "table"),
    [("os.rename", "models"), ("open", "scores"), ("open", "trials"), ("os.rename", "trials")],
)
def test_a_commit_killed_at_any_point_is_done_again(store, event, table):
    dying = run_python(CRASH, store.location, event, table)
    dying.communicate()
    assert dying.returncode == -signal.SIGKILL
    assert store.statuses() == {}
    store.remove_leftovers()
    assert files(store) in ([], [f"{TRIAL_ID}.safetensors"])
    assert keep(store, "second")
    assert row_of(store)["model_digest"] == "second"
    assert store.model(TRIAL_ID).read_bytes() == b"second"


RACE = """
import sys, time
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from tests.orchestrator.results.test_models_kept import Written

store, name = ResultStore(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
while not (store.location / "go").folder.entries():  # the starting shot
    time.sleep(0.001)
for seed in range(20):
    spec = make_trial_spec(seed=seed)
    model = Written(store.model(spec.trial_id()), name)
    result = make_trial_result(device_name=name)
    store.commit_completed(spec, result, model, **make_circumstances())
"""


@pytest.mark.slow
def test_of_two_drivers_each_trial_has_one_model_which_is_that_of_its_numbers(store):
    racers = [run_python(RACE, store.location, name) for name in ("a", "b")]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    (store.location / "go").write_atomic(b"")
    for racer in racers:
        racer.communicate()
    rows = store.read("trials", ["trial_id", "device_name", "model_digest"]).to_pylist()
    assert len(rows) == len(files(store)) == 20
    for row in rows:
        assert row["model_digest"] == row["device_name"]
        assert store.model(row["trial_id"]).read_bytes() == row["device_name"].encode()


@pytest.mark.slow
def test_an_object_store_keeps_models_as_a_folder_does(s3_bucket):
    store = ResultStore(f"{s3_bucket}/models-kept-{time.time_ns()}")
    assert keep(store)
    assert not keep(store, "second")
    assert store.model(TRIAL_ID).read_bytes() == b"first"
    assert store.has(SPEC, with_model=True)
