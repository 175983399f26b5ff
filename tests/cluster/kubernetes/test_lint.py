"""The operator's and Kueue's rules: each is broken by one change of a manifest that breaks none."""

from typing import Any

import pytest
import yaml

from cluster.kubernetes.lint import lint
from cluster.kubernetes.manifest import render_manifests
from tests.kubernetes_jobs import make_job, make_profile

REMOVED = object()
RULES = [
    ({"metadata.name": "a" * 48}, "has 48 characters; KubeRay takes 47"),
    ({"metadata.name": "1st"}, "1st is no DNS-1035 label; begin with a letter"),
    ({"metadata.name": "a.b"}, "a.b is no DNS-1035 label"),
    ({"metadata.name": "a-"}, "a- is no DNS-1035 label"),
    (
        {"spec.submissionMode": "Bogus"},
        "Bogus starts nothing; use one of K8sJobMode, HTTPMode, SidecarMode, Interactive",
    ),
    ({"spec.submissionMode": "SidecarMode"}, "SidecarMode with submitterPodTemplate is refused"),
    (
        {"spec.submissionMode": "InteractiveMode"},
        "2 with InteractiveMode is refused; set retries: 0",
    ),
    (
        {"spec.shutdownAfterJobFinishes": False},
        "ttl_s: 60 without shutdownAfterJobFinishes is refused",
    ),
    ({"spec.ttlSecondsAfterFinished": -1}, "ttl_s: -1 is negative"),
    (
        {"spec.deletionStrategy": {"deletionRules": [{}]}},
        "deletionRules: excludes shutdownAfterJobFinishes",
    ),
    ({"spec.activeDeadlineSeconds": 0}, "deadline_s: 0 is not positive"),
    ({"spec.backoffLimit": -1}, "retries: -1 is negative"),
    (
        {
            "spec.suspend": True,
            "spec.shutdownAfterJobFinishes": False,
            "spec.ttlSecondsAfterFinished": 0,
        },
        "suspend: true without shutdownAfterJobFinishes is refused",
    ),
    (
        {
            "spec.suspend": True,
            "spec.clusterSelector": {"ray.io/cluster": "x"},
            "spec.backoffLimit": 0,
        },
        "suspend: true with clusterSelector is refused",
    ),
    (
        {"spec.clusterSelector": {"ray.io/cluster": "x"}},
        "retries: 2 with clusterSelector is refused",
    ),
    ({"spec.rayClusterSpec": REMOVED}, "rayClusterSpec: missing, and no clusterSelector"),
    (
        {"spec.rayClusterSpec.headGroupSpec.template.spec.containers": []},
        "headGroupSpec: has no container; give one",
    ),
    (
        {"spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy": "Always"},
        "headGroupSpec: restartPolicy Always is refused",
    ),
    (
        {"spec.rayClusterSpec.rayVersion": "2.51.1"},
        "rayVersion: 2.51.1 is older than tokens, which came with 2.52",
    ),
    ({"spec.rayClusterSpec.rayVersion": REMOVED}, "rayVersion: none is older than tokens"),
]
QUEUE_RULES = [
    ({"spec.suspend": False}, "queue: gpus without suspend: true"),
    (
        {"spec.rayClusterSpec.enableInTreeAutoscaling": True},
        "queue: gpus with autoscaling is refused by Kueue",
    ),
    (
        {"spec.rayClusterSpec.workerGroupSpecs.0.groupName": "head"},
        "queue: gpus with a worker group named head",
    ),
]


@pytest.mark.parametrize(("changes", "message"), RULES)
def test_a_broken_rule_is_named_with_its_value(changes: dict[str, Any], message: str) -> None:
    (fault,) = lint(_changed(_ray_job(), changes))

    assert message in fault


@pytest.mark.parametrize(("changes", "message"), QUEUE_RULES)
def test_a_broken_rule_of_kueue_is_named_with_the_queue(
    changes: dict[str, Any], message: str
) -> None:
    (fault,) = lint(_changed(_ray_job(queue="gpus"), changes))

    assert message in fault


@pytest.mark.parametrize("version", ["2.52.0", "2.60.0", "3.0.0rc1", "10.1"])
def test_versions_of_ray_that_have_tokens_pass(version: str) -> None:
    assert lint(_changed(_ray_job(), {"spec.rayClusterSpec.rayVersion": version})) == []


def test_all_faults_are_named_at_once() -> None:
    faults = lint(_changed(_ray_job(), {"metadata.name": "A" * 48, "spec.backoffLimit": -1}))

    assert len(faults) == 3


def _ray_job(**profile: Any) -> dict[str, Any]:
    _, ray_job = yaml.safe_load_all(render_manifests(make_job(), make_profile(**profile)))
    return ray_job


def _changed(ray_job: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: Any = ray_job
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return ray_job
