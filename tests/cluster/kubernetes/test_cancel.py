"""Jobs on an API server, over HTTP: cancelled, and resumed."""

from typing import Any

import pytest

from cluster.backend import JobState
from cluster.errors import ClusterError
from tests.cluster.kubernetes.api_server import FakeServer
from tests.cluster.kubernetes.jobs import FOLDER, ID, JOB, NAME, make_backend, refusal


@pytest.mark.slow
def test_cancelling_suspends_and_the_job_then_counts_as_cancelled(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Running", jobStatus="RUNNING")

    backend.cancel(ID, NAME, now=False)

    job = server.find("rayjobs", NAME)
    assert job is not None
    assert job["spec"]["suspend"] is True
    assert backend.status(ID, FOLDER).state is JobState.STOPPING
    server.change(NAME, jobDeploymentStatus="Suspended", jobStatus="")
    assert backend.status(ID, FOLDER).state is JobState.CANCELLED
    assert backend.live_jobs(NAME) == []
    assert backend.submit(JOB) == ID  # resume
    assert backend.status(ID, FOLDER).state is JobState.PENDING


@pytest.mark.parametrize(
    ("profile", "deployment"), [({"queue": "gpus"}, "Running"), ({}, "Waiting"), ({}, "")]
)
def test_jobs_that_suspending_would_not_stop_are_deleted_with_their_grace(
    server: FakeServer, profile: dict[str, Any], deployment: str
) -> None:
    backend = make_backend(**profile)
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus=deployment)

    backend.cancel(ID, NAME, now=False)

    assert "gracePeriodSeconds" not in server.asked[-1]
    assert "propagationPolicy=Background" in server.asked[-1]
    assert backend.status(ID, FOLDER).state is JobState.GONE


def test_a_deleted_job_is_stopping_until_its_pods_have_ended(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    labels = {"app.kubernetes.io/instance": NAME, "ray.io/node-type": "head"}
    server.put("pods", "head", {"metadata": {"labels": labels}, "status": {"phase": "Running"}})
    server.change(NAME, jobDeploymentStatus="Waiting")
    backend.cancel(ID, NAME, now=False)

    status = backend.status(ID, FOLDER)

    assert (status.state, status.detail) == (JobState.STOPPING, "pods that have not ended: head")
    server.remove("pods", "head")
    assert backend.status(ID, FOLDER).state is JobState.GONE


def test_cancelling_now_leaves_no_time_to_pods(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    mine = {"app.kubernetes.io/instance": NAME}
    server.put("pods", "worker", {"metadata": {"labels": mine}})
    server.put("pods", "other", {"metadata": {"labels": {"app.kubernetes.io/instance": "else"}}})

    backend.cancel(ID, NAME, now=True)

    assert server.find("rayjobs", NAME) is None
    assert server.find("pods", "worker") is None
    assert server.find("pods", "other") is not None
    assert all("gracePeriodSeconds=0" in line for line in server.asked if line.startswith("delete"))


def test_cancelling_now_without_rights_on_pods_says_that_they_take_their_time(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.refusals["delete", "pods"] = refusal(403, "Forbidden", "ada cannot delete pods")

    backend.cancel(ID, NAME, now=True)

    assert backend.status(ID, FOLDER).state is JobState.GONE
    (note,) = caplog.messages
    assert (
        "you may not delete pods in namespace team, so they have their grace period of 120 s"
        in note
    )


def test_a_fault_while_pods_are_deleted_is_said(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.refusals["delete", "pods"] = refusal(500, "InternalError", "etcd is away")

    with pytest.raises(ClusterError, match="delete pods in team: etcd is away"):
        backend.cancel(ID, NAME, now=True)


@pytest.mark.parametrize("job_name", [NAME, "sw-other-01234567"])
def test_cancelling_what_is_not_there_or_not_this_sweeps_is_refused(
    server: FakeServer, job_name: str
) -> None:
    if job_name != NAME:
        make_backend().submit(JOB)

    with pytest.raises(
        ClusterError, match=f"{ID} is no job of this sweep, which would be {job_name}; look with"
    ):
        make_backend().cancel(ID, job_name, now=False)


def test_cancelling_what_is_over_changes_nothing(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    backend.cancel(ID, NAME, now=True)

    assert backend.status(ID, FOLDER).state is JobState.COMPLETED
