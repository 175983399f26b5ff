"""What is rendered breaks no rule of the operator or of Kueue, and each rule can be broken."""

from typing import Any

import pytest
import yaml

from cluster.kubernetes.manifest import render_manifests, token_faults
from tests.cluster.kubernetes.jobs import PROFILES, make_job, make_profile
from tests.cluster.kubernetes.rules import broken_rules

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
    (fault,) = broken_rules(_changed(_ray_job(), changes))

    assert message in fault


@pytest.mark.parametrize(("changes", "message"), QUEUE_RULES)
def test_a_broken_rule_of_kueue_is_named_with_the_queue(
    changes: dict[str, Any], message: str
) -> None:
    (fault,) = broken_rules(_changed(_ray_job(queue="gpus"), changes))

    assert message in fault


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("mode", ["K8sJobMode", "HTTPMode", "SidecarMode"])
@pytest.mark.parametrize("queue", [None, "gpus"])
@pytest.mark.parametrize("ends", [{"ttl_s": 0, "retries": 0}, {"ttl_s": 60, "retries": 5}])
def test_what_is_rendered_breaks_no_rule(
    profile: str, mode: str, queue: str | None, ends: dict[str, int]
) -> None:
    fields = PROFILES[profile] | {"submission_mode": mode, "queue": queue} | ends
    if "volumes" in fields:
        fields |= {"volumes": [{"claim": "sweeps", "mount": "/data"}]}
    assert broken_rules(_ray_job(**fields)) == []


def test_longest_name_of_a_sweep_is_one_that_the_operator_takes() -> None:
    job = make_job(name="a" + "-b" * 23)
    _, ray_job = yaml.safe_load_all(render_manifests(job, make_profile()))
    assert broken_rules(ray_job) == []


@pytest.mark.parametrize("version", ["2.52.0", "2.60.0", "3.0.0rc1", "10.1"])
def test_versions_of_ray_that_have_tokens_pass(version: str) -> None:
    assert list(token_faults(version)) == []


@pytest.mark.parametrize("version", ["2.51.1", "1.13.0", "none"])
def test_ray_without_tokens_is_refused(version: str) -> None:
    (fault,) = token_faults(version)
    assert f"rayVersion: {version} is older than tokens, which came with 2.52; install" in fault


def test_all_faults_are_named_at_once() -> None:
    faults = broken_rules(
        _changed(_ray_job(), {"metadata.name": "A" * 48, "spec.backoffLimit": -1})
    )

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
