"""What the server has of a job, as far as the user may look."""

from collections.abc import Callable
from dataclasses import replace

from cluster.errors import ClusterError
from cluster.kubernetes.explain import status_of
from cluster.kubernetes.reasons import Documents, Object, find_reason, how_many_workers
from cluster.kubernetes.server import Server
from cluster.kubernetes.states import job_status, queue_of

INSTANCE = "app.kubernetes.io/instance"
"""Label of all pods of a job; its value is the job's name."""


def collect(server: Server, ray_job: Object) -> Documents:
    """A job's pods and, where these do not tell why it waits, Kueue's word and the events."""
    look = _Look()
    pods = look.at("pods", lambda: list_pods(server, ray_job["metadata"]["name"]))
    kubectl = server.kubectl
    documents = Documents(ray_job=ray_job, pods=pods, unseen=look.refused, kubectl=kubectl)
    if not _is_waiting(ray_job) or find_reason(documents) is not None:
        return documents
    workloads: list[Object] = []
    if queue_of(ray_job):
        workloads = look.at("workloads", lambda: server.list_workloads(ray_job))
    events = look.at("events", server.list_warnings)
    return replace(documents, events=events, workloads=workloads)


def list_pods(server: Server, name: str) -> list[Object]:
    """All pods of the job of that name, oldest first."""
    return server.list_pods(f"{INSTANCE}={name}")


def _is_waiting(ray_job: Object) -> bool:
    """Whether something keeps it from running, or from running as large as it wants to be."""
    state = job_status("", ray_job).state
    there, wanted = how_many_workers(ray_job) or (0, None)
    return not state.is_terminal and (state != "running" or there < (wanted or 0))


class _Look:
    """Looks at things; what is forbidden is remembered, and otherwise as if nothing were there."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def at(self, what: str, list_them: Callable[[], list[Object]]) -> list[Object]:
        try:
            return list_them()
        except ClusterError as error:
            if status_of(error) != 403:
                raise
            self.refused.append(what)
            return []
