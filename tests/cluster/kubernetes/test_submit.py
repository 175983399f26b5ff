"""Jobs on an API server, over HTTP: submitted, refused, followed."""

import time
from typing import Any

import pytest
import yaml
from kmock import KubernetesError

from cluster.backend import JobState
from cluster.errors import ClusterError
from tests.cluster.kubernetes.api_server import FakeServer
from tests.cluster.kubernetes.jobs import FOLDER, ID, JOB, NAME, make_backend, refusal


def test_what_is_rendered_is_what_the_server_gets(server: FakeServer) -> None:
    backend = make_backend()
    config_map, ray_job = yaml.safe_load_all(backend.render(JOB))

    assert backend.submit(JOB) == ID

    sent = server.find("rayjobs", NAME)
    assert sent is not None
    assert {key: sent[key] for key in ray_job if key != "metadata"} == {
        k: v for k, v in ray_job.items() if k != "metadata"
    }
    assert ray_job["metadata"].items() <= sent["metadata"].items()
    stored = server.find("configmaps", NAME)
    assert stored is not None
    assert stored["data"] == config_map["data"]
    assert config_map["metadata"].items() <= stored["metadata"].items()


def test_the_server_checks_everything_before_anything_is_stored(server: FakeServer) -> None:
    make_backend().submit(JOB)

    posts = [line.split("?")[-1] for line in server.asked if line.startswith("post")]
    assert posts == ["dryRun=All&fieldValidation=Strict"] * 2 + ["fieldValidation=Strict"] * 2


def test_the_sweep_goes_when_the_job_goes(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    backend.cancel(ID, NAME, now=True)

    assert server.find("configmaps", NAME) is None


@pytest.mark.parametrize(
    ("profile", "place"),
    [({}, "team"), ({"namespace": "nlp"}, "nlp"), ({"context": "bare"}, "default")],
)
def test_namespace_is_the_profiles_or_the_contexts(
    server: FakeServer, profile: dict[str, Any], place: str
) -> None:
    assert make_backend(**profile).submit(JOB) == f"{place}/{NAME}"
    assert server.find("rayjobs", NAME, place) is not None


@pytest.mark.parametrize("moment", ["dry run", "post"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            refusal(422, "Invalid", 'spec.backoffLimit: Invalid value: "x"'),
            r'spec.backoffLimit: Invalid value: "x" \(HTTP 422\); .*correct',
        ),
        (
            refusal(400, "BadRequest", 'unknown field "spec.x"'),
            r'unknown field "spec.x" \(HTTP 400\); .*upgrade its',
        ),
        (
            refusal(403, "Forbidden", "ada cannot create rayjobs"),
            r"ada cannot create .*\(HTTP 403\); .*kubectl -n team auth can-i --list",
        ),
        (
            refusal(403, "Forbidden", "exceeded quota: none, requested: count/rayjobs.ray.io=1"),
            r"exceeded quota: none.*\(HTTP 403\); wait until others have ended, or ask",
        ),
        (
            refusal(400, "BadRequest", 'admission webhook "x" denied the request: no team label'),
            r"admission webhook .*no team label \(HTTP 400\); it is against a rule; change the",
        ),
        (
            refusal(404, "NotFound", "no such resource"),
            r"no such resource \(HTTP 404\); .*kubectl -n team get crd",
        ),
        (
            refusal(429, "TooManyRequests", "slow down"),
            r"slow down \(HTTP 429\); .*try again later",
        ),
        (
            refusal(500, "InternalError", "etcd is away"),
            r"etcd is away \(HTTP 500\); ask who runs the cluster",
        ),
        (
            refusal(418, "Teapot", "short and stout"),
            r"short and stout \(HTTP 418\); see the server's message",
        ),
    ],
)
def test_nothing_is_left_when_the_job_is_refused(
    server: FakeServer, moment: str, error: KubernetesError, message: str
) -> None:
    server.refusals[moment, "rayjobs"] = error

    with pytest.raises(ClusterError, match=f"create job {ID}: {message}"):
        make_backend().submit(JOB)

    assert server.find("configmaps", NAME) is None
    assert server.find("rayjobs", NAME) is None


def test_nothing_is_left_when_the_sweep_cannot_be_tied_to_the_job(server: FakeServer) -> None:
    server.refusals["put", "configmaps"] = refusal(403, "Forbidden", "ada cannot update configmaps")

    with pytest.raises(ClusterError, match="change config map .*cannot update configmaps"):
        make_backend().submit(JOB)

    assert server.find("configmaps", NAME) is None
    assert server.find("rayjobs", NAME) is None


def test_a_live_job_is_not_replaced(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Running", jobStatus="RUNNING")

    with pytest.raises(
        ClusterError,
        match=rf"{ID} is there already and running \(Running/RUNNING\); wait .* or cancel",
    ):
        backend.submit(JOB)

    assert backend.live_jobs(NAME) == [ID]


def test_a_job_that_came_in_between_is_said(server: FakeServer) -> None:
    server.refusals["post", "rayjobs"] = refusal(
        409, "AlreadyExists", f'rayjobs.ray.io "{NAME}" already exists'
    )

    with pytest.raises(
        ClusterError, match=r"already exists \(HTTP 409\); .*kubectl -n team get rayjobs,configmaps"
    ):
        make_backend().submit(JOB)


@pytest.mark.parametrize(
    "status", [{"jobDeploymentStatus": "Complete"}, {"jobDeploymentStatus": "ValidationFailed"}]
)
def test_a_job_that_is_over_makes_room(server: FakeServer, status: dict[str, str]) -> None:
    backend = make_backend()
    backend.submit(JOB)
    earlier = server.find("rayjobs", NAME)
    server.change(NAME, **status)

    assert backend.submit(JOB) == ID

    later = server.find("rayjobs", NAME)
    assert earlier is not None
    assert later is not None
    assert later["metadata"]["uid"] != earlier["metadata"]["uid"]
    assert server.find("configmaps", NAME) is not None


def test_a_job_that_is_over_stays_when_its_successor_is_refused(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    server.refusals["dry run", "rayjobs"] = refusal(422, "Invalid", "no")

    with pytest.raises(ClusterError, match="HTTP 422"):
        backend.submit(JOB)

    assert backend.status(ID, FOLDER).state is JobState.COMPLETED


@pytest.mark.slow
def test_a_job_that_does_not_go_away_is_said(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Failed")
    server.edit(NAME, {"metadata": {"finalizers": ["ray.io/rayjob-finalizer"]}})

    with pytest.raises(
        ClusterError, match="not go away; see that KubeRay's operator runs, or take"
    ):
        backend.submit(JOB)


def test_a_sweep_left_behind_by_a_submission_that_was_cut_off_is_replaced(
    server: FakeServer,
) -> None:
    server.put(
        "configmaps",
        NAME,
        {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "data": {"old": "x"}},
    )

    assert make_backend().submit(JOB) == ID

    stored = server.find("configmaps", NAME)
    assert stored is not None
    assert list(stored["data"]) == ["sweep.json"]


def test_a_submission_that_is_under_way_is_not_disturbed(server: FakeServer) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    server.put(
        "configmaps", NAME, {"metadata": {"creationTimestamp": now}, "data": {"theirs": "x"}}
    )

    with pytest.raises(
        ClusterError,
        match=rf"{ID} is being submitted by somebody else since \d s; try again in 60 s",
    ):
        make_backend().submit(JOB)

    stored = server.find("configmaps", NAME)
    assert stored is not None
    assert list(stored["data"]) == ["theirs"]


def test_status_follows_the_operator(server: FakeServer) -> None:
    backend = make_backend()
    backend.submit(JOB)
    seen = [backend.status(ID, FOLDER).state]
    for deployment, job in [
        ("Initializing", ""),
        ("Running", "RUNNING"),
        ("Running", "FAILED"),
        ("Retrying", "FAILED"),
        ("Running", "RUNNING"),
        ("Complete", "SUCCEEDED"),
    ]:
        server.change(NAME, jobDeploymentStatus=deployment, jobStatus=job)
        seen.append(backend.status(ID, FOLDER).state)

    assert seen == [
        *(JobState.PENDING, JobState.PENDING),
        *(JobState.RUNNING, JobState.RUNNING, JobState.RUNNING, JobState.RUNNING),
        JobState.COMPLETED,
    ]
    assert backend.live_jobs(NAME) == []


def test_a_job_that_was_deleted_is_gone(server: FakeServer) -> None:
    backend = make_backend()
    assert backend.status(ID, FOLDER).state is JobState.GONE
    assert backend.live_jobs(NAME) == []


def test_a_job_of_somebody_else_is_none_of_ours(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend()
    backend.submit(JOB)
    monkeypatch.setenv("LOGNAME", "eve")

    assert backend.live_jobs(NAME) == []
    for attempt in (lambda: backend.submit(JOB), lambda: backend.cancel(ID, NAME, now=True)):
        with pytest.raises(ClusterError, match=f"{ID} belongs to ada, and you are eve"):
            attempt()
    assert server.find("rayjobs", NAME) is not None


@pytest.mark.parametrize("job_id", ["x", "a/b/c", "/x", "x/", "12345"])
def test_ids_of_other_backends_are_refused(server: FakeServer, job_id: str) -> None:
    with pytest.raises(
        ClusterError, match=f"job: {job_id} is no id of a job on Kubernetes; give NAMESPACE/NAME"
    ):
        make_backend().status(job_id, FOLDER)


def test_a_deleted_job_that_stays_says_the_way_out(server: FakeServer) -> None:
    backend = make_backend(service_account="nope")
    server.put("serviceaccounts", "nope", {})
    backend.submit(JOB)
    server.edit(NAME, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})

    with pytest.raises(ClusterError, match="is there already and stopping") as refused:
        backend.submit(JOB)

    assert "`kubectl -n team create serviceaccount nope`" in str(refused.value)
    assert f"`kubectl -n team patch rayjob {NAME} --type merge" in str(refused.value)
