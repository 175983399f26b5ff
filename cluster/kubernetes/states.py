"""What a RayJob says of itself, in our words.

A RayJob has two states: `jobDeploymentStatus`, what KubeRay does about the job, and `jobStatus`,
how Ray's job, the driver, stands. The first decides, since `FAILED` stands there too while KubeRay
still tries again; the second only says how a job ended.
"""

from collections.abc import Sequence
from typing import Any

from cluster.backend import JobState, JobStatus
from cluster.contract import Counts
from cluster.kubernetes.manifest import QUEUE_LABEL
from cluster.kubernetes.reasons import Reason, how_many_workers

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


SAYS_NOTHING = ("Job is currently running.", "Job finished successfully.")
"""Messages of Ray that say less than the state, or, of a sweep whose trials failed, too much."""


def job_status(
    job_id: str,
    ray_job: dict[str, Any],
    *,
    pods: Sequence[dict[str, Any]] = (),
    reason: Reason | None = None,
    progress: Counts | None = None,
    fault: str = "",
    words_before: str = "",
) -> JobStatus:
    """State of a RayJob as the server gave it.

    Args:
        job_id: NAMESPACE/NAME.
        ray_job: the job.
        pods: that belong to it.
        reason: why it waits or fails.
        progress: how far its driver said it was.
        fault: what the driver said that ended it without the sweep being done. A driver that
            refuses its input ends well for KubeRay, which would try again what cannot run.
        words_before: what the driver of the attempt before said last.
    """
    status = ray_job.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus") or "", status.get("jobStatus") or ""
    state, parts = _state(ray_job, deployment, job), []
    if state is JobState.COMPLETED and fault:
        state = JobState.FAILED
        parts.append(fault)
    if state is JobState.CANCELLED and (ending := pods_of_cluster(pods)):
        state = JobState.STOPPING
        parts.append(f"pods that may still save checkpoints: {', '.join(ending)}")
    parts += _details(ray_job, state, words_before)
    if state is JobState.COMPLETED and progress is not None and progress.failed:
        parts.append(f"{progress.failed} of {progress.total} trials failed")
    if reason is not None and state is not JobState.COMPLETED:
        parts.append(reason.text)
    return JobStatus(
        job_id=job_id,
        state=state,
        native="/".join(word for word in (deployment, job) if word) or "New",
        detail="; ".join(parts),
        progress=progress,
    )


def pods_of_cluster(pods: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the head and the workers that have not ended."""
    return [
        pod["metadata"]["name"]
        for pod in pods
        if "ray.io/node-type" in (pod["metadata"].get("labels") or {})
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


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


def _details(ray_job: dict[str, Any], state: JobState, words_before: str) -> list[str]:
    status, is_suspended = ray_job.get("status") or {}, ray_job.get("spec", {}).get("suspend")
    message = status.get("message")
    parts = [status.get("reason"), None if message in SAYS_NOTHING else message]
    if state is JobState.PENDING and is_suspended:
        queue = queue_of(ray_job)
        parts.append(
            f"waits for Kueue's queue {queue}"
            if queue
            else "suspended by hand; set spec.suspend: false"
        )
    if not state.is_terminal:
        parts += [_workers(ray_job), _failures(status, words_before)]
    return [" ".join(part.split()) for part in parts if part]


def _workers(ray_job: dict[str, Any]) -> str | None:
    number = how_many_workers(ray_job)
    if number is None:
        return None
    there, wanted = number
    return f"{there} workers" if wanted is None else f"{there} of {wanted} workers"


def _failures(status: dict[str, Any], words_before: str) -> str | None:
    number = status.get("failed")
    if not number:
        return None
    said = f", last with: {words_before}" if words_before else ""
    return f"failed {number} {'time' if number == 1 else 'times'}{said}; tries again"
