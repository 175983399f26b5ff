"""Commits that are killed or compete: what is there is whole, or not there."""

import os
import signal
import time

import pytest

from tests.factories import make_trial_result, make_trial_spec
from tests.orchestrator.results.committing import CRASH, ON_TEST, commit, fail, run_python

pytestmark = pytest.mark.slow  # each test kills processes


@pytest.mark.parametrize("failed_before", [False, pytest.param(True, marks=pytest.mark.slow)])
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
curve = make_trial_result().curve * (1 if name == "a" else 3)
result = make_trial_result(f1=f1, device_name=name, curve=curve)
print("ready", flush=True)
while not store.location.entries():  # the starting shot
    time.sleep(0.001)
won = 0
for seed in range(int(sys.argv[4])):
    spec, circumstances = make_trial_spec(seed=seed), make_circumstances(sweep=name)
    won += store.commit_completed(spec, result, **circumstances)
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
