"""Sweeps as jobs of a real Ray cluster on this machine, which a token closes."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cluster.backend import JobSpec, JobState
from cluster.errors import ClusterError
from cluster.node.private_ray import private_environment
from cluster.rayjobs.backend import RayJobsBackend
from cluster.rayjobs.profile import RayProfile
from tests.factories import make_job
from tests.ray_nodes import free_ports
from tests.real_sweeps import (
    ONE_TO_STOP,
    assert_same_numbers,
    checkpoints,
    sparsweep,
    write_sweep,
)

START_S, WAIT_S = 120, 240


@dataclass
class Head:
    """The head of a Ray cluster."""

    address: str
    token: str


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    temp = tempfile.mkdtemp(prefix="rj-", dir="/tmp")
    services = ("port", "dashboard-port", "dashboard-agent-listen-port")
    services += ("dashboard-agent-grpc-port", "metrics-export-port", "runtime-env-agent-port")
    services += ("ray-client-server-port",)
    ports = dict(zip(services, free_ports(len(services)), strict=True))
    environment = private_environment() | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    words = ["start", "--head", "--block", "--num-cpus=2", "--num-gpus=0"]
    words += ["--object-store-memory=100000000", "--node-ip-address=127.0.0.1"]
    words += ["--include-dashboard=true", "--dashboard-host=127.0.0.1"]
    words += [f"--temp-dir={temp}/r", "--min-worker-port=0", "--max-worker-port=0"]
    words += [f"--{name}={port}" for name, port in ports.items()]
    with Path(temp, "log").open("w") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "ray", *words],
            env=os.environ | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        wait_until(lambda: answers(ports["dashboard-port"]) or process.poll() is not None, START_S)
        assert process.poll() is None, Path(temp, "log").read_text()
        yield Head(address=address, token=environment["RAY_AUTH_TOKEN"])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            end_session(process.pid)
            shutil.rmtree(temp, ignore_errors=True)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def end_session(leader: int) -> None:
    """What `ray start` left behind."""
    import psutil

    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                process.kill()
        except (OSError, psutil.Error):
            continue


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.2)


@pytest.fixture
def backend(head: Head, monkeypatch: pytest.MonkeyPatch) -> RayJobsBackend:
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    return RayJobsBackend(RayProfile(address=head.address, python=sys.executable))


def sweep_job(folder: Path) -> JobSpec:
    """A sweep of one trial, as JSON."""
    file = Path(write_sweep(folder / "tiny.yaml", folder / "results", **ONE_TO_STOP))
    return make_job(folder, sweep_json=json.dumps(yaml.safe_load(file.read_text())))


def state_of(backend: RayJobsBackend, job_id: str) -> JobState:
    return backend.status(job_id, Path()).state


def test_sweep_is_stopped_with_checkpoints_and_goes_on_to_the_numbers_of_an_undisturbed_one(
    backend, never_stopped, tmp_path
):
    job, results = sweep_job(tmp_path), tmp_path / "results"
    assert backend.check() == []
    job_id = backend.submit(job)
    assert job_id == job.job_name
    wait_until(lambda: len(checkpoints(results)) > 0)
    assert state_of(backend, job_id) is JobState.RUNNING
    assert backend.live_jobs(job.job_name) == [job_id]
    with pytest.raises(
        ClusterError,
        match="sw-tiny-0123abcd runs already at http.*; wait for its end, or cancel it",
    ):
        backend.submit(job)
    with pytest.raises(
        ClusterError, match="is sw-tiny-0123abcd of .*, not sw-other-0123abcd of .*; left alone"
    ):
        backend.cancel(job_id, "sw-other-0123abcd", now=False)

    backend.cancel(job_id, job.job_name, now=False)
    wait_until(lambda: state_of(backend, job_id).is_terminal)
    assert state_of(backend, job_id) is JobState.CANCELLED
    assert len(checkpoints(results)) > 0
    assert any("Stopped (SIGTERM)" in line for line in backend.logs(job_id, tmp_path, follow=False))
    assert backend.live_jobs(job.job_name) == []

    again = backend.submit(job)
    assert again == f"{job.job_name}-2"
    lines = list(backend.logs(again, tmp_path, follow=True))
    assert state_of(backend, again) is JobState.COMPLETED
    assert any("F1" in line for line in lines)
    assert_same_numbers(results, never_stopped, num_trials=1)
    assert sparsweep("verify", str(tmp_path / "tiny.yaml"), str(results))[0] == 0
    backend.cancel(again, job.job_name, now=True)  # nothing is left to stop


@pytest.mark.parametrize(
    ("code", "state", "detail"),
    [
        (3, JobState.COMPLETED, "some trials failed"),
        (75, JobState.CANCELLED, "stopped with trials left"),
        (2, JobState.FAILED, "sparsweep: bad"),
    ],
)
def test_exit_code_of_the_driver_says_how_the_job_ended(backend, tmp_path, code, state, detail):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$2" = -c ] && exit 0\necho sparsweep: bad\nexit {code}\n')
    python.chmod(0o755)
    quick = RayJobsBackend(backend.profile.model_copy(update={"python": str(python)}))
    job_id = quick.submit(make_job(tmp_path, sweep_id=f"{code:08x}"))
    wait_until(lambda: state_of(quick, job_id).is_terminal)
    status = quick.status(job_id, Path())
    assert (status.state, status.native, status.detail) == (
        state,
        f"FAILED, exit code {code}",
        detail,
    )


def test_python_without_sparsweep_is_no_sweep_with_failed_trials(backend, tmp_path):
    lacking = RayJobsBackend(backend.profile.model_copy(update={"python": "/nowhere/python"}))
    job_id = lacking.submit(make_job(tmp_path, sweep_id="0000aaaa"))
    wait_until(lambda: state_of(lacking, job_id).is_terminal)
    status = lacking.status(job_id, Path())
    assert status.state is JobState.FAILED
    assert "/nowhere/python" in status.detail
    assert "name a Python that has sparsweep in the profile's `python`" in status.detail


def test_jobs_that_the_cluster_does_not_have(backend, tmp_path):
    assert state_of(backend, "sw-tiny-ffffffff") is JobState.GONE
    with pytest.raises(
        ClusterError, match="has no job sw-tiny-ffffffff; its head may have been started anew"
    ):
        list(backend.logs("sw-tiny-ffffffff", tmp_path, follow=True))
    with pytest.raises(ClusterError, match="has no job sw-tiny-ffffffff; see sparsweep status"):
        backend.cancel("sw-tiny-ffffffff", "sw-tiny-ffffffff", now=False)
    with pytest.raises(
        ClusterError, match=r"'../version' is no id of a job; they are of letters, digits"
    ):
        backend.status("../version", Path())


def test_wrong_token_is_refused_without_showing_it(backend, monkeypatch):
    wrong = secrets.token_hex(32)
    monkeypatch.setenv("RAY_AUTH_TOKEN", wrong)
    with pytest.raises(
        ClusterError, match="does not take the one in RAY_AUTH_TOKEN; set RAY_AUTH_TOKEN"
    ) as raised:
        backend.live_jobs("sw-tiny-0123abcd")
    assert wrong not in str(raised.value)


def test_missing_token_is_refused(backend, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (line,) = backend.check()
    assert "asks for a token and does not take none; set RAY_AUTH_TOKEN to the cluster's" in line


def test_given_address_wins_over_that_of_the_environment(backend, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    assert backend.check() == []
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:1"
