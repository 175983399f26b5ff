"""What several commands show of a sweep and its results."""

import argparse
import io
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.cli.shared import (
    FAILURES_READ,
    PlainConsole,
    command_of,
    count,
    find_failed_reruns,
    find_failures,
    open_console,
    open_store,
    print_failures,
    report_line,
)
from orchestrator.errors import SweepError
from orchestrator.planning.plan import PlannedTrial
from orchestrator.results.store import ResultStore
from tests.factories import STARTED_AT, make_circumstances, make_trial_result, make_trial_spec
from tests.orchestrator.analysis.committing import commit


def planned(*seeds: int) -> list[PlannedTrial]:
    specs = [make_trial_spec(seed=seed) for seed in seeds]
    return [PlannedTrial(spec, spec.trial_id(), 1.0) for spec in specs]


def test_trials_are_counted_by_status_and_those_of_other_sweeps_are_not():
    trials = planned(0, 1, 2)
    statuses = {
        trials[0].trial_id: "completed",
        trials[1].trial_id: "failed",
        "another": "completed",
    }
    assert count(trials, statuses) == {"completed": 1, "failed": 1, "new": 1}
    assert count(trials, {}) == {"completed": 0, "failed": 0, "new": 3}


def test_the_command_that_makes_the_report_can_be_pasted(tmp_path):
    store = ResultStore(str(tmp_path / "my results"))
    assert report_line(store) == f"Figures: sparsweep report '{tmp_path}/my results'"


def test_another_command_on_the_same_sweep_can_be_pasted():
    args = argparse.Namespace(spec="my sweep.yaml", set=["seeds=[0, 1]", "model.name=m"])
    assert command_of(args, "fetch") == (
        "sparsweep fetch 'my sweep.yaml' --set 'seeds=[0, 1]' --set model.name=m"
    )
    args.set = []
    assert command_of(args, "submit", "--on", "a") == "sparsweep submit 'my sweep.yaml' --on a"


def test_failures_of_the_sweep_are_shown_by_place_and_cause(tmp_path):
    store = ResultStore(str(tmp_path))
    for spec in (make_trial_spec(seed=0), make_trial_spec(seed=7)):
        failure = {"kind": "bad_data", "message": "no sentences", "traceback": None}
        store.commit_failed(spec, **failure, **make_circumstances())
    failures = find_failures(planned(0, 1), store.read("trials", FAILURES_READ).to_pylist())
    assert [row["seed"] for row in failures] == [0]
    console = PlainConsole(file=io.StringIO(), width=20)
    print_failures(failures, console)
    assert console.file.getvalue() == (
        "failed: sw sparsity 0.5 seed 0: bad_data: no sentences\n"
    ), "a line is not broken"


def test_a_rerun_failed_where_the_trial_still_lacks_what_it_was_run_for(tmp_path):
    store = ResultStore(str(tmp_path))
    again = []
    for trial in planned(0, 1, 2):
        spec = trial.spec
        store.commit_completed(spec, make_trial_result(), **make_circumstances())
        evaluation = replace(spec.evaluation, predictions=("validation", "test"))
        again.append(replace(trial, spec=replace(spec, evaluation=evaluation)))
    assert store.commit_completed(again[0].spec, make_trial_result(), **make_circumstances())
    for hour, kind in enumerate(("storage", "out_of_memory")):
        times = {"started_at": STARTED_AT + timedelta(hours=hour)}
        failure = {"kind": kind, "message": "too large", "traceback": None}
        store.commit_failed(again[1].spec, **failure, **make_circumstances(**times))
    console = PlainConsole(file=io.StringIO(), width=20)
    print_failures(find_failed_reruns(again, store), console)
    assert console.file.getvalue() == (
        "failed: sw sparsity 0.5 seed 1: out_of_memory: too large\n"
        "failed: sw sparsity 0.5 seed 2: unexpected: no failed attempt is recorded\n"
    )
    assert find_failed_reruns(again[:1], store) == find_failed_reruns([], store) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "results: .*file is a file; give a folder"),
        ("none", "none: holds no results; give"),
    ],
)
def test_places_without_results_are_refused(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match=message):
        open_store(str(tmp_path / name))
    assert open_store(str(tmp_path / "none"), must_exist=False).statuses() == {}


def test_trials_whose_plan_is_lost_are_not_called_no_results(tmp_path):
    commit(ResultStore(str(tmp_path)), "sw", 0.5, 0, 0.5)
    with pytest.raises(SweepError, match="has trials but no plan of a sweep.*run the sweep there"):
        open_store(str(tmp_path))


def test_a_console_takes_brackets_as_they_are(capsys):
    open_console().print("[bold]results[/bold]/a[sw]")
    assert capsys.readouterr().out == "[bold]results[/bold]/a[sw]\n"
