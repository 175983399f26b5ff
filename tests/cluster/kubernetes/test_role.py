"""The roles that a user needs are exactly what the one module asks that talks to the server."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import yaml

from cluster.backend import JobState
from cluster.kubernetes.checks import ROLE, Right, needed_rights, rights_of
from cluster.kubernetes.server import Server
from tests.cluster.kubernetes.api_server import FakeServer
from tests.cluster.kubernetes.jobs import FOLDER, JOB, NAME, make_backend, refusal

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
RAY_JOB = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "x", "uid": "u"}}
KINDS = ("secret", "service account", "claim", "queue", "priority class")

# Every method of the module, and how it is called.
CALLS: dict[str, Callable[[Server], Any]] = {
    "find_job": lambda server: server.find_job("x"),
    "list_jobs": lambda server: server.list_jobs(),
    "create_job": lambda server: server.create_job(RAY_JOB),
    "patch_job": lambda server: server.patch_job("x", {"spec": {"suspend": True}}),
    "delete_job": lambda server: server.delete_job(RAY_JOB),
    "create_config_map": lambda server: server.create_config_map(CONFIG_MAP),
    "find_config_map": lambda server: server.find_config_map("x"),
    "own_config_map": lambda server: server.own_config_map(CONFIG_MAP, RAY_JOB),
    "delete_config_map": lambda server: server.delete_config_map("x"),
    "list_pods": lambda server: server.list_pods("a=b"),
    "list_warnings": lambda server: server.list_warnings(),
    "list_quotas": lambda server: server.list_quotas(),
    "list_workloads": lambda server: server.list_workloads(RAY_JOB),
    "delete_pods": lambda server: server.delete_pods("a=b"),
    "log_lines": lambda server: list(server.log_lines("x", "ray-job-submitter", False)),
    "may": lambda server: server.may("list", "", "pods"),
    "find": lambda server: [server.find(kind, "x") for kind in KINDS],
    "find_namespace": lambda server: server.find_namespace(),
}

NOT_IN_THE_FILE: set[Right] = {
    ("create", "authorization.k8s.io", "selfsubjectaccessreviews", ""),  # everybody has it
    ("get", "", "secrets", ""),  # the file says why
}

VERBS = {"post": "create", "put": "update", "patch": "patch"}


def right_of(asked: str) -> Right:
    """The right that a request needs, `METHOD path?query`."""
    method, _, place = asked.partition(" ")
    path, _, _ = place.partition("?")
    match = re.fullmatch(
        r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/[^/]+(?=/))?"
        r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?",
        path,
    )
    assert match is not None, path
    has_name = match["name"] is not None
    reads = {"get": "get" if has_name else "list", "delete": "delete"}
    if not has_name:
        reads["delete"] = "deletecollection"
    verb = (VERBS | reads)[method]
    return verb, match["group"] or "", match["resource"], match["sub"] or ""


def test_every_method_of_the_server_is_called_below() -> None:
    methods = {name for name, _ in inspect.getmembers(Server, inspect.isfunction)}

    assert {name for name in methods if not name.startswith("_")} == CALLS.keys()


def test_the_file_gives_what_is_asked_and_nothing_else(server: FakeServer) -> None:
    server.put("pods", "x", {})
    server.pod_logs["x"] = "a line"
    asked: set[Right] = set()
    for name, call in CALLS.items():
        server.asked.clear()
        call(Server(None, None))
        assert server.asked, f"{name} asks nothing"
        asked |= {right_of(line) for line in server.asked}

    given = {right for role in yaml.safe_load_all(ROLE.read_text()) for right in rights_of(role)}
    assert asked - NOT_IN_THE_FILE == given
    assert asked >= NOT_IN_THE_FILE


def test_the_first_role_is_what_a_sweep_needs_and_the_others_are_not(server: FakeServer) -> None:
    """All that is not in the first role is refused, and the sweep goes its way."""
    for method, plural in (
        *(("get", "events"), ("get", "resourcequotas"), ("get", "secrets")),
        *(("get", "persistentvolumeclaims"), ("get", "workloads"), ("delete", "pods")),
    ):
        server.refusals[method, plural] = refusal(403, "Forbidden", "no")
    backend = make_backend(env_from_secrets=["keys"], volumes=[{"claim": "c", "mount": "/c"}])
    job_id = backend.submit(JOB)
    server.change(NAME, jobDeploymentStatus="Initializing")
    assert backend.status(job_id, FOLDER).state is JobState.PENDING
    assert len(list(backend.logs(job_id, FOLDER, follow=False))) == 1
    backend.cancel(job_id, NAME, now=True)

    asked = {right_of(line) for line in server.asked}
    refused = {"events", "resourcequotas", "secrets", "persistentvolumeclaims", "workloads"}
    needed = {right for right in asked if right[2] not in refused} - {
        ("deletecollection", "", "pods", "")
    }
    assert needed <= set(needed_rights())
