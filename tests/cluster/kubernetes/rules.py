"""What KubeRay's operator and Kueue refuse, of which nothing may be in a manifest that we render.

The API server accepts most of this; the operator then marks the job `ValidationFailed`, which is
the end of it, or does nothing at all. The rules are those of KubeRay 1.7 (ray-operator,
utils/validation.go) and of Kueue's webhook for RayJobs. Whether fields exist and have the right
type the server itself says, see `KubernetesBackend.submit`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from cluster.kubernetes.manifest import QUEUE_LABEL

SUBMISSION_MODES = ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
LONGEST_NAME = 47

Rule = Callable[[dict[str, Any]], Iterator[str]]
"""From a RayJob to what is wrong with it, with the remedy."""


def broken_rules(ray_job: dict[str, Any]) -> list[str]:
    """The rules that a RayJob breaks, one line each; none when the operator will take it."""
    return [fault for rule in RULES for fault in rule(ray_job)]


def _name(ray_job: dict[str, Any]) -> Iterator[str]:
    name = ray_job["metadata"]["name"]
    if len(name) > LONGEST_NAME:
        yield (
            f"metadata.name: {name} has {len(name)} characters; KubeRay takes {LONGEST_NAME}; "
            "shorten it"
        )
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield (
            f"metadata.name: {name} is no DNS-1035 label; begin with a letter and use a-z, 0-9 "
            "and - only"
        )


def _submission_mode(ray_job: dict[str, Any]) -> Iterator[str]:
    spec = ray_job["spec"]
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode not in SUBMISSION_MODES:
        yield f"submission_mode: {mode} starts nothing; use one of {', '.join(SUBMISSION_MODES)}"
    if mode == "SidecarMode":
        for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
            if spec.get(key):
                yield (
                    f"submission_mode: SidecarMode with {key} is refused; remove {key} or use "
                    "K8sJobMode"
                )
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield f"retries: {spec['backoffLimit']} with InteractiveMode is refused; set retries: 0"


def _end(ray_job: dict[str, Any]) -> Iterator[str]:
    spec = ray_job["spec"]
    is_shut_down, ttl_s = (
        spec.get("shutdownAfterJobFinishes", False),
        spec.get("ttlSecondsAfterFinished", 0),
    )
    if ttl_s < 0:
        yield f"ttl_s: {ttl_s} is negative; give seconds, 0 or more"
    if ttl_s > 0 and not is_shut_down:
        yield (
            f"ttl_s: {ttl_s} without shutdownAfterJobFinishes is refused; set "
            "shutdownAfterJobFinishes: true"
        )
    if is_shut_down and (spec.get("deletionStrategy") or {}).get("deletionRules"):
        yield (
            "deletionStrategy.deletionRules: excludes shutdownAfterJobFinishes; remove one of the "
            "two"
        )
    if spec.get("activeDeadlineSeconds", 1) <= 0:
        yield f"deadline_s: {spec['activeDeadlineSeconds']} is not positive; give seconds"
    if spec.get("backoffLimit", 0) < 0:
        yield f"retries: {spec['backoffLimit']} is negative; give 0 or more"


def _suspension(ray_job: dict[str, Any]) -> Iterator[str]:
    spec = ray_job["spec"]
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield (
            "suspend: true without shutdownAfterJobFinishes is refused; set "
            "shutdownAfterJobFinishes: true"
        )
    if spec.get("suspend") and spec.get("clusterSelector"):
        yield "suspend: true with clusterSelector is refused; remove clusterSelector"


def _cluster(ray_job: dict[str, Any]) -> Iterator[str]:
    spec = ray_job["spec"]
    if spec.get("clusterSelector") and spec.get("backoffLimit"):
        yield (
            f"retries: {spec['backoffLimit']} with clusterSelector is refused; remove one of the "
            "two"
        )
    if not spec.get("clusterSelector") and not spec.get("rayClusterSpec"):
        yield "rayClusterSpec: missing, and no clusterSelector names a cluster; give one of the two"


def _pods(ray_job: dict[str, Any]) -> Iterator[str]:
    cluster = ray_job["spec"].get("rayClusterSpec") or {}
    needs_never = ray_job["spec"].get("submissionMode") == "SidecarMode" or (
        cluster.get("enableInTreeAutoscaling")
        and (cluster.get("autoscalerOptions") or {}).get("version") == "v2"
    )
    for group, template in _groups(cluster):
        policy = template.get("spec", {}).get("restartPolicy", "Never")
        if not template.get("spec", {}).get("containers"):
            yield f"{group}: has no container; give one with Ray's image"
        if needs_never and policy != "Never":
            yield (
                f"{group}: restartPolicy {policy} is refused with autoscaler v2 and SidecarMode; "
                "use Never"
            )


def _queue(ray_job: dict[str, Any]) -> Iterator[str]:
    queue = ray_job["metadata"].get("labels", {}).get(QUEUE_LABEL)
    if queue is None:
        return
    cluster = ray_job["spec"].get("rayClusterSpec") or {}
    if not ray_job["spec"].get("suspend"):
        yield (
            f"queue: {queue} without suspend: true; the job would not wait for the queue; set "
            "suspend: true"
        )
    if cluster.get("enableInTreeAutoscaling"):
        yield (
            f"queue: {queue} with autoscaling is refused by Kueue; set enableInTreeAutoscaling: "
            "false"
        )
    if any(group.get("groupName") == "head" for group in cluster.get("workerGroupSpecs", [])):
        yield f"queue: {queue} with a worker group named head is refused by Kueue; rename it"


def _groups(cluster: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "headGroupSpec" in cluster:
        yield "headGroupSpec", cluster["headGroupSpec"].get("template", {})
    for group in cluster.get("workerGroupSpecs", []):
        yield f"workerGroupSpecs {group.get('groupName')}", group.get("template", {})


RULES: tuple[Rule, ...] = (
    _name,
    _submission_mode,
    _end,
    _suspension,
    _cluster,
    _pods,
    _queue,
)
