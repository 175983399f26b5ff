"""What stands in the way of a submission, found by looking: rights, and things that the profile
names."""

from collections.abc import Iterator

from cluster.errors import ClusterError
from cluster.kubernetes.explain import status_of
from cluster.kubernetes.profile import KubernetesProfile
from cluster.kubernetes.server import Object, Server

RIGHTS = [
    *[(verb, "ray.io", "rayjobs", "") for verb in ("create", "get", "list", "patch", "delete")],
    *[(verb, "", "configmaps", "") for verb in ("create", "get", "update", "delete")],
    ("list", "", "pods", ""),
    ("get", "", "pods", "log"),
]
"""Verb, API group, resource, subresource: what submit, status, logs and cancel do."""


def find_obstacles(server: Server, profile: KubernetesProfile) -> Iterator[str]:
    """What stands in the way, a line each with the remedy; none when all is well."""
    try:
        if server.find_namespace() is None:
            yield (
                f"namespace: {server.namespace} is not there; make it, or name another in the "
                "profile"
            )
            return
        server.list_jobs()
    except ClusterError as error:
        yield (
            str(error)
            if status_of(error) != 404
            else (
                "kubernetes: the server knows no RayJobs (rayjobs.ray.io); have KubeRay's "
                "operator installed: helm install kuberay-operator kuberay/kuberay-operator"
            )
        )
        return

    yield from _missing_rights(server)
    yield from _missing_things(server, profile)


def _missing_rights(server: Server) -> Iterator[str]:
    for verb, group, resource, subresource in RIGHTS:
        if not server.may(verb, group, resource, subresource):
            name = (
                f"{resource}.{group}" if group else "/".join(filter(None, (resource, subresource)))
            )
            yield (
                f"kubernetes: you may not {verb} {name} in namespace {server.namespace}; "
                "ask who runs the cluster for a role that allows it"
            )


def _missing_things(server: Server, profile: KubernetesProfile) -> Iterator[str]:
    named = [
        *[("image_pull_secrets", "secret", name) for name in profile.image_pull_secrets],
        *[("env_from_secrets", "secret", name) for name in profile.env_from_secrets],
        *[
            ("service_account", "service account", name)
            for name in [profile.service_account]
            if name
        ],
        *[("queue", "queue", name) for name in [profile.queue] if name],
        *[("priority_class", "priority class", name) for name in [profile.priority_class] if name],
    ]
    for field, kind, name in named:
        if server.find(kind, name) is None:
            yield (
                f"{field}: there is no {kind} {name} in namespace {server.namespace}; make it, or "
                "correct the profile"
            )
    for volume in profile.volumes:
        yield from _claim_faults(server.find("claim", volume.claim), volume.claim, server.namespace)


def _claim_faults(claim: Object | None, name: str, namespace: str) -> Iterator[str]:
    if claim is None:
        yield (
            f"volumes: there is no claim {name} in namespace {namespace}; make it, or correct the "
            "profile"
        )
        return
    modes = claim.get("spec", {}).get("accessModes", [])
    # Head and workers are on several nodes.
    if modes and not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
        yield (
            f"volumes: claim {name} has {', '.join(modes)} only, so that pods on other nodes "
            "would wait for ever; use one with ReadWriteMany, or results on an object store"
        )
    if claim.get("status", {}).get("phase") == "Lost":
        yield f"volumes: claim {name} has lost its volume; make it anew"
