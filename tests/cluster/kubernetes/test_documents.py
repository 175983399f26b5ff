"""What is asked of the server about a job, and what happens where it may not be asked."""

import pytest

from cluster.kubernetes.documents import collect
from cluster.kubernetes.server import Server
from tests.cluster.kubernetes.api_server import FakeServer
from tests.cluster.kubernetes.jobs import FOLDER, ID, JOB, NAME, make_backend, refusal

MINE = {"app.kubernetes.io/instance": NAME, "ray.io/node-type": "worker"}
NO_ROOM = {
    **{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
    "message": "0/4 nodes are available: 4 Insufficient nvidia.com/gpu. x",
}


def test_workers_that_cannot_start_are_explained_while_the_job_runs(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.change(
        NAME,
        jobDeploymentStatus="Running",
        jobStatus="RUNNING",
        message="Job is currently running.",
        rayClusterStatus={"desiredWorkerReplicas": 2},
    )
    server.put("pods", "w", {"metadata": {"labels": MINE}, "status": {"conditions": [NO_ROOM]}})

    assert backend.status(ID, FOLDER).detail == (
        "0 of 2 workers; no node has room for a worker (cpu 4, memory 16Gi, nvidia.com/gpu 1): of "
        "4 nodes, 4 have too little nvidia.com/gpu; wait, or lower gpus_per_worker in the profile"
    )


def test_events_are_read_where_nothing_else_explains(server: FakeServer) -> None:
    backend = make_backend(service_account="nope")
    server.put("serviceaccounts", "nope", {})
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Initializing", rayClusterName="sw-abc")
    about = {"kind": "RayCluster", "name": "sw-abc"}
    event = {"type": "Warning", "reason": "AutoscalerServiceAccountNotFound"}
    event |= {"message": "However, ServiceAccount nope is not found.", "involvedObject": about}
    server.put("events", "e1", event)

    detail = backend.status(ID, FOLDER).detail

    assert detail.startswith("the job waits for service account nope, which is not there")


@pytest.mark.parametrize(
    ("deployment", "asks"), [("Initializing", True), ("Running", False), ("Complete", False)]
)
def test_events_are_not_asked_of_jobs_that_do_not_wait(
    server: FakeServer, deployment: str, asks: bool
) -> None:
    make_backend().submit(JOB)
    server.change(NAME, jobDeploymentStatus=deployment)

    make_backend().status(ID, FOLDER)

    assert any("/events" in line for line in server.asked) == asks


def test_what_may_not_be_looked_at_is_remembered(server: FakeServer) -> None:
    make_backend(queue="gpus").submit(JOB)
    server.change(NAME, jobDeploymentStatus="Suspended")
    for plural in ("pods", "events", "workloads"):
        server.refusals["get", plural] = refusal(403, "Forbidden", "no")
    ray_job = server.find("rayjobs", NAME)
    assert ray_job is not None

    documents = collect(Server(None, None), ray_job)

    assert documents.unseen == ["pods", "workloads", "events"]
    assert (documents.pods, documents.events) == ([], [])


def test_kueues_word_is_asked_by_the_jobs_uid(server: FakeServer) -> None:
    backend = make_backend(queue="gpus")
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Suspended")
    ray_job = server.find("rayjobs", NAME)
    assert ray_job is not None
    label = {"kueue.x-k8s.io/job-uid": ray_job["metadata"]["uid"]}
    condition = {"type": "QuotaReserved", "status": "False", "message": "2 more GPUs needed"}
    content = {"metadata": {"labels": label}, "status": {"conditions": [condition]}}
    server.put("workloads", "rayjob-x", content)

    assert backend.status(ID, FOLDER).detail == (
        "waits for Kueue's queue gpus; Kueue does not admit it yet: 2 more GPUs needed; wait, or "
        "lower workers or what they ask for in the profile"
    )
