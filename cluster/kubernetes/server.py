"""The few things asked of a Kubernetes API server, through the official client; what it returns are
plain dicts.

This is the only module that needs the `kubernetes` package. It decides nothing: what to send, and
in which order, is the business of `backend`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from cluster.errors import ClusterError
from cluster.job_files import lines_of
from cluster.kubernetes.explain import MISSING_PACKAGE, in_words, status_of
from cluster.kubernetes.kubectl import Kubectl

Object = dict[str, Any]

RAY_JOBS = {"group": "ray.io", "version": "v1", "plural": "rayjobs"}
CONNECT_S = 5.0
TIMEOUT = (CONNECT_S, 30.0)
"""In seconds: to connect, to wait for data."""
FOR_EVER_S = 7 * 24 * 3600.0
"""The client takes no None for an answer that may never come."""
KUEUE, KUEUE_VERSIONS = "kueue.x-k8s.io", ("v1beta2", "v1beta1")
LOCAL_QUEUES: list[Object] = [
    {"group": KUEUE, "version": version, "plural": "localqueues"} for version in KUEUE_VERSIONS
]
MOST_JOBS, MOST_EVENTS = 50, 500
"""Read at most, of a namespace that may be full of others' things."""


class Server:
    """A server, a user and a namespace, as a kubeconfig names them.

    Args:
        context: of the kubeconfig; None: the current one.
        namespace: in which everything happens; None: the context's.

    Attributes:
        kubectl: where it is, for commands that are named.

    Raises:
        ClusterError: the package is missing, or the kubeconfig does not say how to reach a server.
    """

    def __init__(self, context: str | None, namespace: str | None):
        try:
            from kubernetes import client
        except ImportError as error:
            raise ClusterError(MISSING_PACKAGE) from error
        configuration = client.Configuration()
        contexts_namespace = _load_context(configuration, Kubectl(context, namespace))
        self.namespace = namespace or contexts_namespace
        self.kubectl = Kubectl(context, self.namespace)
        configuration.retries = False  # a fault is said at once; urllib3 would log and retry
        api = client.ApiClient(configuration)
        # The client's classes for Kubernetes objects differ between its releases, JSON does not:
        # hence Any.
        self._custom: Any = client.CustomObjectsApi(api)
        self._core: Any = client.CoreV1Api(api)
        self._scheduling: Any = client.SchedulingV1Api(api)
        self._authorization: Any = client.AuthorizationV1Api(api)
        self._as_json: dict[str, Any] = {"_preload_content": False, "_request_timeout": TIMEOUT}
        self._jobs: dict[str, Any] = {**RAY_JOBS, "namespace": self.namespace, **self._as_json}

    def find_job(self, name: str) -> Object | None:
        """A RayJob, or None."""
        try:
            with self._in_words(f"read job {self.namespace}/{name}"):
                return _read(self._custom.get_namespaced_custom_object(**self._jobs, name=name))
        except ClusterError as error:
            if status_of(error) == 404:
                return None
            raise

    def list_jobs(self) -> list[Object]:
        """RayJobs, a few dozen at most."""
        with self._in_words(f"list jobs in {self.namespace}"):
            answer = self._custom.list_namespaced_custom_object(**self._jobs, limit=MOST_JOBS)
            jobs: list[Object] = _read(answer)["items"]
        return jobs

    def create_job(self, manifest: Object, is_dry_run: bool = False) -> Object:
        """Create a RayJob; unknown fields are refused. A dry run is checked and not stored."""
        with self._in_words(f"create job {self.namespace}/{manifest['metadata']['name']}"):
            return _read(
                self._custom.create_namespaced_custom_object(
                    **self._jobs, body=manifest, field_validation="Strict", **_dry(is_dry_run)
                )
            )

    def patch_job(self, name: str, patch: Object) -> None:
        """Merge fields into a RayJob."""
        with self._in_words(f"change job {self.namespace}/{name}"):
            self._custom.patch_namespaced_custom_object(**self._jobs, name=name, body=patch)

    def delete_job(self, job: Object, is_now: bool = False) -> None:
        """Delete this very RayJob, not one that took its name, and all that belongs to it."""
        name, only = job["metadata"]["name"], {"preconditions": {"uid": job["metadata"]["uid"]}}
        grace = {"grace_period_seconds": 0} if is_now else {}
        with self._in_words(f"delete job {self.namespace}/{name}"):
            self._custom.delete_namespaced_custom_object(
                **self._jobs, name=name, propagation_policy="Background", body=only, **grace
            )

    def create_config_map(self, manifest: Object, is_dry_run: bool = False) -> None:
        """Create a ConfigMap."""
        with self._in_words(f"create config map {self.namespace}/{manifest['metadata']['name']}"):
            self._core.create_namespaced_config_map(
                self.namespace,
                manifest,
                field_validation="Strict",
                **_dry(is_dry_run),
                **self._as_json,
            )

    def find_config_map(self, name: str) -> Object | None:
        """A ConfigMap, or None."""
        return self._look(self._core.read_namespaced_config_map, name=name)

    def own_config_map(self, manifest: Object, owner: Object) -> None:
        """Make a ConfigMap go when its owner goes."""
        name = manifest["metadata"]["name"]
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
        }
        metadata = manifest["metadata"] | {
            "ownerReferences": [reference | {"uid": owner["metadata"]["uid"]}]
        }
        with self._in_words(f"change config map {self.namespace}/{name}"):
            self._core.replace_namespaced_config_map(
                name, self.namespace, manifest | {"metadata": metadata}, **self._as_json
            )

    def delete_config_map(self, name: str) -> None:
        """Delete a ConfigMap, if it is there."""
        try:
            with self._in_words(f"delete config map {self.namespace}/{name}"):
                self._core.delete_namespaced_config_map(name, self.namespace, **self._as_json)
        except ClusterError as error:
            if status_of(error) != 404:
                raise

    def list_pods(self, selector: str) -> list[Object]:
        """Pods with these labels, oldest first."""
        with self._in_words(f"list pods in {self.namespace}"):
            answer = self._core.list_namespaced_pod(
                self.namespace, label_selector=selector, **self._as_json
            )
            pods: list[Object] = _read(answer)["items"]
        return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    def list_warnings(self) -> list[Object]:
        """Events of this namespace that tell of trouble, the oldest first."""
        with self._in_words(f"list events in {self.namespace}"):
            answer = self._core.list_namespaced_event(
                self.namespace, field_selector="type=Warning", limit=MOST_EVENTS, **self._as_json
            )
            events: list[Object] = _read(answer)["items"]
        return sorted(events, key=_last_seen)

    def list_quotas(self) -> list[Object]:
        """ResourceQuotas of this namespace."""
        with self._in_words(f"list resource quotas in {self.namespace}"):
            answer = self._core.list_namespaced_resource_quota(self.namespace, **self._as_json)
            quotas: list[Object] = _read(answer)["items"]
        return quotas

    def list_workloads(self, job: Object) -> list[Object]:
        """What Kueue made of a RayJob; nothing where there is no Kueue."""
        selector = f"kueue.x-k8s.io/job-uid={job['metadata']['uid']}"
        for version in KUEUE_VERSIONS:
            kind = {"group": KUEUE, "version": version, "plural": "workloads"}
            try:
                with self._in_words(f"list workloads in {self.namespace}"):
                    answer = self._custom.list_namespaced_custom_object(
                        **kind, namespace=self.namespace, label_selector=selector, **self._as_json
                    )
                    workloads: list[Object] = _read(answer)["items"]
                    return workloads
            except ClusterError as error:
                if status_of(error) != 404:
                    raise
        return []

    def delete_pods(self, selector: str) -> None:
        """End pods with these labels at once."""
        with self._in_words(f"delete pods in {self.namespace}"):
            self._core.delete_collection_namespaced_pod(
                self.namespace, label_selector=selector, grace_period_seconds=0, **self._as_json
            )

    def log_lines(
        self, pod: str, container: str, follow: bool, last: int | None = None
    ) -> Iterator[str]:
        """A container's output; with `follow` until it ends or the connection does.

        Args:
            pod: its name.
            container: of the pod.
            follow: whether lines to come are waited for.
            last: how many lines, counted from the end; None: all.
        """
        timeout = (CONNECT_S, FOR_EVER_S) if follow else TIMEOUT  # between two lines hours may pass
        tail = {} if last is None else {"tail_lines": last}
        with self._in_words(f"read the log of pod {self.namespace}/{pod}"):
            answer = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                follow=follow,
                _preload_content=False,
                _request_timeout=timeout,
                **tail,
            )
            try:
                lines = lines_of(answer.stream(decode_content=True))
                yield from (line.rstrip("\r") for line in lines)
            finally:
                answer.close()

    def may(self, verb: str, group: str, resource: str, subresource: str = "") -> bool:
        """Whether this user has a right in this namespace."""
        attributes = {
            "verb": verb,
            "group": group,
            "resource": resource,
            "namespace": self.namespace,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": attributes
                | ({"subresource": subresource} if subresource else {})
            },
        }
        with self._in_words("ask what you may do"):
            answer = self._authorization.create_self_subject_access_review(review, **self._as_json)
            return bool(_read(answer)["status"]["allowed"])

    def find(self, kind: str, name: str) -> Object | None:
        """An object that the profile names, as far as one may look at it.

        Returns:
            The object; an empty dict where one may not look; None where there is none.
        """
        if kind == "queue":
            read_queue = self._custom.get_namespaced_custom_object
            queues = [self._look(read_queue, name=name, **api) for api in LOCAL_QUEUES]
            return next((queue for queue in queues if queue is not None), None)
        if kind == "priority class":
            return self._look(self._scheduling.read_priority_class, namespaced=False, name=name)
        read = {
            "service account": self._core.read_namespaced_service_account,
            "secret": self._core.read_namespaced_secret,
            "claim": self._core.read_namespaced_persistent_volume_claim,
        }[kind]
        return self._look(read, name=name)

    def find_namespace(self) -> Object | None:
        """The namespace; an empty dict where one may not look; None where there is none."""
        return self._look(self._core.read_namespace, namespaced=False, name=self.namespace)

    def _in_words(self, doing: str) -> AbstractContextManager[None]:
        return in_words(doing, self.kubectl)

    def _look(self, read: Any, *, namespaced: bool = True, **names: Any) -> Object | None:
        place = {"namespace": self.namespace} if namespaced else {}
        try:
            with self._in_words(f"look for {names['name']}"):
                return _read(read(**names, **place, **self._as_json))
        except ClusterError as error:
            if status_of(error) == 403:
                return {}
            if status_of(error) == 404:
                return None
            raise


def _load_context(configuration: Any, kubectl: Kubectl) -> str:
    """Set server and credentials from the kubeconfig, and return the context's namespace."""
    from kubernetes import config

    context = kubectl.context
    file = os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")  # noqa: PTH111, without a home it stays ~
    try:
        contexts, current = config.list_kube_config_contexts(file)
        names = [entry["name"] for entry in contexts]
        if context is not None and context not in names:
            raise ClusterError(
                f"context: {context} is not in {file}; it has {', '.join(names) or 'none'}"
            )
        config.load_kube_config(
            file, context=context, client_configuration=configuration, persist_config=False
        )
    except (config.ConfigException, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"kubernetes: {file} does not say how to reach a cluster ({reason}); "
            "set KUBECONFIG or log in with your cluster's tool, and try "
            f"`{kubectl.line('get', 'pods')}`"
        ) from error
    chosen = (
        current
        if context is None
        else next(entry for entry in contexts if entry["name"] == context)
    )
    return str(chosen["context"].get("namespace") or "default")


def _read(answer: Any) -> Object:
    content: Object = json.loads(answer.data)
    return content


def _last_seen(event: Object) -> str:
    """When an event was seen last; the two ways to make events keep that in different fields."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next(filter(None, times), ""))


def _dry(is_dry_run: bool) -> dict[str, Any]:
    return {"dry_run": "All"} if is_dry_run else {}
