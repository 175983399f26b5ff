"""The driver's output, as the API server has it."""

from tests.cluster.kubernetes.api_server import FakeServer
from tests.cluster.kubernetes.jobs import FOLDER, ID, JOB, NAME, make_backend


def test_log_is_that_of_the_newest_driver(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    put_submitter(server, "old", "2026-01-01T00:00:00Z", "first\n")
    put_submitter(server, "new", "2026-01-01T01:00:00Z", "ɛpɔ\r\nlast line without end")
    put_submitter(server, "newest", "2026-01-01T02:00:00Z", "", state="waiting")

    assert list(backend.logs(ID, FOLDER, follow=False)) == ["ɛpɔ", "last line without end"]


def test_log_that_is_not_there_yet_is_said_in_one_line(server: FakeServer) -> None:
    backend = make_backend(queue="gpus")
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Suspended")

    (line,) = backend.logs(ID, FOLDER, follow=False)

    assert (
        line == f"{ID}: no output yet, the job is pending (Suspended: waits for Kueue's queue gpus)"
    )


def test_log_of_a_job_that_is_gone_is_said_to_be_gone(server: FakeServer) -> None:
    assert list(make_backend().logs(ID, FOLDER, follow=True)) == [
        f"{ID}: the job is gone, and its log with it"
    ]


def test_modes_without_a_submitter_have_no_log_here(server: FakeServer) -> None:
    backend = make_backend(submission_mode="HTTPMode")
    backend.submit(JOB)

    (line,) = backend.logs(ID, FOLDER, follow=False)

    assert line == f"{ID}: HTTPMode keeps the driver's log on the head; use K8sJobMode"


def test_sidecars_log_is_looked_for_beside_the_head(server: FakeServer) -> None:
    backend = make_backend(submission_mode="SidecarMode")
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Running", rayClusterName="sw-abc")
    labels = {"ray.io/cluster": "sw-abc", "ray.io/node-type": "head"}
    put_submitter(server, "head", "2026-01-01T00:00:00Z", "hello\n", labels=labels)

    assert list(backend.logs(ID, FOLDER, follow=False)) == ["hello"]


def test_following_goes_on_through_a_broken_connection_until_the_job_is_over(
    server: FakeServer,
) -> None:
    backend = make_backend()
    backend.submit(JOB)
    lines = backend.logs(ID, FOLDER, follow=True)

    assert next(lines) == f"{ID}: no output yet, the job is pending (New)"
    server.change(NAME, jobDeploymentStatus="Running", jobStatus="RUNNING")
    put_submitter(server, "driver", "2026-01-01T00:00:00Z", "one\n")
    assert next(lines) == "one"
    server.pod_logs["driver"] += "two\n"
    assert next(lines) == "two"
    server.pod_logs["driver"] += "three\n"
    server.change(NAME, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    assert list(lines) == ["three"]


def put_submitter(
    server: FakeServer,
    name: str,
    created: str,
    text: str,
    state: str = "running",
    labels: dict[str, str] | None = None,
) -> None:
    metadata = {"labels": labels or {"job-name": NAME}, "creationTimestamp": created}
    status = {"containerStatuses": [{"name": "ray-job-submitter", "state": {state: {}}}]}
    server.put("pods", name, {"metadata": metadata, "status": status})
    server.pod_logs[name] = text
