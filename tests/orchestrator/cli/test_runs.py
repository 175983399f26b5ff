"""The commands that run and verify; whole runs are in tests/integration."""

import json
import os
import signal
import tempfile
import time
from argparse import Namespace

import pytest

from cluster.contract import DONE, STOPPED
from orchestrator.cli import runs
from orchestrator.planning.plan import make_plan
from orchestrator.results.store import ResultStore
from orchestrator.running.stopping import StopSignals
from orchestrator.spec.sweep_spec import load_sweep_spec
from tests.factories import make_circumstances, make_predicted_set, make_trial_result
from tests.orchestrator.cli.command import run
from tests.orchestrator.models.conftest import commit_model
from workers.result import DeviceStretch


def test_a_job_refuses_to_run_other_trials_than_were_planned(capsys, tmp_path):
    sets = ("--set", f"results={tmp_path}/r")
    code, _, err = run(capsys, "run", "smoke", *sets, "--expect-plan", "0123456789abcdef")
    assert code == 2
    assert err.startswith(
        "sparsweep: --expect-plan 0123456789abcdef: the trials planned here are others, "
    )
    assert err.endswith("make them equal, submit again\n")
    assert not (tmp_path / "r").exists()


# A sweep that asks for more of trials that are completed


@pytest.fixture
def words(tmp_path) -> list[str]:
    """A sweep of two trials that are completed, scored by the strict rule."""
    words = ["smoke", "--set", f"results={tmp_path}/r", "--set", "languages=[ka]"]
    words += ["--set", "sparsities=[0]"]
    sweep = load_sweep_spec("smoke", words[2::2])
    for trial in make_plan(sweep):
        result = make_trial_result(predictions=(make_predicted_set(),), robustness=())
        ResultStore(sweep.results).commit_completed(trial.spec, result, **make_circumstances())
    return words


def test_run_removes_what_killed_processes_left_half_written(capsys, tmp_path, words):
    long_ago = time.time() - 2 * 3600
    for folder in ("checkpoints", "trials", "compact", "elsewhere"):
        (tmp_path / "r" / folder).mkdir(exist_ok=True)
        half = tmp_path / "r" / folder / ".a.safetensors.01234567.tmp"
        half.write_text("half")
        os.utime(half, (long_ago, long_ago))
    assert run(capsys, "run", *words)[0] == 0
    left = (tmp_path / "r").rglob(".a.safetensors.01234567.tmp")
    assert [path.parent.name for path in left] == ["elsewhere"], "which is not ours"


def test_run_removes_temporary_folders_of_killed_runs_also_when_nothing_is_left_to_run(
    capsys, tmp_path, words, monkeypatch
):
    temporary = tmp_path / "tmp"
    killed = temporary / "ray-01234567"
    (killed / "r").mkdir(parents=True)
    (killed / ".owner").touch()  # which nobody has locked
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert run(capsys, "run", *words)[0] == 0
    assert list(temporary.iterdir()) == []


def test_run_scores_from_stored_predictions_and_needs_no_ray_for_it(
    capsys, tmp_path, words, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    words += ["--set", "evaluation.matching=lenient", "--set", "evaluation.splits=[test]"]
    to_score = "2 trials to score from stored predictions"
    assert to_score in run(capsys, "plan", *words)[1]
    code, out, _ = run(capsys, "run", *words)
    assert (code, "2 trials scored by the lenient rule from stored predictions" in out) == (0, True)
    assert to_score not in run(capsys, "plan", *words)[1]
    scores = ResultStore(f"{tmp_path}/r").read("scores", ["matching", "split"]).to_pylist()
    assert {"matching": "lenient", "split": "test"} in scores
    assert {"matching": "lenient", "split": "validation"} not in scores


def test_verify_names_trials_of_several_devices_and_that_is_no_failure(capsys, tmp_path):
    words = ["smoke", "--set", f"results={tmp_path}/r", "--set", "languages=[ka]"]
    first, *others = make_plan(load_sweep_spec("smoke", words[2::2]))
    store = ResultStore(f"{tmp_path}/r")
    store.write_plan("smoke", [trial.spec for trial in (first, *others)])
    devices = tuple(DeviceStretch(name=name, from_step=9) for name in ("A100", "H100"))
    for trial in (first, *others):
        result = make_trial_result(devices=devices if trial is first else devices[:1])
        store.commit_completed(trial.spec, result, **make_circumstances())
    code, out, err = run(capsys, "verify", *words, f"{tmp_path}/r")
    note = "1 trial resumed on another model of device, see column devices: "
    number = 1 + len(others)
    assert (code, err, out.splitlines()) == (
        0,
        "",
        [
            f"{note}{first.trial_id} (A100 and H100)",
            f"{number} of {number} trials are valid in {tmp_path}/r",
        ],
    )


def test_verify_names_models_that_are_damaged_and_those_that_nobody_names(capsys, tmp_path):
    overrides = ["languages=[ka]", "sparsities=[0.5]", "seeds=[0, 1]", f"results={tmp_path}/r"]
    words = ["smoke", *(word for one in overrides for word in ("--set", one)), f"{tmp_path}/r"]
    planned = make_plan(load_sweep_spec("smoke", overrides))
    assert len(planned) == 2
    store = ResultStore(f"{tmp_path}/r")
    for trial in planned:
        commit_model(store, trial.spec)
    assert run(capsys, "verify", *words)[:2] == (0, f"2 of 2 trials are valid in {tmp_path}/r\n")
    file, orphan = (store.model(name) for name in (planned[1].trial_id, "0" * 16))
    orphan.write_atomic(file.read_bytes())
    file.write_atomic(file.read_bytes()[:-1])
    code, out, err = run(capsys, "verify", *words)
    assert (code, err) == (3, "")
    lines = out.splitlines()
    damaged = f"{planned[1].trial_id} ({planned[1].spec.describe()}): {file}: the kept model is dam"
    assert lines[0].startswith(damaged)
    assert lines[1:] == [
        f"{orphan}: no completed trial of these results names this model; where no driver is "
        "running, remove the file",
        f"2 of 2 trials are valid in {tmp_path}/r",
        "1 kept model to mend",
    ]


def test_plan_and_run_name_checkpoints_that_are_not_used(capsys, tmp_path, words, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    left = ResultStore(f"{tmp_path}/r").checkpoint("00aa11bb22cc33dd")
    left.write_atomic(b"of an earlier version")
    for command in ("plan", "run"):
        code, out, _ = run(capsys, command, *words)
        (line,) = [line for line in out.splitlines() if "checkpoint" in line]
        assert code == 0
        assert line.startswith("1 checkpoint is of no trial of smoke as it is now: ")
        assert line.endswith(f"to remove it, delete {left}")
    assert left.read_bytes(), "nobody else removes it"


@pytest.mark.parametrize(
    ("overrides", "code", "last"),
    [
        ([], DONE, "Figures: sparsweep report "),
        (["evaluation.matching=lenient"], STOPPED, "  sparsweep "),
    ],
)
def test_a_signal_stops_a_run_only_where_something_is_left(capsys, words, overrides, code, last):
    args = Namespace(spec=words[0], set=[*words[2::2], *overrides], words=["run", *words])
    args.expect_plan, args.retry_failed, args.rerun_lacking, args.as_job = None, False, False, False
    args.only_score = False
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert runs.run(args, signals) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(last)


def test_what_completed_trials_lack_is_named_and_not_run(capsys, words, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    words += ["--set", "evaluation.predictions=[validation, test]"]
    lacking = (
        "2 trials are completed but lack: scores of validation (2), predictions of validation (2); "
        "give --rerun-lacking to run them again"
    )
    for command in ("plan", "run", "status"):
        code, out, _ = run(capsys, command, *words)
        assert (code, lacking in out) == (0, True), out
        is_last = out.splitlines()[-1].startswith("Figures: sparsweep report ")
        assert is_last == (command != "plan")
    trials = json.loads(run(capsys, "plan", *words, "--json")[1])["trials"]
    assert [trial["lacks"] for trial in trials] == [
        ["scores of validation", "predictions of validation"]
    ] * 2
    assert [trial["to_score_from_predictions"] for trial in trials] == [[], []]
