"""What stands in the way of a submission."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kmock import KubernetesError

from cluster.kubernetes.backend import KubernetesBackend
from tests.cluster.kubernetes.api_server import FakeServer, kubernetes_server, write_kubeconfig
from tests.cluster.kubernetes.jobs import make_profile


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with kubernetes_server() as (fake, url):
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", url)))
        yield fake


def check(**profile: Any) -> list[str]:
    return KubernetesBackend(make_profile(**profile)).check()


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


def test_things_that_one_may_not_look_at_are_taken_to_be_there(server: FakeServer) -> None:
    server.refusals["get", "secrets"] = KubernetesError(
        status=403, reason="Forbidden", message="no"
    )

    assert check(image_pull_secrets=["registry"]) == []


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


def test_rights_that_are_missing_are_named_one_by_one(server: FakeServer) -> None:
    server.denied = {("create", "rayjobs"), ("get", "pods")}

    assert [line.split(";")[0] for line in check()] == [
        "kubernetes: you may not create rayjobs.ray.io in namespace team",
        "kubernetes: you may not get pods/log in namespace team",
    ]


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
