"""Sweeps submitted, followed, stopped and resumed, in the background of this machine."""

import json
from pathlib import Path

import pytest

from cluster.local.backend import LocalBackend
from cluster.local.profile import LocalProfile
from tests.real_sweeps import (
    ONE_TO_STOP,
    assert_same_numbers,
    checkpoints,
    sparsweep,
    wait_until,
    write_sweep,
)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of jobs and profiles that are this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def job(spec: str) -> dict:
    code, output = sparsweep("status", spec, "--json")
    assert code == 0, output
    return json.loads(output)["job"]


def wait_for_end(spec: str) -> dict:
    """What is known of the job when it is over. The backend is asked meanwhile: each `sparsweep
    status` would take a second of the cores that the job computes on."""
    running, backend = job(spec), LocalBackend(LocalProfile())
    job_id, folder = running["job_id"], Path(running["folder"])
    wait_until(lambda: backend.status(job_id, folder).state.is_terminal)
    over = job(spec)
    assert (over["job_id"], over["is_over"]) == (job_id, True)
    return over


def test_sweep_in_the_background_is_followed_stopped_and_finished(never_stopped, tmp_path):
    results = tmp_path / "results"
    spec = write_sweep(tmp_path / "tiny.yaml", results, **ONE_TO_STOP)
    code, output = sparsweep("submit", spec, "--on", "local")
    assert (code, output.count("\n")) == (0, 1), output
    assert "runs 1 trial" in output
    first = job(spec)
    assert (first["backend"], first["profile"], first["has_changed"]) == ("local", "local", False)
    assert Path(first["folder"]).stat().st_mode & 0o777 == 0o700

    code, output = sparsweep("submit", spec, "--on", "local")  # a second time: nothing new
    assert code == 0, output
    assert f"job {first['job_id']} is running already" in output

    # The same sweep, changed.
    longer = write_sweep(tmp_path / "longer.yaml", results, **ONE_TO_STOP, seeds=[0, 1])
    code, output = sparsweep("submit", longer, "--on", "local")
    assert code == 2, output
    assert (
        "of another version of this sweep on local is running; `sparsweep cancel` it first"
        in output
    )
    assert "The sweep has changed since" in sparsweep("status", longer)[1]

    wait_until(lambda: checkpoints(results))
    code, output = sparsweep("cancel", spec)
    assert code == 0, output
    stopped = wait_for_end(spec)
    assert (stopped["job_id"], stopped["state"]) == (first["job_id"], "cancelled")
    assert checkpoints(results), "the trial that ran has kept its state"
    assert "stopped" in sparsweep("logs", spec)[1]

    assert (
        sparsweep("resume", longer)[0] == 2
    )  # it goes on with what was sent, not with something else
    code, output = sparsweep("resume", spec)
    assert code == 0, output
    code, output = sparsweep("logs", spec, "-f")
    assert code == 0
    assert "Results:" in output
    last = wait_for_end(spec)
    assert (last["state"], last["job_id"] != first["job_id"]) == ("completed", True)
    assert_same_numbers(results, never_stopped, num_trials=1)

    trial = json.loads(sparsweep("plan", spec, "--json")[1])["trials"][0]
    code, output = sparsweep("logs", spec, "--trial", trial["trial_id"][:6])
    assert code == 0, output
    assert output.splitlines()[0].startswith(trial["trial_id"])
    assert "completed" in output
    code, output = sparsweep("submit", spec, "--on", "local")
    assert (code, "nothing is left to run" in output) == (0, True)


def test_what_was_not_submitted_cannot_be_followed(tmp_path):
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results")
    for command in ("logs", "resume"):
        code, output = sparsweep(command, spec)
        assert (code, "was not submitted" in output) == (2, True), output
    code, output = sparsweep("cancel", spec)
    assert (code, "no job of it is live" in output) == (2, True), output
    assert job(spec) is None


def test_what_cannot_be_sent_leaves_nothing(tmp_path):
    spec = write_sweep(
        tmp_path / "tiny.yaml", tmp_path / "results", clusters={"mine": {"backend": "slurm"}}
    )
    code, output = sparsweep("submit", spec, "--on", "mine", PATH=str(tmp_path))
    assert (code, "is not on this machine's PATH" in output) == (2, True), output
    assert not list((tmp_path / "results" / "jobs").rglob("job.json"))
    assert job(spec) is None


def test_nobody_is_asked_for_a_dry_run(tmp_path):
    spec = write_sweep(
        tmp_path / "tiny.yaml",
        tmp_path / "results",
        clusters={"mine": {"backend": "slurm", "nodes": 2}},
    )
    code, output = sparsweep("submit", spec, "--on", "mine", "--dry-run", PATH=str(tmp_path))
    assert (code, output.splitlines()[0]) == (0, "#!/bin/bash"), output
    assert "#SBATCH --nodes=2" in output.splitlines()
    assert not (tmp_path / "results").exists()


def test_job_refuses_trials_other_than_those_that_were_submitted(tmp_path):
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results")
    code, output = sparsweep("run", spec, "--expect-plan", "0123456789abcdef")
    assert code == 2
    assert "--expect-plan 0123456789abcdef: the trials planned here are others" in output


def test_results_that_pods_cannot_see_are_refused(tmp_path):
    cloud = {
        "backend": "kubernetes",
        "image": "registry/sparsweep:1",
        "volumes": [{"claim": "c", "mount": "/data"}],
    }
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results", clusters={"cloud": cloud})
    code, output = sparsweep("submit", spec, "--on", "cloud", "--dry-run")
    assert code == 2
    assert (
        f"results: {tmp_path}/results is on no volume that the pods mount and may write" in output
    )


def test_profiles_are_listed_and_checked(tmp_path):
    folder = tmp_path / "config" / "sparsweep" / "clusters"
    folder.mkdir(parents=True)
    (folder / "here.yaml").write_text("backend: local\n")
    assert sparsweep("clusters") == (0, "here: backend: local: ok\n")
    (folder / "there.yaml").write_text("backend: slurm\npartition: gpu\nnamespace: x\n")
    code, output = sparsweep("clusters", PATH=str(tmp_path))
    assert code == 3
    assert "there: not usable" in output
    assert "namespace: a field of kubernetes profiles" in output


def test_cluster_that_does_not_answer_is_said_and_keeps_nobody_from_looking(tmp_path):
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results")
    folder = tmp_path / "results" / "jobs" / "tiny" / "20260101-000000-000000"
    code, output = sparsweep("submit", spec, "--on", "local")
    assert code == 0, output
    (real,) = (tmp_path / "results" / "jobs" / "tiny").glob("*/job.json")
    folder.mkdir()
    record = json.loads(real.read_text())
    sparsweep("cancel", spec, "--now")
    wait_for_end(spec)
    later = {
        "submitted_at": "2099-01-01T00:00:00.000000+00:00",
        "profile": {"backend": "slurm"},
        "job_id": "12",
    }
    (folder / "job.json").write_text(json.dumps(record | later))
    code, output = sparsweep("status", spec, PATH=str(tmp_path))
    assert code == 0, output
    assert "4 trials" in output
    assert "unknown (no answer), slurm: scontrol is not on this machine's PATH" in output
    code, output = sparsweep("submit", spec, "--on", "local", PATH=str(tmp_path))
    assert code == 2, output
    assert "job 12" in output
    assert "--another" in output
