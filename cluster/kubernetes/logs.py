"""The driver's output. The pod that hands the driver to Ray, KubeRay's submitter, repeats it in its
own log."""

import time
from collections.abc import Iterator

from cluster.kubernetes.server import Object, Server
from cluster.kubernetes.states import job_status

SUBMITTER = "ray-job-submitter"
"""Container that follows the driver's output; KubeRay's name for it."""


def driver_lines(
    server: Server, name: str, job_id: str, follow: bool, poll_s: float
) -> Iterator[str]:
    """Lines so far; with `follow` also those to come, until the job is over.

    Where there is no output one line says so. After a retry the output is that of the newest
    driver.
    """
    # Pod -> its lines that were passed on; a connection that broke starts from the beginning.
    shown: dict[str, int] = {}
    has_waited = False
    while True:
        ray_job = server.find_job(name)
        is_over = ray_job is None or job_status(job_id, ray_job).state.is_terminal
        pod = None if ray_job is None else _find_pod(server, name, ray_job)
        if pod is not None:
            yield from _new_lines(server, pod, follow, shown)
        elif not shown and (is_over or not has_waited):
            yield _no_output(job_id, ray_job)
            has_waited = True
        if is_over or not follow:
            return
        time.sleep(poll_s)


def _new_lines(server: Server, pod: str, follow: bool, shown: dict[str, int]) -> Iterator[str]:
    already = shown.setdefault(pod, 0)
    for number, line in enumerate(server.log_lines(pod, SUBMITTER, follow)):
        if number >= already:
            shown[pod] = number + 1
            yield line


def _find_pod(server: Server, name: str, ray_job: Object) -> str | None:
    """The newest pod whose submitter has started; None if there is none."""
    pods = server.list_pods(_selector(name, ray_job))
    started = [pod["metadata"]["name"] for pod in pods if _has_started(pod)]
    return started[-1] if started else None


def _selector(name: str, ray_job: Object) -> str:
    if ray_job["spec"].get("submissionMode") == "SidecarMode":  # beside the head
        cluster = (ray_job.get("status") or {}).get("rayClusterName") or "none"
        return f"ray.io/cluster={cluster},ray.io/node-type=head"
    return f"job-name={name}"  # KubeRay's Kubernetes job has the RayJob's name


def _has_started(pod: Object) -> bool:
    states = (pod.get("status") or {}).get("containerStatuses") or []
    return any(
        state["name"] == SUBMITTER and "waiting" not in (state.get("state") or {})
        for state in states
    )


def _no_output(job_id: str, ray_job: Object | None) -> str:
    if ray_job is None:
        return f"{job_id}: the job is gone, and its log with it"
    status = job_status(job_id, ray_job)
    if ray_job["spec"].get("submissionMode") == "HTTPMode":
        return f"{job_id}: HTTPMode keeps the driver's log on the head; use K8sJobMode"
    return (
        f"{job_id}: no output yet, the job is {status.state} "
        f"({status.native}{_because(status.detail)})"
    )


def _because(detail: str) -> str:
    return f": {detail}" if detail else ""
