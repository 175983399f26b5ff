"""A sweep as a job in the background of this machine, by the backend alone."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from cluster.backend import JobSpec, JobState
from cluster.local.backend import LocalBackend
from cluster.local.profile import LocalProfile
from tests.factories import make_job
from tests.real_sweeps import (
    ONE_TO_STOP,
    assert_same_numbers,
    checkpoints,
    wait_until,
    write_sweep,
)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalBackend:
    """The backend with records of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return LocalBackend(LocalProfile())


@pytest.fixture
def job(backend: LocalBackend, tmp_path: Path) -> Iterator[JobSpec]:
    """A sweep of one trial; what lives of it after the test is killed."""
    file = Path(write_sweep(tmp_path / "tiny.yaml", tmp_path / "results", **ONE_TO_STOP))
    folder = tmp_path / "job"
    folder.mkdir(mode=0o700)
    made = make_job(folder, sweep_json=json.dumps(yaml.safe_load(file.read_text())))
    yield made
    for job_id in backend.live_jobs(made.job_name):
        backend.cancel(job_id, made.job_name, now=True)


def test_sweep_is_stopped_with_checkpoints_and_goes_on_to_the_numbers_of_an_undisturbed_one(
    backend, job, never_stopped, tmp_path
):
    results = tmp_path / "results"
    stopped = backend.submit(job)
    wait_until(lambda: checkpoints(results) or has_ended(backend, stopped, job.folder))
    backend.cancel(stopped, job.job_name, now=False)
    assert wait_for_end(backend, stopped, job.folder) is JobState.CANCELLED, last_lines(job)
    assert backend.status(stopped, job.folder).native == "exit code 75"
    assert checkpoints(results) != []
    wait_until(lambda: processes_of(stopped) == [])

    again = backend.submit(job)
    assert wait_for_end(backend, again, job.folder) is JobState.COMPLETED, last_lines(job)
    assert_same_numbers(results, never_stopped, num_trials=1)


def wait_for_end(backend: LocalBackend, job_id: str, folder: Path) -> JobState:
    wait_until(lambda: has_ended(backend, job_id, folder))
    return backend.status(job_id, folder).state


def has_ended(backend: LocalBackend, job_id: str, folder: Path) -> bool:
    return backend.status(job_id, folder).state.is_terminal


def processes_of(job_id: str) -> list[int]:
    """Those of the job's session, whose leader the job's id names."""
    leader, found = int(job_id.rsplit("-", 2)[1]), []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except OSError:  # it has just ended
            continue
    return found


def last_lines(job: JobSpec) -> str:
    return "\n".join(file.read_text()[-2000:] for file in job.folder.glob("*.log"))
