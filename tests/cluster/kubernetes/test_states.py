"""From a RayJob's two states to ours."""

from typing import Any

import pytest

from cluster.backend import JobState
from cluster.contract import Counts
from cluster.kubernetes.reasons import Reason
from cluster.kubernetes.states import CANCELLED_ANNOTATION, STATES, job_status

CASES = [
    ("", "", JobState.PENDING),
    ("Initializing", "", JobState.PENDING),
    ("Waiting", "", JobState.PENDING),
    ("Running", "PENDING", JobState.RUNNING),
    ("Running", "RUNNING", JobState.RUNNING),
    ("Running", "FAILED", JobState.RUNNING),  # the submitter tries again
    ("Running", "SUCCEEDED", JobState.RUNNING),  # the submitter still passes on the log
    ("Retrying", "FAILED", JobState.RUNNING),
    ("Suspending", "RUNNING", JobState.STOPPING),
    ("Suspended", "", JobState.PENDING),
    ("Complete", "SUCCEEDED", JobState.COMPLETED),
    ("Complete", "STOPPED", JobState.CANCELLED),
    ("Complete", "FAILED", JobState.FAILED),
    ("Failed", "FAILED", JobState.FAILED),
    ("Failed", "RUNNING", JobState.FAILED),  # over its deadline
    ("ValidationFailed", "", JobState.FAILED),
    ("Teleporting", "RUNNING", JobState.UNKNOWN),
]


@pytest.mark.parametrize(("deployment", "job", "state"), CASES)
def test_deployment_status_decides(deployment: str, job: str, state: JobState) -> None:
    assert job_status("ns/x", _ray_job(deployment, job)).state is state


def test_every_state_of_the_table_is_tested() -> None:
    assert {deployment for deployment, _, _ in CASES} >= STATES.keys() - {"New"}


def test_terminal_states_are_those_in_which_kuberay_does_nothing_more() -> None:
    terminal = {native for native, state in STATES.items() if state.is_terminal}

    assert terminal == {"Complete", "Failed", "ValidationFailed"}


def test_native_states_are_kept() -> None:
    assert job_status("ns/x", _ray_job("Running", "FAILED")).native == "Running/FAILED"
    assert job_status("ns/x", _ray_job("Teleporting", "")).native == "Teleporting"
    assert job_status("ns/x", {"metadata": {}}).native == "New"


@pytest.mark.parametrize(
    ("deployment", "state"),
    [
        ("Running", JobState.STOPPING),
        ("Suspending", JobState.STOPPING),
        ("Suspended", JobState.CANCELLED),
    ],
)
def test_a_job_that_was_suspended_to_stop_it_ends_as_cancelled(
    deployment: str, state: JobState
) -> None:
    ray_job = _ray_job(deployment, "")
    ray_job["metadata"]["annotations"] = {CANCELLED_ANNOTATION: "true"}

    assert job_status("ns/x", ray_job).state is state


def test_a_job_that_finished_before_it_was_cancelled_is_finished() -> None:
    ray_job = _ray_job("Complete", "SUCCEEDED")
    ray_job["metadata"]["annotations"] = {CANCELLED_ANNOTATION: "true"}

    assert job_status("ns/x", ray_job).state is JobState.COMPLETED


def test_a_job_that_is_being_deleted_is_stopping() -> None:
    ray_job = _ray_job("Running", "RUNNING")
    ray_job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert job_status("ns/x", ray_job).state is JobState.STOPPING


def test_detail_says_what_a_job_waits_for() -> None:
    queued = _ray_job("Suspended", "", suspend=True)
    queued["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpus"}

    assert job_status("ns/x", queued).detail == "waits for Kueue's queue gpus"
    assert (
        "set spec.suspend: false"
        in job_status("ns/x", _ray_job("Suspended", "", suspend=True)).detail
    )


def test_detail_has_the_reason_the_workers_and_the_failures() -> None:
    ray_job = _ray_job(
        "Running", "RUNNING", rayClusterStatus={"availableWorkerReplicas": 3}, failed=1
    )
    assert job_status("ns/x", ray_job).detail == "3 workers; failed 1 time; tries again"

    ray_job = _ray_job(
        "ValidationFailed", "", reason="ValidationFailed", message="the name\nis too long", failed=1
    )
    assert job_status("ns/x", ray_job).detail == "ValidationFailed; the name is too long"


@pytest.mark.parametrize(
    ("cluster", "detail"),
    [
        ({}, ""),
        ({"desiredWorkerReplicas": 2}, "0 of 2 workers"),  # KubeRay leaves out what is 0
        ({"desiredWorkerReplicas": 2, "availableWorkerReplicas": 1}, "1 of 2 workers"),
    ],
)
def test_workers_that_never_come_are_counted(cluster: dict[str, int], detail: str) -> None:
    ray_job = _ray_job("Running", "RUNNING", rayClusterStatus=cluster)
    ray_job["status"]["message"] = "Job is currently running."

    assert job_status("ns/x", ray_job).detail == detail


def test_why_it_waits_comes_last() -> None:
    ray_job = _ray_job("Running", "RUNNING", rayClusterStatus={"desiredWorkerReplicas": 2})

    status = job_status("ns/x", ray_job, reason=Reason(cause="scheduling", text="no node"))

    assert status.detail == "0 of 2 workers; no node"


def test_a_retry_has_the_last_words_of_the_attempt_before() -> None:
    ray_job = _ray_job("Initializing", "", failed=2)

    status = job_status("ns/x", ray_job, words_before="sparsweep: results: cannot be written")

    assert status.detail == (
        "failed 2 times, last with: sparsweep: results: cannot be written; tries again"
    )


def test_a_sweep_whose_trials_failed_is_not_said_to_have_finished_well() -> None:
    ray_job = _ray_job("Complete", "SUCCEEDED", message="Job finished successfully.")
    counts = Counts(done=4, total=6, failed=2, running=0, left=0)

    status = job_status("ns/x", ray_job, progress=counts)

    assert (status.state, status.detail) == (JobState.COMPLETED, "2 of 6 trials failed")
    assert status.progress == counts


def test_a_driver_that_refused_its_input_has_failed_although_it_ended_well() -> None:
    ray_job = _ray_job("Complete", "SUCCEEDED", message="Job finished successfully.")

    status = job_status("ns/x", ray_job, fault="sparsweep: results: cannot be written")

    assert (status.state, status.detail) == (
        JobState.FAILED,
        "sparsweep: results: cannot be written",
    )
    assert status.native == "Complete/SUCCEEDED"


def test_a_cancelled_job_is_stopping_until_its_pods_have_ended() -> None:
    ray_job = _ray_job("Suspended", "")
    ray_job["metadata"]["annotations"] = {CANCELLED_ANNOTATION: "true"}
    head = {"metadata": {"name": "head", "labels": {"ray.io/node-type": "head"}}}
    submitter = {"metadata": {"name": "submitter"}, "status": {"phase": "Running"}}

    status = job_status("ns/x", ray_job, pods=[head, submitter])

    assert status.state is JobState.STOPPING
    assert status.detail == "pods that may still save checkpoints: head"
    ended = head | {"status": {"phase": "Failed"}}
    assert job_status("ns/x", ray_job, pods=[ended, submitter]).state is JobState.CANCELLED


def _ray_job(deployment: str, job: str, suspend: bool = False, **status: Any) -> dict[str, Any]:
    states = {"jobDeploymentStatus": deployment, "jobStatus": job}
    return {"metadata": {}, "spec": {"suspend": suspend}, "status": states | status}
