"""What stands in the way of a submission, found by looking: rights, things that the profile names,
quotas."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from cluster.errors import ClusterError
from cluster.kubernetes.explain import status_of
from cluster.kubernetes.profile import AUTOSCALER, SUBMITTER, KubernetesProfile, amount
from cluster.kubernetes.reasons import FIELDS, Documents, find_reason, no_such
from cluster.kubernetes.server import Object, Server

ROLE = Path(__file__).with_name("templates") / "role.yaml"

Right = tuple[str, str, str, str]
"""Verb, API group, resource, subresource."""


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        obstacles: what stands in the way, a line each with the remedy.
        notes: what is to be known besides: what was not looked at, what one has to wait for.
    """

    obstacles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@cache
def needed_rights() -> list[Right]:
    """What submit, status, logs and cancel do: the first role of `ROLE`."""
    import yaml

    role = next(yaml.safe_load_all(ROLE.read_text(encoding="utf-8")))
    return list(rights_of(role))


def rights_of(role: Object) -> Iterator[Right]:
    """The rights that a role gives."""
    for rule in role["rules"]:
        for resource in rule["resources"]:
            name, _, subresource = resource.partition("/")
            for verb in rule["verbs"]:
                yield verb, rule["apiGroups"][0], name, subresource


def look(server: Server, profile: KubernetesProfile) -> Findings:
    """All that can be known before a submission: the server, rights, and what the profile names."""
    try:
        if server.find_namespace() is None:
            return Findings(
                [
                    f"namespace: {server.namespace} is not there; make it, or name another in the "
                    "profile"
                ]
            )
        jobs = server.list_jobs()
    except ClusterError as error:
        if status_of(error) == 403 and (missing := _missing_rights(server)):
            return Findings(missing)
        if status_of(error) != 404:
            return Findings([str(error)])
        return Findings(
            [
                "kubernetes: the server knows no RayJobs (rayjobs.ray.io); have KubeRay's operator "
                "installed: helm install kuberay-operator kuberay/kuberay-operator"
            ]
        )
    found = look_for_things(server, profile)
    obstacles = [*_untaken(server, jobs), *_missing_rights(server), *found.obstacles]
    return Findings(obstacles, found.notes)


def look_for_things(server: Server, profile: KubernetesProfile) -> Findings:
    """What the profile names and what the namespace has room for; what may not be looked at is
    noted."""
    found, unseen = Findings(), []
    for kind, name in _named(profile):
        thing = server.find(kind, name)
        if thing is None:
            line = f"{no_such(kind, name, server.namespace)}; make it, or correct the profile"
            found.obstacles.append(f"{_field(profile, kind, name)}: {line}")
        elif not thing:
            unseen.append(f"{kind} {name}")
        elif kind == "claim":
            found.obstacles.extend(_claim_faults(thing, name))
    if profile.submission_mode == "SidecarMode":
        found.obstacles.extend(_pod_security_faults(server.find_namespace()))
    try:
        for line, is_obstacle in _quota_faults(server.list_quotas(), profile):
            (found.obstacles if is_obstacle else found.notes).append(line)
    except ClusterError as error:
        if status_of(error) != 403:
            raise
        unseen.append("resource quotas")
    if unseen:
        found.notes.append(
            f"kubernetes: not checked in namespace {server.namespace}, since you may not look: "
            f"{', '.join(unseen)}"
        )
    return found


def _untaken(server: Server, jobs: list[Object]) -> Iterator[str]:
    """Jobs that no operator has looked at, of whomever."""
    for job in jobs:
        reason = find_reason(Documents(ray_job=job, kubectl=server.kubectl))
        if reason is not None and reason.cause == "operator":
            yield f"kubernetes: job {job['metadata']['name']}: {reason.text}"
            return


def _missing_rights(server: Server) -> list[str]:
    """The rights that this user lacks, in a line; nothing where none is lacking."""
    verbs: dict[str, list[str]] = {}  # by resource
    for verb, group, resource, subresource in needed_rights():
        if not server.may(verb, group, resource, subresource):
            name = f"{resource}.{group}" if group else resource
            verbs.setdefault(f"{name}/{subresource}" if subresource else name, []).append(verb)
    if not verbs:
        return []
    listed = "; ".join(f"{', '.join(several)} {name}" for name, several in verbs.items())
    return [
        f"kubernetes: you lack rights in namespace {server.namespace} ({listed}); "
        f"ask who runs the cluster for the role in {ROLE}"
    ]


def _named(profile: KubernetesProfile) -> Iterator[tuple[str, str]]:
    """Kind and name of all things that a profile names."""
    for name in dict.fromkeys((*profile.image_pull_secrets, *profile.env_from_secrets)):
        yield "secret", name
    for kind in ("service account", "queue", "priority class"):
        if name := getattr(profile, FIELDS[kind]):
            yield kind, name
    for volume in profile.volumes:
        yield "claim", volume.claim


def _field(profile: KubernetesProfile, kind: str, name: str) -> str:
    if kind != "secret":
        return FIELDS[kind]
    return "image_pull_secrets" if name in profile.image_pull_secrets else "env_from_secrets"


def _claim_faults(claim: Object, name: str) -> Iterator[str]:
    modes = claim.get("spec", {}).get("accessModes", [])
    # Head and workers are on several nodes.
    if modes and not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
        yield (
            f"volumes: claim {name} has {', '.join(modes)} only, so that pods on other nodes "
            "would wait for ever; use one with ReadWriteMany, or results on an object store"
        )
    if claim.get("status", {}).get("phase") == "Lost":
        yield f"volumes: claim {name} has lost its volume; make it anew"


def _pod_security_faults(namespace: Object | None) -> Iterator[str]:
    """KubeRay puts a container of its own into the head's pod there, without what `restricted` asks
    for."""
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    if labels.get("pod-security.kubernetes.io/enforce") == "restricted":
        yield (
            "submission_mode: SidecarMode cannot run where Pod Security is restricted, as in this "
            "namespace; use K8sJobMode"
        )


def _quota_faults(quotas: list[Object], profile: KubernetesProfile) -> Iterator[tuple[str, bool]]:
    """Where the smallest cluster, with one worker, does not fit into the namespace's quotas, and
    whether it never will."""
    needed = smallest_cluster(profile)
    for quota in quotas:
        if quota.get("spec", {}).get("scopes") or quota.get("spec", {}).get("scopeSelector"):
            continue  # whether it counts our pods is not known
        status, name = quota.get("status") or {}, quota["metadata"]["name"]
        for key, limit in (status.get("hard") or quota.get("spec", {}).get("hard") or {}).items():
            asked = needed.get(key.removeprefix("requests.").removeprefix("limits."), 0.0)
            if not asked:
                continue  # others may use more of it than a limit that was lowered
            used = amount((status.get("used") or {}).get(key, "0"))
            if asked > amount(limit):
                yield (
                    f"quota {name}: head and one worker ask for {asked:g} of {key}, and {limit} is "
                    "the limit; lower what the profile asks for, or ask who runs the cluster",
                    True,
                )
            elif asked > amount(limit) - used:
                yield (
                    f"quota {name}: head and one worker ask for {asked:g} of {key}, and {used:g} "
                    f"of {limit} are in use; they wait for other jobs",
                    False,
                )


def smallest_cluster(profile: KubernetesProfile) -> dict[str, float]:
    """What head, autoscaler, submitter and one worker ask for, by resource; memory in bytes."""
    pods = [
        {"cpu": str(profile.head_cpus), "memory": profile.head_memory},
        {"cpu": str(profile.worker_cpus), "memory": profile.worker_memory}
        | {profile.gpu_resource: str(profile.gpus_per_worker)},
    ]
    if profile.queue is None:
        pods.append(AUTOSCALER)
    if profile.submission_mode == "K8sJobMode":
        pods.append(SUBMITTER)
    resources = dict.fromkeys(resource for pod in pods for resource in pod)
    needed = {
        resource: sum(amount(pod.get(resource, "0")) for pod in pods) for resource in resources
    }
    num_pods = 2 + (profile.submission_mode == "K8sJobMode")
    return needed | {"pods": float(num_pods)}
