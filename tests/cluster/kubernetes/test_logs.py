"""The driver's output, as the API server has it."""

from pathlib import Path
from threading import Timer

import pytest

from cluster.backend import JobState, is_on_log
from cluster.contract import Counts
from cluster.kubernetes import logs
from cluster.kubernetes.backend import KubernetesBackend
from tests.cluster.kubernetes.api_server import FakeServer
from tests.cluster.kubernetes.jobs import FOLDER, ID, JOB, NAME, make_backend, refusal


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
    assert is_on_log(line, ID)
    assert not is_on_log(f"the driver says {line}", ID)


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


def test_a_cancelled_jobs_log_stays_as_far_as_it_was_read(
    server: FakeServer, tmp_path: Path
) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Running", jobStatus="RUNNING")
    put_submitter(server, "driver", "2026-01-01T00:00:00Z", "one\ntwo\n")
    assert list(backend.logs(ID, tmp_path, follow=False)) == ["one", "two"]
    backend.cancel(ID, NAME, now=True)
    server.remove("pods", "driver")

    assert list(backend.logs(ID, tmp_path, follow=False)) == ["one", "two"]
    assert (tmp_path / "driver.log").stat().st_mode & 0o777 == 0o600


def test_who_follows_a_job_that_waits_is_told_why_once_that_is_known(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOKS_EVERY_S", 0.0)
    backend = make_backend()
    backend.submit(JOB)
    lines = backend.logs(ID, tmp_path, follow=True)
    assert next(lines) == f"{ID}: no output yet, the job is pending (New)"
    condition = {"type": "HeadPodReady", "status": "False", "reason": "CreateContainerConfigError"}
    condition["message"] = 'ray-head: secret "nope" not found'
    cluster = {"conditions": [condition]}
    server.change(NAME, jobDeploymentStatus="Initializing", rayClusterStatus=cluster)

    assert "the head waits for secret nope, which is not there" in next(lines)
    assert not (tmp_path / "driver.log").exists()


def test_tracebacks_of_a_submitter_whose_cluster_is_gone_are_left_out(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    last_words = [
        *("stopped en sparsity 0: at step 158/384", "Traceback (most recent call last):"),
        *('  File "urllib3/connection.py", line 1, in _new_conn', "    raise", ""),
        "The above exception was the direct cause of the following exception:",
        *("", "Traceback (most recent call last):", '  File "requests/adapters.py", line 2'),
        "requests.exceptions.ConnectionError: HTTPConnectionPool(host='sw-x-head-svc', port=8265)",
    ]
    put_submitter(server, "driver", "2026-01-01T00:00:00Z", "\n".join(last_words))
    assert list(backend.logs(ID, FOLDER, follow=False)) == last_words[:1]

    ours = ["Traceback (most recent call last):", "  File x", "ValueError: no", "going on"]
    server.pod_logs["driver"] = "\n".join(ours)
    assert list(backend.logs(ID, FOLDER, follow=False)) == ours


def test_following_waits_for_a_node_that_does_not_answer(
    server: FakeServer, tmp_path: Path
) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Running", jobStatus="RUNNING")
    put_submitter(server, "driver", "2026-01-01T00:00:00Z", "one\n")
    lines = backend.logs(ID, tmp_path, follow=True)
    assert next(lines) == "one"
    server.refusals["get", "pods/log"] = refusal(500, "InternalError", "no route to host")
    Timer(0.2, server.refusals.clear).start()
    Timer(0.2, lambda: server.pod_logs.update(driver="one\ntwo\n")).start()

    assert next(lines) == "two"
    assert (tmp_path / "driver.log").read_text() == "one\ntwo\n"


def test_status_has_what_the_driver_says_of_its_progress(
    server: FakeServer, tmp_path: Path
) -> None:
    said = "[0/6 done, 0 failed, 1 running, 5 left]\n[1/6 done, 2 failed, 1 running, 2 left]\nx\n"
    backend = with_driver(server, "driver", said, "Running", "RUNNING")
    list(backend.logs(ID, tmp_path, follow=False))

    counts = Counts(done=1, total=6, failed=2, running=1, left=2)
    assert backend.status(ID, tmp_path).progress == counts
    assert "tailLines=400" in server.asked[-1]
    server.remove("pods", "driver")
    assert backend.status(ID, tmp_path).progress == counts  # as far as the log was read


def test_last_words_of_a_failed_attempt_are_told_while_the_next_one_comes(
    server: FakeServer, tmp_path: Path
) -> None:
    said = "x\nsparsweep: results: no\n---\n"
    backend = with_driver(server, "first", said, "Running", "FAILED")
    backend.status(ID, tmp_path)
    server.remove("pods", "first")
    server.change(NAME, jobDeploymentStatus="Initializing", jobStatus="", failed=1)

    detail = "failed 1 time, last with: sparsweep: results: no; tries again"
    assert backend.status(ID, tmp_path).detail == detail
    assert list(backend.logs(ID, tmp_path, follow=False)) == [
        f"{ID}: no output yet, the job is pending (Initializing: {detail})"
    ]


def test_a_driver_that_refused_its_input_is_told_by_its_log(
    server: FakeServer, tmp_path: Path
) -> None:
    said = "sparsweep: results: /x: cannot be written\nJob 'sweep' succeeded\n"
    backend = with_driver(server, "driver", said, "Complete", "SUCCEEDED")

    status = backend.status(ID, tmp_path)

    assert (status.state, status.detail) == (
        JobState.FAILED,
        "sparsweep: results: /x: cannot be written",
    )


def with_driver(
    server: FakeServer, pod: str, text: str, deployment: str, job: str
) -> KubernetesBackend:
    """A backend whose job stands so, and what its driver has said in this pod's log."""
    backend = make_backend()
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus=deployment, jobStatus=job)
    put_submitter(server, pod, "2026-01-01T00:00:00Z", text)
    return backend


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
