"""What stands in the way of a submission."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kmock import KubernetesError

from cluster.errors import ClusterError
from cluster.kubernetes.backend import KubernetesBackend
from cluster.kubernetes.checks import ROLE, needed_rights
from cluster.kubernetes.profile import amount
from tests.cluster.kubernetes.api_server import FakeServer, kubernetes_server, write_kubeconfig
from tests.cluster.kubernetes.jobs import JOB, make_backend, make_profile


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with kubernetes_server() as (fake, url):
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", url)))
        yield fake


def check(**profile: Any) -> list[str]:
    return KubernetesBackend(make_profile(**profile)).check()


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        *(("0", 0.0), ("1.5", 1.5), (".5", 0.5), ("2.", 2.0), ("-3", -3.0), ("+3", 3.0)),
        *(("100n", 1e-7), ("5u", 5e-6), ("700m", 0.7), ("2k", 2e3), ("3M", 3e6), ("4G", 4e9)),
        *(("5T", 5e12), ("1P", 1e15), ("5E", 5e18), ("1e3", 1e3), ("1E3", 1e3), ("12E-1", 1.2)),
        *(("1Ki", 2.0**10), ("1.5Mi", 1.5 * 2**20), ("2Gi", 2.0**31), ("3Ti", 3 * 2.0**40)),
        *(("10Pi", 10 * 2.0**50), ("1Ei", 2.0**60)),
    ],
)
def test_amounts_are_read_however_kubernetes_writes_them(quantity: str, number: float) -> None:
    assert amount(quantity) == number


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "1K", "1e3k", "1e", "nan", "0x1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity of Kubernetes"):
        amount(text)


@pytest.mark.slow
def test_nothing_stands_in_the_way(server: FakeServer) -> None:
    server.put("secrets", "registry", {})
    server.put("secrets", "s3-keys", {})
    server.put("serviceaccounts", "sweeps", {})
    server.put("localqueues", "gpus", {})
    server.put("priorityclasses", "batch", {})
    server.put("persistentvolumeclaims", "data", {"spec": {"accessModes": ["ReadWriteMany"]}})

    assert (
        check(
            image_pull_secrets=["registry"],
            env_from_secrets=["s3-keys"],
            service_account="sweeps",
            queue="gpus",
            priority_class="batch",
            volumes=[{"claim": "data", "mount": "/data"}],
        )
        == []
    )


@pytest.mark.parametrize(
    ("profile", "line"),
    [
        (
            {"image_pull_secrets": ["a"]},
            "image_pull_secrets: there is no secret a in namespace team; make it, or correct",
        ),
        ({"env_from_secrets": ["b"]}, "env_from_secrets: there is no secret b in namespace team"),
        (
            {"service_account": "c"},
            "service_account: there is no service account c in namespace team",
        ),
        ({"queue": "d"}, "queue: there is no queue d in namespace team"),
        ({"priority_class": "e"}, "priority_class: there is no priority class e in namespace team"),
        (
            {"volumes": [{"claim": "f", "mount": "/f"}]},
            "volumes: there is no claim f in namespace team",
        ),
    ],
)
def test_things_that_the_profile_names_and_are_not_there(
    server: FakeServer, profile: dict[str, Any], line: str
) -> None:
    (obstacle,) = check(**profile)

    assert obstacle.startswith(line)


def test_things_that_one_may_not_look_at_are_said_not_to_be_checked(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    forbidden = KubernetesError(status=403, reason="Forbidden", message="no")
    for plural in ("secrets", "persistentvolumeclaims", "resourcequotas"):
        server.refusals["get", plural] = forbidden

    assert check(image_pull_secrets=["registry"], volumes=[{"claim": "c", "mount": "/c"}]) == []
    assert caplog.messages == [
        "kubernetes: not checked in namespace team, since you may not look: secret registry, claim "
        "c, resource quotas"
    ]


@pytest.mark.parametrize(
    ("hard", "used", "obstacles", "notes"),
    [
        ({"requests.cpu": "8", "limits.memory": "40Gi", "pods": "3"}, {}, [], []),
        ({"count/rayjobs.ray.io": "0", "requests.storage": "0"}, {}, [], []),
        (  # what is not asked for may be written in any way, and be used beyond its limit
            {"requests.storage": "10Pi", "count/jobs": "1e3", "requests.amd.com/gpu": "0"},
            {"requests.storage": "11Pi", "count/jobs": "2E", "requests.amd.com/gpu": "1"},
            [],
            [],
        ),
        ({"requests.memory": "1E", "cpu": "7e3"}, {"requests.memory": "1P", "cpu": "1u"}, [], []),
        (
            {"limits.cpu": "6500m"},
            {},
            [
                "quota q: head and one worker ask for 7 of limits.cpu, and 6500m is the limit; "
                "lower what the profile asks for, or ask who runs the cluster"
            ],
            [],
        ),
        (
            {"requests.nvidia.com/gpu": "2"},
            {"requests.nvidia.com/gpu": "2"},
            [],
            [
                "quota q: head and one worker ask for 1 of requests.nvidia.com/gpu, and 2 of 2 are "
                "in use; they wait for other jobs"
            ],
        ),
    ],
)
def test_the_smallest_cluster_is_compared_with_the_quota(
    server: FakeServer,
    caplog: pytest.LogCaptureFixture,
    hard: dict[str, str],
    used: dict[str, str],
    obstacles: list[str],
    notes: list[str],
) -> None:
    """2 cores for the head, half a core for the autoscaler and the submitter each, 4 for a
    worker."""
    server.put("resourcequotas", "q", {"spec": {"hard": hard}, "status": {"used": used}})
    other = {"spec": {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}}
    server.put("resourcequotas", "of-others", other)

    assert check() == obstacles
    assert caplog.messages == notes


def test_a_mode_that_the_namespace_forbids(server: FakeServer) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    server.put("namespaces", "team", {"metadata": {"labels": labels}})

    assert check() == []
    (obstacle,) = check(submission_mode="SidecarMode")
    assert obstacle == (
        "submission_mode: SidecarMode cannot run where Pod Security is restricted, as in this "
        "namespace; use K8sJobMode"
    )


def test_jobs_that_no_operator_has_looked_at(server: FakeServer) -> None:
    created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    server.put("rayjobs", "forgotten", {"metadata": created})

    (obstacle,) = check()

    assert obstacle.startswith("kubernetes: job forgotten: no operator has looked at the job for ")


def test_submit_looks_for_what_the_profile_names_before_it_sends(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.refusals["get", "secrets"] = KubernetesError(
        status=403, reason="Forbidden", message="no"
    )

    with pytest.raises(ClusterError) as refused:
        make_backend(service_account="c", priority_class="e").submit(JOB)
    assert str(refused.value).splitlines() == [
        "service_account: there is no service account c in namespace team; make it, or correct the "
        "profile",
        "priority_class: there is no priority class e in namespace team; make it, or correct the "
        "profile",
    ]
    assert not [line for line in server.asked if line.startswith("post")]

    make_backend(env_from_secrets=["b"]).submit(JOB)
    (note,) = caplog.messages
    assert note.endswith("not checked in namespace team, since you may not look: secret b")


def test_faults_while_looking_are_said(server: FakeServer) -> None:
    server.refusals["get", "secrets"] = KubernetesError(
        status=500, reason="InternalError", message="etcd is away"
    )

    assert check(image_pull_secrets=["registry"]) == [
        "kubernetes: look for registry: etcd is away (HTTP 500); ask who runs the cluster"
    ]


def test_a_claim_that_one_node_alone_can_mount(server: FakeServer) -> None:
    server.put("persistentvolumeclaims", "data", {"spec": {"accessModes": ["ReadWriteOnce"]}})

    (obstacle,) = check(volumes=[{"claim": "data", "mount": "/data"}])

    assert obstacle.startswith("volumes: claim data has ReadWriteOnce only")


def test_a_claim_that_lost_its_volume(server: FakeServer) -> None:
    server.put("persistentvolumeclaims", "data", {"status": {"phase": "Lost"}})

    (obstacle,) = check(volumes=[{"claim": "data", "mount": "/data"}])

    assert obstacle == "volumes: claim data has lost its volume; make it anew"


def test_rights_that_are_missing_are_named_with_the_role_that_gives_them(
    server: FakeServer,
) -> None:
    server.denied = {("create", "rayjobs"), ("delete", "rayjobs"), ("get", "pods")}

    assert check() == [
        "kubernetes: you lack rights in namespace team (create, delete rayjobs.ray.io; "
        f"get pods/log); ask who runs the cluster for the role in {ROLE}"
    ]


def test_who_has_no_right_at_all_is_told_of_all_that_are_needed(server: FakeServer) -> None:
    server.refusals["get", "rayjobs"] = KubernetesError(
        status=403, reason="Forbidden", message="cannot list resource"
    )
    server.denied = {(verb, resource) for verb, _, resource, _ in needed_rights()}

    (obstacle,) = check()

    for verb, _, resource, _ in needed_rights():
        assert re.search(rf"\b{verb}\b.* {resource}", obstacle)


def test_kuberay_is_not_installed(server: FakeServer) -> None:
    server.refusals["get", "rayjobs"] = KubernetesError(
        status=404, reason="NotFound", message="404 page not found"
    )

    (obstacle,) = check()

    assert (
        "knows no RayJobs (rayjobs.ray.io); have KubeRay's operator installed: helm install"
        in obstacle
    )


def test_namespace_that_is_not_there(server: FakeServer) -> None:
    assert check(namespace="moon") == [
        "namespace: moon is not there; make it, or name another in the profile"
    ]


def test_server_that_is_not_reachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1"))
    )

    (obstacle,) = check()

    assert "the server refuses the connection" in obstacle


def test_kubeconfig_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    (obstacle,) = check()

    assert "set KUBECONFIG or log in" in obstacle
