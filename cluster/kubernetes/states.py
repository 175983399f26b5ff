"""What a RayJob says of itself, in our words.

A RayJob has two states: `jobDeploymentStatus`, what KubeRay does about the job, and `jobStatus`,
how Ray's job, the driver, stands. The first decides, since `FAILED` stands there too while KubeRay
still tries again; the second only says how a job ended.
"""

from typing import Any

from cluster.backend import JobState, JobStatus
from cluster.kubernetes.manifest import QUEUE_LABEL

CANCELLED_ANNOTATION = "sparsweep/cancelled"
"""On jobs that were suspended in order to stop them; nobody lets them go on."""

STATES = {
    "": JobState.PENDING,
    "New": JobState.PENDING,
    "Initializing": JobState.PENDING,
    "Waiting": JobState.PENDING,
    "Suspended": JobState.PENDING,
    "Retrying": JobState.RUNNING,
    "Running": JobState.RUNNING,
    "Suspending": JobState.STOPPING,
    "Complete": JobState.COMPLETED,
    "Failed": JobState.FAILED,
    "ValidationFailed": JobState.FAILED,
}
"""jobDeploymentStatus -> state."""

ENDS = {"FAILED": JobState.FAILED, "STOPPED": JobState.CANCELLED}
"""jobStatus -> how a job ended that is `Complete`, where that is not well."""


def job_status(job_id: str, ray_job: dict[str, Any]) -> JobStatus:
    """State of a RayJob as the server gave it."""
    status = ray_job.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus") or "", status.get("jobStatus") or ""
    state = _state(ray_job, deployment, job)
    native = "/".join(word for word in (deployment, job) if word) or "New"
    return JobStatus(job_id=job_id, state=state, native=native, detail=_detail(ray_job, state))


def is_cancelled(ray_job: dict[str, Any]) -> bool:
    """Whether it was told to stop for good."""
    return CANCELLED_ANNOTATION in (ray_job["metadata"].get("annotations") or {})


def queue_of(ray_job: dict[str, Any]) -> str | None:
    """Kueue's queue that it is in."""
    queue: str | None = (ray_job["metadata"].get("labels") or {}).get(QUEUE_LABEL)
    return queue


def _state(ray_job: dict[str, Any], deployment: str, job: str) -> JobState:
    state = STATES.get(deployment, JobState.UNKNOWN)
    if state is JobState.COMPLETED:
        return ENDS.get(job, state)
    if state.is_terminal:
        return state
    if is_cancelled(ray_job):
        return JobState.CANCELLED if deployment == "Suspended" else JobState.STOPPING
    return JobState.STOPPING if ray_job["metadata"].get("deletionTimestamp") else state


def _detail(ray_job: dict[str, Any], state: JobState) -> str:
    status, is_suspended = ray_job.get("status") or {}, ray_job.get("spec", {}).get("suspend")
    parts = [status.get("reason"), status.get("message")]
    if state is JobState.PENDING and is_suspended:
        queue = queue_of(ray_job)
        parts.append(
            f"waits for Kueue's queue {queue}"
            if queue
            else "suspended by hand; set spec.suspend: false"
        )
    if not state.is_terminal:
        workers = (status.get("rayClusterStatus") or {}).get("availableWorkerReplicas")
        parts += [None if workers is None else f"{workers} workers", _failures(status)]
    return "; ".join(" ".join(part.split()) for part in parts if part)


def _failures(status: dict[str, Any]) -> str | None:
    return f"failed {status['failed']} times, tries again" if status.get("failed") else None
